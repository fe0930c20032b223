"""What the page says, in a real browser, where photos or the server are gone, or an address says nothing."""

from __future__ import annotations

import vsearch
from tests.server.tab import NEEDS_CHROMIUM, Tab, playwright
from tests.serving import Server

pytestmark = NEEDS_CHROMIUM


def test_the_large_view_never_tells_of_another_photo(
    browser: playwright.Browser, index: vsearch.Index
) -> None:
    with Server(index.path) as server:
        first, second, third = index.page(limit=3, newest=True)
        tab = Tab(browser, f"{server.url}/?photo={first.id}")
        name, said = tab.page.locator("#name"), tab.page.locator("#viewer [role=alert]")
        playwright.expect(name).to_have_text(first.file.path.split("/")[-1])
        playwright.expect(tab.cards()).to_have_count(12)
        index.remove(index.path_of(second))
        tab.page.locator("#original").focus()  # it goes, and the keys must come all the same
        tab.page.keyboard.press("ArrowRight")
        playwright.expect(said).to_contain_text(f"there is no photo {second.id} ")
        playwright.expect(name).to_be_empty()
        playwright.expect(tab.page.locator("#facts dd")).to_have_count(0)
        playwright.expect(tab.page.get_by_role("link", name="Original")).to_have_count(0)
        tab.page.keyboard.press("ArrowRight")
        playwright.expect(name).to_have_text(third.file.path.split("/")[-1])
        playwright.expect(said).to_be_empty()
        playwright.expect(tab.page.get_by_role("link", name="Original")).to_be_visible()
        tab.page.keyboard.press("-")
        playwright.expect(said).to_contain_text("Pick a picture to be like first")
        server.stop()
        tab.page.keyboard.press("ArrowLeft")
        playwright.expect(said).to_contain_text("the server cannot be reached")
        playwright.expect(name).to_be_empty()
        assert tab.errors == []
        tab.context.close()


def test_an_address_of_no_photo(tab: Tab) -> None:
    tab.page.goto(f"{tab.url}/?photo=99999")
    playwright.expect(tab.page.locator("#viewer [role=alert]")).to_contain_text("there is no photo 99999")

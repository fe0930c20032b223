"""What the page says, in a real browser, where photos or the server are gone, or an address says nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import vsearch
from tests import album
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


def test_a_region_of_what_browsers_cannot_show(
    browser: playwright.Browser, index: vsearch.Index, photos: Path
) -> None:
    index.add(album.write(photos / "scan.tiff", 700))
    with Server(index.path) as server:
        tab = Tab(browser, server.url)
        image = tab.page.locator("#crop-image")
        tab.cards().first.locator(".pick").press("v")
        playwright.expect(tab.page.locator("#name")).to_have_text("scan.tiff")
        tab.page.get_by_role("button", name="Search a region").click()
        playwright.expect(image).to_have_js_property("naturalWidth", 96)
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_url(re.compile(r"crop=24,16,48,32"))
        tab.found()
        tab.drop(album.write(photos.parent / "upload.tiff", 701))
        chip = tab.page.locator("#pictures img")
        playwright.expect(chip).to_have_js_property("naturalWidth", 96)
        tab.page.get_by_role("button", name="Region").click()
        playwright.expect(image).to_have_js_property("naturalWidth", 96)
        tab.context.close()


def test_a_region_of_a_photo_whose_file_is_gone(browser: playwright.Browser, index: vsearch.Index) -> None:
    first, second = index.page(limit=2, newest=True)
    os.remove(index.path_of(first))
    with Server(index.path) as server:
        tab = Tab(browser, f"{server.url}/?image={first.id}&photo={first.id}")
        region = tab.page.get_by_role("button", name="Search a region")
        said = tab.page.locator("#viewer [role=alert]")
        playwright.expect(said).to_contain_text("no region of it can be searched")
        playwright.expect(region).to_be_disabled()
        playwright.expect(tab.page.get_by_role("link", name="Original")).to_have_count(0)
        tab.page.keyboard.press("Escape")
        tab.page.get_by_role("button", name="Region").click()
        playwright.expect(tab.page.locator("#summary")).to_contain_text("no region of it can be searched")
        playwright.expect(tab.page.locator("#cropper")).to_be_hidden()
        tab.page.goto(f"{server.url}/?photo={second.id}")
        playwright.expect(tab.page.get_by_role("link", name="Original")).to_be_visible()
        playwright.expect(region).to_be_enabled()
        tab.context.close()


def test_an_upload_that_the_server_has_dropped(tab: Tab) -> None:
    tab.page.goto(f"{tab.url}/?image=picture:{'0' * 64}")
    playwright.expect(tab.page.locator("#summary")).to_contain_text("Drop it here again")
    tab.page.wait_for_load_state("networkidle")
    playwright.expect(tab.page.locator("#summary")).to_contain_text("Drop it here again")


@pytest.mark.parametrize(
    "wrong", ["image=46&crop=foo", "image=abc", "image=4&min_score=high", "photo=abc", "view=map&minus=-1"]
)
def test_an_address_that_says_nothing(tab: Tab, wrong: str) -> None:
    part = wrong.split("&")[-1]
    tab.page.goto(f"{tab.url}/?{wrong}")
    summary = tab.page.locator("#summary")
    playwright.expect(summary).to_have_text(
        f"This address asks for something that is not understood: {part}."
    )
    tab.page.wait_for_load_state("networkidle")
    playwright.expect(summary).to_contain_text(part)
    playwright.expect(tab.page.locator("#viewer")).to_be_hidden()
    tab.page.get_by_role("link", name="vsearch").click()
    playwright.expect(summary).to_contain_text("88 photos")
    tab.page.go_back()
    playwright.expect(summary).to_contain_text(part)
    playwright.expect(tab.cards()).to_have_count(0)


def test_a_slow_search_says_nothing_over_the_next(tab: Tab) -> None:
    playwright.expect(tab.cards().nth(7)).to_be_visible()
    slow: list[playwright.Route] = []
    tab.page.route("**/api/v1/query", lambda route: slow.append(route), times=1)
    tab.cards().nth(7).locator(".pick").click()
    playwright.expect(tab.page.locator("#summary")).to_have_text("Searching\u2026")
    tab.page.get_by_role("link", name="vsearch").click()
    playwright.expect(tab.page.locator("#summary")).to_contain_text("88 photos")
    with tab.page.expect_response("**/api/v1/query"):
        slow[0].continue_()
    tab.page.evaluate("new Promise((done) => setTimeout(done, 100))")  # until the page has read the answer
    playwright.expect(tab.page.locator("#summary")).to_contain_text("88 photos")


def test_a_server_that_goes_away_while_one_scrolls(browser: playwright.Browser, album_index: Path) -> None:
    with Server(album_index) as server:
        tab = Tab(browser, server.url, (1280, 300))
        playwright.expect(tab.cards()).to_have_count(60)
        server.stop()
        tab.page.evaluate("scrollTo(0, document.body.scrollHeight)")
        playwright.expect(tab.page.locator("#summary")).to_contain_text("the server cannot be reached")
        assert tab.errors == []
        tab.context.close()

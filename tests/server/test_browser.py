"""Searching in a real browser: Chromium, against a real server on real photos."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.tab import NEEDS_CHROMIUM, PHONE, WIDE, Tab, playwright
from tests.serving import Server

pytestmark = NEEDS_CHROMIUM


def test_the_page_shows_the_photos_newest_first(tab: Tab) -> None:
    playwright.expect(tab.page.locator("#summary")).to_contain_text("88 photos")
    assert tab.cards().count() >= 60
    playwright.expect(tab.page.locator(".card img").first).to_have_js_property("complete", True)
    assert tab.page.locator(".card img").first.evaluate("image => image.naturalWidth") > 0


def test_dropping_a_picture_finds_it(tab: Tab, album_photos: Path) -> None:
    tab.drop(album_photos / "astronaut-crop.jpg")
    assert "astronaut-crop.jpg, score 1.00, identical" in tab.top()
    assert "image=picture:" in tab.page.url
    tab.page.reload()
    tab.found()
    assert "astronaut-crop.jpg" in tab.top()


def test_choosing_a_file_and_pasting_one(tab: Tab, album_photos: Path) -> None:
    tab.page.set_input_files("#file", album_photos / "astronaut.png")
    tab.found()
    assert "astronaut.png, score 1.00, identical" in tab.top()
    tab.page.evaluate(
        """bytes => { const d = new DataTransfer();
        d.items.add(new File([new Uint8Array(bytes)], "x.png", {type: "image/png"}));
        dispatchEvent(new ClipboardEvent("paste", {clipboardData: d})); }""",
        list((album_photos / "coffee.png").read_bytes()),
    )
    playwright.expect(tab.cards().first.locator(".pick")).to_have_attribute(
        "aria-label", re.compile("coffee.png, score 1.00, identical")
    )


def test_more_like_this_back_and_forward(tab: Tab) -> None:
    before = tab.top()
    tab.cards().nth(5).locator(".pick").click()
    tab.found()
    query = tab.page.url
    assert re.search(r"\?image=\d+$", query)
    assert "identical" in tab.top()
    tab.page.go_back()
    playwright.expect(tab.page.locator("#query")).to_be_hidden()
    playwright.expect(tab.page.locator(".card .pick").first).to_have_attribute("aria-label", before)
    tab.page.go_forward()
    tab.found()
    assert tab.page.url == query


def test_a_search_has_an_address(tab: Tab, browser: playwright.Browser) -> None:
    tab.cards().nth(3).locator(".pick").click()
    tab.found()
    other = Tab(browser, tab.page.url)
    other.found()
    assert other.top() == tab.top()
    other.context.close()


def test_plus_and_minus(tab: Tab) -> None:
    tab.cards().nth(0).locator(".pick").click()
    tab.found()
    tab.cards().nth(30).hover()
    tab.cards().nth(30).get_by_label("Add as plus").click()
    playwright.expect(tab.page.locator("#pictures li")).to_have_count(2)
    tab.found()
    tab.cards().nth(40).hover()
    tab.cards().nth(40).get_by_label("Add as minus").click()
    playwright.expect(tab.page.locator("#pictures li.minus")).to_have_count(1)
    assert tab.page.url.count("image=") == 2
    assert tab.page.url.count("minus=") == 1
    tab.page.get_by_label("Remove: Unlike this picture").click()
    playwright.expect(tab.page.locator("#pictures li.minus")).to_have_count(0)


def test_a_region_by_dragging(tab: Tab, album_photos: Path) -> None:
    tab.drop(album_photos / "astronaut.png")
    tab.page.get_by_role("button", name="Region").click()
    area = tab.page.locator("#crop-area")
    playwright.expect(tab.page.locator("#crop-image")).to_have_js_property("naturalWidth", 512)
    box = area.bounding_box()
    assert box
    tab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25, steps=5)
    tab.page.mouse.up()
    tab.page.locator("[data-crop=search]").click()
    tab.page.wait_for_url(re.compile("crop="))
    region = re.search(r"crop=([\d,]+)", tab.page.url)
    assert region is not None
    x, _, width, height = map(int, region[1].split(","))
    assert abs(x - 256) < 12
    assert abs(width - 128) < 16
    assert 60 < height < 150
    tab.found()
    assert "identical" not in tab.top()


def test_a_region_by_keys(tab: Tab) -> None:
    tab.cards().nth(2).locator(".pick").click()
    tab.found()
    tab.page.get_by_role("button", name="Region").click()
    playwright.expect(tab.page.locator("#crop-area")).to_be_focused()
    before = tab.page.locator("#crop-value").text_content()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Shift+ArrowDown")
    assert tab.page.locator("#crop-value").text_content() != before
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(re.compile("crop="))


def test_the_large_view_by_keys(tab: Tab) -> None:
    tab.cards().nth(1).locator(".pick").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("v")
    viewer = tab.page.locator("#viewer")
    playwright.expect(viewer).to_be_visible()
    playwright.expect(tab.page.locator("#facts")).to_contain_text("\u00d7")
    first = tab.page.locator("#name").text_content()
    tab.page.keyboard.press("ArrowRight")
    playwright.expect(tab.page.locator("#name")).not_to_have_text(first or "")
    assert "photo=" in tab.page.url
    tab.page.keyboard.press("Escape")
    playwright.expect(viewer).to_be_hidden()
    assert tab.page.evaluate("document.activeElement.className") == "pick"


def test_least_score(tab: Tab) -> None:
    tab.cards().nth(1).locator(".pick").click()
    tab.found()
    tab.page.locator("#filter-button").click()
    slider = tab.page.get_by_label("Least score")
    slider.fill("0.95")
    tab.page.wait_for_url(re.compile(r"min_score=0\.95"))
    tab.found()
    scores = [float(text.split()[0]) for text in tab.page.locator(".score").all_text_contents()]
    assert 0 < len(scores) < 60
    assert min(scores) >= 0.95
    tab.page.get_by_role("button", name="Clear").click()
    tab.page.wait_for_url(lambda url: "min_score" not in url)


def test_every_answer_comes_by_scrolling(tab: Tab) -> None:
    tab.cards().nth(1).locator(".pick").click()
    tab.found()
    for _ in range(100):
        tab.page.mouse.wheel(0, 3000)
        tab.page.wait_for_timeout(100)
        if tab.page.locator(".card").last.get_attribute("data-n") == "87":
            break
    numbers = tab.cards().evaluate_all("cards => cards.map(card => card.dataset.n)")
    assert numbers[-1] == "87"
    assert len(numbers) == len(set(numbers))


def test_the_first_answer_is_there_in_time(tab: Tab) -> None:
    tab.cards().nth(4).locator(".pick").click()
    tab.found()
    took = re.search(r"\((\d+) ms\)", tab.page.locator("#summary").text_content() or "")
    assert took
    print(f"first answer after {took[1]} ms")


@pytest.mark.parametrize("size", [PHONE, WIDE, (320, 640), (2560, 1200)])
def test_nothing_is_wider_than_the_window(
    browser: playwright.Browser, album_server: Server, size: tuple[int, int]
) -> None:
    tab = Tab(browser, f"{album_server.url}/?image=3", size, has_touch=size == PHONE)
    tab.found()
    tab.page.locator("#filter-button").click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for button in tab.page.locator("header button:visible, header label:visible").all():
        box = button.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
    tab.context.close()


def test_back_shows_what_was_left(tab: Tab) -> None:
    tab.page.evaluate("scrollTo(0, 1500)")
    card = tab.page.locator(".card .pick:visible").nth(50)
    card.scroll_into_view_if_needed()
    playwright.expect(tab.cards()).to_have_count(88)  # scrolling asked for the rest, which takes its time
    top = tab.page.evaluate("scrollY")
    assert top > 300
    name = card.get_attribute("aria-label")
    card.click()
    tab.found()
    assert tab.page.evaluate("scrollY") == 0
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.go_back()
    playwright.expect(tab.page.locator("#summary")).to_contain_text("88 photos")
    assert tab.page.evaluate("scrollY") == top
    assert tab.cards().count() == 88
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == name
    assert [url for url in asked if "/photos?" in url] == []


@pytest.mark.parametrize("key", ["Enter", "+", "-"])
def test_tab_goes_on_in_what_was_found(tab: Tab, key: str) -> None:
    tab.page.goto(f"{tab.url}/?image=5")
    tab.found()
    results = tab.page.locator("#results")
    tab.cards().nth(7).locator(".pick").press(key)
    tab.page.wait_for_url(re.compile(r"(image|minus)=\d+$"))
    playwright.expect(results).to_be_focused()
    tab.page.wait_for_load_state("networkidle")
    playwright.expect(results).to_be_focused()
    tab.page.keyboard.press("Tab")
    playwright.expect(tab.cards().first.locator(".pick")).to_be_focused()


def test_focus_is_not_lost_with_the_button_that_had_it(tab: Tab) -> None:
    tab.page.goto(f"{tab.url}/?image=5&minus=6&photo=7")
    tab.page.get_by_role("button", name="More like this").press("Enter")
    results = tab.page.locator("#results")
    playwright.expect(results).to_be_focused()
    tab.page.get_by_role("button", name="Region").press("Enter")
    playwright.expect(tab.page.locator("#crop-area")).to_be_focused()
    tab.page.keyboard.press("Escape")
    playwright.expect(tab.page.get_by_role("button", name="Region")).to_be_focused()
    tab.page.get_by_role("button", name="All photos").press("Enter")
    playwright.expect(results).to_be_focused()
    tab.page.go_back()
    playwright.expect(tab.page.get_by_role("button", name="Region")).to_be_visible()


def test_back_from_the_large_view_leaves_the_list_alone(tab: Tab) -> None:
    tab.page.evaluate("scrollTo(0, 800)")
    tab.cards().nth(30).locator(".pick").focus()
    top = tab.page.evaluate("scrollY")
    tab.page.keyboard.press("v")
    playwright.expect(tab.page.locator("#viewer")).to_be_visible()
    tab.page.go_back()
    playwright.expect(tab.page.locator("#viewer")).to_be_hidden()
    assert tab.page.evaluate("scrollY") == top


def test_back_to_duplicates(tab: Tab) -> None:
    tab.page.get_by_role("link", name="Duplicates").click()
    groups = tab.page.locator(".group")
    playwright.expect(groups.nth(2)).to_be_visible(timeout=60_000)
    count = groups.count()
    tab.page.get_by_role("link", name="Photos", exact=True).click()
    playwright.expect(tab.cards().first).to_be_visible()
    tab.page.go_back()
    playwright.expect(groups).to_have_count(count)
    groups.nth(1).locator(".picture").first.click()
    playwright.expect(tab.page.locator("#viewer")).to_be_visible()

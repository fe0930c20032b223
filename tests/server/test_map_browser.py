"""The map in a real browser: the view in the server's page, and the page that ``vsearch map`` writes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsearch
from tests.server.tab import NEEDS_CHROMIUM, PHONE, Tab, playwright
from tests.serving import Server
from vsearch.render.map import write_map

pytestmark = NEEDS_CHROMIUM
# How many different colours are on the canvas, looked at every few pixels.
COLOURS = """canvas => {
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
const seen = new Set(); for (let n = 0; n < data.length; n += 28) seen.add(data.slice(n, n + 4).join());
return seen.size; }"""


def drawn(page: playwright.Page) -> playwright.Locator:
    """The canvas, once thumbnails are on it."""
    canvas = page.locator("#plane")
    page.wait_for_function(f"() => ({COLOURS})(document.getElementById('plane')) > 500", timeout=60_000)
    return canvas


def test_the_view_by_keys_and_back(tab: Tab) -> None:
    tab.page.get_by_role("link", name="Map").click()
    assert tab.page.url.endswith("?view=map")
    canvas = drawn(tab.page)
    playwright.expect(tab.page.locator("#summary")).to_contain_text("88 photos")
    canvas.focus()
    tab.page.keyboard.press("ArrowRight")
    name = tab.page.locator("#map-said")
    playwright.expect(name).to_have_text(re.compile(r"\.(png|jpg)$"))
    first = name.text_content() or ""
    tab.page.keyboard.press("ArrowLeft")
    playwright.expect(name).not_to_have_text(first)
    chosen = name.text_content() or ""
    tab.page.keyboard.press("Enter")
    playwright.expect(tab.page.locator("#viewer")).to_be_visible()
    playwright.expect(tab.page.locator("#name")).to_have_text(chosen)
    assert "photo=" in tab.page.url
    tab.page.keyboard.press("Escape")
    playwright.expect(canvas).to_be_focused()
    tab.page.get_by_role("link", name="Photos", exact=True).click()
    playwright.expect(canvas).to_be_hidden()
    tab.page.go_back()
    playwright.expect(canvas).to_be_visible()


def test_the_view_by_mouse_and_its_address(browser: playwright.Browser, album_server: Server) -> None:
    tab = Tab(browser, f"{album_server.url}/?view=map")
    canvas = drawn(tab.page)
    canvas.focus()
    tab.page.keyboard.press("ArrowUp")
    box = tab.page.locator("#map-card").bounding_box()
    assert box
    playwright.expect(tab.page.locator("#map-large")).to_have_js_property("complete", True)
    frame = canvas.bounding_box()
    assert frame
    for x in range(40, int(frame["width"]), 60):  # somewhere along the middle lies a photo
        tab.page.mouse.move(frame["x"] + x, frame["y"] + frame["height"] / 2)
        tab.page.wait_for_timeout(30)
        if tab.page.locator("#map-card").is_visible():
            break
    name = tab.page.locator("#map-name").text_content() or ""
    tab.page.mouse.down()
    tab.page.mouse.up()
    playwright.expect(tab.page.locator("#name")).to_have_text(name)
    tab.page.get_by_role("button", name="More like this").click()
    tab.found()
    assert name in tab.top()
    assert tab.errors == []
    tab.context.close()


@pytest.mark.parametrize("size", [(1280, 800), PHONE])
def test_the_written_page_reaches_for_nothing(
    browser: playwright.Browser, album_index: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    with vsearch.Index.open(album_index) as index:
        write_map(tmp_path / "map.html", index.map(), index.thumbnail)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, has_touch=size == PHONE)
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.goto((tmp_path / "map.html").as_uri())
    canvas = drawn(page)
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#card")).to_be_visible()
    before = canvas.evaluate(COLOURS)
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_function(f"before => ({COLOURS})(document.getElementById('plane')) != before", arg=before)
    with context.expect_page() as opened:
        page.keyboard.press("Enter")
    assert opened.value.url.startswith(album_index.parent.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    context.close()


@pytest.mark.parametrize("size", [(1200, 800), PHONE])
def test_all_of_a_few_photos_is_in_sight(
    browser: playwright.Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.4]], np.float32)
    few = vsearch.PhotoMap([*"12345"], ["/photos/a.png"] * 5, corners)
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(picture, "JPEG")
    write_map(tmp_path / "few.html", few, lambda _: picture.getvalue())
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto((tmp_path / "few.html").as_uri())
    page.wait_for_function(f"() => ({COLOURS})(document.getElementById('plane')) > 50")
    edges = """canvas => {
    const { width: w, height: h } = canvas, context = canvas.getContext("2d");
    const strips = [[0, 0, w, 1], [0, h - 1, w, 1], [0, 0, 1, h], [w - 1, 0, 1, h]];
    return Math.max(...strips.map((strip) => Math.max(...context.getImageData(...strip).data))); }"""
    assert page.locator("#plane").evaluate(edges) == 0
    page.close()


def test_names_with_markup_in_them_are_shown_as_text(
    browser: playwright.Browser, tmp_path: Path, index: vsearch.Index
) -> None:
    found = index.map()
    name = "<img src=x onerror=document.title=1><!--.png"
    odd = vsearch.PhotoMap(found.ids, [f"/photos/{name}"] * len(found), found.positions)
    write_map(tmp_path / "map.html", odd, index.thumbnail)
    page = browser.new_page()
    page.goto((tmp_path / "map.html").as_uri())
    page.locator("#plane").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#name")).to_have_text(name)
    assert page.title() == "vsearch: map of 12 photos"
    page.close()

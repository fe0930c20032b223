"""The page's other views in a real browser: who may use them, what they show, what changes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import ExifTags, Image

import vsearch
from tests import album
from tests.server.conftest import indexed
from tests.server.tab import NEEDS_CHROMIUM, PHONE, TOKEN, WIDE, Tab, playwright
from tests.serving import Server
from vsearch.server.routes.page import ASSETS

pytestmark = NEEDS_CHROMIUM


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "what", ["list", "query", "viewer", "cropper", "phone", "map", "duplicates", "adding", "login"]
)
def test_axe_finds_nothing(
    browser: playwright.Browser, album_server: Server, guarded_server: Server, scheme: str, what: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    query = {
        "list": "",
        "viewer": "?photo=5",
        "phone": "?image=5",
        "map": "?view=map",
        "adding": "",
        "login": "",
    }
    query = {**query, "duplicates": "?view=duplicates"}.get(what, "?image=5")
    size = PHONE if what == "phone" else WIDE
    server = guarded_server if what == "login" else album_server
    tab = Tab(browser, f"{server.url}/{query}", size, color_scheme=scheme, bypass_csp=True)
    first = {"map": "#plane", "duplicates": ".group", "login": "#token"}.get(what, ".card")
    # Looking for duplicates and placing the map take a while the first time.
    playwright.expect(tab.page.locator(first).first).to_be_visible(timeout=60_000)
    tab.page.locator("#filter-button").click(force=True) if what == "query" else None
    if what == "cropper":
        tab.page.get_by_role("button", name="Region").click()
    elif what == "adding":
        show_progress(tab)
        tab.page.locator("#add-button").click()
    elif what == "duplicates":
        tab.page.get_by_role("button", name="is not a duplicate").first.click()
        playwright.expect(tab.page.get_by_role("button", name="Undo the decision")).to_be_focused()
        tab.page.locator("#groups details summary").click()
    elif what == "viewer":
        playwright.expect(tab.page.locator("#facts dd").first).to_be_visible()
    found = axe.Axe().run(tab.page)
    assert [(v["id"], v["nodes"][0]["html"]) for v in found.response["violations"]] == []
    if what == "duplicates":
        tab.page.get_by_role("button", name="Undo the decision").click()
        playwright.expect(tab.page.get_by_role("button", name="Undo")).to_have_count(0)
    tab.context.close()


def show_progress(tab: Tab) -> None:
    """The bar, as it is while another process indexes."""
    found = {"photos": 90, "failed": 0, "generation": 1, "pending": 0}
    adding = {"waiting": 9, "busy": False, "done": 3, "total": 9}
    tab.page.route("**/api/v1/progress", lambda route: route.fulfill(json={**found, "adding": adding}))
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    playwright.expect(tab.page.locator("#bar")).to_be_visible()


def test_what_another_process_indexes_is_told_and_shown(
    browser: playwright.Browser, index: vsearch.Index, photos: Path
) -> None:
    with Server(index.path) as server:
        tab = Tab(browser, server.url)
        playwright.expect(tab.cards()).to_have_count(12)
        index.add(album.write(photos / "new.png", 500))
        playwright.expect(tab.page.locator("#progress")).to_contain_text("1 new photo", timeout=20_000)
        playwright.expect(tab.cards()).to_have_count(12)  # nothing moves under the reader's hand
        tab.page.get_by_role("button", name="Show them").click()
        playwright.expect(tab.cards()).to_have_count(13)
        playwright.expect(tab.page.locator("#progress")).to_be_hidden()
        assert tab.errors == []
        tab.context.close()


def test_progress_is_visible_while_photos_are_added(
    browser: playwright.Browser, index: vsearch.Index, tmp_path: Path
) -> None:
    new = [album.write(tmp_path / "new" / f"{n}.png", 600 + n) for n in range(60)]
    (tmp_path / "new" / "bad.png").write_bytes(b"no picture")
    with Server(index.path, "--allow-add") as server:
        tab = Tab(browser, server.url)
        with index._directory.writing():  # another program writes, so the photos wait
            tab.page.get_by_role("button", name="Add photos").click()
            tab.page.set_input_files("#add", [*new, tmp_path / "new" / "bad.png"])
            playwright.expect(tab.page.locator("#bar")).to_be_visible()
            playwright.expect(tab.page.locator("#progress-text")).to_contain_text("of 61 photos")
            playwright.expect(tab.page.locator("#progress-text")).to_contain_text("Another program writes")
        summary = tab.page.locator("#summary")
        playwright.expect(summary).to_contain_text("60 added, 0 were there already.", timeout=60_000)
        playwright.expect(summary).to_contain_text("Not added: bad.png")
        playwright.expect(tab.page.locator("#bar")).to_be_hidden()
        tab.context.close()


def test_the_large_view_of_a_duplicate_by_keys(tab: Tab) -> None:
    tab.page.get_by_role("link", name="Duplicates").click()
    pictures = tab.page.locator(".group .picture")
    playwright.expect(pictures.nth(1)).to_be_visible(timeout=60_000)
    names = [pictures.nth(n).get_attribute("aria-label").removeprefix("Large view: ") for n in (0, 1)]
    pictures.first.focus()
    tab.page.keyboard.press("Enter")
    playwright.expect(tab.page.locator("#name")).to_have_text(names[0])
    tab.page.keyboard.press("ArrowRight")
    playwright.expect(tab.page.locator("#name")).to_have_text(names[1])
    tab.page.keyboard.press("Escape")
    playwright.expect(pictures.nth(1)).to_be_focused()


def test_duplicates_side_by_side_and_a_decision(tab: Tab) -> None:
    tab.page.get_by_role("link", name="Duplicates").click()
    groups = tab.page.locator(".group")
    playwright.expect(groups.first).to_be_visible(timeout=60_000)
    assert "view=duplicates" in tab.page.url
    before = tab.page.locator(".group li").count()
    assert groups.first.locator(".kept").count() == 1
    tab.page.get_by_role("button", name="is not a duplicate").first.click()
    playwright.expect(tab.page.get_by_role("button", name="Undo")).to_be_focused(timeout=60_000)
    playwright.expect(tab.page.locator(".group li")).not_to_have_count(before, timeout=60_000)
    tab.page.get_by_role("button", name="Undo").click()
    playwright.expect(tab.page.locator(".group li")).to_have_count(before, timeout=60_000)
    tab.page.go_back()
    playwright.expect(tab.cards().first).to_be_visible()


def test_filters_by_folder_and_date(browser: playwright.Browser, index: vsearch.Index, photos: Path) -> None:
    with Server(index.path) as server:
        tab = Tab(browser, server.url)
        playwright.expect(tab.cards()).to_have_count(12)
        tab.page.locator("#filter-button").click()
        tab.page.get_by_role("textbox", name="Folder").fill("day0")
        tab.page.get_by_role("textbox", name="Folder").press("Tab")
        playwright.expect(tab.cards()).to_have_count(6)
        tab.cards().first.locator(".pick").click()
        tab.found()
        assert tab.cards().count() == 6
        tab.page.get_by_label("From").fill("2020-01-01")
        playwright.expect(tab.page.locator("#summary")).to_contain_text("No photo")  # none has a date
        tab.context.close()


def test_one_photo_is_not_photos(browser: playwright.Browser, index: vsearch.Index, photos: Path) -> None:
    index.add(album.write(photos / "alone" / "one.png", 900))
    (one,) = index.page(limit=1, newest=True)
    with Server(index.path) as server:
        tab = Tab(browser, f"{server.url}/?image={one.id}&under=alone")
        playwright.expect(tab.page.locator("#summary")).to_have_text(re.compile(r"^1 photo \(\d+ ms\)\.$"))
        tab.context.close()


def test_every_photo_comes_once_by_scrolling(
    browser: playwright.Browser, tmp_path: Path, toy_encoder: Path
) -> None:
    """Above 200 the best of more are others in another order: neighbours rank them."""
    album.write_album(tmp_path / "photos", 300)
    shown: dict[str, str] = {}
    with Server(indexed(tmp_path / "photos", toy_encoder)) as server:
        tab = Tab(browser, f"{server.url}/?image=5")
        tab.found()
        for _ in range(100):
            shown |= dict(tab.cards().evaluate_all("cards => cards.map(c => [c.dataset.n, c.dataset.id])"))
            if len(shown) == 300:
                break
            tab.page.mouse.wheel(0, 3000)
            tab.page.wait_for_timeout(100)
        tab.context.close()
        last = Tab(browser, f"{server.url}/?image=5&photo={shown['59']}")  # of the first page
        playwright.expect(last.cards()).to_have_count(60)
        last.page.keyboard.press("ArrowRight")
        last.page.wait_for_url(re.compile(f"photo={shown['60']}$"))
        last.context.close()
    assert len(set(shown.values())) == len(shown) == 300


def test_a_region_keeps_the_rest_of_the_question(
    browser: playwright.Browser, index: vsearch.Index, photos: Path
) -> None:
    one, two = index.page(limit=2)
    with Server(index.path) as server:
        tab = Tab(browser, f"{server.url}/?image={one.id}&minus={two.id}&view=duplicates")
        tab.page.get_by_role("button", name="Region").click()
        playwright.expect(tab.page.locator("#crop-area")).to_be_focused()
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_url(re.compile("crop="))
        assert f"minus={two.id}" in tab.page.url and "view=" not in tab.page.url
        tab.found()
        tab.context.close()


def test_a_filter_that_no_field_can_show_stays(
    browser: playwright.Browser, index: vsearch.Index, photos: Path
) -> None:
    with Server(index.path) as server:
        tab = Tab(browser, f"{server.url}/?until=2999-01")
        tab.page.locator("#filter-button").click()
        folder = tab.page.get_by_role("textbox", name="Folder")
        folder.fill("day0")
        folder.press("Enter")
        tab.page.wait_for_url(re.compile("under=day0"))
        assert "until=2999-01" in tab.page.url
        tab.page.get_by_role("button", name="Clear").click()
        tab.page.wait_for_url(lambda url: "until" not in url and "under" not in url)
        playwright.expect(tab.cards()).to_have_count(12)
        tab.context.close()


def test_back_takes_a_filter_out_of_its_field(
    browser: playwright.Browser, index: vsearch.Index, photos: Path
) -> None:
    with Server(index.path) as server:
        tab = Tab(browser, server.url)
        playwright.expect(tab.cards()).to_have_count(12)
        tab.page.locator("#filter-button").click()
        folder = tab.page.get_by_role("textbox", name="Folder")
        folder.fill("day0")
        folder.press("Enter")
        playwright.expect(tab.cards()).to_have_count(6)
        tab.page.go_back()
        playwright.expect(tab.cards()).to_have_count(12)
        playwright.expect(folder).to_be_focused()
        playwright.expect(folder).to_have_value("")
        tab.page.get_by_label("From").fill("2020-01-01")
        tab.page.wait_for_url(re.compile("since=2020-01-01"))
        assert "under" not in tab.page.url
        tab.context.close()


@pytest.mark.parametrize("width", [412, 320])
def test_a_long_camera_name_is_no_wider_than_a_phone(
    browser: playwright.Browser, index: vsearch.Index, photos: Path, width: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "OLYMPUS IMAGING CORP."
    exif[ExifTags.Base.Model] = "SP-820UZ, with a name as long as some phones give themselves"
    index.add(album.write(photos / "olympus.jpg", 800, exif=exif))
    with Server(index.path) as server:
        tab = Tab(browser, server.url, (width, 640), has_touch=True)
        tab.page.locator("#filter-button").click()
        playwright.expect(tab.page.locator("#filters option")).to_have_count(2)
        tab.page.get_by_label("Camera").select_option(index=1)
        tab.page.wait_for_url(re.compile("camera=OLYMPUS"))
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        tab.context.close()


def test_the_token_is_asked_for_once(browser: playwright.Browser, album_index: Path) -> None:
    with Server(album_index, VSEARCH_TOKEN=TOKEN) as server:
        tab = Tab(browser, f"{server.url}/?image=3")
        playwright.expect(tab.page.locator("#login")).to_be_visible()
        assert tab.cards().count() == 0
        tab.page.locator("#token").fill("not the token of this server")
        tab.page.keyboard.press("Enter")
        playwright.expect(tab.page.locator("#login-error")).to_contain_text("not this server's token")
        tab.page.locator("#token").fill(TOKEN)
        tab.page.keyboard.press("Enter")
        tab.found()
        assert tab.page.evaluate("document.cookie") == ""
        tab.page.reload()
        tab.found()
        tab.context.close()


def test_a_restarted_server_is_found_again(
    browser: playwright.Browser, album_index: Path, album_photos: Path
) -> None:
    server = Server(album_index)
    tab = Tab(browser, server.url)
    tab.drop(album_photos / "astronaut.png")
    server.stop()
    with Server(album_index, port=server.port):
        tab.page.locator("#filter-button").click()
        tab.page.get_by_label("Least score").fill("0.5")  # the new server lacks the picture: it is sent again
        tab.page.wait_for_url(re.compile("min_score"))
        tab.found()
        assert "astronaut.png" in tab.top()
        tab.context.close()


def test_adding_from_the_page(browser: playwright.Browser, index: vsearch.Index, album_photos: Path) -> None:
    with Server(index.path, "--allow-add") as server:
        tab = Tab(browser, server.url)
        playwright.expect(tab.page.locator("#add-button")).to_be_visible()
        tab.page.get_by_role("button", name="Add photos").click()
        tab.page.set_input_files("#add", [album_photos / "astronaut.png", album_photos / "brick.png"])
        playwright.expect(tab.page.locator("#summary")).to_contain_text("2 added", timeout=60_000)
        playwright.expect(tab.cards()).to_have_count(14)
        tab.context.close()


def test_the_page_is_light(album_server: Server) -> None:
    assert sum(len(asset.body) for asset in ASSETS.values()) < 150_000
    for asset in ASSETS.values():
        text = asset.body.decode()
        outside = re.findall(r"(?:https?:)?//[a-z][\w.]*\.[a-z]{2,}", text)
        assert [url for url in outside if "www.w3.org" not in url] == []
    with album_server.http() as http:
        page = http.get("/").text
        for url in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert http.get(url).status_code == 200

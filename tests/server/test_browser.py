"""The page in a real browser: Chromium, against a real server on real photos."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import vsearch
from scripts import sample_album
from tests import album
from tests.serving import Server
from vsearch.server.routes.page import ASSETS

playwright = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
CHROMIUM = (
    os.environ.get("VSEARCH_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on PATH (apt-get install chromium)")
TOKEN = "correct-horse-battery-staple"
WIDE, PHONE = (1280, 800), (390, 844)


@pytest.fixture(scope="module")
def album_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album") / "photos"
    sample_album.make(folder)
    return folder


@pytest.fixture(scope="module")
def album_index(album_photos: Path, toy_encoder: Path) -> Path:
    path = album_photos.parent / "album.vsearch"
    with vsearch.Index.create(path, encoder=toy_encoder) as index:
        index.add(album_photos)
    return path


@pytest.fixture(scope="module")
def album_server(album_index: Path) -> Iterator[Server]:
    with Server(album_index, "--allow-add") as server:
        yield server


@pytest.fixture(scope="module")
def guarded_server(album_index: Path) -> Iterator[Server]:
    with Server(album_index, VSEARCH_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


class Tab:
    """One page of the browser, and whatever it complained about."""

    def __init__(
        self, browser: playwright.Browser, url: str, size: tuple[int, int] = WIDE, **options: object
    ):
        self.url = url
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.goto(url)

    def _note(self, message: playwright.ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def cards(self) -> playwright.Locator:
        return self.page.locator(".card")

    def top(self) -> str:
        return self.page.locator(".card .pick").first.get_attribute("aria-label") or ""

    def drop(self, path: Path) -> None:
        """Drop a file on the page, as a hand would from a file manager."""
        data = list(path.read_bytes())
        transfer = self.page.evaluate_handle(
            """([bytes, name]) => { const d = new DataTransfer();
            d.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"})); return d; }""",
            [data, path.name],
        )
        self.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        self.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
        self.found()

    def found(self) -> None:
        """Wait for answers."""
        playwright.expect(self.page.locator("#summary")).to_contain_text(re.compile(r"\(\d+ ms\)"))


@pytest.fixture
def tab(browser: playwright.Browser, album_server: Server) -> Iterator[Tab]:
    opened = Tab(browser, album_server.url)
    playwright.expect(opened.page.locator("#summary")).to_contain_text("photos")
    yield opened
    assert opened.errors == []
    opened.context.close()


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
    playwright.expect(area).to_be_focused()
    box = area.bounding_box()
    assert box
    tab.page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 2)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25, steps=5)
    tab.page.mouse.up()
    tab.page.locator("[data-crop=search]").click()
    tab.page.wait_for_url(re.compile("crop="))
    x, _, width, height = map(int, re.search(r"crop=([\d,]+)", tab.page.url)[1].split(","))  # type: ignore[index]
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
    for _ in range(10):
        tab.page.mouse.wheel(0, 3000)
        tab.page.wait_for_timeout(100)
    assert tab.page.evaluate("document.querySelectorAll('[data-n]').length") > 0
    last = int(tab.page.locator(".card").last.get_attribute("data-n") or 0)
    assert last == 87


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
    playwright.expect(tab.page.locator(first).first).to_be_visible()
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
    tab.page.wait_for_load_state("networkidle")  # groups come in one after another
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
        tab.page.get_by_label("Folder").fill("day0")
        tab.page.get_by_label("Folder").press("Tab")
        playwright.expect(tab.cards()).to_have_count(6)
        tab.cards().first.locator(".pick").click()
        tab.found()
        assert tab.cards().count() == 6
        tab.page.get_by_label("From").fill("2020-01-01")
        playwright.expect(tab.page.locator("#summary")).to_contain_text("No photo")  # none has a date
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

"""An index and a server that the tests of the API share: none of them changes either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import vsearch
from scripts import sample_album
from tests import album
from tests.serving import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.server.tab import Tab


def indexed(photos: Path, encoder: Path) -> Path:
    """An index of ``photos``, beside them."""
    path = photos.with_suffix(".vsearch")
    with vsearch.Index.create(path, encoder=encoder) as index:
        index.add(photos)
    return path


@pytest.fixture(scope="package")
def served_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "photos"
    album.write_album(folder, 12)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="package")
def served_index(served_photos: Path, toy_encoder: Path) -> Path:
    return indexed(served_photos, toy_encoder)


@pytest.fixture(scope="package")
def server(served_index: Path) -> Iterator[Server]:
    with Server(served_index) as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


# --- the page in a browser ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def album_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album") / "photos"
    sample_album.make(folder)
    return folder


@pytest.fixture(scope="module")
def album_index(album_photos: Path, toy_encoder: Path) -> Path:
    return indexed(album_photos, toy_encoder)


@pytest.fixture(scope="module")
def album_server(album_index: Path) -> Iterator[Server]:
    with Server(album_index, "--allow-add") as server:
        yield server


@pytest.fixture(scope="module")
def guarded_server(album_index: Path) -> Iterator[Server]:
    from tests.server.tab import TOKEN

    with Server(album_index, VSEARCH_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.server.tab import CHROMIUM, playwright  # not at the top: skips where there is none

    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def tab(browser: Browser, album_server: Server) -> Iterator[Tab]:
    from tests.server.tab import Tab, playwright

    opened = Tab(browser, album_server.url)
    playwright.expect(opened.page.locator("#summary")).to_contain_text("photos")
    yield opened
    assert opened.errors == []
    opened.context.close()

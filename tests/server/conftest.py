"""An index and a server that the tests of the API share: none of them changes either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import vsearch
from tests import album
from tests.serving import Server


@pytest.fixture(scope="package")
def served_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "photos"
    album.write_album(folder, 12)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="package")
def served_index(served_photos: Path, toy_encoder: Path) -> Path:
    path = served_photos.parent / "served.vsearch"
    with vsearch.Index.create(path, encoder=toy_encoder) as index:
        index.add(served_photos)
    return path


@pytest.fixture(scope="package")
def server(served_index: Path) -> Iterator[Server]:
    with Server(served_index) as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client

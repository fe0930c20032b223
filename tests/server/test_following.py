"""A server beside other programs: writers that publish, a Chroma server that stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import vsearch
from tests import album
from tests.chroma import ChromaProcess
from tests.serving import GraphServer, Server, eventually


@pytest.mark.parametrize("kind", [Server, GraphServer])
def test_no_request_fails_while_generations_are_published(
    kind: type[Server], index: vsearch.Index, photos: Path
) -> None:
    """Questions, thumbnails and lists, from several clients, while another program adds and removes."""
    known = [str(photo.id) for photo in index.photos()][2:]
    parts = ("/similar?k=5", "/thumbnail", "/original", "")
    urls = [f"/api/v1/photos/{n}{part}" for n in known for part in parts]
    urls += ["/api/v1/photos?newest=true", "/api/v1/progress", "/healthz"]
    done = threading.Event()
    answers: list[httpx.Response] = []

    def ask(turn: int) -> None:
        with server.http() as http:
            while not done.is_set():
                turn += 1
                answers.append(http.get(urls[turn % len(urls)]))

    with kind(index.path) as server, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, 11 * n) for n in range(4)]
        try:
            for n in range(6):
                index.add(album.write(photos / f"new{n}.png", 800 + n))
                if n % 2:
                    index.remove(photos / f"new{n - 1}.png")
                enough = len(answers) + 8
                eventually(lambda enough=enough: len(answers) >= enough)
        finally:
            done.set()
        for each in asking:
            each.result()
        with vsearch.connect(server.url) as client:
            assert client.query(photos / "new5.png", k=1)[0].kind == "identical"
            assert client.status().generation == index.status().generation >= 7
    failed = [(a.url.path, a.status_code, a.text) for a in answers if a.status_code != 200]
    assert failed == []


@pytest.fixture
def chroma(tmp_path: Path) -> Iterator[ChromaProcess]:
    with ChromaProcess(tmp_path / "chroma" / "data") as process:
        yield process


def test_the_collection_on_a_chroma_server(
    chroma: ChromaProcess, photos: Path, tmp_path: Path, toy_encoder: Path
) -> None:
    place = tmp_path / "remote.vsearch"
    with vsearch.Index.create(place, encoder=toy_encoder, chroma=chroma.url) as made:
        made.add(photos)
        photo = next(made.photos())
        expected = made.query(photo, k=5)
    url = f"/api/v1/photos/{photo.id}/similar?k=5"
    new = album.write(tmp_path / "new.png", 900).read_bytes()
    with GraphServer(place, "--allow-add") as server, server.http() as http:
        assert [m["path"] for m in http.get(url).json()["matches"]] == [m.path for m in expected]
        assert http.post("/api/v1/photos", files={"file": new}).status_code == 201
        assert sorted(chroma.collections().values()) == [12, 13]
        chroma.stop()
        for answer in (http.get(url), http.post("/api/v1/query/upload", files={"image": new})):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"]
            assert answer.json()["type"] == "urn:vsearch:problem:collection"
            assert chroma.url in answer.json()["detail"]
        assert len(http.get("/api/v1/photos").json()["photos"]) == 13  # what needs no collection goes on
        assert http.get(f"/api/v1/photos/{photo.id}/thumbnail").status_code == 200
        other = album.write(tmp_path / "other.png", 901).read_bytes()
        assert http.post("/api/v1/photos", files={"file": other}).status_code == 503
        chroma.start()
        assert len(http.get(url).json()["matches"]) == 5
        assert http.post("/api/v1/photos", files={"file": other}).status_code == 201
        upload = http.post("/api/v1/query/upload", files={"image": other})
        assert upload.json()["matches"][0]["kind"] == "identical"

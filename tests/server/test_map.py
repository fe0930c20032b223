"""The map over HTTP: made once for each generation, beside everything else, and without the extra."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import vsearch
from tests import album
from tests.server.test_api import problem_of
from tests.serving import ROOT, Server, eventually
from vsearch.server.app import create_app
from vsearch.server.maps import Filters, Maps, Version
from vsearch.server.options import Options
from vsearch.server.problems import Problem
from vsearch.server.workers import Workers

MAP = "/api/v1/map"


@pytest.fixture
def app(index: vsearch.Index) -> Iterator[TestClient]:
    with TestClient(create_app(index.sibling(), Options()), base_url="http://127.0.0.1") as client:
        yield client


def test_the_columns_run_in_parallel(http: httpx.Client) -> None:
    found = http.get(MAP).json()
    assert {len(found[column]) for column in ("ids", "paths", "x", "y")} == {12}
    assert all(0 <= place <= 1 for place in found["x"] + found["y"])


def test_an_etag_saves_sending_it_again(http: httpx.Client) -> None:
    first = http.get(MAP)
    etag = first.headers["etag"]
    assert http.get(MAP, headers={"If-None-Match": etag}).status_code == 304
    assert http.get(MAP, headers={"If-None-Match": '"other"'}).status_code == 200


def test_it_is_made_once_for_each_generation(
    app: TestClient, index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = vsearch.Index.map

    def counted(self: vsearch.Index, *arguments: Any, **options: Any) -> vsearch.PhotoMap:
        made.append(1)
        return real(self, *arguments, **options)

    monkeypatch.setattr(vsearch.Index, "map", counted)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: app.get(MAP), range(6)))
    assert len({answer.text for answer in answers}) == 1
    assert len(made) == 1
    index.add(album.write(photos / "new.png", 99))
    later = app.get(MAP)
    assert len(later.json()["ids"]) == 13
    assert later.headers["etag"] != answers[0].headers["etag"]
    assert len(made) == 2


def test_other_requests_are_answered_meanwhile(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, finish = threading.Event(), threading.Event()
    real = vsearch.Index.map

    def slow(self: vsearch.Index, *arguments: Any, **options: Any) -> vsearch.PhotoMap:
        begun.set()
        assert finish.wait(60)
        return real(self, *arguments, **options)

    monkeypatch.setattr(vsearch.Index, "map", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(app.get, MAP)
        assert begun.wait(60)
        try:
            assert app.get("/api/v1/photos/1/similar").status_code == 200
            assert app.get("/api/v1/status").status_code == 200
            assert not asked.done()
        finally:
            finish.set()
        assert asked.result().status_code == 200


def test_filters_choose_what_is_on_it(http: httpx.Client, server: Server, served_index: Path) -> None:
    with vsearch.Index.open(served_index) as index, vsearch.connect(server.url) as client:
        expected, found = index.map(under="day0"), client.map(under="day0")
    assert list(found.ids) == list(expected.ids)
    assert (found.positions == expected.positions).all()
    assert 0 < len(found) < 12
    tags = {http.get(MAP, params=p).headers["etag"] for p in ({}, {"under": "day0"}, {"under": "day1"})}
    assert len(tags) == 3
    problem_of(http.get(MAP, params={"where": "nonsense"}), 422, "usage")


def test_stopping_does_not_wait_for_it(index: vsearch.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Maps(Workers(index.sibling(), 1, 1, "maps"))
    begun = threading.Event()
    real = maps._go_on

    def endless() -> None:
        begun.set()
        while True:  # no map would ever be done
            real()

    async def stopped() -> object:
        monkeypatch.setattr(maps, "_go_on", endless)
        asked = asyncio.ensure_future(maps.of(Version(1, "encoder", Filters())))
        await asyncio.to_thread(begun.wait, 60)
        maps.stop()
        return (await asyncio.gather(asked, return_exceptions=True))[0]

    problem = asyncio.run(stopped())
    assert isinstance(problem, Problem)
    assert (problem.status_code, problem.word) == (503, "stopping")
    maps.close()


def test_after_a_failure_the_next_one_tries_again(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openTSNE", None)
        problem = problem_of(app.get(MAP), 501, "missing-extra")
        assert "pip install 'vsearch[map]'" in str(problem["detail"])
        assert app.get("/api/v1/status").status_code == 200
    assert app.get(MAP).status_code == 200


def test_an_empty_index_has_an_empty_map(tmp_path: Path, toy_encoder: Path) -> None:
    vsearch.Index.create(tmp_path / "empty.vsearch", encoder=toy_encoder)
    with Server(tmp_path / "empty.vsearch") as server, server.http() as http:
        assert http.get(MAP).json() == {"ids": [], "paths": [], "x": [], "y": []}


def test_the_client_says_that_the_server_lacks_the_extra(index: vsearch.Index) -> None:
    code = "import sys; sys.modules['openTSNE'] = None; from vsearch.cli import main; main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--index", str(index.path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        with vsearch.connect(url) as client:
            eventually(lambda: client.status().photos == 12)
            with pytest.raises(vsearch.MissingExtraError, match="pip install"):
                client.map()
    finally:
        process.terminate()
        process.communicate(timeout=60)

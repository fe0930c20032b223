"""Indexes whose collection lies on a real Chroma server: all verbs, and all that can happen to the server."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests import album, safety, toy
from tests.chroma import ChromaProcess, Truth, proxied
from tests.conftest import Run
from vsearch.collection import (
    Batch,
    ChromaServer,
    Description,
    HnswParameters,
    generations_at,
    server_url,
)

Make = Callable[[Path, Path, str | None], vsearch.Index]


@pytest.fixture(autouse=True)
def graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small as these indexes are, their graphs must answer."""
    monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChromaProcess]:
    """A server of its own, to be stopped and wiped."""
    with ChromaProcess(tmp_path / "server" / "data") as process:
        yield process


@pytest.fixture
def make(toy_encoder: Path) -> Iterator[Make]:
    """Makes an index whose collection lies on a server; it is closed when the test ends."""
    with contextlib.ExitStack() as opened:

        def made(path: Path, photos: Path, url: str | None) -> vsearch.Index:
            index = opened.enter_context(vsearch.Index.create(path, encoder=toy_encoder, chroma=url))
            index.add(photos)
            return index

        yield made


def first(index: vsearch.Index, path: Path) -> str:
    return index.query(path, k=1)[0].path


def identity(index: vsearch.Index) -> str:
    return index._reading().identity()


def held(server: ChromaProcess, index: vsearch.Index) -> dict[int, int]:
    """Generations of an index on the server, and how many photos each has."""
    names = {n: count for n, count in server.collections().items() if identity(index) in n}
    return {int(name.split("-")[-2]): count for name, count in names.items()}


def test_every_verb(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, toy_encoder: Path, command: Run
) -> None:
    place = tmp_path / "index"
    given = ("--index", place, "--encoder", toy_encoder, "--chroma", chroma_server.url + "/")
    done = command("build-index", photos, *given)
    assert done.returncode == 0, done.stderr
    index = vsearch.Index.open(place)
    assert held(chroma_server, index) == {1: 12}
    assert not list(place.glob("chroma/**/*.sqlite3"))
    photo = album.write(tmp_path / "more/new.png", 70)
    index.add(photo)
    assert first(index, photo) == str(photo)
    gone = photos / "day0/photo000.png"
    gone.unlink()
    assert index.sync().removed == 1
    assert held(chroma_server, index) == {2: 13, 3: 12}
    assert first(index, gone.with_name("photo002.png")) == str(gone.with_name("photo002.png"))
    assert index.remove(photo).removed == 1
    status = index.status()
    assert (status.photos, status.generation, status.pending) == (11, 4, 0)
    assert status.chroma_url == chroma_server.url
    assert f"server      {chroma_server.url} " in command("status", "--index", place).stdout.decode()
    assert index.query(photos / "day1/photo001.jpg", k=None, where="width > 10") != []
    safety.assert_sound(place)
    report = vsearch.Index.rebuild(place)
    assert (report.photos, report.lost) == (11, 0)
    assert held(chroma_server, index) == {4: 11, 5: 11}
    index.close()


def test_reencoding_leaves_nothing_of_the_old_store(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, toy_encoder: Path, make: Make
) -> None:
    index = make(tmp_path / "index", photos, chroma_server.url)
    before = identity(index)
    other = toy.write_toy_encoder(tmp_path / "other", name="other", scale=2.0)
    assert index.reencode(other).updated == 12
    assert identity(index) != before
    assert not [name for name in chroma_server.collections() if before in name]
    assert held(chroma_server, index) == {1: 12}
    safety.assert_sound(index.path)


def test_two_indexes_share_a_server(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    one = make(tmp_path / "one", photos, chroma_server.url)
    two = make(tmp_path / "two", photos / "day1", chroma_server.url)
    for n in range(3):
        album.write(photos / f"day0/more{n}.png", 80 + n)
        one.sync()
    assert held(chroma_server, one) == {3: 14, 4: 15}
    assert held(chroma_server, two) == {1: 6}
    for index in (one, two):
        assert safety.assert_answers(index.path) == index.status().photos


def test_a_copy_of_an_index_leaves_the_original_alone(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    original = make(tmp_path / "original", photos, chroma_server.url)
    shutil.copytree(original.path, tmp_path / "copy")
    with vsearch.Index.open(tmp_path / "copy") as copy:
        for n in range(3):
            copy.add(album.write(tmp_path / f"extra/{n}.png", 90 + n))
        assert first(copy, tmp_path / "extra/2.png") == str(tmp_path / "extra/2.png")
    original.close()
    assert first(original, photos / "day0/photo000.png") == str(photos / "day0/photo000.png")


def test_a_copy_of_an_index_that_went_on_fills_its_own(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    original, photo = make(tmp_path / "original", photos, chroma_server.url), photos / "day0/photo000.png"
    shutil.copytree(original.path, tmp_path / "copy")
    for n in range(2):
        original.add(album.write(tmp_path / f"extra/{n}.png", 90 + n))
    with vsearch.Index.open(tmp_path / "copy") as copy:
        with pytest.raises(vsearch.IndexDamaged, match="or this index is a copy of one that has gone on"):
            copy.query(photo)
        vsearch.Index.rebuild(copy.path)
        assert first(copy, photo) == str(photo)
    assert first(original, photo) == str(photo)


def test_a_server_that_is_down(
    server: ChromaProcess, photos: Path, tmp_path: Path, toy_encoder: Path, make: Make, command: Run
) -> None:
    index = make(tmp_path / "index", photos, server.url)
    photo = album.write(photos / "day0/new.png", 71)
    server.stop()
    with pytest.raises(vsearch.CollectionError, match=r"cannot be reached: .*refused; start it") as caught:
        index.query(photo, k=1)
    assert "\n" not in str(caught.value)
    done = command("sync", "--index", index.path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"the Chroma server {server.url} cannot be reached".encode() in done.stderr
    assert command("check", "--index", index.path).returncode == 2
    assert (index.status().photos, index.status().pending) == (13, 1)  # what was encoded is kept
    with pytest.raises(vsearch.CollectionError, match="changed is kept, and `vsearch sync` publishes it"):
        index.remove(photos / "day1/photo001.jpg")
    server.start()
    assert index.sync().added == 1  # it is there again, since its file still is
    assert held(server, index) == {1: 12, 2: 13}
    assert index.sync().unchanged == 13
    assert first(index, photo) == str(photo)
    with pytest.raises(vsearch.CollectionError, match="cannot be reached"):
        vsearch.Index.create(tmp_path / "other", encoder=toy_encoder, chroma="http://127.0.0.1:9")
    assert not (tmp_path / "other").exists()


def test_a_server_that_hangs_is_asked_once(
    server: ChromaProcess, photos: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make(tmp_path / "index", photos, server.url)
    server.stop()
    monkeypatch.setattr("vsearch.collection.server._PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", server.port)) as silent:
        with pytest.raises(vsearch.CollectionError, match="did not answer in time; start it"):
            index.query(photos / "day0/photo000.png")
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_server_that_was_wiped(server: ChromaProcess, photos: Path, tmp_path: Path, make: Make) -> None:
    index = make(tmp_path / "index", photos, server.url)
    photo = photos / "day0/photo000.png"
    assert first(index, photo) == str(photo)
    server.wipe()
    for reader in (index, vsearch.Index.open(index.path)):  # one that had it open, and a new one
        with pytest.raises(vsearch.IndexDamaged, match=r"was wiped, .*; run `vsearch rebuild` to fill it"):
            reader.query(photo, k=1)
    problems = list(vsearch.Index.check(index.path))
    assert [problem.remedy for problem in problems] == ["run `vsearch rebuild` to fill it again"]
    assert vsearch.Index.rebuild(index.path).photos == 12
    assert first(index, photo) == str(photo)
    server.delete(next(name for name in server.collections() if "-000002-" in name))
    index.sync()  # any writing run notices and fills it
    assert first(index, photo) == str(photo)


def test_a_collection_that_somebody_changed(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    index = make(tmp_path / "index", photos, chroma_server.url)
    (name,) = (name for name in chroma_server.collections() if identity(index) in name)
    with ChromaServer(chroma_server.url).client() as client:
        alien = client.get_collection(name, embedding_function=None)
        second = np.array(alien.get(ids=["2"], include=["embeddings"])["embeddings"])
        alien.upsert(ids=["alien", "2"], embeddings=np.concatenate([second, -second]))  # without metadata
        alien.delete(ids=["1"])
        found = [problem.what for problem in vsearch.Index.check(index.path)]
        assert found[0] == "1 photos are missing from the collection, photo 1 among them"
        assert found[1] == "1 photos in the collection are not in the catalog, alien among them"
        assert found[2] == "1 of 11 vectors differ between the segments and the collection"
        with pytest.raises(vsearch.IndexDamaged, match="a row 'alien', which is no photo of this index"):
            index.query(photos / "day0/photo000.png", k=12)
        index.close()
        client.delete_collection(name)
        alien = client.create_collection(name, embedding_function=None)
        alien.add(ids=[str(n) for n in range(1, 13)], embeddings=np.ones((12, 8), np.float32))
    (problem,) = vsearch.Index.check(index.path)
    assert "another collection has the name" in problem.what
    assert problem.what.endswith("have 8 numbers and not 12")
    with pytest.raises(vsearch.IndexDamaged, match=r"another collection .*; run `vsearch rebuild`"):
        index.query(photos / "day0/photo000.png")
    vsearch.Index.rebuild(index.path)
    index.close()
    safety.assert_sound(index.path)


@pytest.mark.parametrize("step", ["generation-upserted", "generation-renamed"])
def test_a_killed_writer_leaves_the_old_generation(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make, step: str
) -> None:
    index = make(tmp_path / "index", photos, chroma_server.url)
    photo, new = photos / "day0/photo000.png", album.write(photos / "day0/new.png", 72)
    assert safety.killed(safety.run("sync", "--index", index.path, variables={"VSEARCH_TEST_FAULT": step}))
    assert sorted(held(chroma_server, index)) == [1, 2]
    assert first(index, photo) == str(photo)
    index.close()
    assert index.sync().unchanged == 13
    assert first(index, new) == str(new)
    names = [name for name in chroma_server.collections() if identity(index) in name]
    assert len(names) == len(held(chroma_server, index)) == 2


def test_the_index_remembers_moves_and_comes_back(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    place, photo = tmp_path / "index", photos / "day0/photo000.png"
    make(place, photos, None)
    with vsearch.Index.build(place, [photos], chroma=chroma_server.url) as index:
        assert first(index, photo) == str(photo)  # from the files, until something is published
        index.add(photos)
        assert held(chroma_server, index) == {2: 12}
        assert first(index, photo) == str(photo)
    for lost in ("index.json", "catalog.sqlite"):
        (place / lost).unlink()
    assert vsearch.Index.rebuild(place).photos == 12
    with vsearch.Index.open(place) as index:
        assert held(chroma_server, index) == {3: 12}
    with vsearch.Index.build(place, [photos], chroma="none") as index:
        index.add(photos)
        assert list(place.glob("chroma/000004/chroma.sqlite3"))
        assert first(index, photo) == str(photo)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8000", "is named like http://localhost:8000"),
        ("ftp://localhost", "is named like"),
        ("http://localhost:port", "is named like"),
        ("http://local host:8000", "is named like"),
        ("http://user:secret@localhost:8000", "leave user and password out"),
    ],
)
def test_an_address_that_is_none(
    photos: Path, tmp_path: Path, command: Run, url: str, why: str, toy_encoder: Path
) -> None:
    done = command("build-index", photos, "--index", tmp_path / "index", "--chroma", url)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert why.encode() in done.stderr
    assert not (tmp_path / "index").exists()


def test_a_scheme_in_capitals(chroma_server: ChromaProcess, photos: Path, make: Make) -> None:
    assert server_url("HTTPS://photos.example/chroma/ ") == "https://photos.example/chroma"
    url = chroma_server.url
    assert make(photos / "index", photos, url.replace("http", "HTTP")).status().generation == 1


def test_the_token_reaches_a_reverse_proxy(
    chroma_server: ChromaProcess,
    photos: Path,
    tmp_path: Path,
    toy_encoder: Path,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxied(chroma_server.url, token="open-sesame") as proxy:
        with pytest.raises(vsearch.CollectionError, match=r"refused: 401 .* VSEARCH_CHROMA_TOKEN"):
            vsearch.Index.create(tmp_path / "index", encoder=toy_encoder, chroma=proxy.url)
        monkeypatch.setenv("VSEARCH_CHROMA_TOKEN", "open-sesame")
        proxy.seen.clear()
        index = make(tmp_path / "index", photos, proxy.url)
        photo = photos / "day0/photo000.png"
        assert first(index, photo) == str(photo)
        index.close()
        assert set(proxy.seen) == {"Bearer open-sesame"}
        assert "open-sesame" not in (index.path / "index.json").read_text()


def test_a_publishing_that_fails_leaves_nothing_on_the_server(
    chroma_server: ChromaProcess, photos: Path, tmp_path: Path, make: Make
) -> None:
    with proxied(chroma_server.url) as proxy:
        index = make(tmp_path / "index", photos, proxy.url)
        album.write(photos / "day0/new.png", 73)
        proxy.limit = 2000
        with pytest.raises(vsearch.CollectionError, match=r"refused: 413 .*; let the proxy .* 8m") as caught:
            index.sync()
        assert "<" not in str(caught.value)
        assert held(chroma_server, index) == {1: 12}
        done = safety.run(
            "sync", "--index", index.path, variables={"VSEARCH_TEST_FAULT": "generation-copied"}
        )
        assert safety.killed(done) and len(held(chroma_server, index)) == 2
        with pytest.raises(vsearch.CollectionError, match="413"):  # it cleared up before it began
            index.sync()
        assert held(chroma_server, index) == {1: 12}


def test_large_collections_pass_a_proxy_with_the_usual_limit(
    chroma_server: ChromaProcess, tmp_path: Path
) -> None:
    truth = Truth()
    (tmp_path / "chroma").mkdir()
    vectors = np.random.default_rng(0).standard_normal((1024, 256), dtype=np.float32)
    truth.put(Batch([str(n) for n in range(1024)], vectors, [{"path": 100 * "p"}] * 1024))
    described = Description(1, 256, "cosine", "f", truth.identity, HnswParameters(8, 4, 8))
    with proxied(chroma_server.url, limit=2**20) as proxy:
        generations = generations_at(tmp_path / "chroma", tmp_path / "CURRENT", proxy.url)
        number = generations.publish(truth.since, described, base=0)
        with generations.open(number) as collection:
            assert collection.count() == 1024


def test_a_token_that_no_header_can_hold_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("secret\nsecret", "secret \u00e9"):
        monkeypatch.setenv("VSEARCH_CHROMA_TOKEN", token)
        with pytest.raises(vsearch.UsageError, match="no HTTP header") as caught:
            ChromaServer("http://127.0.0.1:9").check()
        assert "secret" not in str(caught.value)

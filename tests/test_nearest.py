"""Scan and graph: two ways to the same answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from tests import album, toy
from vsearch import durable
from vsearch.catalog import VectorRow
from vsearch.collection import Collection, folders
from vsearch.directory import IndexDirectory
from vsearch.nearest import Only, Scan, Slices
from vsearch.published import generations_of
from vsearch.question import Asked, Weighted
from vsearch.records import Location, Metric
from vsearch.search import AnswerOptions
from vsearch.segments import SegmentWriter


def scan_of(folder: Path, vectors: np.ndarray, metric: Metric, segment_rows: int = 40) -> Scan:
    directory = IndexDirectory(folder)
    (folder / "vectors").mkdir(parents=True)
    rows = []
    for number, start in enumerate(range(0, len(vectors), segment_rows), start=1):
        some = vectors[start : start + segment_rows]
        writer = SegmentWriter(directory.segment("vectors", number), "vectors")
        writer.append(some, [0] * len(some), ["00" * 32] * len(some), ["{}"] * len(some))
        writer.commit()
        rows += [VectorRow(start + row, Location(number, row)) for row in range(len(some))]
    return Scan.of(directory, rows, metric)


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_scan_is_exact(tmp_path: Path, metric: Metric, k: int) -> None:
    vectors = np.random.default_rng(3).standard_normal((100, 8)).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[7] + np.float32(0.1)
    distances = np.linalg.norm(vectors - query, axis=1)  # of unit vectors: the order of cosines
    if metric == "cosine":
        distances = -(vectors @ query)
    expected = np.argsort(distances, kind="stable")[:k]
    (found,) = scan_of(tmp_path / "i", vectors, metric).nearest_each(query[np.newaxis], k)
    assert found.ids.tolist() == expected.tolist()


def test_scan_and_graph_give_the_same_matches(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.remove(photos / "day0" / "photo002.png")
    queries = [*sorted(photos.rglob("*.*")), album.picture(99)]
    scanned = [index.query(query, k=5) for query in queries]
    index.close()
    monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
    for query, expected in zip(queries, scanned, strict=True):
        found = index.query(query, k=5)
        assert [(m.path, m.kind) for m in found] == [(m.path, m.kind) for m in expected]
        assert [m.score for m in found] == pytest.approx([m.score for m in expected], abs=1e-5)


def test_a_collection_in_parts_gives_the_same_matches(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some change, some come, one part loses all of its photos; then all is made anew."""
    monkeypatch.setattr("vsearch.publisher.PART_IDS", 4)
    vsearch.Index.rebuild(index.path)
    assert parts_of(index) == [3, 4, 4, 1]  # no photo has the id 0
    album.write(photos / "day0" / "photo000.png", 70)
    album.write(photos / "more.png", 71)
    index.sync()
    assert parts_of(index) == [3, 4, 4, 2]
    second = [photo for photo in index.photos() if int(photo.id) // 4 == 1]
    index.remove(*(Path(photo.file.root, photo.file.path) for photo in second))
    assert parts_of(index) == [3, 0, 4, 2]
    for _ in range(2):
        assert list(vsearch.Index.check(index.path, full=True)) == []
        assert_graph_and_scan_agree(index, photos)
        vsearch.Index.rebuild(index.path)
    assert parts_of(index) == [3, 0, 4, 2]


def test_what_did_not_change_is_not_read_again(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that are only copied keep the checksums that they were published with."""
    monkeypatch.setattr("vsearch.publisher.PART_IDS", 4)
    vsearch.Index.rebuild(index.path)
    read: list[str] = []
    digest = folders._digest

    def noted(path: Path) -> str:
        read.append(path.parent.name)
        return digest(path)

    monkeypatch.setattr(folders, "_digest", noted)
    album.write(photos / "day1" / "photo001.jpg", 70)
    index.sync()
    assert len(set(read)) == 1
    generations = generations_of(index._directory, index._directory.settings())
    assert len(generations.manifest(generations.current()).digests) == 4 * len(read)
    generations.verify(generations.current(), every_byte=True)


def test_parts_of_another_length_are_made_anew(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo that changes would lie in its old part and in its new one."""
    assert parts_of(index) == [12]
    monkeypatch.setattr("vsearch.publisher.PART_IDS", 4)
    album.write(photos / "day1" / "photo001.jpg", 70)
    index.sync()
    assert parts_of(index) == [3, 4, 4, 1]
    assert list(vsearch.Index.check(index.path, full=True)) == []


def test_check_finds_photos_that_lie_twice(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifest,) = index.path.glob("chroma/*/generation.json")
    manifest.write_bytes(durable.sealed({**durable.unsealed(manifest.read_bytes()), "part_ids": 4}))
    monkeypatch.setattr("vsearch.publisher.PART_IDS", 4)
    album.write(photos / "day1" / "photo001.jpg", 70)
    index.sync()
    found = [problem.what for problem in vsearch.Index.check(index.path)]
    assert found == ["1 photos are in the collection twice"]
    vsearch.Index.rebuild(index.path)
    assert list(vsearch.Index.check(index.path, full=True)) == []


def parts_of(index: vsearch.Index) -> list[int]:
    generations = generations_of(index._directory, index._directory.settings())
    return generations.manifest(generations.current()).parts


def assert_graph_and_scan_agree(index: vsearch.Index, photos: Path) -> None:
    questions: list[dict[str, Any]] = [
        {"images": [query], "k": 5, "where": where, "minus": minus}
        for query in [*sorted(photos.rglob("*.*"))[::4], album.picture(99)]
        for where in (None, "format = jpeg", "not path ~ photo001")
        for minus in ([], [album.picture(98)])
    ]
    scanned = [index.query(**question) for question in questions]
    index.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.answering.SCAN_BYTES", 0)
        patch.setattr("vsearch.nearest.SCAN_BYTES", 0)
        for question, expected in zip(questions, scanned, strict=True):
            found = index.query(**question)
            assert [(m.path, m.kind) for m in found] == [(m.path, m.kind) for m in expected]
            assert [m.score for m in found] == pytest.approx([m.score for m in expected], abs=1e-5)
    index.close()


@pytest.mark.parametrize("slice_bytes", [1, 4 * 12 * 5, 2**20])
def test_slices_and_scan_give_the_same_matches(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    shutil.copy(photos / "day0" / "photo004.png", photos / "copy.png")  # shares its vector
    (photos / "day0" / "photo006.png").write_bytes(b"no picture any more")
    index.add(photos, album.write(photos.parent / "more" / "one.png", 31))
    index.remove(photos / "day0" / "photo002.png")
    queries = [*sorted(photos.glob("*/*.jpg")), photos / "day0" / "photo004.png", album.picture(99)]
    pools = [
        AnswerOptions(5),
        AnswerOptions(None),
        AnswerOptions(3, condition=index.condition("format = jpeg")),
    ]
    asked = [(Asked((Weighted(query),)), wanted) for query in queries for wanted in pools]
    scanned = [index.answer(question, wanted) for question, wanted in asked]
    index.close()
    monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
    monkeypatch.setattr("vsearch.nearest._SLICE_BYTES", slice_bytes)
    monkeypatch.setattr("vsearch.answering.Answering._searching", None)  # the graph is not asked
    for (question, wanted), expected in zip(asked, scanned, strict=True):
        found = index.answer(question, wanted, once=True)
        assert [(m.path, m.kind) for m in found.matches] == [(m.path, m.kind) for m in expected.matches]
        assert [m.score for m in found.matches] == pytest.approx(
            [m.score for m in expected.matches], abs=1e-5
        )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_slices_are_exact(tmp_path: Path, toy_encoder: Path, metric: Metric) -> None:
    album.write_album(tmp_path / "photos", 30)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, metric=metric)
    index.add(tmp_path / "photos")
    directory, rows = IndexDirectory(index.path), index._reading().matching("TRUE", ())
    queries = np.random.default_rng(3).standard_normal((4, toy.DIMENSION)).astype(np.float32)
    slices = Slices(directory, index._reading(), toy.DIMENSION, metric)
    slices._rows = 7
    for found, expected in zip(
        slices.nearest_each(queries, 9, Only(rows)),
        Scan.of(directory, rows, metric).nearest_each(queries, 9),
        strict=True,
    ):
        assert found.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_the_graph_is_asked_for_a_pool_once_over(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
    monkeypatch.setattr("vsearch.nearest._BREADTH", 8)
    monkeypatch.setattr("vsearch.search._POOL", 6)
    asked = []
    near_each = Collection.near_each

    def counting(self: Collection, vectors: np.ndarray, k: int, where: object = None) -> object:
        asked.append(k)
        return near_each(self, vectors, k)

    monkeypatch.setattr(Collection, "near_each", counting)
    query = photos / "day0" / "photo000.png"
    assert len(index.query(query, k=1)) == 1
    assert len(index.query(query, k=3)) == 3
    assert asked == [6, 9]  # the pool; three times what is wanted, where the graph keeps fewer


def test_the_graph_follows_a_new_generation(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
    reader = vsearch.Index.open(index.path)
    new = album.write(photos / "new.png", 50)
    assert reader.query(new, k=1)[0].path != str(new)
    index.add(new)
    assert reader.query(new, k=1)[0].path == str(new)


def test_the_scan_sees_what_another_process_added(index: vsearch.Index, photos: Path) -> None:
    reader = vsearch.Index.open(index.path)
    new = album.write(photos / "new.png", 50)
    assert reader.query(new, k=1)[0].kind == "similar"
    index.add(new)
    assert reader.query(new, k=1)[0].path == str(new)

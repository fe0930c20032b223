"""Generations: published whole, never modified, answered from; real Chroma, in folders and on a server."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.chroma import ChromaProcess, Truth
from vsearch import durable
from vsearch.collection import (
    Batch,
    Changes,
    Description,
    Generations,
    Metadata,
    batches_of,
    filling,
    folders,
    generations_at,
)
from vsearch.errors import CollectionError, IndexDamaged
from vsearch.ranking import normalised


@pytest.fixture
def local(tmp_path: Path) -> Generations:
    (tmp_path / "chroma").mkdir()
    return generations_at(tmp_path / "chroma", tmp_path / "CURRENT")


@pytest.fixture(params=["folders", "server"])
def generations(request: pytest.FixtureRequest, tmp_path: Path) -> Generations:
    (tmp_path / "chroma").mkdir()
    server: ChromaProcess | None = None
    if request.param == "server":
        server = request.getfixturevalue("chroma_server")
    return generations_at(tmp_path / "chroma", tmp_path / "CURRENT", server.url if server else None)


@pytest.fixture(params=[1_000_000, 40], ids=["whole", "in-parts"])
def truth(request: pytest.FixtureRequest) -> Truth:
    return Truth(request.param)


def random_vectors(count: int, dimension: int = 16) -> np.ndarray:
    return normalised(np.random.default_rng(count).standard_normal((count, dimension), dtype=np.float32))


def batch(vectors: np.ndarray, first: int = 0) -> Batch:
    ids = [str(first + n) for n in range(len(vectors))]
    metadatas: list[Metadata] = [{"path": f"{i}.jpg", "camera": None} for i in ids]
    return Batch(ids, vectors, metadatas)


def describe(truth: Truth, dimension: int = 16) -> Description:
    return Description(truth.sequence, dimension, "cosine", "f", truth.identity)


def publish(generations: Generations, truth: Truth, *, base: int = 0, dimension: int = 16) -> int:
    return generations.publish(truth.since, describe(truth, dimension), base=base)


def fingerprints(folder: Path) -> dict[str, str]:
    """Digests of the files that a reader must not change (Chroma itself writes into its SQLite file)."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != "chroma.sqlite3"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_every_vector_is_found_by_itself(generations: Generations, truth: Truth) -> None:
    vectors = random_vectors(300)
    truth.put(batch(vectors[:100]))
    truth.put(batch(vectors[100:], 100))
    number = publish(generations, truth)
    assert generations.current() == number == 1
    with generations.open(number) as collection:
        assert collection.count() == 300
        hits = collection.search(vectors, 1)
        parts = collection.near_each(vectors[7][np.newaxis], 3)[0]
    assert [row[0].id for row in hits] == [str(n) for n in range(300)]
    assert max(row[0].distance for row in hits) < 1e-5
    near = next(part for part in parts if 7 in part.ids)
    assert near.ids[0] == 7
    np.testing.assert_allclose(near.vectors[0], vectors[7], rtol=3e-7)


def test_flattened_latents_pass_unharmed(generations: Generations, truth: Truth) -> None:
    """170 of them in batches as a publisher makes them; a server takes no body of 160."""
    count, dimension = 170, 51_200
    vectors = random_vectors(count, dimension)
    size = batches_of(dimension, count)
    for start in range(0, count, size):
        truth.put(batch(vectors[start : start + size], start))
    number = publish(generations, truth, dimension=dimension)
    with generations.open(number) as collection:
        stored = collection.vectors([str(n) for n in range(0, count, 10)])
    for n in range(0, count, 10):
        # Chroma normalises once more, which may move the last bit.
        np.testing.assert_allclose(stored[str(n)], vectors[n], rtol=3e-7)


def test_a_new_generation_leaves_the_old_one_as_it_was(generations: Generations, truth: Truth) -> None:
    vectors = random_vectors(120)
    truth.put(batch(vectors[:100]))
    first = publish(generations, truth)
    before = fingerprints(generations.folder(first))
    truth.put(batch(vectors[100:], 100))
    truth.remove("5", "never there")
    second = publish(generations, truth, base=first)
    assert fingerprints(generations.folder(first)) == before
    with generations.open(second) as collection:
        assert sorted(collection.ids(), key=int) == [str(n) for n in range(120) if n != 5]
    with generations.open(first) as collection:
        assert sorted(collection.ids(), key=int) == [str(n) for n in range(100)]


def test_parts_search_a_share_of_the_candidates(local: Generations) -> None:
    truth, breadths = Truth(40), []
    for first in range(0, 200, 50):  # two parts, three, four, five
        truth.put(batch(random_vectors(50), first))
        with local.open(publish(local, truth, base=local.current())) as collection:
            each = [(part.configuration["hnsw"] or {}).get("ef_search") for part in collection._parts]
            breadths.append(each)
    assert breadths == [[165] * 2, [120] * 3, [101] * 4, [90] * 5]
    truth.remove(*map(str, range(120)))  # of three parts all, which are asked no more
    truth.put(batch(random_vectors(40), 200))  # and another part begins
    with local.open(publish(local, truth, base=local.current())) as collection:
        assert [(part.configuration["hnsw"] or {}).get("ef_search") for part in collection._parts] == [
            116
        ] * 3


def test_rows_are_replaced(generations: Generations, truth: Truth) -> None:
    vectors = random_vectors(20)
    truth.put(batch(vectors[:10]))
    first = publish(generations, truth)
    truth.put(batch(vectors[10:11], 3))
    with generations.open(publish(generations, truth, base=first)) as collection:
        assert collection.count() == 10
        assert collection.search(vectors[10:11], 1)[0][0].id == "3"


def test_opening_replays_nothing(local: Generations, truth: Truth) -> None:
    truth.put(batch(random_vectors(200)))
    number = publish(local, truth)
    before = fingerprints(local.folder(number))
    with local.open(number) as collection:
        collection.search(random_vectors(1), 3)
    assert fingerprints(local.folder(number)) == before


@pytest.mark.parametrize("count", [1, 2, 3, 49, 50, 51, 101, 149])
def test_the_graph_is_complete_whatever_the_number(
    local: Generations, truth: Truth, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Chroma writes it in parts, here of some 20; batches and parts end at different rows."""
    monkeypatch.setattr(filling, "_UPSERT_ROWS", 10)
    vectors = random_vectors(count + 40)
    for start in range(0, count, 7):
        truth.put(batch(vectors[start : min(start + 7, count)], start))
    first = publish(local, truth)
    truth.put(batch(vectors[count:], count))
    truth.remove("0", *map(str, range(30, count)))
    for number, rows in ((first, range(count)), (publish(local, truth, base=first), None)):
        before = fingerprints(local.folder(number))
        with local.open(number) as collection:
            expected = rows or [*range(1, min(count, 30)), *range(count, count + 40)]
            assert sorted(map(int, collection.ids())) == [*expected]
            for row in expected:
                assert collection.search(vectors[row : row + 1], 1)[0][0].id == str(row)
        assert fingerprints(local.folder(number)) == before


def test_all_but_the_last_two_are_retired(generations: Generations, truth: Truth) -> None:
    base = 0
    for n in range(4):
        truth.put(batch(random_vectors(3), n * 3))
        base = publish(generations, truth, base=base)
    assert [generations.folder(n).exists() for n in range(1, 5)] == [False, False, True, True]


def test_one_that_is_read_is_not_retired(generations: Generations, truth: Truth) -> None:
    truth.put(batch(random_vectors(3)))
    first = publish(generations, truth)
    with generations.open(first) as collection:
        for n in range(1, 4):
            truth.put(batch(random_vectors(3), n * 3))
            publish(generations, truth, base=n)
        assert collection.search(random_vectors(3)[:1], 3)[0][0].id == "0"
    generations.retire()
    assert [generations.folder(n).exists() for n in range(1, 5)] == [False, False, True, True]


def test_metadata_without_a_value_disappears(generations: Generations, truth: Truth) -> None:
    vectors = random_vectors(2)
    truth.put(Batch(["1", "2"], vectors, [{"camera": "Canon"}, {"camera": None}]))
    first = publish(generations, truth)
    truth.put(Batch(["1"], vectors[:1], [{"camera": None}]))
    second = publish(generations, truth, base=first)
    for number, expected in ((first, [1]), (second, [])):
        with generations.open(number) as collection:
            (parts,) = collection.near_each(vectors[:1], 2, where={"camera": "Canon"})
            assert [i for part in parts for i in part.ids.tolist()] == expected


def test_an_empty_generation_answers_nothing(generations: Generations, truth: Truth) -> None:
    truth.put(batch(random_vectors(3)))
    first = publish(generations, truth)
    truth.remove("0", "1", "2")
    with generations.open(publish(generations, truth, base=first)) as collection:
        assert collection.count() == 0
        assert collection.ids() == []


@pytest.mark.parametrize("name", ["data_level0.bin", "chroma.sqlite3", "index_metadata.pickle"])
def test_a_torn_generation_is_never_opened(local: Generations, truth: Truth, name: str) -> None:
    truth.put(batch(random_vectors(50)))
    number = publish(local, truth)
    file = next(local.folder(number).rglob(name))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IndexDamaged, match=f"{name} is .* bytes and not"):
        local.open(number)


def test_a_current_that_is_no_number_is_damage(generations: Generations, tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_text("seven")
    with pytest.raises(IndexDamaged, match="does not hold a number"):
        generations.current()


def test_not_a_number_is_refused(generations: Generations, truth: Truth) -> None:
    truth.put(batch(random_vectors(5)))
    number = publish(generations, truth)
    with generations.open(number) as collection:
        for ask in (collection.search, collection.near_each):
            with pytest.raises(CollectionError, match="NaN"):
                ask(np.full((1, 16), np.nan, np.float32), 1)


@pytest.mark.parametrize(("added", "removed"), [(300, 0), (1, 0), (0, 1), (0, 40), (7, 3)])
def test_the_graph_lies_written_when_published(
    local: Generations, truth: Truth, added: int, removed: int
) -> None:
    """No record waits for whoever opens the generation: Chroma would insert it anew each time."""
    truth.put(batch(random_vectors(100)))
    first = publish(local, truth)
    if added:
        truth.put(batch(random_vectors(added), 100))
    truth.remove(*map(str, range(removed)), "never there")
    number = publish(local, truth, base=first)
    with contextlib.closing(sqlite3.connect(local.folder(number) / "chroma.sqlite3")) as database:
        (waiting,) = database.execute(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM embeddings_queue GROUP BY topic)"
        ).fetchone()
    # The last record of each part stays in the queue, written or not; a single one is not enough to write.
    assert waiting <= (2 if (added, removed) == (0, 1) else 1)
    with local.open(number) as collection:
        assert collection.count() == 100 + added - removed


def test_a_wrong_count_is_noticed(generations: Generations, truth: Truth) -> None:
    wrong = Changes([batch(random_vectors(30))], 31)
    with pytest.raises(CollectionError, match=r"30 of 31 changes came|took 30 of 31 photos"):
        generations.publish(lambda since: [wrong], describe(truth), base=0)
    assert generations.current() == 0


def test_generations_move_to_a_server_and_back(
    local: Generations, truth: Truth, tmp_path: Path, chroma_server: ChromaProcess
) -> None:
    """Each stays readable where it was published until it is retired; then nothing is left there."""
    vectors = random_vectors(9)
    moved = generations_at(tmp_path / "chroma", tmp_path / "CURRENT", chroma_server.url)
    number = 0
    for n, generations in enumerate((local, moved, local, local)):
        truth.put(batch(vectors[n : n + 1], n))
        number = publish(generations, truth, base=number)
        for place in (local, moved):
            with place.open(number) as collection:
                assert collection.search(vectors[n : n + 1], 1)[0][0].id == str(n)
    assert not [name for name in chroma_server.collections() if truth.identity in name]


def test_a_server_forgets_the_generations_of_a_folder_that_goes(
    truth: Truth, tmp_path: Path, chroma_server: ChromaProcess
) -> None:
    (tmp_path / "chroma").mkdir()
    generations = generations_at(tmp_path / "chroma", tmp_path / "CURRENT", chroma_server.url)
    truth.put(batch(random_vectors(5)))
    publish(generations, truth)
    assert [count for name, count in chroma_server.collections().items() if truth.identity in name]
    generations.discard()
    assert not [name for name in chroma_server.collections() if truth.identity in name]


@pytest.mark.parametrize("call", ["there", "missing", "refusing", "stopping"])
def test_files_are_copied_whole_with_and_without_the_systems_call(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    Path(source).write_bytes(np.random.default_rng(0).bytes(3_000_001))

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if call == "missing":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif call != "there":
        answer = {"refusing": refuse, "stopping": lambda *_: 0}[call]
        monkeypatch.setattr(os, "copy_file_range", answer, raising=False)
    folders._clone(source, target)
    assert Path(target).read_bytes() == Path(source).read_bytes()


def test_a_file_that_is_being_removed_is_not_held(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="needs locks of POSIX")
    file = tmp_path / "held"
    file.touch()
    with open(file) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(FileNotFoundError, match="being removed"):
            durable.share(file)
    assert not _descriptors_of(file)  # the refused one was closed
    held = durable.share(file)
    assert held is not None and durable.in_use(file)
    os.close(held)
    assert not durable.in_use(file)


def _descriptors_of(file: Path) -> list[int]:
    found = []
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # that of the listing is closed
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                found.append(descriptor)
    return found

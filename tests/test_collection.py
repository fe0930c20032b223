"""Generations: published whole, never modified, answered from with real Chroma."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vsearch.collection import Batch, Changes, Generations, HnswParameters, Metadata
from vsearch.errors import CollectionError, IndexDamaged
from vsearch.ranking import normalised


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    (tmp_path / "chroma").mkdir()
    return Generations(tmp_path / "chroma", tmp_path / "CURRENT")


def random_vectors(count: int, dimension: int = 16) -> np.ndarray:
    return normalised(np.random.default_rng(count).standard_normal((count, dimension), dtype=np.float32))


def batch(vectors: np.ndarray, first: int = 0) -> Batch:
    ids = [str(first + n) for n in range(len(vectors))]
    metadatas: list[Metadata] = [{"path": f"{i}.jpg", "camera": None} for i in ids]
    return Batch(ids, vectors, metadatas)


def publish(
    generations: Generations, batches: Sequence[Batch], *, base: int = 0, removed: Sequence[str] = ()
) -> int:
    dimension = batches[0].vectors.shape[1] if batches else 16
    return generations.publish(
        Changes(batches, sum(len(each.ids) for each in batches), removed),
        base=base,
        sequence=base + 1,
        dimension=dimension,
        metric="cosine",
        fingerprint="f",
        hnsw=HnswParameters(),
    )


def fingerprints(folder: Path) -> dict[str, str]:
    """Digests of the files that a reader must not change (Chroma itself writes into its SQLite file)."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.name != "chroma.sqlite3"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_every_vector_is_found_by_itself(generations: Generations) -> None:
    vectors = random_vectors(300)
    number = publish(generations, [batch(vectors[:100]), batch(vectors[100:], 100)])
    assert generations.current() == number == 1
    with generations.open(number) as collection:
        assert collection.count() == 300
        hits = collection.search(vectors, 1)
    assert [row[0].id for row in hits] == [str(n) for n in range(300)]
    assert max(row[0].distance for row in hits) < 1e-5


def test_flattened_latents_pass_unharmed(generations: Generations) -> None:
    vectors = random_vectors(30, 51_200)
    number = publish(generations, [batch(vectors)])
    with generations.open(number) as collection:
        stored = collection.vectors([str(n) for n in range(30)])
    for n in range(30):
        # Chroma normalises once more, which may move the last bit.
        np.testing.assert_allclose(stored[str(n)], vectors[n], rtol=3e-7)


def test_a_new_generation_leaves_the_old_one_as_it_was(generations: Generations) -> None:
    vectors = random_vectors(120)
    first = publish(generations, [batch(vectors[:100])])
    before = fingerprints(generations.folder(first))
    second = publish(generations, [batch(vectors[100:], 100)], base=first, removed=["5", "never there"])
    assert fingerprints(generations.folder(first)) == before
    with generations.open(second) as collection:
        assert sorted(collection.ids(), key=int) == [str(n) for n in range(120) if n != 5]
    with generations.open(first) as collection:
        assert collection.count() == 100


def test_opening_replays_nothing(generations: Generations) -> None:
    number = publish(generations, [batch(random_vectors(200))])
    before = fingerprints(generations.folder(number))
    with generations.open(number) as collection:
        collection.search(random_vectors(1), 3)
    assert fingerprints(generations.folder(number)) == before


def test_all_but_the_last_two_are_retired(generations: Generations) -> None:
    base = 0
    for n in range(4):
        base = publish(generations, [batch(random_vectors(3), n * 3)], base=base)
    assert [generations.folder(n).exists() for n in range(1, 5)] == [False, False, True, True]


def test_metadata_without_a_value_disappears(generations: Generations) -> None:
    vectors = random_vectors(2)
    first = publish(generations, [Batch(["1", "2"], vectors, [{"camera": "Canon"}, {"camera": None}])])
    second = publish(generations, [Batch(["1"], vectors[:1], [{"camera": None}])], base=first)
    for number, expected in ((first, ["Canon"]), (second, [])):
        with generations.open(number) as collection:
            hits = collection.search(vectors[:1], 2, where={"camera": "Canon"})[0]
            assert [hit.metadata["camera"] for hit in hits] == expected


@pytest.mark.parametrize("name", ["data_level0.bin", "chroma.sqlite3", "index_metadata.pickle"])
def test_a_torn_generation_is_never_opened(generations: Generations, name: str) -> None:
    number = publish(generations, [batch(random_vectors(50))])
    (file,) = generations.folder(number).rglob(name)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IndexDamaged, match=f"{name} is .* bytes and not"):
        generations.open(number)


def test_a_current_that_is_no_number_is_damage(generations: Generations, tmp_path: Path) -> None:
    (tmp_path / "CURRENT").write_text("seven")
    with pytest.raises(IndexDamaged, match="does not hold a number"):
        generations.current()


def test_not_a_number_is_refused(generations: Generations) -> None:
    number = publish(generations, [batch(random_vectors(5))])
    with generations.open(number) as collection, pytest.raises(CollectionError, match="NaN"):
        collection.search(np.full((1, 16), np.nan, np.float32), 1)


@pytest.mark.parametrize(("added", "removed"), [(300, 0), (1, 0), (0, 1), (0, 40), (7, 3)])
def test_the_graph_lies_written_when_published(generations: Generations, added: int, removed: int) -> None:
    """No record waits for whoever opens the generation: Chroma would insert it anew each time."""
    vectors = random_vectors(100)
    first = publish(generations, [batch(vectors)])
    batches = [batch(random_vectors(added), 100)] if added else []
    gone = [*map(str, range(removed)), "never there"]
    number = publish(generations, batches, base=first, removed=gone)
    with contextlib.closing(sqlite3.connect(generations.folder(number) / "chroma.sqlite3")) as database:
        (waiting,) = database.execute("SELECT count(*) FROM embeddings_queue").fetchone()
    # The last record stays in the queue, written or not; a single one is not enough to write.
    assert waiting <= (2 if (added, removed) == (0, 1) else 1)
    with generations.open(number) as collection:
        assert collection.count() == 100 + added - removed


def test_a_wrong_count_is_noticed(generations: Generations) -> None:
    with pytest.raises(CollectionError, match="did not write its graph"):
        generations.publish(
            Changes([batch(random_vectors(30))], 31),
            base=0,
            sequence=1,
            dimension=16,
            metric="cosine",
            fingerprint="f",
            hnsw=HnswParameters(),
        )
    assert generations.current() == 0

"""The catalog: rows, changes, sequences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vsearch.catalog import Catalog, KnownPhotos, SegmentRow, known
from vsearch.errors import IndexDamaged, VersionMismatch
from vsearch.records import FileStat, Location, Photo, PhotoFacts

ROOTS = ["/photos", "/nas/more photos"]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "catalog.sqlite", ROOTS, create=True) as catalog:
        yield catalog


def photo(photo_id: int, path: str, **changes: Any) -> Photo:
    facts = PhotoFacts(4000, 3000, "JPEG", "2024-05-01T12:30:00", "Canon EOS R5", "a" * 16, "b" * 16)
    made = Photo(
        photo_id,
        FileStat("/photos", path, 1234, 5678),
        f"{photo_id:064x}",
        "ready",
        facts,
        Location(1, photo_id),
        Location(1, photo_id),
    )
    return replace(made, **changes)


def put(catalog: Catalog, *photos: Photo) -> int:
    with catalog.change() as change:
        change.put(photos)
    return change.sequence


NAMES = ["plain.jpg", "a b'c\"d\n.jpg", "ümlaut/😀.jpg", os.fsdecode(b"raw-\xff\xfe.jpg"), "-dash", "%_*"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_name_comes_back_as_it_was(catalog: Catalog, name: str) -> None:
    stored = photo(1, name, reason=name)
    put(catalog, stored)
    assert catalog.find("/photos", name) == stored
    assert catalog.find(ROOTS[1], name) is None
    assert list(catalog.photos()) == [stored]


def test_below_finds_what_is_in_a_folder_and_nothing_beside_it(catalog: Catalog) -> None:
    names = ["a/1.jpg", "a/b/2.jpg", "a.jpg", "a-b/3.jpg", "a0/4.jpg", "ab/5.jpg"]
    put(catalog, *(photo(n, name) for n, name in enumerate(names, 1)))
    assert [p.file.path for p in catalog.below("/photos", "a")] == ["a/1.jpg", "a/b/2.jpg"]
    assert len(list(catalog.below("/photos", ""))) == len(names)


def test_a_sequence_tells_what_a_generation_lacks(catalog: Catalog) -> None:
    first = put(catalog, photo(1, "1.jpg"), photo(2, "2.jpg"))
    put(catalog, photo(2, "2.jpg", sha256="f" * 64), photo(3, "3.jpg", state="failed", vector=None))
    with catalog.change() as change:
        change.remove([1])
    assert [p.id for p in catalog.changed_since(0, range(9))] == [2]
    assert [p.id for p in catalog.changed_since(first, range(9))] == [2]
    assert sorted(catalog.unready_since(first)) == [1, 3]
    assert catalog.count_changed_since(first) == 3
    assert catalog.count_changed_since(catalog.sequence()) == 0


def test_changes_are_known_by_blocks_of_ids(catalog: Catalog) -> None:
    first = put(catalog, *(photo(n, f"{n}.jpg") for n in (1, 9, 10, 25)))
    failed = photo(25, "25.jpg", state="failed", vector=None)
    put(catalog, photo(9, "9.jpg", sha256="f" * 64), failed, photo(31, "31.jpg"))
    with catalog.change() as change:
        change.remove([10])
    assert sorted(catalog.id_blocks_changed_since(first, 10)) == [0, 1, 2, 3]
    assert sorted(catalog.id_blocks_changed_since(0, 100)) == [0]
    blocks = [range(n, n + 10) for n in range(0, 40, 10)]
    assert [[p.id for p in catalog.changed_since(first, ids)] for ids in blocks] == [[9], [], [], [31]]
    assert [catalog.count_ready_since(first, ids) for ids in blocks] == [1, 0, 0, 1]
    assert [[*catalog.unready_since(first, ids)] for ids in blocks] == [[], [10], [25], []]


def test_known_photos_are_as_of_the_last_follow(catalog: Catalog, tmp_path: Path) -> None:
    one, two = photo(1, "1.jpg"), photo(2, "2.jpg", facts=None)
    put(catalog, one, two)
    with Catalog(tmp_path / "catalog.sqlite", ROOTS, read_only=True) as reader:
        photos = KnownPhotos(reader)
        for _ in range(2):
            assert photos.get_many([2, 1, 7]) == {1: one, 2: two}
            assert photos.phashes([1, 2, 7]) == {1: "a" * 16}
        changed = photo(1, "1.jpg", facts=PhotoFacts(1, 1, "PNG", phash="c" * 16))
        put(catalog, changed)
        with catalog.change() as change:
            change.remove([2])
        assert photos.get_many([1, 2]) == {1: one, 2: two}
        photos.follow()
        assert photos.get_many([1, 2]) == {1: changed}
        assert photos.phashes([1, 2]) == {1: "c" * 16}


def test_known_photos_read_once_and_are_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    put(catalog, *(photo(n, f"{n}.jpg") for n in range(1, 10)))
    asked: list[int] = []
    read = catalog.get_many
    monkeypatch.setattr(catalog, "get_many", lambda ids: asked.extend(ids) or read(ids))
    monkeypatch.setattr(known, "_MOST_PHOTOS", 4)
    photos = KnownPhotos(catalog)
    for ids in ([1, 2, 3], [3, 2], [1, 4], [5], [1]):
        assert sorted(photos.get_many(ids)) == sorted(ids)
    assert asked == [1, 2, 3, 4, 5, 1]


def test_counts_are_as_of_now(catalog: Catalog, tmp_path: Path) -> None:
    with Catalog(tmp_path / "catalog.sqlite", ROOTS, read_only=True) as reader:
        assert (reader.count("ready"), reader.cameras(), reader.live_rows()) == (0, [], {})
        put(catalog, photo(1, "1.jpg"), photo(2, "2.jpg", state="failed", vector=None, facts=None))
        assert (reader.count("ready"), reader.count("failed")) == (1, 1)
        assert (reader.cameras(), reader.live_rows()) == ([("Canon EOS R5", 1)], {1: 1})
        with catalog.change() as change:
            assert catalog.count("ready") == 1
            change.put([photo(3, "3.jpg")])
            assert catalog.count("ready") == 2  # the writer sees its own
            assert reader.count("ready") == 1
        assert reader.count("ready") == catalog.count("ready") == 2


def test_a_change_that_fails_changes_nothing(catalog: Catalog) -> None:
    put(catalog, photo(1, "1.jpg"))
    before = catalog.sequence()
    with pytest.raises(RuntimeError), catalog.change() as change:
        change.put([photo(2, "2.jpg")])
        raise RuntimeError
    assert catalog.sequence() == before
    assert [p.id for p in catalog.photos()] == [1]


def test_two_photos_may_swap_names_in_one_change(catalog: Catalog) -> None:
    a, b = photo(1, "a.jpg"), photo(2, "b.jpg")
    put(catalog, a, b)
    put(catalog, replace(a, file=b.file), replace(b, file=a.file))
    assert {p.id: p.file.path for p in catalog.photos()} == {1: "b.jpg", 2: "a.jpg"}
    assert list(catalog.unready_since(0)) == []


def test_a_photo_that_takes_anothers_place_removes_it(catalog: Catalog) -> None:
    a, b = photo(1, "a.jpg"), photo(2, "b.jpg")
    put(catalog, a, b)
    put(catalog, replace(a, file=b.file))
    assert [p.id for p in catalog.photos()] == [1]
    assert list(catalog.unready_since(0)) == [2]


def test_ids_are_never_used_twice(catalog: Catalog) -> None:
    put(catalog, photo(7, "7.jpg"))
    with catalog.change() as change:
        change.remove([7])
    assert catalog.next_id() == 8


def test_segments_are_counted_on_until_dropped(catalog: Catalog) -> None:
    row = SegmentRow("vectors", 3, 10, "c" * 64)
    with catalog.change() as change:
        change.add_segment(row)
    assert catalog.segments("vectors") == [row]
    assert catalog.next_segment() == 4
    with catalog.change() as change:
        change.drop_segment("vectors", 3)
    assert catalog.segments("vectors") == []


def test_a_missing_or_foreign_file_is_damage(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="missing"):
        Catalog(tmp_path / "none.sqlite", ())
    (tmp_path / "text.sqlite").write_text("this is not a database, whatever its name says" * 100)
    with pytest.raises(IndexDamaged, match=r"text\.sqlite is damaged"):
        Catalog(tmp_path / "text.sqlite", ())


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with Catalog(path, (), create=True) as catalog:
        catalog._db.execute("UPDATE meta SET value = 99 WHERE key = 'format_version'")
    with pytest.raises(VersionMismatch, match="format 99"):
        Catalog(path, ())


def test_a_reader_sees_a_commit_and_needs_no_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with Catalog(path, ROOTS, create=True) as writer, Catalog(path, ROOTS, read_only=True) as reader:
        put(writer, photo(1, "1.jpg"))
        assert reader.count("ready") == 1


def test_threads_may_ask_one_catalog_at_once(catalog: Catalog) -> None:
    """From Python 3.12 on, a statement that two threads begin at once is one statement, bound twice."""
    put(catalog, *(photo(n, f"{n}.jpg") for n in range(1, 101)))

    def wrong(start: int) -> list[int]:
        ids = [(start * 7 + n) % 100 + 1 for n in range(600)]
        return [i for i in ids if [p.id for p in catalog.with_digest(f"{i:064x}")] != [i]]

    with ThreadPoolExecutor(16) as pool:
        assert not any(pool.map(wrong, range(16)))


def test_photos_that_exchange_places_in_one_change_both_stay(catalog: Catalog) -> None:
    put(catalog, photo(1, "a"), photo(2, "b"), photo(3, "c"))
    put(catalog, photo(1, "b"), photo(2, "a"))
    assert [(p.id, p.file.path) for p in catalog.photos()] == [(1, "b"), (2, "a"), (3, "c")]
    assert not list(catalog.unready_since(0))


def test_the_last_of_two_photos_at_one_path_stays_and_the_other_is_removed(catalog: Catalog) -> None:
    before = put(catalog, photo(1, "a"), photo(3, "b"))
    put(catalog, photo(1, "c"), photo(2, "c"), photo(4, "b"))
    assert [p.id for p in catalog.photos()] == [2, 4]
    assert list(catalog.unready_since(before)) == [1, 3]


def test_sizes_names_the_bytes_of_a_size_unless_they_are_many(catalog: Catalog) -> None:
    some = [photo(n, f"{n}") for n in (1, 2)]
    many = [replace(photo(n, f"{n}"), file=FileStat("/photos", f"{n}", 99, 1)) for n in range(3, 40)]
    put(catalog, *some, *many)
    sizes = catalog.sizes()
    assert sizes.digests(1234) == {p.sha256 for p in some}
    assert sizes.digests(99) == sizes.digests(5) == set()

"""``sync``: the index equals its folders, whatever happened to them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import vsearch
from tests import album, safety
from vsearch import files


def changes(report: vsearch.SyncReport) -> dict[str, int]:
    counts = report.as_json()
    return {n: counts[n] for n in ("added", "updated", "moved", "removed") if counts[n]}


def restore(path: Path, data: bytes, like: os.stat_result) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))


def assert_fresh(index: vsearch.Index, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    fresh = vsearch.Index.create(tmp_path / "fresh.vsearch", encoder=toy_encoder)
    fresh.add(photos)
    safety.assert_equal(index.path, fresh.path)
    shutil.rmtree(fresh.path)


def test_nothing_to_do_publishes_nothing(index: vsearch.Index) -> None:
    before = index.status().generation
    assert (changes(index.sync()), index.sync().unchanged) == ({}, 12)
    assert index.status().generation == before


def test_new_changed_and_removed_photos(
    index: vsearch.Index, photos: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    album.write(photos / "new.png", 50)
    album.write(photos / "day0/photo000.png", 51)
    (photos / "day0/photo002.png").unlink()
    assert changes(index.sync()) == {"added": 1, "updated": 1, "removed": 1}
    assert_fresh(index, photos, toy_encoder, tmp_path)


def test_a_renamed_folder_costs_no_decoding(index: vsearch.Index, photos: Path) -> None:
    before = safety.content(index.path)
    segments = sorted((index.path / "vectors").iterdir())
    (photos / "day0").rename(photos / "Day0")
    assert changes(index.sync()) == {"moved": 6}
    assert sorted((index.path / "vectors").iterdir()) == segments
    assert len(safety.content(index.path)) == len(before)
    safety.assert_sound(index.path)


def test_swapped_names_with_the_same_size_and_mtime(
    index: vsearch.Index, photos: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    a, b = album.write(photos / "a.bmp", 60), album.write(photos / "b.bmp", 61)
    for path in (a, b):
        os.utime(path, ns=(0, 1_000_000_000))
    index.sync()
    a.rename(photos / "c.bmp")
    b.rename(a)
    (photos / "c.bmp").rename(b)
    assert changes(index.sync()) == {"updated": 2}
    assert_fresh(index, photos, toy_encoder, tmp_path)


def test_a_photo_restored_with_its_old_mtime_is_found_again(index: vsearch.Index, photos: Path) -> None:
    path = photos / "day0/photo000.png"
    data, status = path.read_bytes(), path.stat()
    path.unlink()
    assert changes(index.sync()) == {"removed": 1}
    restore(path, data, status)
    assert changes(index.sync()) == {"added": 1}
    assert index.query(path, k=1)[0].kind == "identical"


def test_other_bytes_under_the_old_size_and_mtime_are_noticed(index: vsearch.Index, photos: Path) -> None:
    path = album.write(photos / "a.bmp", 70)
    index.sync()
    status = path.stat()
    album.write(path, 71)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changes(index.sync()) == {"updated": 1}


@pytest.mark.parametrize("how", ["emptied", "absent"])
def test_a_root_that_is_not_mounted_loses_nothing(index: vsearch.Index, photos: Path, how: str) -> None:
    away = photos.with_name("away")
    photos.rename(away)
    if how == "emptied":
        photos.mkdir()
    report = index.sync()
    assert (changes(report), report.withheld) == ({}, 12)
    photos.rmdir() if how == "emptied" else None
    away.rename(photos)
    assert changes(index.sync()) == {}
    shutil.rmtree(photos)
    assert changes(index.sync(prune=True)) == {"removed": 12}


def test_a_root_that_is_gone_is_given_up_by_prune(index: vsearch.Index, photos: Path) -> None:
    moved = photos.rename(photos.with_name("moved"))
    assert changes(index.add(moved)) == {"added": 12}
    index.sync()
    assert index.status().roots == [str(photos), str(moved)]  # its disk may come back
    index.sync(prune=True)
    assert index.status().roots == index.roots() == index.walked_roots() == [str(moved)]
    assert vsearch.Index.open(index.path).sync().unchanged == 12
    album.write(photos / "again.png", 90)
    assert changes(index.sync()) == {}
    assert changes(index.add(photos)) == {"added": 1}
    assert index.status().roots == [str(photos), str(moved)]
    safety.assert_sound(index.path)


def test_prune_keeps_a_root_that_cannot_be_looked_into(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.remove(*photos.iterdir())
    stat = os.stat

    def refuse(path: str | Path, **options: Any) -> os.stat_result:
        if os.fspath(path) == str(photos):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert [skipped.path for skipped in index.sync(prune=True).skipped] == [str(photos)]
    assert index.walked_roots() == [str(photos)]


def test_photos_copied_from_an_absent_root_stay_in_both(
    index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "copy")
    shutil.move(photos, tmp_path / "unplugged")
    report = index.add(tmp_path / "copy")
    assert changes(report) == {"added": 12}
    assert index.status().photos == 24


def test_most_of_a_root_going_at_once_needs_prune(index: vsearch.Index, photos: Path) -> None:
    for path in sorted(photos.rglob("*.*"))[:7]:
        path.unlink()
    assert (changes(index.sync()), index.sync().withheld) == ({}, 7)
    assert changes(index.sync(prune=True)) == {"removed": 7}


def test_single_photos_do_not_make_sync_walk_their_folder(index: vsearch.Index, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    album.write(downloads / "wanted.png", 80)
    album.write(downloads / "private.png", 81)
    index.add(downloads / "wanted.png")
    assert changes(index.sync()) == {}
    index.add(downloads)
    album.write(downloads / "later.png", 82)
    assert changes(index.sync()) == {"added": 1}


def test_loops_and_links(index: vsearch.Index, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    (photos / "day0/loop").symlink_to(photos)
    (photos / "link.png").symlink_to(photos / "day0/photo000.png")
    (photos / "dangling.png").symlink_to(photos / "nowhere.png")
    assert changes(index.sync()) == {"added": 1}
    assert_fresh(index, photos, toy_encoder, tmp_path)


def test_a_photo_that_vanishes_before_it_is_read_is_one_skip(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleeting = album.write(photos / "fleeting.png", 70)
    album.write(photos / "lasting.png", 71)
    read = files.read

    def read_late(path: str) -> bytes:
        fleeting.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(files, "read", read_late)
    report = index.sync()
    assert changes(report) == {"added": 1}
    assert [skipped.path for skipped in report.skipped] == [str(fleeting)]
    assert not list(index.failed())  # what is gone is not tried again for ever
    safety.assert_sound(index.path)


def test_photos_in_a_folder_that_cannot_be_read_stay(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str | Path) -> object:  # root may read everything, so permissions cannot be used
        if os.fspath(path).endswith("day0"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = index.sync(prune=True)
    assert (changes(report), report.unchanged) == ({}, 12)
    assert [skipped.path for skipped in report.skipped] == [str(photos / "day0")]


def lock(monkeypatch: pytest.MonkeyPatch, *locked: Path) -> None:
    """Let no file of ``locked`` be read; root may read everything, so that permissions cannot be used."""

    def refuse(path: str, mode: str) -> BinaryIO:
        if Path(path) in locked:
            raise PermissionError(13, "Permission denied", path)
        return open(path, mode)

    monkeypatch.setattr(files, "open", refuse, raising=False)


def test_photos_that_cannot_be_read_any_more_keep_their_vectors(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, generation = safety.content(index.path), index.status().generation
    locked = sorted(photos.rglob("*.*"))
    for path in locked:
        path.chmod(0o600)  # ctime changes
    with monkeypatch.context() as patch:
        lock(patch, *locked)
        assert list(index.plan()) == []
        for _ in range(2):
            skipped = index.sync().skipped
            assert sorted(s.path for s in skipped) == [str(path) for path in locked]
            assert {(s.reason, s.remedy) for s in skipped} == {
                ("permission denied", "make it readable for this user")
            }
    assert (safety.content(index.path).keys(), index.status().failed) == (before.keys(), 0)
    assert (index.sync().unchanged, index.status().generation) == (12, generation)
    safety.assert_sound(index.path)


def test_a_photo_that_still_cannot_be_read_costs_no_generation(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = album.write(photos / "new.png", 50)
    with monkeypatch.context() as patch:
        lock(patch, new)
        assert [skipped.path for skipped in index.sync().skipped] == [str(new)]
        generation = index.status().generation
        assert [skipped.path for skipped in index.sync().skipped] == [str(new)]
        assert (index.status().generation, index.status().failed) == (generation, 1)
    assert changes(index.sync()) == {"updated": 1}


def test_a_format_that_is_not_read_is_listed_and_not_tried_again(index: vsearch.Index, photos: Path) -> None:
    (photos / "raw.cr2").write_bytes(b"raw")
    assert [skipped.path for skipped in index.sync().skipped] == [str(photos / "raw.cr2")]
    assert list(index.plan()) == []
    assert [skipped.path for skipped in index.sync().skipped] == [str(photos / "raw.cr2")]


def test_a_file_that_is_too_large_is_listed_and_not_tried_again(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(photos / "huge.jpg", "wb") as file:
        file.truncate(2**34)
    assert [skipped.path for skipped in index.sync().skipped] == [file.name]
    (photos / "huge.jpg").rename(photos / "moved.jpg")
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read"))
        assert {planned.change for planned in index.plan()} == {"add", "remove"}
    (photos / "moved.jpg").rename(photos / "huge.jpg")
    index.sync()
    assert list(index.plan()) == []
    assert [skipped.path for skipped in index.sync().skipped] == [file.name]
    os.truncate(file.name, 5)
    assert "not an image" in index.sync().skipped[0].reason


def test_the_plan_says_what_sync_does(index: vsearch.Index, photos: Path) -> None:
    (photos / "day0/photo000.png").rename(photos / "moved.png")
    (photos / "day0/photo002.png").unlink()
    (photos / "day0/photo004.png").touch()
    album.write(photos / "day0/photo006.png", 90)
    album.write(photos / "new.png", 91)
    planned = {(p.change, Path(p.path).name) for p in index.plan()}
    expected = {("move", "moved.png"), ("remove", "photo002.png"), ("update", "photo006.png")}
    assert planned == expected | {("add", "new.png")}
    assert changes(index.sync()) == {"added": 1, "updated": 1, "moved": 1, "removed": 1}
    assert list(index.plan()) == []


def test_the_plan_moves_nothing_that_sync_cannot_read(index: vsearch.Index, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photo")
    assert len(index.sync().skipped) == 1
    (photos / "broken.jpg").rename(photos / "renamed.jpg")
    (photos / "day0/photo000.png").rename(photos / "photo000.psd")
    (photos / "new.psd").write_bytes(b"raw")
    planned = {(p.change, Path(p.path).name) for p in index.plan()}
    assert planned == {("remove", "broken.jpg"), ("remove", "photo000.png")}
    report = index.sync()
    assert (changes(report), len(report.skipped)) == ({"removed": 2}, 3)


def test_what_is_excluded_since_goes_however_much_it_is(index: vsearch.Index, photos: Path) -> None:
    before = index.status().photos
    (photos / "day1/photo001.jpg").unlink()
    index = vsearch.Index.build(index.path, [photos], exclude=["day0", "photo00[357].jpg"])
    planned = [planned.change for planned in index.plan()]
    report = index.sync()
    assert set(planned) == {"remove"}
    assert report.removed == len(planned) > before / 2
    assert report.withheld == 0
    assert index.status().photos == before - report.removed > 0


def test_an_exclusion_does_not_let_others_go(index: vsearch.Index, photos: Path) -> None:
    excluded = len(list((photos / "day0").iterdir()))
    others = [path for path in photos.rglob("*.*") if path.parent.name != "day0"]
    kept = index.status().photos - excluded
    for path in others[: kept // 2 + 1]:
        path.unlink()
    index = vsearch.Index.build(index.path, [photos], exclude=["day0"])
    report = index.sync()
    assert (report.removed, report.withheld) == (excluded, kept // 2 + 1)


def test_dead_rows_are_reclaimed(index: vsearch.Index, photos: Path) -> None:
    for n in range(3):
        album.write(photos / f"day0/photo{2 * n:03d}.png", 300 + n)
    index.sync()
    assert 0 < index.status().dead["vectors"] < index.status().bytes["vectors"]
    album.write(photos / "day0/photo006.png", 303)
    index.sync()
    assert sum(index.status().dead.values()) == 0
    assert not (index.path / "vectors/000001.h5").exists()
    safety.assert_sound(index.path)


def test_additions_do_not_let_withheld_photos_go(tmp_path: Path, toy_encoder: Path) -> None:
    album.write_album(tmp_path / "album" / "usb", 6)
    album.write_album(tmp_path / "album" / "here", 4, first=20)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    index.add(tmp_path / "album")
    os.rename(tmp_path / "album" / "usb", tmp_path / "away")
    assert index.sync().withheld == 6
    album.write_album(tmp_path / "album" / "here", 2, first=40)
    for _ in range(2):
        report = index.sync()
        assert (report.removed, report.withheld) == (0, 6)
    os.rename(tmp_path / "away", tmp_path / "album" / "usb")
    assert (index.sync().withheld, index.status().photos) == (0, 12)
    shutil.rmtree(tmp_path / "album" / "usb")
    album.write_album(tmp_path / "album" / "here", 8, first=60)
    index.add(tmp_path / "album")
    assert index.sync().removed == 6  # never withheld: 6 of 20

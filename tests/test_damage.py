"""Each file of an index truncated, emptied, flipped or removed: found, never a crash, mended."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vsearch
from tests import album, safety
from vsearch import files
from vsearch.published import generations_of


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """A bit in each of a hundred places, so that no part of the file stays whole."""
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), max(1, len(data) // 100)):
        data[place] ^= 1
    path.write_bytes(data)


DAMAGES: list[Callable[[Path], None]] = [truncate, empty, flip, Path.unlink]
FILES = [
    "index.json",
    "encoder/encoder.json",
    "encoder/encoder.onnx",
    "catalog.sqlite",
    "CURRENT",
    "vectors/000001.h5",
    "thumbnails/000001.h5",
    "chroma/000001/generation.json",
    "chroma/000001/chroma.sqlite3",
    "chroma/000001/*/data_level0.bin",
    "chroma/000001/*/header.bin",
    "chroma/000001/*/length.bin",
    "chroma/000001/*/link_lists.bin",
    "chroma/000001/*/index_metadata.pickle",
]
# Each file in one way, the next file in the next; all of them, in minutes, with VSEARCH_TEST_LONG=1.
EVERY = [(name, damage) for name in FILES for damage in DAMAGES]
ROTATING = [(name, DAMAGES[n % len(DAMAGES)]) for n, name in enumerate(FILES)]
CASES = EVERY if os.environ.get("VSEARCH_TEST_LONG") else ROTATING


@pytest.mark.parametrize(("name", "damage"), CASES, ids=[f"{n}-{d.__name__}" for n, d in CASES])
def test_damage_is_found_and_mended(
    name: str, damage: Callable[[Path], None], index: vsearch.Index, photos: Path, toy_encoder: Path
) -> None:
    intact = safety.content(index.path)
    (path,) = index.path.glob(name)
    if damage is truncate and len(path.read_bytes()) < 2:
        pytest.skip("too short to cut")
    if not path.stat().st_size:
        pytest.skip("it is empty, and rightly so")
    damage(path)
    problems = list(vsearch.Index.check(index.path))
    assert problems, "not found"
    assert all(problem.remedy and "\n" not in problem.what for problem in problems)
    assert_no_wrong_answer(index.path, photos)
    if name.startswith("encoder"):
        with pytest.raises(vsearch.VsearchError):
            vsearch.Index.rebuild(index.path)
        shutil.copytree(toy_encoder, index.path / "encoder", dirs_exist_ok=True)
    vsearch.Index.rebuild(index.path)
    vsearch.Index.open(index.path).sync()
    safety.assert_sound(index.path)
    assert safety.content(index.path).keys() == intact.keys()


def assert_no_wrong_answer(path: Path, photos: Path) -> None:
    """Either an error on purpose, or the right answer."""
    photo = photos / "day0/photo000.png"
    try:
        with vsearch.Index.open(path) as opened:
            assert opened.query(photo, k=1)[0].path == str(photo)
    except vsearch.VsearchError as error:
        assert "\n" not in str(error)


def test_a_photo_named_by_itself_survives_its_segment(index: vsearch.Index, tmp_path: Path) -> None:
    alone = album.write(tmp_path / "other" / "alone.png", 70)
    index.add(alone)
    (index.path / "vectors" / "000002.h5").unlink()
    assert vsearch.Index.rebuild(index.path).lost == 1
    with vsearch.Index.open(index.path) as opened:
        assert opened.sync().updated == 1
        assert opened.query(alone, k=1)[0].kind == "identical"
    safety.assert_sound(index.path)


def test_check_does_not_send_to_check(index: vsearch.Index) -> None:
    (index.path / "vectors" / "000001.h5").unlink()
    problems = list(vsearch.Index.check(index.path, full=True))
    assert "vectors/000001.h5" in problems[0].what
    assert not [problem for problem in problems if "vsearch check" in problem.remedy]


def test_a_lost_encoder_names_its_mend(index: vsearch.Index) -> None:
    (index.path / "encoder" / "encoder.onnx").unlink()
    with pytest.raises(vsearch.IndexDamaged, match=r"it has no encoder\.onnx.*vsearch rebuild"):
        vsearch.Index.open(index.path)


@pytest.mark.parametrize("mend", [vsearch.Index.sync, lambda index: vsearch.Index.rebuild(index.path)])
def test_a_stray_file_is_found_and_swept(
    index: vsearch.Index, mend: Callable[[vsearch.Index], object]
) -> None:
    (index.path / "chroma/.writing-1-000009").mkdir()
    (index.path / "vectors/.writing-1-000009.h5").write_bytes(b"torn")
    (index.path / "vectors/000009.h5").write_bytes(b"whole, but never counted")
    assert len(list(vsearch.Index.check(index.path))) == 3
    mend(index)
    safety.assert_sound(index.path)


def test_a_catalog_made_anew_costs_no_segment_that_it_lacks(index: vsearch.Index) -> None:
    (index.path / "catalog.sqlite").unlink()
    (index.path / "chroma/.writing-1-000009").mkdir()
    (index.path / "vectors/000009.h5").write_bytes(b"what cannot be read now")
    vsearch.Index.rebuild(index.path)
    assert (index.path / "vectors/000009.h5").exists()
    assert safety.strays(index.path) == []


@pytest.mark.parametrize(
    "name",
    [
        "index.json",
        "encoder",
        "encoder/encoder.onnx",
        "catalog.sqlite",
        "CURRENT",
        "chroma/*/generation.json",
    ],
)
def test_what_this_user_may_not_read_is_not_called_damaged(
    index: vsearch.Index, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (locked,) = index.path.glob(name)
    refuse(monkeypatch, locked)
    said = rf"^cannot read {locked}: permission denied; make it readable for this user$"
    with pytest.raises(vsearch.StorageError, match=said):
        if name in ("CURRENT", "chroma/*/generation.json"):
            generations = generations_of(index._directory, index._settings)
            generations.open(generations.current())
        else:
            vsearch.Index.open(index.path).status()
    if name in ("index.json", "encoder", "encoder/encoder.onnx", "catalog.sqlite"):
        (problem,) = vsearch.Index.check(index.path)
        assert problem.remedy == "make it readable for this user"
        with pytest.raises(vsearch.StorageError, match=said):
            vsearch.Index.rebuild(index.path)


def refuse(monkeypatch: pytest.MonkeyPatch, locked: Path) -> None:
    """Let ``locked`` not be read; root may read everything, so that permissions cannot be used."""
    access, read_bytes, read_text, connect = os.access, Path.read_bytes, Path.read_text, sqlite3.connect

    def check(path: Path) -> None:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))

    def connected(path: str, **options: Any) -> sqlite3.Connection:
        if str(locked) in path:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, **options)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    monkeypatch.setattr(Path, "read_bytes", lambda path: (check(path), read_bytes(path))[1])
    monkeypatch.setattr(Path, "read_text", lambda path, *given: (check(path), read_text(path, *given))[1])
    monkeypatch.setattr(sqlite3, "connect", connected)


def test_an_index_without_its_head_is_not_taken_for_a_new_one(
    index: vsearch.Index, photos: Path, toy_encoder: Path
) -> None:
    (index.path / "index.json").unlink()
    with pytest.raises(vsearch.IndexDamaged, match="rebuild"):
        vsearch.Index.build(index.path, [photos], encoder=toy_encoder)


def test_index_json_and_catalog_both_gone(index: vsearch.Index) -> None:
    intact = safety.content(index.path)
    (index.path / "index.json").unlink()
    (index.path / "catalog.sqlite").unlink()
    report = vsearch.Index.rebuild(index.path)
    assert report.restored == ("index.json", "catalog.sqlite")
    assert report.unknown == ("exclude", "max_megapixels", "unwalked")
    assert safety.content(index.path).keys() == intact.keys()
    safety.assert_sound(index.path)


def test_a_lost_thumbnail_costs_no_vector_where_the_photo_is_not_there(
    index: vsearch.Index, photos: Path
) -> None:
    (index.path / "thumbnails/000001.h5").unlink()
    (photos / "day0/photo000.png").rename(photos.parent / "unmounted.png")
    vsearch.Index.rebuild(index.path)
    left = list(vsearch.Index.open(index.path).photos())
    assert [(photo.file.path, photo.thumbnail) for photo in left] == [("day0/photo000.png", None)]
    found = vsearch.Index.open(index.path).query(photos.parent / "unmounted.png", k=1)
    assert found[0].kind == "identical"
    (photos.parent / "unmounted.png").rename(photos / "day0/photo000.png")
    safety.assert_sound(index.path)
    with vsearch.Index.open(index.path) as reader:
        kept = left[0].vector
        path = str(photos / "day0/photo000.png")
        assert ("update", path) in {(planned.change, planned.path) for planned in reader.plan()}
        assert reader.sync().updated == 1
        assert reader.thumbnail(left[0].id)
        mended = reader.photo(left[0].id)
        assert mended is not None and mended.vector != kept
        assert list(reader.plan()) == []


def test_a_metric_survives_without_index_json_and_catalog(photos: Path, toy_encoder: Path) -> None:
    path = photos.parent / "euclidean"
    vsearch.Index.create(path, encoder=toy_encoder, metric="euclidean").add(photos)
    (path / "index.json").unlink()
    (path / "catalog.sqlite").unlink()
    done = safety.run("rebuild", "--index", path)
    assert "nothing is excluded any more" in done.stderr
    assert vsearch.Index.open(path).status().metric == "euclidean"


def test_a_damaged_generation_does_not_keep_build_index_from_mending(
    index: vsearch.Index, photos: Path, toy_encoder: Path
) -> None:
    next(index.path.glob("chroma/*/generation.json")).write_bytes(b"torn")
    album.write(photos / "new.png", 77)
    done = safety.run("build-index", photos, "--index", index.path)
    assert done.returncode == 0, done.stderr
    safety.assert_sound(index.path)


def test_a_segment_that_cannot_be_read_is_not_removed(
    index: vsearch.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = index.path / "vectors/000001.h5"

    def refusing(path: str) -> str:
        if path == str(segment):
            raise vsearch.PhotoError(path, "permission denied", "")
        return sha256(path)

    sha256 = files.sha256
    monkeypatch.setattr(files, "sha256", refusing)
    told = [problem for problem in vsearch.Index.check(index.path) if str(segment) in problem.what]
    assert told[0].remedy == "make it readable"
    with pytest.raises(vsearch.StorageError, match="make it readable"):
        vsearch.Index.rebuild(index.path)
    monkeypatch.undo()
    safety.assert_sound(index.path)


def test_a_folder_around_an_index_is_not_taken_for_one(
    tmp_path: Path, photos: Path, toy_encoder: Path
) -> None:
    vsearch.Index.build(photos / ".vsearch", [photos], encoder=toy_encoder).add(photos)
    with pytest.raises(vsearch.IndexNotFound, match="did you mean"):
        vsearch.Index.open(photos)
    with pytest.raises(vsearch.IndexNotFound):
        vsearch.Index.rebuild(photos)
    assert not (photos / "index.json").exists()


def test_a_path_with_semicolons_does_not_hide_why(toy_encoder: Path, photos: Path, tmp_path: Path) -> None:
    with vsearch.Index.create(tmp_path / "semi; colon", encoder=toy_encoder) as index:
        index.add(photos)
    (index.path / "encoder/encoder.onnx").unlink()
    with pytest.raises(vsearch.IndexDamaged, match=r"is damaged \(.*semi; colon.*encoder\.onnx"):
        vsearch.Index.open(index.path).query(photos / "day0/photo000.png")


def test_an_answer_of_the_child_that_is_none_is_a_finding(
    index: vsearch.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = subprocess.CompletedProcess([], 0, b'"2 photos are mis', b"")
    monkeypatch.setattr("vsearch.inspection.subprocess.run", lambda *args, **options: torn)
    assert any("2 photos are mis" in problem.what for problem in vsearch.Index.check(index.path, full=True))

"""The index as a Python program meets it: real files, real Chroma, the toy encoder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsearch
from tests import album, safety, toy
from tests.conftest import ROOT
from vsearch import images


def names(matches: list[vsearch.Match]) -> list[str]:
    return [Path(match.path).name for match in matches]


def test_each_photo_finds_itself_first_and_identical(index: vsearch.Index, photos: Path) -> None:
    for path in sorted(photos.rglob("*.*")):
        first = index.query(path, k=3)[0]
        assert (first.path, first.kind, first.rank) == (str(path), "identical", 1)
        assert first.score == pytest.approx(1.0, abs=1e-6)


def test_a_reencoded_copy_is_a_variant(index: vsearch.Index, tmp_path: Path) -> None:
    copy = album.write(tmp_path / "copy.jpg", 4, quality=70)
    first = index.query(copy, k=1)[0]
    assert (Path(first.path).name, first.kind) == ("photo004.png", "variant")
    assert 0.99 < first.score < 1


def test_scores_fall_and_ranks_rise(index: vsearch.Index) -> None:
    matches = index.query(album.picture(99), k=12)
    assert [match.rank for match in matches] == list(range(1, 13))
    scores = [match.score for match in matches]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_the_cosines_of_the_vectors(index: vsearch.Index, photos: Path, toy_encoder: Path) -> None:
    from vsearch.encoders import Encoder, resolve

    encoder = Encoder(resolve(toy_encoder))
    paths = sorted(photos.rglob("*.*"))
    stack = np.stack([images.read_pixels(path, toy.SIZE, "stretch") for path in paths])
    vectors = encoder.encode(stack)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = dict(zip(map(str, paths), vectors @ vectors[0], strict=True))
    for match in index.query(paths[0], k=12):
        assert match.score == pytest.approx(expected[match.path], abs=1e-5)


@pytest.mark.parametrize("form", ["path", "bytes", "picture", "array", "floats"])
def test_a_query_may_take_any_form(index: vsearch.Index, photos: Path, form: str) -> None:
    path = photos / "day0" / "photo004.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    array = np.asarray(picture)
    forms = {
        "path": path,
        "bytes": path.read_bytes(),
        "picture": picture,
        "array": array,
        "floats": array.astype(np.float32) / 255,
    }
    assert names(index.query(forms[form], k=1)) == ["photo004.png"]


def test_unchanged_photos_are_not_read_again(index: vsearch.Index, photos: Path) -> None:
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(photos)):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # there is no way to take it off again
    report = index.add(photos)
    (photos / "day0/photo000.png").touch()
    again = index.add(photos)
    watching = False
    assert (report.unchanged, report.added, report.skipped) == (12, 0, ())
    assert (again.unchanged, again.updated) == (12, 0)
    assert opened == [str(photos / "day0/photo000.png")]


def test_new_photos_are_added_without_rebuilding(index: vsearch.Index, photos: Path) -> None:
    before = {f.name: f.stat().st_mtime_ns for f in (index.path / "vectors").iterdir()}
    new = album.write(photos / "new.png", 50)
    assert index.add(photos).added == 1
    assert names(index.query(new, k=1)) == ["new.png"]
    after = {f.name: f.stat().st_mtime_ns for f in (index.path / "vectors").iterdir()}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_a_single_photo_can_be_added_to_its_folders_root(index: vsearch.Index, photos: Path) -> None:
    new = album.write(photos / "day0" / "new.png", 50)
    assert index.add(new).added == 1
    assert len(index.status().roots) == 1


def test_an_edited_photo_gets_a_new_vector_under_its_id(index: vsearch.Index, photos: Path) -> None:
    path = photos / "day0" / "photo004.png"
    old = index.query(path, k=1)[0]
    album.write(path, 77)
    assert index.add(photos).updated == 1
    new = index.query(path, k=1)[0]
    assert (new.id, new.path, new.kind) == (old.id, str(path), "identical")
    assert index.query(album.picture(77), k=1)[0].id == old.id


def test_a_moved_photo_keeps_its_id_and_costs_nothing(index: vsearch.Index, photos: Path) -> None:
    path = photos / "day0" / "photo004.png"
    old = index.query(path, k=1)[0]
    moved = path.rename(photos / "elsewhere.png")
    report = index.add(photos)
    assert (report.moved, report.added, report.updated) == (1, 0, 0)
    new = index.query(moved, k=1)[0]
    assert (new.id, new.path, new.kind) == (old.id, str(moved), "identical")
    assert len(list((index.path / "vectors").iterdir())) == 1


def test_copies_share_one_vector_and_are_both_identical(index: vsearch.Index, photos: Path) -> None:
    original = photos / "day0" / "photo004.png"
    shutil.copy(original, photos / "copy.png")
    assert index.add(photos).added == 1
    matches = index.query(original, k=2)
    assert {Path(m.path).name for m in matches} == {"photo004.png", "copy.png"}
    assert [m.kind for m in matches] == ["identical", "identical"]
    assert len(list((index.path / "vectors").iterdir())) == 1


def test_copies_in_one_run_are_encoded_once(tmp_path: Path, toy_encoder: Path) -> None:
    original = album.write(tmp_path / "photos" / "a.png", 1)
    for n in range(5):
        shutil.copy(original, tmp_path / "photos" / f"copy{n}.png")
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    assert index.add(tmp_path / "photos").added == 6
    assert [m.kind for m in index.query(original, k=9)] == ["identical"] * 6


def test_removed_photos_are_gone_and_their_files_stay(index: vsearch.Index, photos: Path) -> None:
    assert index.remove(photos / "day0").removed == 6
    assert index.status().photos == 6
    matches = index.query(album.picture(4), k=12)
    assert len(matches) == 6 and all("day1" in match.path for match in matches)
    assert len(list(photos.rglob("*.png"))) == 6
    with pytest.raises(vsearch.UsageError, match="no photo there"):
        index.remove(photos / "day0")


def test_a_root_that_is_taken_out_stays_out(index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    other = album.write(tmp_path / "other/photo.png", 90).parent
    index.add(other)
    assert index.remove(photos).removed == 12
    assert index.status().roots == [str(other)]
    assert (index.sync().added, index.status().photos) == (0, 1)
    with pytest.raises(vsearch.UsageError, match="no photo there"):
        index.remove(photos)
    index.remove(other / "photo.png")
    shutil.rmtree(other)
    assert index.remove(other).removed == 0  # no photo is left of it
    assert index.status().roots == []
    assert index.add(photos).added == 12
    assert index.status().roots == [str(photos)]
    safety.assert_sound(index.path)


def test_a_root_in_a_root_goes_with_that_alone(index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    index.add(tmp_path)
    assert index.remove(photos).removed == 12
    assert index.sync().added == 12  # below a folder that is synced
    assert index.remove(tmp_path).removed == 12
    assert (index.sync().added, index.status().roots) == (0, [])


def test_a_bad_photo_is_one_skip_and_is_remembered(index: vsearch.Index, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture at all")
    (photos / "film.psd").write_bytes(b"8BPS")
    report = index.add(photos)
    assert {Path(s.path).name for s in report.skipped} == {"bad.jpg", "film.psd"}
    assert all(s.reason and s.remedy for s in report.skipped)
    assert index.status().failed == 2
    assert len(index.add(photos).skipped) == 2
    album.write(photos / "bad.jpg", 60)
    assert index.add(photos).updated == 1
    assert [Path(s.path).name for s in index.failed()] == ["film.psd"]


def test_a_photo_that_turns_bad_is_no_longer_found(index: vsearch.Index, photos: Path) -> None:
    path = photos / "day0" / "photo004.png"
    path.write_bytes(b"torn")
    assert len(index.add(photos).skipped) == 1
    assert str(path) not in [m.path for m in index.query(album.picture(4), k=12)]
    assert (index.status().photos, index.status().failed) == (11, 1)


def test_a_folder_inside_a_root_is_no_new_root(index: vsearch.Index, photos: Path) -> None:
    assert index.add(photos / "day1").unchanged == 6
    assert index.status().roots == [str(photos)]


def test_a_photo_fetched_before_is_asked_for_as_it_is_now(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is another photo's by now."""
    monkeypatch.setattr("vsearch.compaction._ROWS", 4)
    held = list(index.photos())
    index.remove(photos / "day0")
    assert index.sync().added == 6
    vsearch.Index.rebuild(index.path)
    album.write(photos / "day0" / "photo001.jpg", 77)
    index.sync()
    now = {photo.file.path: photo for photo in index.photos()}
    assert [p for p in held if (at := now[p.file.path]).vector != p.vector and at.sha256 == p.sha256]
    for photo in held:
        if photo.sha256 == now[photo.file.path].sha256:
            assert index.query(photo, k=5) == index.query(now[photo.file.path], k=5)
        else:
            with pytest.raises(vsearch.PhotoError, match="no more, or another in its place"):
                index.query(photo)


def test_a_root_around_a_root_doubles_nothing(index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    album.write(tmp_path / "outside.png", 70)
    report = index.add(tmp_path)
    assert (report.added, report.unchanged) == (1, 12)
    assert index.status().photos == 13


def test_excluded_photos_are_left_out(photos: Path, tmp_path: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, exclude=["day1/*"])
    assert index.add(photos).added == 6
    assert index.add(photos).unchanged == 6


def test_photos_that_are_named_twice_count_once(photos: Path, tmp_path: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    album.write(photos / ".hidden" / "new.png", 40)
    album.write(photos / "41.png", 41).rename(photos / "odd.suffix")
    shown: list[vsearch.Progress] = []
    day1, odd = photos / "day1", photos / "odd.suffix"
    named = (day1, photos, day1 / "photo001.jpg", photos, photos / ".hidden", odd)
    report = index.add(*named, on_progress=shown.append)
    assert report.added == index.status().photos == 12 + 2  # what the walk of photos leaves out was named too
    assert (shown[-1].done, shown[-1].total) == (14, 14)


def test_an_index_moves_with_its_photos(photos: Path, tmp_path: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(photos / ".vsearch", encoder=toy_encoder)
    index.add(photos)
    index.close()
    moved = photos.rename(tmp_path / "moved")
    index = vsearch.Index.open(moved / ".vsearch")
    match = index.query(moved / "day0" / "photo004.png", k=1)[0]
    assert (match.path, match.kind) == (str(moved / "day0" / "photo004.png"), "identical")
    assert index.add(moved).unchanged == 12


def test_status_counts_and_measures(index: vsearch.Index) -> None:
    status = index.status().as_json()
    assert (status["photos"], status["failed"], status["pending"], status["generation"]) == (12, 0, 0, 1)
    assert status["encoder"]["name"] == "toy"
    assert status["encoder"]["dimension"] == toy.DIMENSION
    assert status["bytes"]["vectors"] > 12 * toy.DIMENSION * 4
    assert status["bytes"]["pixels"] == 0
    assert status["chroma_url"] is None
    json.dumps(status)


def test_pixels_are_kept_when_asked(photos: Path, tmp_path: Path, toy_encoder: Path) -> None:
    from vsearch.segments import Segment

    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, keep_pixels=True)
    index.add(photos)
    with Segment(index.path / "pixels" / "000001.h5") as segment:
        assert segment.read().shape == (12, toy.SIZE, toy.SIZE, 3)
        stored, ids = segment.read(), list(segment.ids())
    photo = index.photo(index.query(photos / "day0" / "photo004.png", k=1)[0].id)
    assert photo is not None
    expected = images.read_pixels(index.path_of(photo), toy.SIZE, "stretch")
    np.testing.assert_array_equal(stored[ids.index(photo.id)], expected)


def test_a_thumbnail_is_a_small_jpeg(index: vsearch.Index, photos: Path) -> None:
    import io

    match = index.query(photos / "day0" / "photo004.png", k=1)[0]
    thumbnail = index.thumbnail(match.id)
    assert thumbnail is not None
    assert Image.open(io.BytesIO(thumbnail)).size == (96, 64)
    assert index.thumbnail("999") is None
    assert index.thumbnail("../../etc/passwd") is None


def test_capture_time_and_camera_reach_catalog_and_collection(tmp_path: Path, toy_encoder: Path) -> None:
    from vsearch.collection import generations_at

    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R5"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:17 18:30:00"
    album.write(tmp_path / "photos" / "a.jpg", 1, exif=exif)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    index.add(tmp_path / "photos")
    photo = index.photo("1")
    assert photo is not None and photo.facts is not None
    assert (photo.facts.camera, photo.facts.taken_at) == ("Canon EOS R5", "2024-05-17T18:30:00")
    with generations_at(index.path / "chroma", index.path / "CURRENT").open(1) as collection:
        for value in (
            {"camera": "Canon EOS R5"},
            {"taken_at": "2024-05-17T18:30:00"},
            {"width": 96},
            {"height": 64},
            {"path": "a.jpg"},
        ):
            ((near,),) = collection.near_each(np.ones((1, toy.DIMENSION), np.float32), 1, where=value)
            assert near.ids.tolist() == [1], value


def test_warnings_may_be_errors(photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, vsearch\n"
        "index = vsearch.Index.create(sys.argv[1], encoder=sys.argv[2])\n"
        "print(index.add(sys.argv[3]).added, index.status().generation)\n"
    )
    line = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "i"), str(toy_encoder), str(photos)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "12 1\n"), done.stderr


def test_scores_are_those_of_what_comes_behind(toy_encoder: Path, tmp_path: Path) -> None:
    """Whatever comes first: photos that were asked with, and what their neighbours lift."""
    files = album.write_album(tmp_path / "photos", 60)
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder) as index:
        index.add(tmp_path / "photos")
        for plus, other, less in zip(files, files[7:], files[31:], strict=False):
            found = index.query(images=[plus, other], minus=[less], k=None)
            behind = np.maximum.accumulate([match.cosine for match in reversed(found)])[::-1]
            assert [match.score for match in found] == pytest.approx(behind.tolist(), abs=1e-6)

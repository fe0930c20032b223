"""The index when something is wrong, changes underneath, or makes no sense."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vsearch
from tests import album, toy
from vsearch import durable
from vsearch.encoders import NOT_FINITE, Encoder


def test_an_empty_folder_makes_no_index(tmp_path: Path, toy_encoder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(vsearch.UsageError, match="no photos in"):
        vsearch.Index.build(tmp_path / "i.vsearch", [tmp_path / "empty"], encoder=toy_encoder)
    assert not (tmp_path / "i.vsearch").exists()


def test_globs_that_leave_nothing_are_not_remembered(index: vsearch.Index, photos: Path) -> None:
    with pytest.raises(vsearch.UsageError, match="no photos in"):
        vsearch.Index.build(index.path, [photos], exclude=["*"])
    assert index.add(photos).unchanged == 12


def test_a_full_disk_while_publishing_says_what_publishes_the_rest(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command would find nothing left to remove."""

    def full(*_: object, **__: object) -> int:
        raise durable.storage_error("x", OSError(errno.ENOSPC, ""))

    with monkeypatch.context() as patch:
        patch.setattr("vsearch.collection.Generations.publish", full)
        with pytest.raises(
            vsearch.StorageError, match=r"full; free some space; .*`vsearch sync` pub"
        ) as told:
            index.remove(photos / "day0" / "photo000.png")
    assert "same command" not in str(told.value)
    assert (index.status().photos, index.status().pending) == (11, 1)
    assert index.sync().added == 1


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan, "all"])
def test_a_bound_that_skips_everything_is_refused(
    index: vsearch.Index, photos: Path, tmp_path: Path, toy_encoder: Path, bound: float
) -> None:
    with pytest.raises(vsearch.UsageError, match="max_megapixels must be a number above 0"):
        vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, max_megapixels=bound)
    with pytest.raises(vsearch.UsageError, match="max_megapixels must be a number above 0"):
        vsearch.Index.build(index.path, [photos], max_megapixels=bound)
    assert not (tmp_path / "i.vsearch").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("layout", "NCHW", "promises input NCHW"),
        ("input_size", 20, "promises input NHWC of"),
        ("dimension", 13, "promises dimension 13"),
        ("name", 5, "name must be a text"),
    ],
)
def test_an_encoder_that_does_not_work_makes_no_index(
    index: vsearch.Index, tmp_path: Path, toy_encoder: Path, field: str, value: object, said: str
) -> None:
    broken = shutil.copytree(toy_encoder, tmp_path / "broken")
    specification = json.loads((broken / "encoder.json").read_text())
    (broken / "encoder.json").write_text(json.dumps({**specification, field: value}))
    with pytest.raises(vsearch.EncoderError, match=said):
        vsearch.Index.create(tmp_path / "i.vsearch", encoder=broken)
    assert not (tmp_path / "i.vsearch").exists()
    with pytest.raises(vsearch.EncoderError, match=said):
        index.reencode(broken)
    assert index.status().photos == 12


def test_an_index_without_photos_says_so(tmp_path: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    with pytest.raises(vsearch.UsageError, match="no photos yet"):
        index.query(album.picture(1))


@pytest.mark.parametrize("k", [0, -1, 1.5, "3"])
def test_k_must_be_positive(index: vsearch.Index, k: Any) -> None:
    with pytest.raises(vsearch.UsageError, match="k must be at least 1, and a whole number"):
        index.query(album.picture(1), k=k)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\0b", "NUL"),
        ("~a\0b", "NUL"),
        ("\ud800", "no path of this system has"),
        ("", "a path is empty"),
        (b"bytes", "named by its path"),
    ],
)
def test_what_no_file_can_be_called_is_refused(index: vsearch.Index, path: Any, said: str) -> None:
    for asked in (vsearch.Index.open, vsearch.Index.create, index.add, index.remove):
        with pytest.raises(vsearch.UsageError, match=said):
            asked(path)


def test_an_unreadable_query_says_why(index: vsearch.Index, tmp_path: Path) -> None:
    with pytest.raises(vsearch.PhotoError, match="no such file"):
        index.query(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(vsearch.PhotoError, match="not an image"):
        index.query(tmp_path / "text.jpg")


def test_another_format_version_is_refused(index: vsearch.Index) -> None:
    settings = json.loads((index.path / "index.json").read_text())
    (index.path / "index.json").write_text(json.dumps(settings | {"format_version": 99}))
    with pytest.raises(vsearch.VersionMismatch, match="index format 99"):
        vsearch.Index.open(index.path)


def test_a_replaced_encoder_is_refused(index: vsearch.Index, tmp_path: Path) -> None:
    other = toy.write_toy_encoder(tmp_path / "other", name="other", scale=2.0)
    shutil.copy(other / "encoder.onnx", index.path / "encoder" / "encoder.onnx")
    with pytest.raises(vsearch.EncoderMismatch, match=r"index\.json expects"):
        vsearch.Index.open(index.path)
    with pytest.raises(vsearch.EncoderMismatch, match=r"expects|built with"):
        vsearch.Index.build(index.path, [tmp_path], encoder=other)


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path, toy_encoder: Path) -> None:
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff" / "letter.txt").write_text("dear")
    with pytest.raises(vsearch.IndexNotFound, match="is not an index"):
        vsearch.Index.open(tmp_path / "stuff")
    with pytest.raises(vsearch.IndexExists, match=r"letter\.txt"):
        vsearch.Index.create(tmp_path / "stuff", encoder=toy_encoder)


def test_a_second_writer_is_told_who_holds_the_index(index: vsearch.Index, photos: Path) -> None:
    with (
        index._directory.writing(),
        pytest.raises(vsearch.IndexBusy, match=rf"process {os.getpid()} on .*since"),
    ):
        vsearch.Index.open(index.path).add(photos)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_names_the_way_out(tmp_path: Path, toy_encoder: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(vsearch.StorageError, match="--index"):
        vsearch.Index.create(folder / ".vsearch", encoder=toy_encoder)


def test_a_text_is_no_list_of_globs(tmp_path: Path, toy_encoder: Path) -> None:
    with pytest.raises(vsearch.UsageError, match="exclude is a list of globs"):
        vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, exclude="raw*")
    assert not (tmp_path / "i.vsearch").exists()


def test_an_open_index_follows_a_catalog_that_was_made_anew(index: vsearch.Index, photos: Path) -> None:
    assert index.status().photos == 12
    (index.path / "catalog.sqlite").unlink()
    vsearch.Index.rebuild(index.path)
    with vsearch.Index.open(index.path) as other:
        other.add(album.write(photos / "new.png", 77))
    assert index.status().photos == 13
    assert index.query(photos / "new.png", k=1)[0].kind == "identical"


def test_one_index_may_be_asked_by_threads_while_it_changes(index: vsearch.Index, photos: Path) -> None:
    stop = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                assert index.query(photos / "day0" / "photo000.png", k=3)[0].kind == "identical"
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(6):
        with vsearch.Index.open(index.path) as other:
            other.add(album.write(photos / f"new{n}.png", 80 + n))
    index.add(album.write(photos / "last.png", 99))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


@pytest.mark.parametrize("picture", [5, ["a.jpg"], object()])
def test_what_is_no_picture_is_refused(index: vsearch.Index, picture: Any) -> None:
    with pytest.raises(vsearch.UsageError, match="a picture is a path, bytes"):
        index.query(picture)


def test_recall_at_none_means_nothing(index: vsearch.Index) -> None:
    with pytest.raises(vsearch.UsageError, match="k must be at least 1"):
        index.evaluate(k=0)


def test_one_picture_is_no_list_of_pictures(index: vsearch.Index, photos: Path) -> None:
    photo = photos / "day0/photo000.png"
    for given in (photo, str(photo), photo.read_bytes(), next(index.photos())):
        for name in ("minus", "images"):
            with pytest.raises(vsearch.UsageError, match=rf"{name} is a list of pictures"):
                index.query(photo, **{name: given})


@pytest.mark.parametrize("options", [{"min_score": "a"}, {"min_match": "a"}, {"min_score": float("nan")}])
def test_bounds_are_numbers(index: vsearch.Index, photos: Path, options: dict[str, Any]) -> None:
    with pytest.raises(vsearch.UsageError, match="lies between"):
        index.query(photos / "day0/photo000.png", **options)


def test_what_is_no_path_is_refused(index: vsearch.Index, photos: Path) -> None:
    for names in ((3,), (None,), ()):
        with pytest.raises(vsearch.UsageError, match=r"path; received|name photos"):
            index.add(*names)
    with pytest.raises(vsearch.IndexNotFound, match="make one with"):
        vsearch.Index.open(photos / "day0/photo000.png")
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(vsearch.UsageError, match=r"dangling\.jpg: no such file"):
        index.add(photos / "dangling.jpg")


def test_a_photo_that_is_left_out_is_not_added_for_a_day(index: vsearch.Index, photos: Path) -> None:
    new = album.write(photos / "raw" / "new.png", 81)
    index = vsearch.Index.build(index.path, [photos], exclude=["raw/*"])
    with pytest.raises(vsearch.UsageError, match=r"left out by the index's --exclude \(raw/\*\)"):
        index.add(new)
    elsewhere = album.write(photos.parent / "raw" / "new.png", 82)
    assert index.add(elsewhere).added == 1  # no walk comes there, so nothing is left out
    assert (index.sync().removed, index.sync().withheld) == (0, 0)


def test_a_table_of_labels_that_names_no_photo_says_so(index: vsearch.Index, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("elsewhere/a.jpg,cat\nelsewhere/b.jpg,dog\n")
    with pytest.raises(vsearch.UsageError, match=r"names none of 12 photos"):
        index.evaluate(str(table))


def test_a_photo_whose_vector_is_not_finite_is_one_that_failed(
    index: vsearch.Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save(photos / "black.png")
    encode = Encoder.encode

    def dividing_by_zero(self: Encoder, pixels: Any) -> Any:
        vectors = encode(self, pixels)
        vectors[pixels.reshape(len(pixels), -1).max(axis=1) == 0] = float("nan")
        return vectors

    monkeypatch.setattr(Encoder, "encode", dividing_by_zero)
    album.write(photos / "good.png", 83)
    report = index.sync()
    assert report.added == 1
    assert [(Path(s.path).name, s.reason) for s in report.skipped] == [("black.png", NOT_FINITE)]
    assert index.status().pending == 0
    assert next(index.failed()).path == str(photos / "black.png")
    monkeypatch.setattr(Encoder, "encode", lambda self, pixels: encode(self, pixels) * float("nan"))
    with pytest.raises(vsearch.EncoderError, match="not finite"):
        vsearch.Index.create(photos.parent / "other", encoder=index.path / "encoder")


def test_building_on_with_another_exclude_takes_out_what_it_leaves_out(
    index: vsearch.Index, photos: Path
) -> None:
    before = index.status().photos
    out = len(list((photos / "day0").iterdir()))
    index = vsearch.Index.build(index.path, [photos], exclude=["day0"])
    assert index.add(photos).removed == out
    assert index.status().photos == before - out
    assert index.add(photos).removed == 0
    index = vsearch.Index.build(index.path, [photos], exclude=["day1"])
    report = index.add(photos)
    assert (report.added, report.removed) == (out, before - out)
    with pytest.raises(vsearch.UsageError, match="that --exclude \\* does not leave out"):
        vsearch.Index.build(index.path, [photos], exclude=["*"])

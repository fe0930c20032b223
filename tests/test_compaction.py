"""Segments that are rewritten: every photo keeps its own vector, thumbnail and pixels."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsearch
from tests import album, safety, toy
from vsearch import compaction
from vsearch.segments import Segment


def assert_own_thumbnails(index: vsearch.Index) -> int:
    """Each thumbnail shows its photo; how many photos have one."""
    found = 0
    for photo in index.photos():
        thumbnail = index.thumbnail(str(photo.id))
        if thumbnail is not None:
            shown = np.asarray(Image.open(io.BytesIO(thumbnail)), np.int16)
            own = np.asarray(Image.open(index.path_of(photo)).convert("RGB"), np.int16)
            assert np.abs(shown - own).mean() < 20, index.path_of(photo)
            found += 1
    return found


def test_photos_without_thumbnails_do_not_shift_those_of_others(tmp_path: Path, toy_encoder: Path) -> None:
    some = album.write_album(tmp_path / "a", 6)
    others = album.write_album(tmp_path / "b", 24, first=100)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    index.add(tmp_path / "a")
    index.add(tmp_path / "b")
    os.rename(tmp_path / "a", tmp_path / "away")
    (index.path / "thumbnails" / "000001.h5").unlink()
    vsearch.Index.rebuild(index.path)
    index.remove(*some[:4], *others[:8])
    index.remove(*others[-2:])
    assert assert_own_thumbnails(index) == 14
    assert index.status().photos == 16
    os.rename(tmp_path / "away", tmp_path / "a")
    safety.assert_sound(index.path)
    (index.path / "catalog.sqlite").unlink()
    vsearch.Index.rebuild(index.path)
    with vsearch.Index.open(index.path) as opened:
        opened.sync()  # removed ones came back from dead rows, and what had no thumbnail is read again
        assert assert_own_thumbnails(opened) == 30


def test_pixels_kept_from_the_middle_on_stay_beside_their_photos(tmp_path: Path, toy_encoder: Path) -> None:
    some = album.write_album(tmp_path / "a", 4)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    index.add(tmp_path / "a")
    others = album.write_album(tmp_path / "a", 20, first=100)
    index = vsearch.Index.build(index.path, [tmp_path / "a"], keep_pixels=True)
    index.add(tmp_path / "a")
    for gone in (*some[:2], *others[:7]):
        gone.unlink()
    index.sync()
    for gone in others[-2:]:
        gone.unlink()
    index.sync()
    index.reencode(toy.write_toy_encoder(tmp_path / "other", name="other", scale=2.0))  # from pixels
    safety.assert_sound(index.path)
    for photo in list(index.photos()):
        picture = Image.open(index.path_of(photo))  # encoded anew, not recognised by its bytes
        assert index.query(picture, k=1)[0].path == index.path_of(photo)


def test_new_segments_hold_no_more_rows_than_they_may(
    tmp_path: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_ROWS", 4)
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        gone: list[Path] = []
        for n in range(3):
            photos = album.write_album(tmp_path / str(n), 4, first=4 * n)
            index.add(tmp_path / str(n))
            gone += photos[:2]
        index.remove(*gone)
        assert assert_own_thumbnails(index) == 6
    rows = []
    for path in sorted((index.path / "vectors").iterdir()):
        with Segment(path) as segment:
            rows.append(segment.rows)
    assert rows == [4, 2]
    safety.assert_sound(index.path)

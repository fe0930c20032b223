"""Accuracy and robustness on real photos, through the product: skipped where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vsearch

PHOTOS = os.environ.get("VSEARCH_TEST_PHOTOS")
needs_photos = pytest.mark.skipif(not PHOTOS, reason="VSEARCH_TEST_PHOTOS names no folder of real photos")


def precision_at_5(index: vsearch.Index) -> float:
    """Leave-one-out P@5: of the five best matches other than the photo itself, how many are of its folder."""
    right = total = 0
    for photo in list(index.photos()):
        path = index.path_of(photo)
        others = [Path(m.path) for m in index.query(path, k=6) if m.path != path][:5]
        right += sum(other.parent == Path(path).parent for other in others)
        total += 5
    return right / total


@needs_photos
@pytest.mark.parametrize(
    ("folder", "encoder", "least"),
    [
        ("landmarks", "photo", 0.94),
        ("pets3", "photo", 0.93),
        ("landmarks", "photo-small", 0.93),
        ("pets3", "photo-small", 0.93),
    ],
)
def test_the_right_photos_come_first(tmp_path: Path, folder: str, encoder: str, least: float) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=encoder)
    index.add(Path(str(PHOTOS), folder))
    assert precision_at_5(index) >= least


@needs_photos
def test_every_odd_file_is_indexed_or_listed(tmp_path: Path) -> None:
    odd = Path(str(PHOTOS), "odd")
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder="photo-small")
    report = index.add(odd)
    indexed = {Path(index.path_of(photo)).name for photo in index.photos()}
    skipped = {Path(s.path).name for s in report.skipped}
    assert indexed | skipped == {path.name for path in odd.iterdir()}
    assert not indexed & skipped
    assert {"hopper.webp", "tiff_16bit_RGB.tiff", "pil_sample_cmyk.jpg", "frozenpond.mpo"} <= indexed
    assert {"empty.jpg", "text.jpg", "truncated_jpeg.jpg", "decompression_bomb.gif"} <= skipped


@needs_photos
def test_a_scene_is_found_in_every_orientation(tmp_path: Path) -> None:
    odd = Path(str(PHOTOS), "odd")
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder="photo")
    index.add(odd)
    found = {Path(m.path).name for m in index.query(odd / "exif_landscape_6.jpg", k=9)}
    assert found == {f"exif_landscape_{n}.jpg" for n in range(9)}

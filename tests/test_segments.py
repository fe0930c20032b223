"""Segments: what goes in comes out, and damage is never read as data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.errors import IndexDamaged, StorageError
from vsearch.segments import Segment, SegmentWriter


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write(path: Path, vectors: np.ndarray) -> Path:
    writer = SegmentWriter(path, "vectors", "f" * 64)
    for start in range(0, len(vectors), 7):
        batch = vectors[start : start + 7]
        numbers = range(start, start + len(batch))
        writer.append(batch, list(numbers), [digest(n) for n in numbers], [f'{{"n":{n}}}' for n in numbers])
    writer.commit()
    return path


@pytest.mark.parametrize("dimension", [1, 256, 51_200])
def test_vectors_come_back_to_the_bit(tmp_path: Path, dimension: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((20, dimension), dtype=np.float32)
    with Segment(write(tmp_path / "000001.h5", vectors)) as segment:
        assert segment.rows == 20
        assert segment.row_shape() == (dimension,)
        assert segment.fingerprint == "f" * 64
        np.testing.assert_array_equal(segment.read(), vectors)
        np.testing.assert_array_equal(segment.ids(), np.arange(20))
        assert segment.digests() == [digest(n) for n in range(20)]
        assert segment.facts() == [f'{{"n":{n}}}' for n in range(20)]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.integers(0, 29), max_size=40), dimension=st.sampled_from([5, 20_000, 70_000]))
def test_chosen_rows_come_back_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], dimension: int
) -> None:
    """Also those that are read in several slices: 256 KiB are 3 rows, or less than one."""
    vectors = np.random.default_rng(1).standard_normal((30, dimension), dtype=np.float32)
    path = tmp_path_factory.mktemp("segment") / "000001.h5"
    with Segment(write(path, vectors)) as segment:
        np.testing.assert_array_equal(segment.read_rows(rows), vectors[rows])


def test_thumbnails_of_any_length_come_back(tmp_path: Path) -> None:
    thumbnails = [b"", b"\xff\xd8" * 40_000, b"x", b"\0\0"]
    writer = SegmentWriter(tmp_path / "000001.h5", "thumbnails")
    writer.append(thumbnails[:2], [1, 2], [digest(1), digest(2)], ["{}", "{}"])
    writer.append(thumbnails[2:], [3, 4], [digest(3), digest(4)], ["{}", "{}"])
    writer.commit()
    with Segment(tmp_path / "000001.h5") as segment:
        assert [segment.thumbnail(row) for row in range(4)] == thumbnails


def test_a_segment_of_one_photo_is_small(tmp_path: Path) -> None:
    path = write(tmp_path / "000001.h5", np.ones((1, 256), np.float32))
    assert path.stat().st_size < 32 * 1024


def test_nothing_has_the_final_name_before_commit(tmp_path: Path) -> None:
    path = tmp_path / "000001.h5"
    writer = SegmentWriter(path, "pixels")
    writer.append(np.zeros((1, 4, 4, 3), np.uint8), [1], [digest(1)], ["{}"])
    assert not path.exists()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_truncated_segment_is_an_error(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "000001.h5", np.ones((20, 64), np.float32))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IndexDamaged, match=r"000001\.h5 is damaged"), Segment(path) as segment:
        segment.read()


def test_a_flipped_bit_in_a_vector_is_an_error(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).standard_normal((20, 64), dtype=np.float32)
    path = write(tmp_path / "000001.h5", vectors)
    content = bytearray(path.read_bytes())
    at = content.find(vectors[3].tobytes())
    assert at > 0
    content[at + 10] ^= 1
    path.write_bytes(content)
    with Segment(path) as segment, pytest.raises(IndexDamaged, match="damaged"):
        segment.read()


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match=r"000009\.h5 is damaged: it is missing"):
        Segment(tmp_path / "000009.h5")


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        SegmentWriter(tmp_path / "missing" / "000001.h5", "vectors")


def test_a_segment_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "000001.h5", np.ones((2, 3), np.float32))

    def refuse(*_: object, **__: object) -> None:  # root may read everything, so permissions cannot be used
        raise PermissionError(13, "Unable to synchronously open file (Permission denied)")

    monkeypatch.setattr("h5py.File", refuse)
    with pytest.raises(IndexDamaged, match=r"000001.h5: permission denied; make it readable") as caught:
        Segment(path)
    assert "is damaged" not in str(caught.value)

"""Reading photos: one that takes too long is given up, and the others of its batch are not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import album
from vsearch import files
from vsearch.encoders import Encoder, resolve
from vsearch.errors import PhotoError
from vsearch.ingest import Job, Reader, Room, in_parallel, within
from vsearch.settings import Settings

SETTINGS = Settings(encoder="any")


@pytest.fixture
def encoder(toy_encoder: Path) -> Encoder:
    return Encoder(resolve(toy_encoder))


def job(path: Path) -> Job:
    return Job(files.stat_file(str(path)))


def test_a_decode_that_takes_too_long_is_given_up(encoder: Encoder, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    noise = np.random.default_rng(3).integers(0, 256, (256, 2500, 3), dtype=np.uint8)
    Image.fromarray(np.tile(noise, (10, 1, 1))).save(huge, compress_level=1)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    impatient = Reader(encoder, SETTINGS, lambda job, sha256: False, decode_seconds=0.001)
    (reading,) = impatient.read([job(huge)])
    assert reading.failure is not None
    assert (reading.failure.path, reading.failure.reason) == (
        str(huge),
        "decoding took longer than 0.001 s",
    )
    assert "--retry-failed" in reading.failure.remedy
    assert reading.sha256 == files.sha256(str(huge))  # known by its bytes, so not tried at each run

    patient = Reader(encoder, SETTINGS, lambda job, sha256: False)
    small = album.write(tmp_path / "small.png", 1)
    large, other, failed = patient.read([job(huge), job(small), job(broken)])
    assert large.vector is not None
    assert other.vector is not None
    assert failed.failure is not None
    assert "longer" not in failed.failure.reason


def test_what_is_done_in_time_comes_through() -> None:
    def fail() -> int:
        raise PhotoError("a.jpg", "broken", "mend it")

    assert within(60, lambda: 3) == 3
    with pytest.raises(PhotoError, match="broken"):
        within(60, fail)


def test_files_share_a_room_and_a_large_one_has_it_alone() -> None:
    room, held, most = Room(10), 0, 0
    lock = threading.Lock()

    def hold(size: int) -> int:
        nonlocal held, most
        with room.of(size):
            with lock:
                held += size
                most = max(most, held if size <= 10 else 10 + held - size)
            time.sleep(0.001)
            with lock:
                held -= size
        return size

    sizes = [n % 12 + 1 for n in range(100)]  # an empty file would go beside a large one
    assert list(in_parallel(hold, sizes, 8)) == sizes
    assert 5 < most <= 10
    with pytest.raises(KeyError), room.of(99):
        raise KeyError
    with room.of(10):
        pass


def test_a_failure_holds_no_bytes(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_text("no picture")
    (reading,) = Reader(encoder, SETTINGS, lambda job, sha256: False).read([job(tmp_path / "no.jpg")])
    assert reading.failure is not None and "not an image" in reading.failure.reason
    assert reading.failure.__traceback__ is None and reading.failure.__cause__ is None

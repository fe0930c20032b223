"""What a scan changes: the pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vsearch.plan import Encode, Reuse, needs_reading, settle
from vsearch.records import FileStat, Location, Photo

FILE = FileStat("/photos", "a.jpg", 100, 1)
ELSEWHERE = FileStat("/photos", "b.jpg", 100, 2)
READY = Photo(7, FILE, "aa", "ready", vector=Location(1, 3), thumbnail=Location(1, 3))
BARE = replace(READY, thumbnail=None)  # it lost its thumbnail while its file was away
HUGE = replace(FILE, size=2**30 + 1)
UNREAD = Photo(8, FILE, None, "failed", reason="input/output error")
FAILED = Photo(8, FILE, "aa", "failed", reason="truncated JPEG")


@pytest.mark.parametrize(
    ("file", "known", "retry", "expected"),
    [
        (FILE, None, False, True),
        (FILE, READY, False, False),
        (replace(FILE, size=101), READY, False, True),
        (replace(FILE, mtime_ns=0), READY, False, True),
        (FILE, FAILED, False, False),
        (FILE, FAILED, True, True),
        (FILE, READY, True, False),
        (FILE, BARE, False, True),
        (FILE, UNREAD, False, True),
        (HUGE, replace(UNREAD, file=HUGE), False, False),
        (HUGE, replace(UNREAD, file=HUGE), True, True),
        (FILE, replace(UNREAD, file=HUGE), False, True),
    ],
)
def test_needs_reading(file: FileStat, known: Photo | None, retry: bool, expected: bool) -> None:
    assert needs_reading(file, known, retry_failed=retry) is expected


def test_new_bytes_are_encoded() -> None:
    assert settle(FILE, "bb", None, [], None) == Encode("added", 0)
    assert settle(FILE, "bb", READY, [], None) == Encode("updated", 7)


def test_a_touched_file_keeps_its_vector() -> None:
    touched = replace(FILE, mtime_ns=9)
    assert settle(touched, "aa", READY, [READY], None) == Reuse("unchanged", replace(READY, file=touched))


def test_a_photo_without_thumbnail_is_read_again() -> None:
    assert settle(FILE, "aa", BARE, [BARE], None) == Encode("updated", BARE.id)


def test_a_moved_photo_keeps_its_id() -> None:
    assert settle(ELSEWHERE, "aa", None, [READY], READY) == Reuse("moved", replace(READY, file=ELSEWHERE))


def test_a_copy_shares_the_vector_under_a_new_id() -> None:
    assert settle(ELSEWHERE, "aa", None, [READY], None) == Reuse(
        "added", replace(READY, id=0, file=ELSEWHERE)
    )


def test_a_photo_replaced_by_a_copy_of_another_keeps_its_id() -> None:
    other = replace(READY, id=9, file=ELSEWHERE, sha256="bb")
    assert settle(FILE, "bb", READY, [other], None) == Reuse("updated", replace(other, id=7, file=FILE))


def test_a_failed_photo_is_tried_again_when_asked() -> None:
    assert settle(FILE, "aa", FAILED, [], None) == Reuse("unchanged", FAILED)
    assert settle(FILE, "aa", FAILED, [], None, retry_failed=True) == Encode("updated", 8)

"""What a scan changes: pure decisions, without files or databases.

A file is judged twice.  Its stat alone says whether it must be read at all (:func:`needs_reading`); once it
has been read, its SHA-256 says what happens to the catalog (:func:`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vsearch.files import LARGEST, is_other_picture
from vsearch.records import FileStat, Photo

Change = Literal["added", "updated", "moved", "unchanged"]


@dataclass(frozen=True, slots=True)
class Reuse:
    """The bytes are known: the catalog gets ``photo``, nothing is decoded or encoded.

    Attributes:
        change: how it counts in the report.
        photo: the row to write; its id is 0 when a new one is needed.
    """

    change: Change
    photo: Photo


@dataclass(frozen=True, slots=True)
class Encode:
    """The bytes are new: decode and encode.

    Attributes:
        change: how it counts in the report.
        photo_id: the id to keep, or 0 for a new one.
    """

    change: Change
    photo_id: int


def needs_reading(file: FileStat, known: Photo | None, *, retry_failed: bool = False) -> bool:
    """Whether ``file`` is new, changed since the catalog saw it as ``known``, or lacks something."""
    if known is None or differs(file, known.file) or is_bare(known):
        return True
    # Bytes that could not even be read (a disk that hiccuped) are tried again each time, others never.
    return known.state == "failed" and (retry_failed or (known.sha256 is None and not is_refused(file)))


def is_refused(file: FileStat) -> bool:
    """Whether ``file`` is refused unread, for its format or its size."""
    return is_other_picture(file.path) or file.size > LARGEST


def is_bare(photo: Photo) -> bool:
    """Whether all it has is a vector: ``rebuild`` kept that of a lost thumbnail, the file being away."""
    return photo.state == "ready" and photo.thumbnail is None


def differs(file: FileStat, before: FileStat) -> bool:
    """By size, mtime or, where both are known, ctime: swapped and restored files may share the rest."""
    if (before.size, before.mtime_ns) != (file.size, file.mtime_ns):
        return True
    return 0 not in (before.ctime_ns, file.ctime_ns) and before.ctime_ns != file.ctime_ns


Fate = Literal["stays", "read", "gone", "unknown"]


def judge(
    known: Photo, seen: FileStat | None, is_hidden: Callable[[FileStat], bool], *, retry_failed: bool = False
) -> Fate:
    """What a scan means for a photo of the catalog.

    Args:
        known: the photo.
        seen: its file, if the scan came across it.
        is_hidden: whether a file's folder could not be read, so that not seeing it says nothing.
        retry_failed: read failed photos again.
    """
    if seen is not None:
        return "read" if needs_reading(seen, known, retry_failed=retry_failed) else "stays"
    return "unknown" if is_hidden(known.file) else "gone"


def may_remove(gone: int, known: int, *, prune: bool = False) -> bool:
    """Whether ``gone`` of the ``known`` photos of one root may be taken out without being asked twice.

    More than half of a root at once looks like a disk that is not mounted, or a folder moved by mistake.

    >>> may_remove(5, 10), may_remove(6, 10), may_remove(6, 10, prune=True)
    (True, False, True)
    """
    return prune or gone * 2 <= known


def settle(
    file: FileStat,
    sha256: str,
    known: Photo | None,
    same_bytes: Sequence[Photo],
    vanished: Photo | None,
    *,
    retry_failed: bool = False,
) -> Reuse | Encode:
    """What to do with a file that was read.

    Args:
        file: where it is now.
        sha256: of its bytes.
        known: the catalog's row for this root and path.
        same_bytes: ready photos with these bytes, anywhere.
        vanished: one of them whose own file is gone, so that ``file`` is where it moved to.
        retry_failed: decode a failed photo again even if its bytes are the same.
    """
    if known is not None and known.sha256 == sha256:
        if is_bare(known) or (known.state == "failed" and retry_failed):
            return Encode("updated", known.id)
        return Reuse("unchanged", replace(known, file=file))  # touched, not changed
    if same_bytes:
        twin = same_bytes[0]
        if known is not None:
            return Reuse("updated", replace(twin, id=known.id, file=file))
        if vanished is not None:
            return Reuse("moved", replace(vanished, file=file))
        return Reuse("added", replace(twin, id=0, file=file))
    if known is not None:
        return Encode("updated", known.id)
    return Encode("added", 0)

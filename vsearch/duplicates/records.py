"""A group of duplicates, as it crosses borders: its photos, and how each is related to the representative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vsearch.records import Region, Relation


@dataclass(frozen=True, slots=True)
class DuplicatePhoto:
    """A photo of a duplicate group.

    Attributes:
        id: the photo's id in the index, opaque.
        path: absolute path.
        sha256: of its bytes when it was indexed.
        width, height: pixels, upright.
        bytes: size of the file.
        mtime_ns: of the file, nanoseconds since the epoch.
        format: Pillow's format name.
        taken_at: capture time as ``YYYY-MM-DDTHH:MM:SS``, or ``None``.
        sharpness: variance of the Laplacian at one size for all, or ``None`` when nobody asked.
    """

    id: str
    path: str
    sha256: str
    width: int
    height: int
    bytes: int
    mtime_ns: int
    format: str
    taken_at: str | None = None
    sharpness: float | None = None


@dataclass(frozen=True, slots=True)
class DuplicateMember:
    """A photo and how it is related to its group's representative.

    Attributes:
        kind: ``identical`` (same bytes), ``altered`` (same picture re-encoded, resized or lightly edited),
            ``turned`` (mirrored or turned), ``cropped`` (cropped, framed or captioned) or ``burst`` (close in
            time and in content).
        hash_distance: bits in which the perceptual hashes differ, 0 to 64, in the best of eight orientations.
        score: cosine similarity of the vectors.
        seconds: between the two capture times, or ``None`` when one is unknown.
        region: of the representative, what both show; for ``cropped``.
    """

    photo: DuplicatePhoto
    kind: Relation
    hash_distance: int | None
    score: float
    seconds: float | None = None
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Photos that are each related to one of them, the representative.

    Attributes:
        keep: id of the photo that the rules would keep.
        why: the rule that decided, in words.
    """

    representative: DuplicatePhoto
    members: Sequence[DuplicateMember]
    keep: str
    why: str

    @property
    def photos(self) -> list[DuplicatePhoto]:
        """The representative and all members."""
        return [self.representative, *(member.photo for member in self.members)]

    def as_json(self) -> dict[str, Any]:
        """The object that ``duplicates --json`` prints; field names are a promise."""
        kept = next(photo.path for photo in self.photos if photo.id == self.keep)
        return {
            "representative": self.representative.path,
            "members": [_member_json(member) for member in self.members],
            "keep": kept,
            "why": self.why,
        }


def _member_json(member: DuplicateMember) -> dict[str, Any]:
    region = member.region
    return {
        "path": member.photo.path,
        "kind": member.kind,
        "hash_distance": member.hash_distance,
        "score": round(member.score, 6),
        "seconds": member.seconds,
        "region": [round(x, 4) for x in (region.x, region.y, region.width, region.height)]
        if region
        else None,
    }

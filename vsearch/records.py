"""The things that cross borders between modules, one frozen dataclass each.

Paths are ``str`` as ``os.fsdecode`` gives them: names that are not UTF-8 carry surrogate escapes and
turn back into the same bytes with ``os.fsencode``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vsearch.errors import PhotoError

Kind = Literal["identical", "variant", "similar"]
Metric = Literal["cosine", "euclidean"]
ResizeMode = Literal["crop", "stretch", "pad"]
Device = Literal["auto", "cpu", "cuda"]
Relation = Literal["identical", "altered", "turned", "cropped", "burst"]


@dataclass(frozen=True, slots=True)
class FileStat:
    """One file seen by a walk.

    Attributes:
        root: absolute path of the folder that was walked.
        path: path relative to ``root``, with ``/`` between parts.
        size: bytes.
        mtime_ns: modification time, nanoseconds since the epoch.
        ctime_ns: time of the last change to the file or its name; 0 when it is not known.  It tells a
            file that was replaced by another of the same size and mtime.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0

    @property
    def absolute(self) -> str:
        """The absolute path."""
        return os.path.join(self.root, self.path) if self.path else self.root


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What a photo file says about itself, and its perceptual hashes.

    Attributes:
        width, height: pixels, upright (after EXIF orientation).
        format: Pillow's format name, such as ``"JPEG"``.
        taken_at: capture time as ``YYYY-MM-DDTHH:MM:SS``, local to the camera, or ``None``.
        camera: make and model, or ``None``.
        phash, dhash: 64-bit perceptual hashes of the upright picture, 16 hexadecimal digits, or
            ``None`` when not computed.
    """

    width: int
    height: int
    format: str
    taken_at: str | None = None
    camera: str | None = None
    phash: str | None = None
    dhash: str | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where a row lies: segment number and row within it."""

    segment: int
    row: int


@dataclass(frozen=True, slots=True)
class Photo:
    """One row of the catalog.

    Attributes:
        id: the photo's number, unique within the index and never reused.
        file: root, relative path, size and mtime when it was last read.
        sha256: hexadecimal digest of the file's bytes.
        state: ``"ready"`` (has a vector) or ``"failed"`` (has a reason).
        facts: what the file said about itself; ``None`` when it could not be read.
        vector: where its vector lies; several photos with the same bytes share one.
        thumbnail: where its thumbnail lies.
        pixels: where its pixels lie, when they were kept.
        reason, remedy: for failed photos.
    """

    id: int
    file: FileStat
    sha256: str | None
    state: Literal["ready", "failed"]
    facts: PhotoFacts | None = None
    vector: Location | None = None
    thumbnail: Location | None = None
    pixels: Location | None = None
    reason: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """One answer to a query.

    Attributes:
        rank: 1 for the best.
        path: absolute path of the photo.
        score: cosine similarity to the query, in [-1, 1]; higher is better, 1 is the same.  Never below that
            of a match ranked after it: a photo that its neighbours lifted (see :mod:`vsearch.ranking`)
            has the highest score of those it was lifted above.
        kind: ``identical`` (same bytes), ``variant`` (same picture, altered) or ``similar``.
        id: the photo's id in the index, opaque.
        cosine: cosine similarity of query and photo alone.
        match: probability that it is related to the query and not near by chance, 0 to 1; ``None``
            unless it was asked for.
    """

    rank: int
    path: str
    score: float
    kind: Kind
    id: str
    cosine: float = 0.0
    match: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of one query, best first.

    Attributes:
        note: why they are few, if they are.
        more: whether a larger ``k`` may give more.
    """

    matches: Sequence[Match]
    note: str = ""
    more: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One of many queries: what it is called, its matches, a note on why they are few, or why it failed."""

    query: str
    matches: Sequence[Match]
    note: str | None = None
    failure: PhotoError | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture, as fractions of its width and height: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A photo that was left out: its absolute path, why, and what to do."""

    path: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What ``add``, ``sync`` or ``build-index`` changed.

    ``withheld`` counts photos whose files are gone and that stay all the same, until ``sync --prune``:
    so many of one folder are gone that it may not be mounted.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: Sequence[Skipped] = ()
    seconds: float = 0.0
    withheld: int = 0

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints; field names are a promise."""
        return {
            "added": self.added,
            "updated": self.updated,
            "moved": self.moved,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
            "seconds": round(self.seconds, 3),
            **({"withheld": self.withheld} if self.withheld else {}),
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an index, and what mends it."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What ``rebuild`` made anew.

    Attributes:
        photos: how many can be found now.
        lost: photos whose vectors or thumbnails were damaged; ``sync`` reads them again.
        restored: the files, other than the collection, that were written anew.
        seconds: how long it took.
        unknown: settings of which no copy was left; they are at their defaults now, and every root is walked.
    """

    photos: int
    lost: int
    restored: Sequence[str]
    seconds: float
    unknown: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that ``rebuild --json`` prints; field names are a promise."""
        return {
            "photos": self.photos,
            "lost": self.lost,
            "restored": list(self.restored),
            "seconds": round(self.seconds, 3),
            "unknown": list(self.unknown),
        }


PlannedChange = Literal["add", "update", "move", "remove", "withhold"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One thing that a sync would do to a photo, by absolute path; ``origin`` is where a moved one was."""

    change: PlannedChange
    path: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What ``encoders`` lists.

    Attributes:
        input_size: side of the square input, pixels.
        dimension: length of the vectors, D.
        parameters: weights of the network.
        trained: whether the bundle holds trained weights.
        fingerprint: SHA-256 of the bundle, hexadecimal; empty for an untrained architecture.
    """

    name: str
    input_size: int
    dimension: int
    parameters: int
    trained: bool
    licence: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What ``status`` reports; ``bytes`` has vectors, pixels, thumbnails and chroma.

    ``dead`` says how many of those bytes belong to no photo any more, ``chroma_url`` on which Chroma server
    the collection is kept, if on one; ``exclude`` the globs of what is left out of the roots.
    """

    photos: int
    failed: int
    encoder: EncoderInfo
    metric: Metric
    generation: int
    pending: int
    bytes: dict[str, int] = field(default_factory=dict)
    roots: Sequence[str] = ()
    dead: dict[str, int] = field(default_factory=dict)
    chroma_url: str | None = None
    exclude: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that ``status --json`` prints; field names are a promise."""
        return {
            "photos": self.photos,
            "failed": self.failed,
            "encoder": {
                "name": self.encoder.name,
                "dimension": self.encoder.dimension,
                "fingerprint": self.encoder.fingerprint,
            },
            "metric": self.metric,
            "generation": self.generation,
            "pending": self.pending,
            "bytes": dict(self.bytes),
            "dead": dict(self.dead),
            "chroma_url": self.chroma_url,
            "roots": list(self.roots),
            "exclude": list(self.exclude),
        }

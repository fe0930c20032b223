"""The tables, and how a photo becomes a row and a row a photo."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vsearch.records import FileStat, Location, Photo, PhotoFacts

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    sha256 TEXT, state TEXT NOT NULL,
    width INTEGER, height INTEGER, format TEXT, taken_at TEXT, camera TEXT, phash TEXT, dhash TEXT,
    vector_segment INTEGER, vector_row INTEGER,
    thumbnail_segment INTEGER, thumbnail_row INTEGER,
    pixels_segment INTEGER, pixels_row INTEGER,
    reason TEXT, remedy TEXT, sequence INTEGER NOT NULL, checksum INTEGER NOT NULL,
    UNIQUE (root, path)
);
CREATE INDEX photos_by_digest ON photos (sha256);
CREATE INDEX photos_by_sequence ON photos (sequence);
CREATE INDEX photos_by_vector ON photos (vector_segment, vector_row);
CREATE TABLE removals (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE segments (kind TEXT, number INTEGER, rows INTEGER, sha256 TEXT, PRIMARY KEY (kind, number));
"""
FACTS = ("width", "height", "format", "taken_at", "camera", "phash", "dhash")
COLUMNS = (
    *("id", "root", "path", "size", "mtime_ns", "ctime_ns", "sha256", "state", *FACTS),
    *("vector_segment", "vector_row", "thumbnail_segment", "thumbnail_row", "pixels_segment", "pixels_row"),
    *("reason", "remedy", "sequence"),
)
SELECT = ", ".join(f"photos.{name}" for name in [*COLUMNS, "checksum"])
# Bytes are bound and cast, since a str with surrogate escapes cannot be.
_TEXT = {"path", "camera", "reason", "remedy"}
INSERT = (
    f"INSERT OR REPLACE INTO photos ({', '.join(COLUMNS)}, checksum) VALUES ("
    + ", ".join("CAST(? AS TEXT)" if name in _TEXT else "?" for name in COLUMNS)
    + ", ?)"
)
SegmentKind = Literal["vectors", "pixels", "thumbnails"]
Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment that the catalog counts on: its kind, number, rows and the file's SHA-256."""

    kind: SegmentKind
    number: int
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VectorRow:
    """Where the vector of a ready photo lies."""

    photo_id: int
    location: Location


def row_of(photo: Photo, root: int, sequence: int) -> tuple[Any, ...]:
    """The values for :data:`COLUMNS`."""
    facts = photo.facts
    return (
        photo.id,
        root,
        photo.file.path,
        photo.file.size,
        photo.file.mtime_ns,
        photo.file.ctime_ns,
        photo.sha256,
        photo.state,
        *(getattr(facts, name) if facts else None for name in FACTS),
        *_pair(photo.vector),
        *_pair(photo.thumbnail),
        *_pair(photo.pixels),
        photo.reason,
        photo.remedy,
        sequence,
    )


def bound(row: Row) -> tuple[Any, ...]:
    """What :data:`INSERT` takes: the row in a form that SQLite can hold, and its checksum."""
    values = (raw(v) if name in _TEXT and v else v for name, v in zip(COLUMNS, row, strict=True))
    return (*values, checksum(row))


def checksum(row: Row) -> int:
    """CRC-32 of the values of :data:`COLUMNS`."""
    return zlib.crc32(raw("\x1f".join(map(str, row))))


def photo_of(row: Row, root: str) -> Photo:
    """The photo of a row of :data:`COLUMNS`, whose root is the folder ``root``."""
    facts = PhotoFacts(*row[8:15]) if row[8] is not None else None
    return Photo(
        row[0],
        FileStat(root, row[2], row[3], row[4], row[5]),
        row[6],
        row[7],
        facts,
        _location(row[15], row[16]),
        _location(row[17], row[18]),
        _location(row[19], row[20]),
        row[21],
        row[22],
    )


def photo_json(photo: Photo, root: int = 0) -> str:
    """A photo as the JSON that lies beside its rows in the segments; ``root`` is its root's number."""
    return json.dumps({**asdict(photo), "root": root}, separators=(",", ":"))


def photo_from_json(text: str) -> tuple[Photo, int]:
    """The photo and its root's number.

    Raises:
        ValueError, KeyError, TypeError: it is not what :func:`photo_json` writes.
    """
    fields = json.loads(text)
    root = int(fields.pop("root"))
    fields["file"] = FileStat(**fields["file"])
    if fields["facts"] is not None:
        fields["facts"] = PhotoFacts(**fields["facts"])
    for name in ("vector", "thumbnail", "pixels"):
        fields[name] = Location(**fields[name]) if fields[name] is not None else None
    return Photo(**fields), root


def id_since(sequence: int) -> str:
    """The id, in a condition beside that on sequences: SQLite is to search by it where all sequences count.

    Else it would read all rows of a part to find the few that changed.

    >>> id_since(0), id_since(7)
    ('id', '+id')
    """
    return "+id" if sequence else "id"


def raw(text: str) -> bytes:
    """A path as the bytes that the file system has."""
    return text.encode("utf-8", "surrogateescape")


def _location(segment: int | None, row: int | None) -> Location | None:
    return None if segment is None or row is None else Location(segment, row)


def _pair(location: Location | None) -> tuple[int | None, int | None]:
    return (location.segment, location.row) if location else (None, None)

"""The catalog: one SQLite table of photos, with what is where, and what failed and why.

Every change raises the catalog's *sequence* and writes it on the rows it touched; a published generation
records the sequence it covers, so "what must still be published" is "rows with a higher sequence".
Removed photos stay as rows of ``removals`` until a generation covers them.

The journal is SQLite's rollback journal, not WAL: readers then need no write access and no shared memory,
and a commit is one fsynced step.  Paths are stored as the bytes the file system has, as TEXT.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from vsearch import durable
from vsearch.errors import IndexDamaged, StorageError, VersionMismatch
from vsearch.records import FileStat, Location, Photo, PhotoFacts

FORMAT_VERSION = 1
_BUSY_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE photos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root INTEGER NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 TEXT, state TEXT NOT NULL,
    width INTEGER, height INTEGER, format TEXT, taken_at TEXT, camera TEXT, phash TEXT, dhash TEXT,
    vector_segment INTEGER, vector_row INTEGER,
    thumbnail_segment INTEGER, thumbnail_row INTEGER,
    pixels_segment INTEGER, pixels_row INTEGER,
    reason TEXT, remedy TEXT, sequence INTEGER NOT NULL,
    UNIQUE (root, path)
);
CREATE INDEX photos_by_digest ON photos (sha256);
CREATE INDEX photos_by_sequence ON photos (sequence);
CREATE TABLE removals (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE segments (kind TEXT, number INTEGER, rows INTEGER, sha256 TEXT, PRIMARY KEY (kind, number));
"""
_COLUMNS = (
    "id, root, path, size, mtime_ns, sha256, state, width, height, format, taken_at, camera, phash, dhash, "
    "vector_segment, vector_row, thumbnail_segment, thumbnail_row, pixels_segment, pixels_row, reason, remedy"
)
_FIELDS = [name.strip() for name in _COLUMNS.split(",")]
_TEXT_FIELDS = {"path", "camera", "reason", "remedy"}
SegmentKind = Literal["vectors", "pixels", "thumbnails"]


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


class Catalog:
    """The photo table of one index.

    Args:
        path: the SQLite file.
        roots: absolute folders; rows store a root by its place in this list.
        create: make the file when it is missing.
        read_only: open without the right to write (and without journal recovery where the folder
            cannot be written).

    Raises:
        IndexDamaged: the file is missing or is not a catalog.
        VersionMismatch: another format version wrote it.
    """

    def __init__(
        self,
        path: Path,
        roots: Sequence[str],
        *,
        create: bool = False,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.roots = list(roots)
        if not create and not path.exists():
            raise _damaged(path, "it is missing")
        with self._errors():
            self._db = sqlite3.connect(
                _uri(path, read_only),
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            if not read_only:
                self._db.execute("PRAGMA synchronous = EXTRA")
            if create and not self._has_schema():
                self._create()
        self._check_version()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    # -- reading ---------------------------------------------------------------------------------

    def count(self, state: Literal["ready", "failed"]) -> int:
        """How many photos are in ``state``."""
        return self._number("SELECT count(*) FROM photos WHERE state = ?", state)

    def sequence(self) -> int:
        """The number of the last committed change."""
        return self._number("SELECT value FROM meta WHERE key = 'sequence'")

    def find(self, root: str, path: str) -> Photo | None:
        """The photo at ``path`` under ``root``."""
        return self._one("root = ? AND path = CAST(? AS TEXT)", self._root(root), _raw(path))

    def get(self, photo_id: int) -> Photo | None:
        """The photo with this id."""
        return self._one("id = ?", photo_id)

    def get_many(self, ids: Sequence[int]) -> dict[int, Photo]:
        """The photos with these ids; ids that are gone are left out."""
        found = (self.get(photo_id) for photo_id in ids)
        return {photo.id: photo for photo in found if photo is not None}

    def with_digest(self, sha256: str) -> Iterator[Photo]:
        """Every photo with these bytes, oldest first."""
        return self._many("sha256 = ? ORDER BY id", sha256)

    def photos(self, state: Literal["ready", "failed"] | None = None) -> Iterator[Photo]:
        """All photos by id, streamed."""
        if state is None:
            return self._many("1 ORDER BY id")
        return self._many("state = ? ORDER BY id", state)

    def below(self, root: str, folder: str) -> Iterator[Photo]:
        """Every photo under ``folder`` (relative to ``root``; ``""`` for all), streamed."""
        if not folder:
            return self._many("root = ? ORDER BY id", self._root(root))
        low, high = _raw(folder + "/"), _raw(folder + "0")  # "0" is the character after "/"
        return self._many(
            "root = ? AND path >= CAST(? AS TEXT) AND path < CAST(? AS TEXT) ORDER BY id",
            self._root(root),
            low,
            high,
        )

    def changed_since(self, sequence: int) -> Iterator[Photo]:
        """Ready photos that changed after ``sequence``, by vector location for sequential reading."""
        return self._many("state = 'ready' AND sequence > ? ORDER BY vector_segment, vector_row", sequence)

    def vector_rows(self) -> Iterator[VectorRow]:
        """Where the vector of each ready photo lies, by segment and row."""
        query = (
            "SELECT id, vector_segment, vector_row FROM photos WHERE state = 'ready' "
            "ORDER BY vector_segment, vector_row"
        )
        with self._errors():
            for photo_id, segment, row in self._db.execute(query):
                yield VectorRow(photo_id, Location(segment, row))

    def count_changed_since(self, sequence: int) -> int:
        """How many photos a generation that covers ``sequence`` lacks, removals included."""
        rows = "SELECT count(*) FROM photos WHERE sequence > ?"
        gone = "SELECT count(*) FROM removals WHERE sequence > ?"
        return self._number(rows, sequence) + self._number(gone, sequence)

    def unready_since(self, sequence: int) -> Iterator[int]:
        """Ids that a generation covering ``sequence`` may hold but must not any more."""
        query = (
            "SELECT id FROM removals WHERE sequence > ? "
            "UNION ALL SELECT id FROM photos WHERE state = 'failed' AND sequence > ?"
        )
        with self._errors():
            for (photo_id,) in self._db.execute(query, (sequence, sequence)):
                yield int(photo_id)

    def segments(self, kind: SegmentKind) -> list[SegmentRow]:
        """The segments of one kind that exist, by number."""
        with self._errors():
            rows = self._db.execute(
                "SELECT kind, number, rows, sha256 FROM segments WHERE kind = ? ORDER BY number",
                (kind,),
            ).fetchall()
        return [SegmentRow(*row) for row in rows]

    def next_segment(self) -> int:
        """A segment number that no kind has used."""
        return 1 + self._number("SELECT coalesce(max(number), 0) FROM segments")

    # -- writing ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """One transaction: all of it happens, or none."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            with self._errors():
                self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'sequence'")
            yield Change(self, self.sequence())
            durable.step("catalog-before-commit")
            with self._errors():
                self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the disk may be what failed
                self._db.execute("ROLLBACK")
            raise
        durable.step("catalog-committed")

    def next_id(self) -> int:
        """The first id that no photo has or had."""
        with self._errors():
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'photos'").fetchone()
        return (int(row[0]) if row else 0) + 1

    # -- internal --------------------------------------------------------------------------------

    def _number(self, query: str, *parameters: object) -> int:
        with self._errors():
            row = self._db.execute(query, parameters).fetchone()
        if row is None:
            raise _damaged(self.path, "a row of its own bookkeeping is missing")
        return int(row[0])

    def _one(self, condition: str, *parameters: object) -> Photo | None:
        return next(self._many(condition, *parameters), None)

    def _many(self, condition: str, *parameters: object) -> Iterator[Photo]:
        query = f"SELECT {_COLUMNS} FROM photos WHERE {condition}"
        with self._errors():
            for row in self._db.execute(query, parameters):
                yield self._photo(dict(zip(_FIELDS, row, strict=True)))

    def _photo(self, row: dict[str, Any]) -> Photo:
        facts = None
        if row["width"] is not None:
            names = ("width", "height", "format", "taken_at", "camera", "phash", "dhash")
            facts = PhotoFacts(**{name: row[name] for name in names})
        return Photo(
            id=row["id"],
            file=FileStat(self._root_path(row["root"]), row["path"], row["size"], row["mtime_ns"]),
            sha256=row["sha256"],
            state=row["state"],
            facts=facts,
            vector=_location(row, "vector"),
            thumbnail=_location(row, "thumbnail"),
            pixels=_location(row, "pixels"),
            reason=row["reason"],
            remedy=row["remedy"],
        )

    def _root(self, root: str) -> int:
        return self.roots.index(root) if root in self.roots else -1

    def _root_path(self, number: int) -> str:
        if not 0 <= number < len(self.roots):
            raise _damaged(self.path, f"a photo belongs to root {number}, which index.json lacks")
        return self.roots[number]

    def _has_schema(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone())

    def _create(self) -> None:
        first = f"INSERT INTO meta VALUES ('format_version', {FORMAT_VERSION}), ('sequence', 0);"
        self._db.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} {first} COMMIT;")

    def _check_version(self) -> None:
        version = self._number("SELECT value FROM meta WHERE key = 'format_version'")
        if version != FORMAT_VERSION:
            raise VersionMismatch(
                f"{self.path}: catalog format {version}, this vsearch reads {FORMAT_VERSION}; "
                "use the vsearch that wrote it, or build the index anew"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._operational(error) from error
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, str(error)) from error

    def _operational(self, error: sqlite3.OperationalError) -> IndexDamaged | StorageError:
        reason = str(error)
        if "no such" in reason or "malformed" in reason:
            return _damaged(self.path, reason)
        return StorageError(
            f"cannot use {self.path}: {reason}; check that the disk is neither full nor read-only"
        )


class Change:
    """What one transaction writes; made by :meth:`Catalog.change`."""

    def __init__(self, catalog: Catalog, sequence: int) -> None:
        self._catalog = catalog
        self._db = catalog._db
        self.sequence = sequence

    def put(self, photos: Iterable[Photo]) -> None:
        """Insert or replace photos by id; another photo at the same root and path gives way."""
        marks = ", ".join("CAST(? AS TEXT)" if f in _TEXT_FIELDS else "?" for f in _FIELDS)
        statement = f"INSERT OR REPLACE INTO photos ({_COLUMNS}, sequence) VALUES ({marks}, ?)"
        with self._catalog._errors():
            for photo in photos:
                row = self._row(photo)
                self.remove(self._others_at(photo.id, row[1], row[2]))
                self._db.execute(statement, (*row, self.sequence))
                self._db.execute("DELETE FROM removals WHERE id = ?", (photo.id,))

    def remove(self, ids: Iterable[int]) -> None:
        """Take photos out; the next generation drops them."""
        with self._catalog._errors():
            for photo_id in ids:
                self._db.execute("DELETE FROM photos WHERE id = ?", (photo_id,))
                self._db.execute("INSERT OR REPLACE INTO removals VALUES (?, ?)", (photo_id, self.sequence))

    def forget_removals(self, sequence: int) -> None:
        """Drop the removals that a published generation covers."""
        with self._catalog._errors():
            self._db.execute("DELETE FROM removals WHERE sequence <= ?", (sequence,))

    def add_segment(self, segment: SegmentRow) -> None:
        """Make a renamed segment count."""
        with self._catalog._errors():
            self._db.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?)",
                (segment.kind, segment.number, segment.rows, segment.sha256),
            )

    def drop_segment(self, kind: SegmentKind, number: int) -> None:
        """Stop counting on a segment; its file may be removed after the commit."""
        with self._catalog._errors():
            self._db.execute("DELETE FROM segments WHERE kind = ? AND number = ?", (kind, number))

    def _others_at(self, photo_id: int, root: object, path: object) -> list[int]:
        query = "SELECT id FROM photos WHERE root = ? AND path = CAST(? AS TEXT) AND id <> ?"
        return [int(row[0]) for row in self._db.execute(query, (root, path, photo_id))]

    def _row(self, photo: Photo) -> tuple[object, ...]:
        facts = asdict(photo.facts) if photo.facts else {}
        names = ("width", "height", "format", "taken_at", "camera", "phash", "dhash")
        return (
            photo.id,
            self._catalog._root(photo.file.root),
            _raw(photo.file.path),
            photo.file.size,
            photo.file.mtime_ns,
            photo.sha256,
            photo.state,
            *(_raw(v) if n in _TEXT_FIELDS and (v := facts.get(n)) else facts.get(n) for n in names),
            *_pair(photo.vector),
            *_pair(photo.thumbnail),
            *_pair(photo.pixels),
            _raw(photo.reason) if photo.reason else None,
            _raw(photo.remedy) if photo.remedy else None,
        )


def photo_json(photo: Photo) -> str:
    """A photo as the JSON that lies beside its rows in the segments."""
    return json.dumps(asdict(photo), separators=(",", ":"))


def _location(row: dict[str, Any], name: str) -> Location | None:
    segment = row[f"{name}_segment"]
    return None if segment is None else Location(segment, row[f"{name}_row"])


def _pair(location: Location | None) -> tuple[int | None, int | None]:
    return (location.segment, location.row) if location else (None, None)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _uri(path: Path, read_only: bool) -> str:
    base = "file:" + _quoted(path)
    if not read_only:
        return base
    # A hot journal can only be rolled back where the folder is writable; elsewhere nothing can be
    # writing either, and "immutable" lets SQLite read from a read-only medium.
    return f"{base}?mode=ro" if os.access(path.parent, os.W_OK) else f"{base}?immutable=1"


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path.absolute()))


def _damaged(path: Path, why: str) -> IndexDamaged:
    return IndexDamaged(f"{path} is damaged: {why}; run `vsearch check` to see what can be mended")

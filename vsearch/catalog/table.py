"""The photo table of one index: opening, reading, transactions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from vsearch import durable
from vsearch.catalog import rows
from vsearch.catalog.change import Change
from vsearch.catalog.errors import damaged, explained
from vsearch.catalog.rows import SegmentKind, SegmentRow, VectorRow
from vsearch.catalog.scan import Scan
from vsearch.catalog.sizes import Sizes
from vsearch.errors import VersionMismatch
from vsearch.records import Location, Photo

FORMAT_VERSION = 1
_BUSY_SECONDS = 60.0
_PHASH = re.compile("[0-9a-f]{16}")
_PAGE = 1000


class Catalog:
    """The photo table of one index.

    Args:
        path: the SQLite file.
        roots: absolute folders; rows store a root by its place in this list.
        create: make the file when it is missing.
        read_only: nothing will be written.
        reload_roots: reads the roots again, when another process has added one.

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
        reload_roots: Callable[[], list[str]] | None = None,
    ) -> None:
        self.path = path
        self.roots = list(roots)
        self._reload_roots = reload_roots
        self._known: dict[str, tuple[int, Any]] = {}
        if not create and not path.exists():
            raise damaged(path, "it is missing")
        with self._errors():
            self._db = sqlite3.connect(
                _uri(path, read_only),
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=0,  # from 3.12 on, threads may be given the same one at once
            )
            self._db.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            if not read_only:
                self._db.execute("PRAGMA synchronous = EXTRA")
            if create and not self._has_schema():
                self._create()
        self._check_version()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __del__(self) -> None:
        # Who lets go of an index has closed it; Python 3.13 warns of connections that nobody closed.
        if (connection := getattr(self, "_db", None)) is not None:
            connection.close()

    # -- reading ---------------------------------------------------------------------------------

    def count(self, state: Literal["ready", "failed"]) -> int:
        """How many photos are in ``state``."""

        def read() -> dict[str, int]:
            with self._errors():
                # GROUP BY would sort them: 0.46 s for a million, where this takes 0.2.
                ready, all_states = self._db.execute(
                    "SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FROM photos"
                ).fetchone()
            return {"ready": ready, "failed": all_states - ready}

        counts: dict[str, int] = self._as_of_now("counts", read)
        return counts[state]

    def sequence(self) -> int:
        """The number of the last committed change."""
        return self._number("SELECT value FROM meta WHERE key = 'sequence'")

    def identity(self) -> str:
        """A name that no other catalog has, not even one rebuilt from the same segments."""
        return str(self.noted("identity"))

    def published(self) -> int:
        """The newest generation that was published; 0 before the first."""
        return self._number("SELECT value FROM meta WHERE key = 'generation'")

    def noted(self, key: str) -> int | str | None:
        """One entry of ``meta``."""
        with self._errors():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def find(self, root: str, path: str) -> Photo | None:
        """The photo at ``path`` under ``root``."""
        return self._one("root = ? AND path = CAST(? AS TEXT)", self._root(root), rows.raw(path))

    def get(self, photo_id: int) -> Photo | None:
        """The photo with this id."""
        return self._one("id = ?", photo_id)

    def get_many(self, ids: Sequence[int]) -> dict[int, Photo]:
        """The photos with these ids; ids that are gone are left out."""
        found = self._many("id IN (SELECT value FROM json_each(?))", json.dumps(ids))
        return {photo.id: photo for photo in found}

    def phashes(self, ids: Sequence[int]) -> dict[int, str]:
        """pHashes of those photos that have one; cheaper than :meth:`get_many`, and unchecked but in form."""
        # As one row: SQLite's module lets other threads run before each, and then waits for its turn.
        query = "SELECT json_group_object(id, phash) FROM photos WHERE id IN (SELECT value FROM json_each(?))"
        with self._errors():
            found = json.loads(self._db.execute(query, (json.dumps(ids),)).fetchone()[0])
        return {int(i): phash for i, phash in found.items() if phash and _PHASH.fullmatch(phash)}

    def with_digest(self, sha256: str) -> Iterator[Photo]:
        """Every photo with these bytes, oldest first."""
        # Most bytes are new, which a short statement tells in a quarter of the time that all columns take.
        with self._errors():
            known = self._db.execute("SELECT 1 FROM photos WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        return self._many("sha256 = ? ORDER BY id", sha256) if known else iter(())

    def photos(self, state: Literal["ready", "failed"] | None = None) -> Iterator[Photo]:
        """All photos by id, streamed."""
        return self._paged("state = ?", state) if state else self._paged("1")

    def page(
        self,
        state: Literal["ready", "failed"],
        limit: int,
        *,
        after: int,
        newest: bool,
        condition: str,
        parameters: Sequence[object],
    ) -> list[Photo]:
        """At most ``limit`` photos in ``state`` that meet an SQL condition, beyond the id ``after``."""
        beyond, order = ("id < ?", "DESC") if newest else ("id > ?", "ASC")
        wanted = f"state = ? AND {beyond} AND ({condition}) ORDER BY id {order} LIMIT ?"
        return list(self._many(wanted, state, after, *parameters, limit))

    def cameras(self) -> list[tuple[str, int]]:
        """Every camera of a ready photo and how many it took, most first."""
        query = (
            "SELECT camera, count(*) FROM photos WHERE state = 'ready' AND camera IS NOT NULL "
            "GROUP BY camera ORDER BY count(*) DESC, camera"
        )

        def read() -> list[tuple[str, int]]:
            with self._errors():
                return [(str(camera), int(count)) for camera, count in self._db.execute(query)]

        found: list[tuple[str, int]] = self._as_of_now("cameras", read)
        return found

    def below(self, root: str, folder: str) -> Iterator[Photo]:
        """Every photo under ``folder`` (relative to ``root``; ``""`` for all), streamed by id."""
        if not folder:
            return self._paged("+root = ?", self._root(root))  # by id: each page would sort the root anew
        low, high = rows.raw(folder + "/"), rows.raw(folder + "0")  # "0" is the character after "/"
        within = "root = ? AND path >= CAST(? AS TEXT) AND path < CAST(? AS TEXT)"
        return self._paged(within, self._root(root), low, high)

    def holds(self, root: int) -> bool:
        """Whether there is a photo, ready or failed, under the root of this number."""
        return self._one("root = ?", root) is not None

    def changed_since(self, sequence: int, ids: range) -> Iterator[Photo]:
        """Ready photos among ``ids`` that changed after ``sequence``, by vector location."""
        where = f"state = 'ready' AND sequence > ? AND {rows.id_since(sequence)} BETWEEN ? AND ?"
        return self._many(f"{where} ORDER BY +vector_segment, +vector_row", sequence, ids[0], ids[-1])

    def id_blocks_changed_since(self, sequence: int, length: int) -> list[int]:
        """In which blocks of ``length`` ids photos changed after ``sequence``, removals included."""
        blocks = [f"SELECT id / ?1 FROM {table} WHERE sequence > ?2" for table in ("photos", "removals")]
        with self._errors():
            return [row[0] for row in self._db.execute(" UNION ".join(blocks), (length, sequence))]

    def vectors_in(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Photo, segment and row of each vector in the segments from ``first`` to ``last``."""
        query = (
            "SELECT id, vector_segment, vector_row FROM photos "  # photos without a vector have no segment
            "WHERE vector_segment BETWEEN ? AND ? ORDER BY vector_segment, vector_row"
        )
        with self._errors():
            return self._db.execute(query, (first, last)).fetchall()

    def count_changed_since(self, sequence: int) -> int:
        """How many photos a generation that covers ``sequence`` lacks, removals included."""
        counts = [f"SELECT count(*) FROM {table} WHERE sequence > ?" for table in ("photos", "removals")]
        return sum(self._number(count, sequence) for count in counts)

    def count_ready_since(self, sequence: int, ids: range) -> int:
        """How many photos :meth:`changed_since` gives."""
        ready = "SELECT count(*) FROM photos WHERE state = 'ready' AND sequence > ?"
        among = f"AND {rows.id_since(sequence)} BETWEEN ? AND ?"
        return self._number(f"{ready} {among}", sequence, ids[0], ids[-1])

    def unready_since(self, sequence: int, ids: range | None = None) -> Iterator[int]:
        """Those of ``ids`` that a generation covering ``sequence`` may hold but must not any more."""
        failed = "SELECT id, sequence FROM photos WHERE state = 'failed'"
        query = f"SELECT id FROM (SELECT id, sequence FROM removals UNION ALL {failed})"
        with self._errors():
            among, ends = (" AND +id BETWEEN ? AND ?", (ids[0], ids[-1])) if ids else ("", ())
            for (photo_id,) in self._db.execute(f"{query} WHERE sequence > ?{among}", (sequence, *ends)):
                yield int(photo_id)

    def segments(self, kind: SegmentKind) -> list[SegmentRow]:
        """The segments of one kind that exist, by number."""
        query = "SELECT kind, number, rows, sha256 FROM segments WHERE kind = ? ORDER BY number"
        with self._errors():
            return [SegmentRow(*row) for row in self._db.execute(query, (kind,))]

    def live_rows(self) -> dict[int, int]:
        """How many rows of each vectors segment photos count on; segments without any are left out."""
        query = (
            "SELECT vector_segment, count(DISTINCT vector_row) FROM photos "
            "WHERE vector_segment IS NOT NULL GROUP BY vector_segment"
        )
        with self._errors():
            return {int(number): int(count) for number, count in self._db.execute(query)}

    def in_segment(self, number: int) -> list[Photo]:
        """The photos whose vector lies in segment ``number``, by row."""
        return list(self._many("vector_segment = ? ORDER BY vector_row", number))

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
            yield Change(self._db, self.sequence(), self._root, self._errors)
            durable.step("catalog-before-commit")
            with self._errors():
                self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the disk may be what failed
                self._db.execute("ROLLBACK")
            raise
        durable.step("catalog-committed")

    def scan(self) -> Scan:
        """Begin to hold what lies on the disk against the catalog."""
        return Scan(self._db, self._photo, self.roots, self._errors)

    def sizes(self) -> Sizes:
        """The photos there are now, by the size of their files."""
        return Sizes(self._db, self._errors)

    def flaws(self) -> list[str]:
        """What SQLite and the rows' checksums find wrong; empty when all is well."""
        with self._errors():
            found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(5)")]
        return [] if found == ["ok"] else found

    def next_id(self) -> int:
        """The first id that no photo has or had."""
        with self._errors():
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'photos'").fetchone()
        return (int(row[0]) if row else 0) + 1

    def matching(self, condition: str, parameters: Sequence[object]) -> list[VectorRow]:
        """Where the vectors of the ready photos lie that meet an SQL condition, by segment and row."""
        query = (
            f"SELECT id, vector_segment, vector_row FROM photos WHERE state = 'ready' AND {condition} "
            "ORDER BY vector_segment, vector_row"
        )
        with self._errors():
            found = self._db.execute(query, tuple(parameters)).fetchall()
        return [VectorRow(photo_id, Location(segment, row)) for photo_id, segment, row in found]

    # -- internal --------------------------------------------------------------------------------

    def _as_of_now(self, name: str, read: Callable[[], Any]) -> Any:
        """What ``read`` gives, kept until the catalog changes: 20 to 80 ms for all rows of 100,000."""
        if self._db.in_transaction:
            return read()
        sequence = self.sequence()  # first: what a writer adds meanwhile is counted the next time
        known, value = self._known.get(name, (None, None))
        if known != sequence:
            value = read()
            self._known[name] = sequence, value
        return value

    def _number(self, query: str, *parameters: object) -> int:
        with self._errors():
            row = self._db.execute(query, parameters).fetchone()
        if row is None or not isinstance(row[0], int):
            raise damaged(self.path, "a row of its own bookkeeping is missing or wrong")
        return row[0]

    def _one(self, condition: str, *parameters: object) -> Photo | None:
        return next(self._many(condition, *parameters), None)

    def _many(self, condition: str, *parameters: object) -> Iterator[Photo]:
        with self._errors():
            for row in self._db.execute(f"SELECT {rows.SELECT} FROM photos WHERE {condition}", parameters):
                yield self._photo(row)

    def _paged(self, condition: str, *parameters: object) -> Iterator[Photo]:
        # A statement left open would keep the writer from committing for as long as somebody reads.
        query = f"SELECT {rows.SELECT} FROM photos WHERE {condition} AND id > ? ORDER BY id LIMIT {_PAGE}"
        last = -1
        while True:
            with self._errors():
                page = self._db.execute(query, (*parameters, last)).fetchall()
            yield from map(self._photo, page)
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def _photo(self, row: rows.Row) -> Photo:
        *values, checksum = row
        if rows.checksum(values) != checksum:
            raise damaged(self.path, f"the checksum of photo {row[0]} does not match")
        return rows.photo_of(values, self._root_path(row[1]))

    def _root(self, root: str) -> int:
        return self.roots.index(root) if root in self.roots else -1

    def _root_path(self, number: int) -> str:
        if number >= len(self.roots) and self._reload_roots is not None:
            self.roots = self._reload_roots()
        if not 0 <= number < len(self.roots):
            raise damaged(self.path, f"a photo belongs to root {number}, which index.json lacks")
        return self.roots[number]

    def _has_schema(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone())

    def _create(self) -> None:
        first = (
            f"INSERT INTO meta VALUES ('format_version', {FORMAT_VERSION}), ('sequence', 0), "
            f"('generation', 0), ('identity', '{uuid.uuid4().hex}');"
        )
        self._db.executescript(f"BEGIN EXCLUSIVE; {rows.SCHEMA} {first} COMMIT;")

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
        except sqlite3.DatabaseError as error:
            raise explained(self.path, error) from error


def _uri(path: Path, read_only: bool) -> str:
    from urllib.parse import quote

    # A reader that may write opens for writing too: only so can it roll back what a killed writer left.
    writable = not read_only or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    return f"file:{quote(os.fsencode(path.absolute()))}" + ("" if writable else "?mode=ro")

"""What one transaction writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from vsearch.catalog import rows
from vsearch.catalog.rows import SegmentKind, SegmentRow
from vsearch.records import Photo


class Change:
    """One transaction; made by :meth:`vsearch.catalog.Catalog.change`.

    Attributes:
        sequence: the number of this change.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        sequence: int,
        root_number: Callable[[str], int],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._db = db
        self.sequence = sequence
        self._root_number = root_number
        self._errors = errors

    def put(self, photos: Iterable[Photo]) -> None:
        """Insert or replace photos by id; another photo at the same root and path gives way."""
        given = [rows.row_of(p, self._root_number(p.file.root), self.sequence) for p in photos]
        taken = {row[1:3]: row for row in given}.values()  # the last at each root and path
        with self._errors():
            self.remove({row[0] for row in given} - {row[0] for row in taken})
            for row in taken:
                self.remove(self._others_at(row[0], row[1], rows.raw(row[2])))
            self._db.executemany(rows.INSERT, map(rows.bound, taken))
            self._db.executemany("DELETE FROM removals WHERE id = ?", ((row[0],) for row in taken))

    def reserve(self, next_id: int) -> None:
        """Give no id below ``next_id`` to a new photo."""
        with self._errors():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'photos' AND seq < ?", (next_id - 1,))
            self._db.execute(
                "INSERT INTO sqlite_sequence SELECT 'photos', ? WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = 'photos')",
                (next_id - 1,),
            )

    def refile(self, photos: Iterable[Photo]) -> None:
        """Replace rows whose vector and facts are the same: a generation need not hear of it."""
        with self._errors():
            for photo in photos:
                found = self._db.execute("SELECT sequence FROM photos WHERE id = ?", (photo.id,)).fetchone()
                if found is not None:
                    row = rows.row_of(photo, self._root_number(photo.file.root), found[0])
                    self._db.execute(rows.INSERT, rows.bound(row))

    def remove(self, ids: Iterable[int]) -> None:
        """Take photos out; the next generation drops them."""
        with self._errors():
            for photo_id in ids:
                self._db.execute("DELETE FROM photos WHERE id = ?", (photo_id,))
                self._db.execute("INSERT OR REPLACE INTO removals VALUES (?, ?)", (photo_id, self.sequence))

    def published(self, generation: int, sequence: int) -> None:
        """Remember that ``generation`` is out; the removals that it covers are done."""
        with self._errors():
            self._db.execute("DELETE FROM removals WHERE sequence <= ?", (sequence,))
        self.note("generation", generation)

    def note(self, key: str, value: int | str) -> None:
        """Write one entry of ``meta``."""
        with self._errors():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def add_segment(self, segment: SegmentRow) -> None:
        """Make a renamed segment count."""
        with self._errors():
            self._db.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?)",
                (segment.kind, segment.number, segment.rows, segment.sha256),
            )

    def drop_segment(self, kind: SegmentKind, number: int) -> None:
        """Stop counting on a segment; its file may be removed after the commit."""
        with self._errors():
            self._db.execute("DELETE FROM segments WHERE kind = ? AND number = ?", (kind, number))

    def _others_at(self, photo_id: int, root: object, path: bytes) -> list[int]:
        query = "SELECT id FROM photos WHERE root = ? AND path = CAST(? AS TEXT) AND id <> ?"
        return [int(row[0]) for row in self._db.execute(query, (root, path, photo_id))]

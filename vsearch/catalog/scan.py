"""One look at the photo folders, held against the catalog in temporary tables: memory stays bounded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice

from vsearch.catalog import rows
from vsearch.records import FileStat, Photo

_TABLES = """
DROP TABLE IF EXISTS temp.seen; DROP TABLE IF EXISTS temp.doomed;
CREATE TEMP TABLE seen (
    number INTEGER PRIMARY KEY, root INTEGER, path TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    unread INTEGER NOT NULL DEFAULT 1, UNIQUE (root, path)
);
CREATE TEMP TABLE doomed (id INTEGER PRIMARY KEY, root INTEGER, path TEXT, size INTEGER);
CREATE INDEX temp.doomed_by_size ON doomed (size);
"""
_SEEN = "seen.root, seen.path, seen.size, seen.mtime_ns, seen.ctime_ns"
_PAGE = 500
PhotoOf = Callable[[rows.Row], Photo]


class Scan:
    """What a walk saw, joined with the photos of the catalog; made by ``Catalog.scan``.

    Files are *seen*; of those, the ones that need no reading are *settled*.  Photos without a file are
    *doomed*: gone, unless their bytes turn up elsewhere.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        photo_of: PhotoOf,
        roots: list[str],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._db = db
        self._photo_of = photo_of
        self._roots = roots
        self._errors = errors
        with errors():
            db.executescript(_TABLES)

    def see(self, files: Iterable[FileStat]) -> None:
        """Take down files, each once."""
        statement = (
            "INSERT OR IGNORE INTO seen (root, path, size, mtime_ns, ctime_ns) "
            "VALUES (?, CAST(? AS TEXT), ?, ?, ?)"
        )
        rest = iter(files)
        while page := [self._row(file) for file in islice(rest, _PAGE)]:
            with self._errors():
                self._db.execute("BEGIN")
                self._db.executemany(statement, page)
                self._db.execute("COMMIT")

    def known(self) -> Iterator[tuple[Photo, FileStat | None]]:
        """Every photo of the catalog, with its file if it was seen."""
        query = (
            f"SELECT {rows.SELECT}, {_SEEN} FROM photos LEFT JOIN temp.seen "
            "ON seen.root = photos.root AND seen.path = photos.path WHERE photos.id > ? ORDER BY photos.id"
        )
        width = len(rows.COLUMNS) + 1
        for row in self._paged(query):
            seen = self._file(row[width:]) if row[width] is not None else None
            yield self._photo_of(row[:width]), seen

    def settle(self, photos: Iterable[Photo]) -> None:
        """Photos whose files need no reading."""
        self._each(
            "UPDATE temp.seen SET unread = 0 WHERE root = ? AND path = CAST(? AS TEXT)",
            (self._row(photo.file)[:2] for photo in photos),
        )

    def doom(self, photos: Iterable[Photo]) -> None:
        """Photos whose files are gone."""
        self._each(
            "INSERT OR IGNORE INTO temp.doomed VALUES (?, ?, CAST(? AS TEXT), ?)",
            ((photo.id, *self._row(photo.file)[:3]) for photo in photos),
        )

    def unread(self) -> Iterator[tuple[FileStat, Photo | None]]:
        """The files to read, with the photo that the catalog has at their path."""
        query = (
            f"SELECT seen.number, {_SEEN}, {rows.SELECT} FROM temp.seen LEFT JOIN photos "
            "ON seen.root = photos.root AND seen.path = photos.path "
            "WHERE seen.unread AND seen.number > ? ORDER BY seen.number"
        )
        for row in self._paged(query):
            known = self._photo_of(row[6:]) if row[6] is not None else None
            yield self._file(row[1:6]), known

    def count_unread(self) -> int:
        """How many files are to be read."""
        with self._errors():
            return int(self._db.execute("SELECT count(*) FROM temp.seen WHERE unread").fetchone()[0])

    def gone(self) -> Iterator[Photo]:
        """Doomed photos that are still at the path where they were missed."""
        query = (
            f"SELECT {rows.SELECT} FROM temp.doomed JOIN photos "
            "ON photos.id = doomed.id AND photos.root = doomed.root AND photos.path = doomed.path "
            "WHERE photos.id > ? ORDER BY photos.id"
        )
        return (self._photo_of(row) for row in self._paged(query))

    def is_gone(self, photo: Photo) -> bool:
        """Whether ``photo``, at the path it has now, is doomed."""
        query = "SELECT 1 FROM temp.doomed WHERE id = ? AND root = ? AND path = CAST(? AS TEXT)"
        with self._errors():
            found = self._db.execute(query, (photo.id, *self._row(photo.file)[:2])).fetchone()
        return found is not None

    def may_have_moved(self, size: int) -> bool:
        """Whether a doomed photo has ``size`` bytes, so that a new file may be it."""
        with self._errors():
            found = self._db.execute("SELECT 1 FROM temp.doomed WHERE size = ?", (size,)).fetchone()
        return found is not None

    def _each(self, statement: str, parameters: Iterable[tuple[object, ...]]) -> None:
        with self._errors():
            self._db.execute("BEGIN")
            self._db.executemany(statement, parameters)
            self._db.execute("COMMIT")

    def _paged(self, query: str) -> Iterator[rows.Row]:
        """Rows by their first column; no statement stays open, which would keep others from writing."""
        last = -1
        while True:
            with self._errors():
                page = self._db.execute(f"{query} LIMIT {_PAGE}", (last,)).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def _row(self, file: FileStat) -> tuple[int, bytes, int, int, int]:
        root = self._roots.index(file.root)
        return root, rows.raw(file.path), file.size, file.mtime_ns, file.ctime_ns

    def _file(self, row: rows.Row) -> FileStat:
        return FileStat(self._roots[row[0]], *row[1:])

"""What bytes the catalog knows by their number, for readers that cannot ask it about each digest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

_MANY = 33
_TABLE = """
DROP TABLE IF EXISTS temp.sizes;
CREATE TEMP TABLE sizes (size INTEGER, id INTEGER);
INSERT INTO temp.sizes SELECT size, id FROM photos WHERE state = 'ready';
CREATE INDEX temp.sizes_by_size ON sizes (size);
"""


class Sizes:
    """The photos there are now, by the size of their files; made by ``Catalog.sizes``.

    The table is temporary, on the disk if need be, since an index on the photos would cost every catalog.
    """

    def __init__(self, db: sqlite3.Connection, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._db = db
        self._errors = errors
        with errors():
            db.executescript(_TABLE)

    def digests(self, size: int) -> set[str]:
        """SHA-256 of each photo that had ``size`` bytes when this table was made; none if they are many.

        Uncompressed pictures of one camera are all of one size: to compare each with each would cost more
        than to decode a copy.
        """
        query = (
            "SELECT photos.sha256 FROM temp.sizes JOIN photos ON photos.id = sizes.id "
            f"WHERE sizes.size = ? AND photos.sha256 IS NOT NULL LIMIT {_MANY}"
        )
        with self._errors():
            found = self._db.execute(query, (size,)).fetchall()
        return {digest for (digest,) in found} if len(found) < _MANY else set()

"""The catalog: one SQLite table of photos, with what is where, and what failed and why.

Every change raises the catalog's *sequence* and writes it on the rows it touched; a published generation
records the sequence it covers, so "what must still be published" is "rows with a higher sequence".
Removed photos stay as rows of ``removals`` until a generation covers them.

The journal is SQLite's rollback journal, not WAL: readers then need no shared memory, and a commit is one
fsynced step.  Paths are stored as the bytes the file system has, as TEXT.  SQLite keeps no checksums, so
every row of a photo carries its own: a flipped bit is an error and not a wrong answer.
"""

from vsearch.catalog.change import Change
from vsearch.catalog.known import KnownPhotos
from vsearch.catalog.rows import SegmentKind, SegmentRow, VectorRow, photo_from_json, photo_json
from vsearch.catalog.scan import Scan
from vsearch.catalog.sizes import Sizes
from vsearch.catalog.table import Catalog

__all__ = [
    "Catalog",
    "Change",
    "KnownPhotos",
    "Scan",
    "SegmentKind",
    "SegmentRow",
    "Sizes",
    "VectorRow",
    "photo_from_json",
    "photo_json",
]

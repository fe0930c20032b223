"""Rows of segments, read one by one: the files that were used last stay open."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from vsearch.directory import IndexDirectory
from vsearch.errors import IndexDamaged
from vsearch.records import Location
from vsearch.segments import Segment, SegmentKind

# Opening a segment takes 1 to 4 ms, reading a row of an open one 0.2 ms.
_KEPT_OPEN = 16


class SegmentRows:
    """Rows of the segments of one kind.

    Args:
        directory: of the index.
        kind: of the segments.
    """

    def __init__(self, directory: IndexDirectory, kind: SegmentKind) -> None:
        self._directory = directory
        self._kind: SegmentKind = kind
        self._open: dict[int, Segment] = {}
        self._lock = threading.Lock()  # costs nothing: HDF5 has one for all files

    def vector(self, place: Location) -> npt.NDArray[np.float32]:
        """The vector at ``place``, float32 [D]; any thread may ask.

        Raises:
            IndexDamaged: the segment is missing or torn.
        """
        with self._lock:
            segment = self.segment(place.segment)
            rows: npt.NDArray[np.float32] = segment.read(place.row, place.row + 1)
        if not len(rows):
            raise IndexDamaged(f"{segment.path} has no row {place.row}; run `vsearch check`")
        row: npt.NDArray[np.float32] = rows[0]
        return row

    def thumbnail(self, place: Location) -> bytes:
        """The encoded thumbnail at ``place``; any thread may ask.

        Raises:
            IndexDamaged: the segment is missing or torn.
        """
        with self._lock:
            return self.segment(place.segment).thumbnail(place.row)

    def segment(self, number: int) -> Segment:
        """An open segment, for one thread alone; it is closed when many others have been asked for."""
        segment = self._open.pop(number, None)
        if segment is None:
            segment = Segment(self._directory.segment(self._kind, number))
        self._open[number] = segment
        if len(self._open) > _KEPT_OPEN:
            self._open.pop(next(iter(self._open))).close()
        return segment

    def close(self) -> None:
        """Close the files; they are opened anew when they are asked for again."""
        with self._lock:
            for segment in self._open.values():
                segment.close()
            self._open = {}


class StoredRows:
    """The vectors and thumbnails of one index."""

    def __init__(self, directory: IndexDirectory) -> None:
        self.vectors = SegmentRows(directory, "vectors")
        self.thumbnails = SegmentRows(directory, "thumbnails")

    def close(self) -> None:
        """Close the files."""
        self.vectors.close()
        self.thumbnails.close()

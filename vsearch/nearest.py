"""The photos nearest to a vector: exactly from memory where the vectors are few, else from the collection.

Up to 64 MiB of vectors (65,000 photos at 256 numbers) a scan of them all answers exactly, and sooner: a cold
query needs neither Chroma's import nor its graph, and a warm one is a matrix product of a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vsearch.catalog import VectorRow
from vsearch.collection import Collection
from vsearch.directory import IndexDirectory
from vsearch.records import Metric
from vsearch.segments import Segment

SCAN_BYTES = 64 * 2**20
Vectors = npt.NDArray[np.float32]


class Nearest(Protocol):
    """Finds candidates; the caller compares them exactly."""

    def nearest(self, vector: Vectors, k: int) -> list[int]:
        """Ids of the ``k`` photos nearest to ``vector`` (float32 [D]), nearest first."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Scan:
    """All vectors in memory, compared one by one: exact.

    Args:
        directory: of the index.
        rows: where each photo's vector lies, by segment and row.
        count: how many rows there are at the most.
        dimension: D.
        metric: how nearness is measured.

    Raises:
        IndexDamaged: a segment is missing or torn.
    """

    def __init__(
        self,
        directory: IndexDirectory,
        rows: Iterable[VectorRow],
        count: int,
        dimension: int,
        metric: Metric,
    ) -> None:
        self._metric = metric
        self._ids = np.empty(count, dtype=np.int64)
        self._vectors = np.empty((count, dimension), dtype=np.float32)
        end = 0
        for number, group in groupby(rows, key=lambda row: row.location.segment):
            some = list(group)[: count - end]
            with Segment(directory.segment("vectors", number)) as segment:
                self._vectors[end : end + len(some)] = segment.read_rows([r.location.row for r in some])
            self._ids[end : end + len(some)] = [row.photo_id for row in some]
            end += len(some)
        self._ids, self._vectors = self._ids[:end], self._vectors[:end]
        self._squares = np.einsum("nd,nd->n", self._vectors, self._vectors)

    def nearest(self, vector: Vectors, k: int) -> list[int]:
        """See :class:`Nearest`."""
        nearness = self._vectors @ vector
        if self._metric == "euclidean":
            nearness = 2 * nearness - self._squares  # minus the squared distance, up to a constant
        k = min(k, len(nearness))
        best = np.argpartition(nearness, -k)[-k:] if k else np.empty(0, dtype=np.int64)
        return [int(i) for i in self._ids[best[np.argsort(-nearness[best], kind="stable")]]]

    def close(self) -> None:
        """Drop the vectors."""
        self._ids, self._vectors = self._ids[:0], self._vectors[:0]
        self._squares = self._squares[:0]


class Graph:
    """The collection's HNSW graph: approximate, for any number of photos."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._count = collection.count()

    def nearest(self, vector: Vectors, k: int) -> list[int]:
        """See :class:`Nearest`."""
        if not self._count:
            return []
        hits = self._collection.search(vector[np.newaxis], min(k, self._count))[0]
        return [int(hit.id) for hit in hits]

    def close(self) -> None:
        """Close the collection."""
        self._collection.close()

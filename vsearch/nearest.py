"""The photos nearest to a vector: exactly from memory where the vectors are few, else from the collection.

Up to 64 MiB of vectors (65,000 photos at 256 numbers) a scan of them all answers exactly, and sooner: a cold
query needs neither Chroma's import nor its graph, and a warm one is a matrix product of a few milliseconds.
A filter that leaves no more than that is answered by a scan too, whatever the size of the index.
So is, up to 1 GiB and slice by slice, a question that no other follows, as that of a command: the graph would
take longer to read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.catalog import Catalog, VectorRow
from vsearch.collection import Collection, HnswParameters, Neighbours
from vsearch.directory import IndexDirectory
from vsearch.ingest import batched
from vsearch.ranking import nearness
from vsearch.records import Metric
from vsearch.segments import Segment

SCAN_BYTES = 64 * 2**20
# Up to here a single question is answered from the segments, in slices of so much.
ONCE_BYTES = 2**30
_SLICE_BYTES = 16 * 2**20
Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# The graph keeps this many candidates while it searches, by their exact scores.  Where that is less than
# three times what is wanted, it is asked for so many, and the exact comparison picks.
_BREADTH = HnswParameters().ef_search
_OVERFETCH = 3


class VectorSearch(ABC):
    """Finds candidates and their vectors."""

    @abstractmethod
    def nearest_each(
        self, vectors: Vectors, k: int, only: Only | None = None, *, pool: int = 0
    ) -> list[Neighbours]:
        """The ``k`` photos nearest to each of ``vectors`` (float32 [Q, D]) and more, nearest first.

        Args:
            k: how many must be the nearest, if there are so many.
            only: which photos may be answers; all by default.
            pool: how many are wanted in all; of those beyond ``k`` a few may be farther than others.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


class Only:
    """The photos that a filter leaves.

    Args:
        rows: where their vectors lie, by segment and row.
        where: the filter as Chroma says it, if it can.
    """

    def __init__(self, rows: Sequence[VectorRow], where: dict[str, Any] | None = None) -> None:
        self.rows = rows
        self.where = where
        self.ids: Ids = np.sort(np.fromiter((row.photo_id for row in rows), np.int64, len(rows)))

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which of ``ids`` are among them."""
        return np.isin(ids, self.ids, assume_unique=True)


class Scan(VectorSearch):
    """All vectors in memory, compared one by one: exact.

    Args:
        ids: of the photos, int64 [N].
        vectors: theirs, float32 [N, D].
        metric: how nearness is measured.
    """

    def __init__(self, ids: Ids, vectors: Vectors, metric: Metric) -> None:
        self._metric = metric
        self._ids = ids
        self._vectors = vectors
        self._squares = np.einsum("nd,nd->n", vectors, vectors) if metric == "euclidean" else None

    @classmethod
    def of(cls, directory: IndexDirectory, rows: Sequence[VectorRow], metric: Metric) -> Scan:
        """A scan of the vectors at ``rows``, one or more, by segment and row.

        Raises:
            IndexDamaged: a segment is missing or torn.
        """
        ids = np.fromiter((row.photo_id for row in rows), np.int64, len(rows))
        return cls(ids, read_vectors(directory, rows), metric)

    def nearest_each(
        self, vectors: Vectors, k: int, only: Only | None = None, *, pool: int = 0
    ) -> list[Neighbours]:
        """See :class:`VectorSearch`."""
        k = max(k, pool)
        near = vectors @ self._vectors.T
        if self._squares is not None:
            near = 2 * near - self._squares  # minus the squared distance, up to a constant
        if only is not None:
            near[:, ~only.holds(self._ids)] = -np.inf
            k = min(k, len(only.rows))
        return [self._best(row, min(k, len(row))) for row in near]

    def _best(self, near: npt.NDArray[np.float32], k: int) -> Neighbours:
        best = np.argpartition(near, -k)[-k:] if k else np.empty(0, dtype=np.int64)
        best = best[np.argsort(-near[best], kind="stable")]
        best = best[np.isfinite(near[best])]
        return Neighbours(self._ids[best], self._vectors[best])

    def close(self) -> None:
        """Drop the vectors."""
        self._ids, self._vectors = self._ids[:0], self._vectors[:0]
        self._squares = None


class Slices(VectorSearch):
    """All vectors, read anew for each call, a slice at a time: exact, in bounded memory.

    One question is answered sooner than Chroma could be imported and its graph read.

    Args:
        directory: of the index.
        catalog: open for reading.
        dimension, metric: of the index.
    """

    def __init__(self, directory: IndexDirectory, catalog: Catalog, dimension: int, metric: Metric) -> None:
        self._directory = directory
        self._catalog = catalog
        self._rows = max(1, _SLICE_BYTES // (4 * dimension))
        self._metric: Metric = metric

    def nearest_each(
        self, vectors: Vectors, k: int, only: Only | None = None, *, pool: int = 0
    ) -> list[Neighbours]:
        """See :class:`VectorSearch`."""
        k = max(k, pool)
        nothing = Neighbours(np.empty(0, np.int64), np.empty((0, vectors.shape[1]), np.float32))
        found = [nothing] * len(vectors)
        for scan in self._all() if only is None else self._chosen(only):
            near = zip(vectors, found, scan.nearest_each(vectors, k), strict=True)
            found = [_nearest(vector, both, k, self._metric) for vector, *both in near]
        return found

    def close(self) -> None:
        """Nothing is held."""

    def _all(self) -> Iterator[Scan]:
        segments = self._catalog.segments("vectors")
        at_once = max(1, self._rows // max((segment.rows for segment in segments), default=1))
        for some in batched(segments, at_once):
            placed = self._catalog.vectors_in(some[0].number, some[-1].number)
            found = np.fromiter(chain.from_iterable(placed), np.int64).reshape(-1, 3)
            if len(found):
                yield Scan(found[:, 0], _vectors_at(self._directory, found[:, 1:]), self._metric)

    def _chosen(self, only: Only) -> Iterator[Scan]:
        return (Scan.of(self._directory, rows, self._metric) for rows in batched(only.rows, self._rows))


class Graph(VectorSearch):
    """The collection's HNSW graph: approximate, for any number of photos.

    Args:
        collection: the open generation.
        directory, dimension, metric: of the index, to scan what a filter leaves.
    """

    def __init__(
        self, collection: Collection, directory: IndexDirectory, dimension: int, metric: Metric
    ) -> None:
        self._collection = collection
        self._count = collection.count()
        self._directory = directory
        self._dimension = dimension
        self._metric: Metric = metric

    def nearest_each(
        self, vectors: Vectors, k: int, only: Only | None = None, *, pool: int = 0
    ) -> list[Neighbours]:
        """See :class:`VectorSearch`."""
        wanted = max(_fetched(k), pool)
        if only is None:
            return self._ask(vectors, wanted, None)
        if len(only.rows) * self._dimension * 4 <= SCAN_BYTES:
            return Scan.of(self._directory, only.rows, self._metric).nearest_each(vectors, k, pool=pool)
        if only.where is not None:
            return self._ask(vectors, wanted, only.where)
        return [self._sifted(vector, wanted, max(k, pool), only) for vector in vectors]

    def close(self) -> None:
        """Close the collection."""
        self._collection.close()

    def _ask(self, vectors: Vectors, k: int, where: dict[str, Any] | None) -> list[Neighbours]:
        if not self._count:
            nothing = Neighbours(np.empty(0, np.int64), np.empty((0, self._dimension), np.float32))
            return [nothing] * len(vectors)
        found = self._collection.near_each(vectors, min(k, self._count), where)
        pairs = zip(vectors, found, strict=True)
        return [_nearest(vector, parts, k, self._metric) for vector, parts in pairs]

    def _sifted(self, vector: Vectors, wanted: int, k: int, only: Only) -> Neighbours:
        """Ask for more than ``wanted`` until ``k`` pass a filter that Chroma cannot say."""
        wanted = max(wanted, wanted * self._count // len(only.rows))
        while True:
            found = self._ask(vector[np.newaxis], wanted, None)[0]
            passing = only.holds(found.ids)
            if passing.sum() >= min(k, len(only.rows)) or wanted >= self._count:
                return Neighbours(found.ids[passing], found.vectors[passing])
            wanted *= 2


def _nearest(vector: Vectors, among: Sequence[Neighbours], k: int, metric: Metric) -> Neighbours:
    """The ``k`` of them that are nearest to ``vector``, nearest first."""
    ids = np.concatenate([some.ids for some in among])
    vectors = np.concatenate([some.vectors for some in among])
    best = np.argsort(-nearness(vector, vectors, metric), kind="stable")[:k]
    return Neighbours(ids[best], vectors[best])


def _fetched(k: int) -> int:
    """How many candidates to take from the graph for ``k`` answers.

    >>> _fetched(10), _fetched(100)
    (10, 300)
    """
    return k if _OVERFETCH * k <= _BREADTH else _OVERFETCH * k


def read_vectors(directory: IndexDirectory, rows: Sequence[VectorRow]) -> Vectors:
    """The vectors at ``rows`` (one or more, by segment and row), float32 [N, D].

    Raises:
        IndexDamaged: a segment is missing or torn.
    """
    places = [(row.location.segment, row.location.row) for row in rows]
    return _vectors_at(directory, np.array(places, np.int64).reshape(-1, 2))


def _vectors_at(directory: IndexDirectory, places: npt.NDArray[np.int64]) -> Vectors:
    """The vectors at ``places`` (segment and row, int64 [N, 2], N at least 1, by segment), float32 [N, D]."""
    starts = np.flatnonzero(np.diff(places[:, 0], prepend=-1))
    vectors: Vectors | None = None
    for start, end in zip(starts, [*starts[1:], len(places)], strict=True):
        with Segment(directory.segment("vectors", int(places[start, 0]))) as segment:
            if vectors is None:
                vectors = np.empty((len(places), *segment.row_shape()), dtype=np.float32)
            segment.read_rows(places[start:end, 1], vectors[start:end])
    assert vectors is not None  # one row at least
    return vectors

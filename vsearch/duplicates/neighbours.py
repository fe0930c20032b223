"""The few nearest of every vector, in bounded memory: blocked matrix products.

Vectors are first projected onto their leading principal directions, since the products cost in proportion to
the dimension (what that loses: docs/duplicates.md).  No N x N matrix exists at any time: a block of rows is
multiplied with a block of columns, and only what beats the row's threshold is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]
Rows = npt.NDArray[np.intp]

DIMENSIONS = 64
_ROWS = 1024
_COLUMNS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourTable:
    """The nearest of each query: rows int32 [Q, k], -1 where there are fewer, and scores float32 [Q, k]."""

    rows: Numbers
    scores: Vectors


def basis(sample: Vectors, dimensions: int = DIMENSIONS) -> Vectors:
    """The leading principal directions (not centred) of a sample: float32 [n, D] -> [D, d], d <= D and n."""
    if sample.shape[1] <= dimensions:
        return np.eye(sample.shape[1], dtype=np.float32)
    _, _, directions = np.linalg.svd(sample, full_matrices=False)
    return np.ascontiguousarray(directions[:dimensions].T, dtype=np.float32)


def nearest(vectors: Vectors, queries: Rows, among: Rows, k: int, floor: float) -> NeighbourTable:
    """The ``k`` nearest by cosine of some rows among others, themselves aside.

    Args:
        vectors: float32 [N, d], each row of unit length.
        queries, among: rows.
        floor: lower scores do not count.

    >>> found = nearest(np.eye(2, dtype=np.float32)[[0, 0, 1]], np.arange(3), np.arange(3), 1, 0.5)
    >>> found.rows.tolist()
    [[1], [0], [-1]]
    """
    found = NeighbourTable(np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32))
    # The k-th best of a part bounds the k-th best of all from below: with it, hardly more than
    # k * (all / part) scores of a row pass, and only those are sorted.
    part = among[:: -(-len(among) // _COLUMNS)] if len(among) > _COLUMNS else among[:0]
    for start in range(0, len(queries), _ROWS):
        some = queries[start : start + _ROWS]
        threshold = np.full(len(some), floor, np.float32)
        if len(part) > k:
            scores = _scores(vectors, some, part)
            threshold = np.maximum(threshold, np.partition(scores, -k, axis=1)[:, -k])
        passing = list(_passing(vectors, some, among, threshold))
        _keep_best(found, start, *(np.concatenate(column) for column in zip(*passing, strict=True)), k=k)
    return found


def merged(a: NeighbourTable, b: NeighbourTable) -> NeighbourTable:
    """The best of two lists for the same queries."""
    rows, scores = np.concatenate([a.rows, b.rows], axis=1), np.concatenate([a.scores, b.scores], axis=1)
    order = np.argsort(np.where(rows < 0, np.inf, -scores), axis=1, kind="stable")[:, : a.rows.shape[1]]
    return NeighbourTable(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _scores(vectors: Vectors, queries: Rows, others: Rows) -> Vectors:
    scores: Vectors = vectors[queries] @ vectors[others].T
    own = np.searchsorted(others, queries)
    own[own == len(others)] = 0
    same = np.flatnonzero(others[own] == queries)
    scores[same, own[same]] = -np.inf
    return scores


def _passing(
    vectors: Vectors, queries: Rows, among: Rows, threshold: Vectors
) -> Iterator[tuple[Rows, Rows, Vectors]]:
    """Place of the query, row and score of every pair that reaches the query's threshold."""
    for start in range(0, len(among), _COLUMNS):
        others = among[start : start + _COLUMNS]
        scores = _scores(vectors, queries, others)
        flat = np.flatnonzero(scores >= threshold[:, None])
        places, columns = np.divmod(flat, len(others))
        yield places, others[columns], scores.ravel()[flat]


def _keep_best(
    found: NeighbourTable, start: int, places: Rows, rows: Rows, scores: Vectors, *, k: int
) -> None:
    order = np.lexsort((rows, -scores, places))
    places, rows, scores = places[order], rows[order], scores[order]
    rank = np.arange(len(places)) - np.searchsorted(places, places)
    best = rank < k
    found.rows[start + places[best], rank[best]] = rows[best]
    found.scores[start + places[best], rank[best]] = scores[best]

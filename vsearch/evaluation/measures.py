"""How good a ranking is: precision, recall and average precision, leave-one-out.  Arrays in, numbers out.

Every photo is the query once, and all others are ranked for it, by cosine similarity unless told otherwise.
A photo is relevant to a query if both have one label; R is how many are.  With rel(r) = 1 where the r-th
photo of the ranking is relevant, and 0 elsewhere:

    P@k      = (1/k) * sum of rel(r) for r = 1..k
    recall@k = (1/R) * sum of rel(r) for r = 1..k
    AP       = (1/R) * sum of rel(r) * P@r over all r        (mAP is its mean over the queries)

(Manning, Raghavan & Schütze, "Introduction to Information Retrieval", 2008, chapter 8.)  Queries without any
relevant photo are left out of the means.  Ties are broken by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsearch.errors import UsageError
from vsearch.ranking import RANKINGS, Ranking, normalised, scores_by

Vectors = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the queries.

    Attributes:
        queries: how many had a relevant photo.
        precision_at_1, precision_at_5: P@1 and P@5.
        recall_at_k: recall@k for the k that was asked for.
        k: that k.
        mean_average_precision: mAP.
    """

    queries: int
    precision_at_1: float
    precision_at_5: float
    recall_at_k: float
    k: int
    mean_average_precision: float


def rankings(vectors: Vectors, by: str = "plain") -> Iterator[Integers]:
    """For each row of ``vectors`` (float32 [N, D]) all others, most similar first: int64 [N - 1], N times.

    Args:
        by: one of :data:`vsearch.ranking.RANKINGS`; a photo is no part of its own neighbourhood.

    Memory is 256 * N numbers beside the vectors; and 2,000 * 2,000 for another ranking than the plain one.
    """
    return _plain_rankings(vectors) if by == "plain" else _rankings_by(RANKINGS[by], vectors)


def check(rankings: Iterable[str]) -> None:
    """Refuse names that are no rankings.

    Raises:
        UsageError: there is no ranking of that name.
    """
    for name in rankings:
        if name not in RANKINGS:
            raise UsageError(f"rankings are {', '.join(RANKINGS)}; received {name!r}")


def _plain_rankings(vectors: Vectors) -> Iterator[Integers]:
    unit = normalised(vectors)
    for start in range(0, len(unit), _QUERIES_AT_ONCE):
        scores = unit[start : start + _QUERIES_AT_ONCE] @ unit.T
        for query, row in enumerate(scores, start):
            row[query] = -np.inf
            yield np.argsort(-row, kind="stable")[:-1]


def _rankings_by(score: Ranking, vectors: Vectors) -> Iterator[Integers]:
    unit = normalised(vectors)
    for query in range(len(unit)):
        others = np.delete(np.arange(len(unit)), query)
        yield others[np.argsort(-scores_by(unit[query], unit[others], score), kind="stable")]


def nearest(vectors: Vectors, k: int, by: str = "plain") -> Iterator[Integers]:
    """The first ``k`` of each of :func:`rankings`."""
    return (ranking[:k] for ranking in rankings(vectors, by))


def quality(vectors: Vectors, labels: Sequence[str], k: int = 10, by: str = "plain") -> Quality:
    """Leave-one-out quality of ``vectors`` (float32 [N, D]) against ``labels`` (N), ranked ``by``.

    >>> line = np.float32([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    >>> quality(line, ["a", "a", "b", "b"]).mean_average_precision
    1.0

    Raises:
        UsageError: ``k`` is less than 1.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1; received {k}")
    classes = np.unique(np.asarray(labels), return_inverse=True)[1]
    measured = [
        (_precision(hits, 1), _precision(hits, 5), hits[:k].sum() / hits.sum(), average_precision(hits))
        for query, ranking in enumerate(rankings(vectors, by))
        if (hits := classes[ranking] == classes[query]).any()
    ]
    means = np.mean(measured, axis=0) if measured else np.full(4, np.nan)
    return Quality(len(measured), float(means[0]), float(means[1]), float(means[2]), k, float(means[3]))


def average_precision(hits: npt.NDArray[np.bool_]) -> float:
    """AP of one ranking, bool [M], at least one true.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    places = np.flatnonzero(hits) + 1
    return float(np.mean(np.arange(1, len(places) + 1) / places))


def ranks_of(queries: Vectors, vectors: Vectors, own: Sequence[int]) -> Integers:
    """At which place, from 1, ``vectors[own[i]]`` comes for ``queries[i]``: int64 [Q].

    Args:
        queries: float32 [Q, D].
        vectors: float32 [N, D].
        own: the row of ``vectors`` that is right for each query.
    """
    scores = normalised(queries) @ normalised(vectors).T
    right = scores[np.arange(len(queries)), np.asarray(own)]
    places: Integers = 1 + (scores > right[:, np.newaxis]).sum(axis=1)
    return places


def recall_at(places: Integers, k: int) -> float:
    """Which part of the queries has its one relevant photo among the first ``k``.

    >>> recall_at(np.array([1, 3, 12]), 5)
    0.6666666666666666
    """
    return float(np.mean(places <= k))


def _precision(hits: npt.NDArray[np.bool_], k: int) -> float:
    return float(hits[:k].sum() / k)

"""From hits to answers: pure functions on vectors and scores.

Refining works on a *pool*, the photos nearest to the question: each vector of the pool is averaged with its
own nearest neighbours there, the question with its nearest smoothed vectors, and the two are compared.  It
keeps no state, so photos that are added or removed count from the next query on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from vsearch.records import Metric

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Ranking = Callable[[Vectors, Vectors], Scores]

# Measured leave-one-out on photos of 3, 7 and 10 things, 5 to 200 photos of each (docs/search.md).  Squared
# scores as weights did better than the cubes of the papers, and more than 5 photos beside the question
# hurt where a thing has few photos.
NEIGHBOURS = 10
EXPANSION = 5
POWER = 2.0
SMALLEST_POOL = 30
# Each photo of the pool is compared with each: time and memory grow with the square.
LARGEST_POOL = 2000
_COPY = 0.9999  # cosine above which a photo is the query's own picture


def normalised(vectors: Vectors) -> Vectors:
    """Each row divided by its Euclidean length; rows of zeros stay zero.

    Args:
        vectors: float32 [N, D].

    >>> normalised(np.array([[3.0, 4.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # a third of the time of linalg.norm
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, np.newaxis], np.float32)


def cosine(query: Vectors, vectors: Vectors) -> npt.NDArray[np.float32]:
    """Cosine similarity of ``query`` (float32 [D]) to each row of ``vectors`` (float32 [N, D])."""
    scores: Vectors = np.clip(normalised(vectors) @ normalised(query[np.newaxis])[0], -1, 1)
    return scores


def nearness(query: Vectors, vectors: Vectors, metric: Metric) -> npt.NDArray[np.float64]:
    """What photos are ranked by, higher is nearer: cosine similarity, or minus the Euclidean distance.

    Args:
        query: float32 [D].
        vectors: float32 [N, D].

    >>> nearness(np.float32([0, 0]), np.float32([[3, 4], [0, 1]]), "euclidean").tolist()
    [-5.0, -1.0]
    """
    if metric == "cosine":
        return cosine(query, vectors).astype(np.float64)
    differences = vectors.astype(np.float64) - query
    distances: npt.NDArray[np.float64] = np.linalg.norm(differences, axis=1)
    return -distances


def smoothed(vectors: Vectors, neighbours: int = NEIGHBOURS) -> Vectors:
    """Each vector averaged with its nearest neighbours, weighted by their squared scores.

    Database-side feature augmentation (Arandjelovic & Zisserman, "Three things everyone should know to
    improve object retrieval", 2012), with the weights of alpha query expansion.

    Args:
        vectors: float32 [N, D], unit length.

    Returns:
        float32 [N, D], unit length.
    """
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1.0)
    count = min(neighbours, len(vectors) - 1)
    if count < 1:
        return vectors
    # As one product with a matrix that is mostly zeros: half the time of gathering neighbours row by row.
    near *= near >= np.partition(near, -count, axis=1)[:, -count, np.newaxis]
    weights = np.maximum(near, 0, out=near) ** POWER
    np.fill_diagonal(weights, 1.0)
    return normalised(weights @ vectors)


def expanded(query: Vectors, vectors: Vectors, count: int = EXPANSION) -> Vectors:
    """The query averaged with the vectors nearest to it, weighted by their squared scores.

    Alpha query expansion (Radenovic, Tolias & Chum, "Fine-tuning CNN image retrieval with no human
    annotation", 2019).

    Args:
        query: float32 [D], unit length.
        vectors: float32 [N, D], unit length.

    Returns:
        float32 [D], unit length.
    """
    scores = vectors @ query
    count = min(count, len(scores))
    best = np.argpartition(scores, -count)[-count:] if count else np.empty(0, np.int64)
    weights = np.clip(scores[best], 0, None) ** POWER
    wide: Vectors = normalised((query + weights @ vectors[best])[np.newaxis])[0]
    return wide


def refined(query: Vectors, pool: Vectors) -> npt.NDArray[np.float64]:
    """Scores of the pool after smoothing it and expanding the query; never below the plain scores.

    Neighbours smooth away what is particular to a photo, so a near copy of the query would lose: it keeps
    its plain score, which then is the higher one.  Few photos have few neighbours worth having: a tenth of
    the pool smooths each, a twentieth expands the query, up to the numbers above.

    Args:
        query: float32 [D], unit length.
        pool: float32 [N, D], unit length, the photos nearest to the query.

    Returns:
        float64 [N]: the larger of two cosine similarities, of query and vector, and of expanded query and
        smoothed vector.
    """
    plain = _similarity(query, pool)
    if len(pool) < SMALLEST_POOL:
        return plain
    smooth = smoothed(pool, min(NEIGHBOURS, len(pool) // 10))
    wide = expanded(query, smooth, min(EXPANSION, len(pool) // 20))
    return np.maximum(plain, _similarity(wide, smooth))


def scores_by(query: Vectors, vectors: Vectors, score: Ranking) -> Scores:
    """Scores of the nearest 2,000 by ``score``; those farther away stay behind them, in their plain order.

    Args:
        query: float32 [D], unit length.
        vectors: float32 [N, D], unit length.
        score: one of :data:`RANKINGS`.

    Returns:
        float64 [N].
    """
    plain = _similarity(query, vectors)
    order = np.argsort(-plain, kind="stable")
    copies = int(np.count_nonzero(plain > _COPY))  # the query itself is no neighbourhood
    near, far = order[copies : copies + LARGEST_POOL], order[copies + LARGEST_POOL :]
    if not len(near):
        return plain
    scores = plain.copy()
    scores[near] = score(query, vectors[near])
    scores[far] = np.minimum(plain[far], scores[near].min())
    return scores


def refined_together(parts: Vectors, shares: Scores, vectors: Vectors) -> Scores:
    """Scores for a question of several parts: each part's own refined scores, as much as it counts.

    The mean of unlike pictures lies between them, and its nearest are those of one: expanded by these, it
    would forget the other.  What answers are to be unlike pushes away by its plain similarity.

    Args:
        parts: float32 [P, D], unit length.
        shares: float64 [P], negative for what answers are to be unlike.
        vectors: float32 [N, D], unit length.

    Returns:
        float64 [N].
    """
    scores = np.zeros(len(vectors))
    for part, share in zip(parts, shares, strict=True):
        scores += share * scores_by(part, vectors, refined if share > 0 else _similarity)
    return scores


def _similarity(query: Vectors, vectors: Vectors) -> Scores:
    """:func:`cosine` of what is of unit length already."""
    scores: Scores = np.clip(vectors @ query, -1, 1).astype(np.float64)
    return scores


def _smoothed_alone(query: Vectors, pool: Vectors) -> Scores:
    return _similarity(query, smoothed(pool))


def _expanded_alone(query: Vectors, pool: Vectors) -> Scores:
    return _similarity(expanded(query, pool), pool)


# The steps, each alone and both together: query float32 [D], pool float32 [N, D], unit length -> float64 [N].
RANKINGS: dict[str, Ranking] = {
    "plain": _similarity,
    "expanded": _expanded_alone,
    "smoothed": _smoothed_alone,
    "refined": refined,
}


def mixed(vectors: Vectors, weights: npt.NDArray[np.float64]) -> Vectors:
    """The weighted sum of unit vectors, at unit length; zeros where they cancel each other out.

    Args:
        vectors: float32 [N, D], unit length.
        weights: float64 [N]; negative ones push away.

    >>> mixed(np.eye(2, dtype=np.float32), np.array([3.0, 4.0])).round(2).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    total = weights @ vectors.astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < 1e-6 * float(np.abs(weights).sum()):
        return np.zeros(vectors.shape[1], np.float32)
    return np.asarray(total / length, dtype=np.float32)

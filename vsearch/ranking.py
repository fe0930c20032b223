"""From hits to answers: pure functions on vectors and scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vsearch.records import Metric

Vectors = npt.NDArray[np.float32]


def normalised(vectors: Vectors) -> Vectors:
    """Each row divided by its Euclidean length; rows of zeros stay zero.

    Args:
        vectors: float32 [N, D].

    >>> normalised(np.array([[3.0, 4.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


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

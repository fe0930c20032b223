"""From hits to answers: pure functions on vectors and scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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

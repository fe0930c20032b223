"""Principal components of vectors that come in batches, in bounded memory.

The incremental algorithm of Ross, Lim, Lin & Yang, "Incremental learning for robust visual tracking",
International Journal of Computer Vision 77 (2008), section 3.3: the components so far, scaled by their
singular values, a batch of new rows and one row for the shift of the mean are decomposed anew, and the
largest components kept.  It is exact while the data's rank is within ``rank``; else what is lost is the
smallest directions of each step.  The decomposition goes through the Gram matrix of those few rows, so
memory is about ``2 * (rank + batch) * D`` numbers, whatever the number of rows seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vsearch.encoders.graphs import Projection
from vsearch.errors import UsageError

Floats = npt.NDArray[np.float32]


class PrincipalComponents:
    """Running principal components.

    Args:
        components: C, how many are wanted; half as many more are kept on the way, which makes the
            wanted ones more exact.
    """

    def __init__(self, components: int) -> None:
        self.components = components
        self.rank = components + max(16, components // 2)
        self.count = 0
        self._mean: npt.NDArray[np.float64] = np.zeros(0)
        self._scaled: Floats = np.zeros((0, 0), np.float32)  # component times singular value, largest first
        self._waiting: list[Floats] = []

    def update(self, vectors: Floats) -> None:
        """Take in rows, float32 [b, D]."""
        # In small parts: the decomposition costs the cube of their length.
        for start in range(0, len(vectors), self.rank):
            self._waiting.extend(vectors[start : start + self.rank].copy())
            if len(self._waiting) >= max(32, self.rank // 2):
                self._merge()

    def projection(self) -> Projection:
        """``(x - mean) @ components.T`` with C components, those of largest variance first.

        Raises:
            UsageError: fewer than C + 1 rows were seen.
        """
        if self._waiting:
            self._merge()
        if self.count <= self.components:
            raise UsageError(
                f"pca:{self.components} needs more than {self.components} training photos; there are "
                f"{self.count}: choose --vector pca:N with N below {self.count}, mean, or flat"
            )
        kept = self._scaled[: self.components]
        lengths = np.linalg.norm(kept, axis=1, keepdims=True)
        weights = (kept / np.maximum(lengths, np.finfo(np.float32).tiny)).T
        offset = -(self._mean @ weights.astype(np.float64))
        return Projection(np.ascontiguousarray(weights), offset.astype(np.float32))

    def _merge(self) -> None:
        rows = np.stack(self._waiting)
        self._waiting = []
        if not self.count:
            self._mean = np.zeros(rows.shape[1])
            self._scaled = np.zeros((0, rows.shape[1]), np.float32)
        mean = rows.mean(axis=0, dtype=np.float64)
        total = self.count + len(rows)
        shift = np.sqrt(self.count * len(rows) / total) * (self._mean - mean)
        rows -= mean.astype(np.float32)
        stacked = np.concatenate([self._scaled, rows, shift.astype(np.float32)[np.newaxis]])
        # Left singular vectors U of the stack S; rows of U^T S are component times singular value.
        _, vectors = np.linalg.eigh((stacked @ stacked.T).astype(np.float64))
        largest = vectors[:, ::-1][:, : self.rank].T.astype(np.float32)
        self._scaled = largest @ stacked
        self._mean += (mean - self._mean) * (len(rows) / total)
        self.count = total

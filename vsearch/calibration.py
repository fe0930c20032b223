"""What a score is worth in one library: pure functions on vectors and scores.

Scores of unrelated photos differ from encoder to encoder and from library to library.  The scores of random
pairs of the library itself tell: most of them are of unrelated photos, the rest are not, and a mixture of
two normal distributions takes them apart.  What it gives for a score is the probability that the pair
belongs to the upper one.

Cosines of words and pictures lie elsewhere, and closer together, than those of two pictures (the modality
gap: Liang et al., "Mind the gap", 2022).  What a question with words scores is moved and stretched until its
scores on the library lie where those of pairs do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsearch.ranking import Vectors, normalised

Scores = npt.NDArray[np.float64]

SAMPLE = 1000  # photos; half a million pairs
SMALLEST = 30
_ROUNDS = 100
_PAIRS = 20_000
_LEAST_SPREAD = 0.01  # of scores: a library of copies would else end in a division by zero
_LEAST_REACH = 1e-6


@dataclass(frozen=True, slots=True)
class Background:
    """Scores of random pairs of photos: those by chance and the others, as two normal distributions.

    Attributes:
        share: of the pairs that are related, 0 to 1.
        chance_mean, chance_spread: of the scores of unrelated pairs.
        mean, spread: of the scores of related ones.
        median, tenth: below which a half and a tenth of all the scores lie.
    """

    share: float
    chance_mean: float
    chance_spread: float
    mean: float
    spread: float
    median: float
    tenth: float

    def moved(self, scores: Scores, sample: Scores) -> Scores:
        """Scores of a question with words, as if it were a photo: what :meth:`probability` takes.

        Args:
            scores: float64 [N], of the question and the photos to judge.
            sample: float64 [M], of the question and a sample of the library, at least :data:`SMALLEST`.
        """
        tenth, median = np.quantile(sample, [0.1, 0.5])  # the lower half: related photos hardly move it
        stretched: Scores = (scores - median) / max(median - tenth, _LEAST_REACH)
        return self.median + stretched * (self.median - self.tenth)

    def probability(self, scores: Scores) -> Scores:
        """The probability that pairs with these scores (float64 [N]) are related; rises with them."""
        inside = self._on_the_rise(scores)
        chance = _log_density(inside, self.chance_mean, self.chance_spread) + np.log1p(-self.share)
        related = _log_density(inside, self.mean, self.spread) + np.log(self.share)
        found: Scores = 1 / (1 + np.exp(np.clip(chance - related, -700, 700)))
        return found

    def _on_the_rise(self, scores: Scores) -> Scores:
        """Scores moved to where the odds turn, if they lie beyond.

        The log odds of two normal distributions are a parabola: far out the wider one overtakes the other
        again, but no low score is evidence for a relation, and no high one against it.
        """
        precise, wide = self.chance_spread**-2, self.spread**-2
        if precise == wide:
            return scores
        turn = (self.chance_mean * precise - self.mean * wide) / (precise - wide)
        return np.maximum(scores, turn) if precise > wide else np.minimum(scores, turn)


def background(vectors: Vectors) -> Background | None:
    """The background of a library, from a sample of its vectors (float32 [N, D]).

    Expectation-maximisation (Dempster, Laird & Rubin 1977) on the cosine similarities of the pairs.

    Returns:
        ``None`` where the photos are too few to tell.
    """
    if len(vectors) < SMALLEST:
        return None
    unit = normalised(vectors)
    first, second = np.triu_indices(len(unit), 1)
    chosen = np.random.default_rng(0).permutation(len(first))[:_PAIRS]
    scores = np.einsum("nd,nd->n", unit[first[chosen]], unit[second[chosen]]).astype(np.float64)
    means, spreads = np.quantile(scores, [0.3, 0.98]), np.full(2, max(scores.std() / 2, _LEAST_SPREAD))
    shares = np.array([0.9, 0.1])
    for _ in range(_ROUNDS):
        densities = shares * np.exp(_log_density(scores[:, np.newaxis], means, spreads))
        belongs = densities / np.maximum(densities.sum(axis=1, keepdims=True), 1e-300)
        weights = np.maximum(belongs.sum(axis=0), 1e-9)
        means = scores @ belongs / weights
        variances = np.einsum("nc,nc->c", belongs, (scores[:, np.newaxis] - means) ** 2) / weights
        spreads, shares = np.maximum(np.sqrt(variances), _LEAST_SPREAD), weights / weights.sum()
    low, high = np.argsort(means)
    share = float(np.clip(shares[high], 1e-6, 1 - 1e-6))
    tenth, median = np.quantile(scores, [0.1, 0.5])
    return Background(
        share,
        chance_mean=float(means[low]),
        chance_spread=float(spreads[low]),
        mean=float(means[high]),
        spread=float(spreads[high]),
        median=float(median),
        tenth=float(tenth),
    )


def _log_density(scores: Scores, mean: float | Scores, spread: float | Scores) -> Scores:
    found: Scores = -0.5 * ((scores - mean) / spread) ** 2 - np.log(spread)
    return found

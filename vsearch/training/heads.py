"""Heads: projections that labels teach, pure functions on vectors and labels.

A head is ``y = (x - mean) @ W (I + a B B')``.  ``W`` whitens the scatter *within* the labels, shrunk towards
a multiple of the identity, so that directions in which photos of one thing differ count less (relevant
component analysis: Bar-Hillel, Hertz, Shental & Weinshall, "Learning a Mahalanobis metric from equivalence
constraints", 2005).  ``B`` spans the means of the labels in that space, which is where linear discriminant
analysis (Fisher 1936; shrunk: Friedman 1989) projects to; *stretching* it by ``1 + a`` goes from the one to
the other.  With ``a`` infinite nothing but ``B`` is left, and the head is discriminant analysis itself: best
for the labels that it knows, and nearly blind for everything else.

Shrinkage and stretch are chosen by cross-validation on photos of known labels, among those that do no harm to
labels left out as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vsearch.errors import UsageError
from vsearch.ranking import normalised
from vsearch.sampling import spread

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

HELD_OUT = 0.25
LEAST = 4  # photos of a label of which some can be held out: two to learn from, two to measure
LEAST_LABELS = 4  # before whole labels can be held out: two to learn from, two to measure
_FOLDS = 3
_AT_ONCE = 256  # queries
_DEALS = 30
_MOST_QUERIES = 2000  # of one measurement
_SHRINKAGES = (0.2, 0.5, 0.8)
_STRETCHES = (0.0, 0.25, 0.5, 1.0, 3.0, 10.0, math.inf)
# On the landmarks photos a stretch of 1 left mAP on unseen labels where it was (.77, plain .78), 3 took it to
# .64 and discriminant analysis to .44.  Where that cannot be tried, nothing stronger is.
_MOST_UNTRIED = 1.0
_LEAST_PLANE = 3  # dimensions of B, below which nothing but B ranks too many photos alike


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly a head bends the space: ``shrinkage`` in 0..1, ``stretch`` 0 or more, or infinite."""

    shrinkage: float
    stretch: float

    @property
    def method(self) -> str:
        """What it is called."""
        if math.isinf(self.stretch):
            return "linear discriminant analysis"
        return "whitening, stretched along the discriminants" if self.stretch else "whitening"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """``y = (x - mean) @ weights``: float32 [D] and [D, C]."""

    mean: Vectors
    weights: Vectors

    def project(self, vectors: Vectors) -> Vectors:
        """float32 [N, D] to unit vectors float32 [N, C]."""
        return normalised(np.asarray((vectors - self.mean) @ self.weights, np.float32))


@dataclass(frozen=True, slots=True)
class Gain:
    """mAP of the plain vectors and of a head on photos that it has not seen.

    Attributes:
        photos, labels: of the queries.
        error: the standard error of the mean of the differences, photo by photo; for known labels, if that is
            larger, the spread of the gains where the labels mean nothing, as photos that are ranked among
            each other are not independent.
    """

    photos: int
    labels: int
    plain: float
    head: float
    error: float

    @property
    def certain(self) -> bool:
        """Whether the head is better by more than three standard errors."""
        return self.head - self.plain > 3 * self.error


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What came of the labels.

    Attributes:
        head: fitted on all photos.
        strength: what cross-validation chose.
        known: on held-out photos of known labels.
        unseen: on held-out labels, or ``None`` where there are fewer than four.
    """

    head: Head
    strength: Strength
    known: Gain
    unseen: Gain | None


class Scatter:
    """What a head is made of: decomposed once, for every strength.

    Args:
        vectors: float32 [N, D].
        classes: int64 [N], two different ones at least.
    """

    def __init__(self, vectors: Vectors, classes: Integers) -> None:
        exact = vectors.astype(np.float64)
        _, rows, counts = np.unique(classes, return_inverse=True, return_counts=True)
        sums = np.zeros((len(counts), exact.shape[1]))
        np.add.at(sums, rows, exact)
        means = sums / counts[:, np.newaxis]
        self.mean = exact.mean(axis=0)
        self._offsets = (means - self.mean) * np.sqrt(counts)[:, np.newaxis]
        exact -= means[rows]
        within = exact.T @ exact / max(1, len(exact) - len(counts))
        values, self._axes = np.linalg.eigh(within)
        self._values = np.clip(values, 0, None)

    @property
    def plane(self) -> int:
        """How many dimensions the means of the labels span at most."""
        return int(min(len(self._offsets) - 1, len(self.mean)))

    def head(self, strength: Strength) -> Head:
        """The head of one strength."""
        average = max(float(self._values.mean()), np.finfo(np.float64).tiny)
        shrunk = (1 - strength.shrinkage) * self._values + strength.shrinkage * average
        whiten = self._axes / np.sqrt(shrunk)
        # Equal to the generalised eigenvectors of between- and within-scatter, up to a turn.
        directions = np.linalg.svd(self._offsets @ whiten, full_matrices=False)[2][: self.plane].T
        weights = whiten @ directions
        if math.isfinite(strength.stretch):
            weights = whiten + strength.stretch * weights @ directions.T
        # Of length one on average: cosines do not change, and float16 holds the weights.
        weights /= np.linalg.norm(weights, axis=0).mean()
        return Head(self.mean.astype(np.float32), weights.astype(np.float32))


def learn(vectors: Vectors, labels: Sequence[str], seed: int = 0, plain: Vectors | None = None) -> Learned:
    """Choose a strength, measure it on what it has not seen, and fit it on everything.

    A quarter of the photos of each label that has four or more is held out from both the choice and the fit
    of the head that is measured.  Held-out photos are ranked among themselves.  For ``unseen`` the labels
    are left out by turns, and their photos ranked among all; only the choice of strength has seen them.

    Args:
        vectors: float32 [N, D], what the head is to project.
        labels: N.
        seed: of what is held out.
        plain: float32 [N, E], unit length, what the head is compared with; ``vectors`` by default.

    Raises:
        UsageError: fewer than two labels have four photos or more.
    """
    classes = _numbered(labels)
    counts = np.bincount(classes)
    enough = int(np.count_nonzero(counts >= LEAST))
    if enough < 2:
        raise UsageError(
            f"of {len(counts)} labels {enough} have {LEAST} photos or more; learning "
            "needs two such labels: two photos of each to learn from, and two to measure"
        )
    random = np.random.default_rng(seed)
    held = _held_out(classes, random)
    photos = _Photos(vectors, vectors if plain is None else plain, classes)
    strength = _chosen(photos.some(~held), random)
    rows = _some(np.flatnonzero(held))
    trial = _Trial(np.flatnonzero(~held), rows, rows)
    known = _gain(photos, [trial], strength)
    known = replace(known, error=max(known.error, _by_chance(photos, trial, strength, random)))
    trials = _label_trials(classes, random)
    unseen = _gain(photos, trials, strength) if trials else None
    return Learned(Scatter(vectors, classes).head(strength), strength, known, unseen)


def ranking(vectors: Vectors, queries: Integers | None = None) -> Integers:
    """All rows of unit ``vectors``, nearest first, for each of ``queries``, itself first.

    Returns:
        int64 [Q, N].
    """
    rows = np.arange(len(vectors)) if queries is None else queries
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = np.inf
    order: Integers = np.argsort(-scores, axis=1, kind="stable")
    return order


def precisions(order: Integers, classes: Integers) -> Floats:
    """Average precision of each query of a :func:`ranking`; NaN where no other row has its class."""
    hits = classes[order[:, 1:]] == classes[order[:, :1]]
    relevant = hits.sum(axis=1)
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    found: Floats = (at_rank * hits).sum(axis=1) / np.where(relevant, relevant, np.nan)
    return found


# --- what is held out ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Photos:
    """Vectors to project, vectors to compare with, and classes, one row a photo."""

    vectors: Vectors
    plain: Vectors
    classes: Integers

    def some(self, rows: Mask) -> _Photos:
        return _Photos(self.vectors[rows], self.plain[rows], self.classes[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """Rows to learn from, rows that are ranked, and which of them are the queries."""

    learn: Integers
    ranked: Integers
    queries: Integers

    def scatter(self, photos: _Photos) -> Scatter:
        return Scatter(photos.vectors[self.learn], photos.classes[self.learn])

    def plain(self, photos: _Photos) -> Floats:
        """Average precision of each query, with the vectors as they are."""
        return self._measured(photos.plain[self.ranked], photos.classes)

    def headed(self, photos: _Photos, head: Head) -> Floats:
        """The same with a head."""
        return self._measured(head.project(photos.vectors[self.ranked]), photos.classes)

    def _measured(self, ranked: Vectors, classes: Integers) -> Floats:
        queries = np.searchsorted(self.ranked, self.queries)
        parts = (queries[start : start + _AT_ONCE] for start in range(0, len(queries), _AT_ONCE))
        return np.concatenate([precisions(ranking(ranked, part), classes[self.ranked]) for part in parts])


def _held_out(classes: Integers, random: np.random.Generator) -> Mask:
    held = np.zeros(len(classes), np.bool_)
    for label in np.flatnonzero(np.bincount(classes) >= LEAST):
        members = random.permutation(np.flatnonzero(classes == label))
        held[members[: max(2, round(HELD_OUT * len(members)))]] = True
    return held


def _photo_trials(classes: Integers, random: np.random.Generator) -> list[_Trial]:
    """The photos in folds, two of a label at a time, so that each has company in its fold."""
    fold = np.empty(len(classes), np.int64)
    for label in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == label))
        fold[members] = (np.arange(len(members)) // 2 + random.integers(_FOLDS)) % _FOLDS
    trials = []
    for number in range(_FOLDS):
        inside = np.flatnonzero(fold == number)
        trials.append(_Trial(np.flatnonzero(fold != number), inside, _some(inside)))
    return trials


def _label_trials(classes: Integers, random: np.random.Generator) -> list[_Trial]:
    """The labels in folds; their photos are looked for among all.  Empty where labels are too few."""
    labels = random.permutation(np.flatnonzero(np.bincount(classes) >= 2))
    if len(labels) < LEAST_LABELS:
        return []
    every, trials = np.arange(len(classes)), []
    for some in np.array_split(labels, min(_FOLDS, len(labels) // 2)):
        out = np.isin(classes, some)
        trials.append(_Trial(every[~out], every, _some(every[out])))
    return trials


def _some(rows: Integers) -> Integers:
    """At most so many as one measurement takes, evenly spread."""
    return rows[spread(range(len(rows)), _MOST_QUERIES)]


# --- choosing and measuring ----------------------------------------------------------------------


def _chosen(photos: _Photos, random: np.random.Generator) -> Strength:
    """The best on known labels of those that do no harm to unseen ones; the gentlest within its error.

    The rule of one standard error is that of Breiman et al. (1984).
    """
    strengths = _strengths(len(np.unique(photos.classes)))
    trials = _label_trials(photos.classes, random)
    if trials:
        plain = np.concatenate([trial.plain(photos) for trial in trials])
        harmless = _cross_validated(photos, trials, strengths)[:, 0] >= _mean_and_error(plain)[0]
    else:
        harmless = np.array([strength.stretch <= _MOST_UNTRIED for strength in strengths])
    known = _cross_validated(photos, _photo_trials(photos.classes, random), strengths)
    if harmless.any():
        known[~harmless, 0] = -np.inf
    best = int(known[:, 0].argmax())
    return strengths[int(np.flatnonzero(known[:, 0] >= known[best, 0] - known[best, 1])[0])]


def _strengths(labels: int) -> list[Strength]:
    """Gentlest first."""
    stretches = [s for s in _STRETCHES if math.isfinite(s) or labels > _LEAST_PLANE]
    return [Strength(shrinkage, s) for s in stretches for shrinkage in reversed(_SHRINKAGES)]


def _cross_validated(photos: _Photos, trials: Sequence[_Trial], strengths: Sequence[Strength]) -> Floats:
    """mAP and its standard error for each strength: float64 [S, 2]; zeros where nothing can be measured."""
    found: list[list[Floats]] = [[] for _ in strengths]
    for trial in (t for t in trials if len(np.unique(photos.classes[t.learn])) > 1):
        scatter = trial.scatter(photos)
        for number, strength in enumerate(strengths):
            found[number].append(trial.headed(photos, scatter.head(strength)))
    return np.array([_mean_and_error(np.concatenate(each) if each else np.empty(0)) for each in found])


def _gain(photos: _Photos, trials: Sequence[_Trial], strength: Strength) -> Gain:
    plain = np.concatenate([trial.plain(photos) for trial in trials])
    headed = np.concatenate([trial.headed(photos, trial.scatter(photos).head(strength)) for trial in trials])
    queries = np.concatenate([trial.queries for trial in trials])
    error = _mean_and_error(headed - plain)[1]
    labels = len(np.unique(photos.classes[queries]))
    return Gain(len(queries), labels, float(np.nanmean(plain)), float(np.nanmean(headed)), error)


def _by_chance(photos: _Photos, trial: _Trial, strength: Strength, random: np.random.Generator) -> float:
    """The standard deviation of the gains where the held-out photos' labels are dealt anew."""
    plain = ranking(photos.plain[trial.ranked])
    headed = ranking(trial.scatter(photos).head(strength).project(photos.vectors[trial.ranked]))
    gains = []
    for _ in range(_DEALS):
        classes = random.permutation(photos.classes[trial.ranked])
        gains.append(np.nanmean(precisions(headed, classes)) - np.nanmean(precisions(plain, classes)))
    return float(np.std(gains))


def _mean_and_error(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0, 0.0
    return float(known.mean()), float(known.std() / math.sqrt(len(known)))


def _numbered(labels: Sequence[str]) -> Integers:
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)

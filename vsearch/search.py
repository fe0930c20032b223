"""Answering questions: candidates, exact scores, refinement, the catalog's facts, a kind for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vsearch import files
from vsearch.calibration import SAMPLE, Background, background
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory, Settings
from vsearch.errors import IndexDamaged, UsageError
from vsearch.filters import Condition
from vsearch.kinds import Kinds
from vsearch.nearest import Nearest, Only, read_vectors
from vsearch.question import Question
from vsearch.ranking import cosine, nearness, refined
from vsearch.records import Answer, Location, Match, Photo
from vsearch.segments import Segment

Scores = npt.NDArray[np.float64]

# Refining compares each of these with each, so its cost grows with their square.  A pool of 200 reached all
# of the gain among the first five, and .86 of mAP where a pool of everything reached .88 (docs/search.md).
_POOL = 200
_LARGEST_POOL = 2000
# Of flattened latents fewer: comparing 200 with 90,000 numbers each took 10 of a query's 14 seconds.
_POOL_BYTES = 8 * 2**20
_SMALLEST_POOL = 30
_COPY = 0.9999  # cosine above which a candidate is the query's own picture


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which answers are wanted, and how they are ranked.

    Attributes:
        k: how many; ``None`` for all.
        refine: smooth and expand; else plain scores.
        condition: a compiled filter.
        min_score: leave out answers below this score.
        min_match: leave out answers whose probability to be related to the question is below this.
    """

    k: int | None = 10
    refine: bool = True
    condition: Condition | None = None
    min_score: float | None = None
    min_match: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Candidates, best first: ids int64 [n], what ranked them, scores and plain cosines, float64 [n]."""

    ids: npt.NDArray[np.int64]
    ranked: Scores
    scores: Scores
    plain: Scores


class Searcher:
    """Answers questions from the vectors as of one sequence, and the catalog beside them.

    Args:
        directory, settings: of the index.
        catalog: open for reading.
        nearest: finds the candidates.
        covered: the catalog sequence that ``nearest`` covers.
    """

    def __init__(
        self,
        directory: IndexDirectory,
        settings: Settings,
        catalog: Catalog,
        nearest: Nearest,
        covered: int,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._catalog = catalog
        self._nearest = nearest
        self._covered = covered
        self._background: Background | None = None
        self._kinds = Kinds(self._thumbnail)

    def answer(self, question: Question, wanted: Wanted) -> Answer:
        """The best matches, best first; photos with the bytes of a single query picture before all others.

        Raises:
            UsageError: ``k`` is less than 1, or there are too few photos to tell probabilities.
        """
        _check(wanted)
        only = self._only(wanted.condition)
        if only is not None and not only.rows:
            return Answer((), note="no photo of the index meets the filter")
        count = self._catalog.count("ready") if only is None else len(only.rows)
        k = count if wanted.k is None else min(wanted.k, count)
        pool = self._pool(question, k, wanted.refine, only)
        photos = self._photos(pool, question, k, only)
        matches = self._matches(question, photos, pool)
        if wanted.min_match is not None:
            plain = np.array([match.cosine for match in matches], np.float64)
            found = self.background().probability(plain)
            matches = [replace(m, match=float(p)) for m, p in zip(matches, found, strict=True)]
        return _kept(matches, wanted)

    def background(self) -> Background:
        """How scores of random pairs of this library are spread.

        Raises:
            UsageError: it has too few photos to tell.
        """
        if self._background is None:
            rows = self._catalog.matching("TRUE", ())
            some = rows[:: max(1, len(rows) // SAMPLE)]
            self._background = background(read_vectors(self._directory, some))
        if self._background is None:
            raise UsageError("the index has too few photos to tell probabilities; leave --min-match out")
        return self._background

    def _only(self, condition: Condition | None) -> Only | None:
        if condition is None:
            return None
        return Only(self._catalog.matching(condition.sql, condition.parameters), condition.chroma)

    def _pool(self, question: Question, k: int, refine: bool, only: Only | None) -> _Pool:
        """Candidates with exact scores; those removed since the vectors were read are still among them."""
        metric = self._settings.metric
        refine = refine and metric == "cosine"
        gone = np.fromiter(self._catalog.unready_since(self._covered), np.int64)
        size = max(k, _pool_size(len(question.vector))) if refine else k
        found = self._nearest.nearest(question.vector, size + len(gone), only)
        here = ~np.isin(found.ids, gone)
        ids, vectors = found.ids[here], found.vectors[here]
        plain = cosine(question.vector, vectors).astype(np.float64)
        ranked = nearness(question.vector, vectors, metric)
        if refine and len(ids):
            ranked = _refined(question, vectors, plain)
        order = np.lexsort((ids, -ranked))
        plain = plain[order]
        # Scores fall with the rank: a photo that its neighbours lifted is worth what it was lifted above.
        scores = np.maximum.accumulate(plain[::-1])[::-1] if refine else plain
        return _Pool(ids[order], ranked[order], scores, plain)

    def _photos(self, pool: _Pool, question: Question, k: int, only: Only | None) -> list[Photo]:
        """Up to ``k`` photos, best first."""
        twins = self._twins(question, only) if question.pinned else []
        first = {photo.id for photo in twins}
        wanted = [int(i) for i in pool.ids[: k + len(first)] if int(i) not in first][: max(0, k - len(twins))]
        found = self._catalog.get_many(wanted)
        rest = [found[i] for i in wanted if i in found and found[i].state == "ready"]
        return (twins + rest)[:k]

    def _twins(self, question: Question, only: Only | None) -> list[Photo]:
        same = [p for digest in question.digests for p in self._catalog.with_digest(digest)]
        passing = {p.id for p in same} if only is None else set(only.ids.tolist())
        return sorted((p for p in same if p.state == "ready" and p.id in passing), key=_path)

    def _matches(self, question: Question, photos: Sequence[Photo], pool: _Pool) -> list[Match]:
        scores = dict(zip(pool.ids.tolist(), zip(pool.scores, pool.plain, strict=True), strict=True))
        for photo in photos:
            if photo.id not in scores or (question.pinned and photo.sha256 in question.digests):
                exact = self._exact(question, photo)
                scores[photo.id] = (exact, exact)
        plain = {photo.id: float(scores[photo.id][1]) for photo in photos}
        kinds = self._kinds.of(question.digests, question.originals, photos, plain)
        return [
            Match(rank, _path(p), float(scores[p.id][0]), kinds[p.id], str(p.id), plain[p.id])
            for rank, p in enumerate(photos, start=1)
        ]

    def _thumbnail(self, place: Location) -> bytes:
        with Segment(self._directory.segment("thumbnails", place.segment)) as segment:
            return segment.thumbnail(place.row)

    def _exact(self, question: Question, photo: Photo) -> float:
        if photo.vector is None:
            raise IndexDamaged(f"photo {photo.id} has no vector; run `vsearch check`")
        with Segment(self._directory.segment("vectors", photo.vector.segment)) as segment:
            return float(cosine(question.vector, segment.read_rows([photo.vector.row]))[0])


def _pool_size(dimension: int) -> int:
    return min(_POOL, max(_SMALLEST_POOL, _POOL_BYTES // (4 * dimension)))


def _check(wanted: Wanted) -> None:
    if wanted.k is not None and wanted.k < 1:
        raise UsageError(f"k must be at least 1; received {wanted.k}")
    if wanted.min_score is not None and not -1 <= wanted.min_score <= 1:
        raise UsageError(f"a score lies between -1 and 1; received min-score {wanted.min_score}")
    if wanted.min_match is not None and not 0 <= wanted.min_match <= 1:
        raise UsageError(f"a probability lies between 0 and 1; received min-match {wanted.min_match}")


def _refined(question: Question, vectors: npt.NDArray[np.float32], plain: Scores) -> Scores:
    """Refined scores of the nearest; those farther away stay behind them, in their plain order."""
    order = np.argsort(-plain, kind="stable")
    copies = int(np.count_nonzero(plain > _COPY))  # the query itself is no neighbourhood
    near, far = order[copies : copies + _LARGEST_POOL], order[copies + _LARGEST_POOL :]
    if not len(near):
        return plain
    scores = plain.copy()
    scores[near] = refined(question.vector, vectors[near])
    scores[far] = np.minimum(plain[far], scores[near].min())
    return scores


def _kept(matches: Sequence[Match], wanted: Wanted) -> Answer:
    """The matches that reach the thresholds; a note says what was left out."""
    kept = [m for m in matches if wanted.min_score is None or m.score >= wanted.min_score]
    if wanted.min_match is not None:
        kept = [m for m in kept if m.match is not None and m.match >= wanted.min_match]
    if len(kept) == len(matches):
        return Answer(tuple(matches))
    ranks = {match.rank for match in kept}
    left = [match for match in matches if match.rank not in ranks]
    best = left[0]
    chance = "" if best.match is None else f", with a probability of {best.match:.2f} to be related"
    below = "all" if not kept else f"{len(left):,} more"
    nearest = f"{below} of the {len(matches):,} nearest are below the threshold"
    note = f"{nearest}; the best of them scores {best.score:.3f}{chance}"
    ranked = tuple(replace(match, rank=rank) for rank, match in enumerate(kept, start=1))
    return Answer(ranked, note)


def _path(photo: Photo) -> str:
    return files.absolute(photo.file.root, photo.file.path)

"""Answering questions: candidates, exact scores, refinement, the catalog's facts, a kind for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt

from vsearch import hashing
from vsearch.calibration import SAMPLE, Background, background
from vsearch.catalog import Catalog, KnownPhotos
from vsearch.collection import Neighbours
from vsearch.directory import IndexDirectory
from vsearch.errors import IndexDamaged, UsageError
from vsearch.filters import Condition
from vsearch.nearest import Only, VectorSearch, read_vectors
from vsearch.question import Question
from vsearch.ranking import RANKINGS, cosine, nearness, normalised, refined, refined_together, scores_by
from vsearch.records import Answer, Match, Photo
from vsearch.sampling import spread
from vsearch.segmentrows import StoredRows
from vsearch.settings import Settings
from vsearch.variants.kinds import Kinds, Seen

Scores = npt.NDArray[np.float64]

# Refining compares each of these with each, so its cost grows with their square.  A pool of 200 reached all
# of the gain among the first five, and .86 of mAP where a pool of everything reached .88 (docs/search.md).
_POOL = 200
# Of flattened latents fewer: comparing 200 with 90,000 numbers each took 10 of a query's 14 seconds.
_POOL_BYTES = 8 * 2**20
_SMALLEST_POOL = 30
_POOLS_BYTES = 2 * _POOL_BYTES  # of all questions that are answered together
_ALWAYS_COMPARED = 3  # of a query's plain nearest, whether they are variants


@dataclass(frozen=True, slots=True)
class AnswerOptions:
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
    """Candidates, best first: ids, int64 [n], and the cosines of each and the question alone, float64 [n]."""

    ids: npt.NDArray[np.int64]
    cosines: Scores

    def by_id(self) -> dict[int, float]:
        """The cosines."""
        return dict(zip(self.ids.tolist(), self.cosines.tolist(), strict=True))

    def holding(self, cosines: dict[int, float]) -> _Pool:
        """The same with these cosines; ids that it lacks come last."""
        known = self.by_id() | cosines
        return _Pool(np.fromiter(known, np.int64), np.fromiter(known.values(), np.float64))

    def led_by(self, ids: Iterable[int]) -> _Pool:
        """The same with these ids before all others, in their order."""
        place = {photo_id: place for place, photo_id in enumerate(ids)}
        places = [place.get(photo_id, len(place)) for photo_id in self.ids.tolist()]
        order = np.argsort(np.array(places, np.int64), kind="stable")
        return _Pool(self.ids[order], self.cosines[order])

    def nearest(self, count: int) -> npt.NDArray[np.int64]:
        """Ids of those whose cosines are highest."""
        return self.ids[np.argsort(-self.cosines, kind="stable")[:count]]


class Searcher:
    """Answers questions from the vectors as of one sequence, and the catalog beside them.

    Args:
        directory, settings: of the index.
        catalog: open for reading.
        nearest: finds the candidates.
        covered: the catalog sequence that ``nearest`` covers.
        rows: of the index.
        seen: what pictures look like, as far as it is known.
    """

    def __init__(
        self,
        directory: IndexDirectory,
        settings: Settings,
        catalog: Catalog,
        nearest: VectorSearch,
        covered: int,
        rows: StoredRows,
        seen: Seen,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._catalog = catalog
        self._known = KnownPhotos(catalog)
        self._nearest = nearest
        self._covered = covered
        self._background: Background | None = None
        self._sample: npt.NDArray[np.float32] | None = None  # kept for words alone: such vectors are short
        self._rows = rows
        self._kinds = Kinds(rows.thumbnails.thumbnail, seen)

    def answer(self, question: Question, wanted: AnswerOptions) -> Answer:
        """The best matches, best first; photos with the bytes of a single query picture before all others.

        Raises:
            UsageError: ``k`` is less than 1, or there are too few photos to tell probabilities.
        """
        return self.answers([question], wanted)[0]

    def answers(self, questions: Sequence[Question], wanted: AnswerOptions) -> list[Answer]:
        """:meth:`answer` for each of ``questions``, in less time than one by one."""
        _check(wanted)
        if not questions:
            return []
        self._known.follow()
        only = self._only(wanted.condition)
        if only is not None and not only.rows:
            return [Answer((), note="no photo of the index meets the filter")] * len(questions)
        count = self._catalog.count("ready") if only is None else len(only.rows)
        k = count if wanted.k is None else min(wanted.k, count)
        dimension = len(questions[0].vector)
        at_once = max(1, _POOLS_BYTES // (4 * dimension * max(k, _pool_size(dimension))))
        found: list[Answer] = []
        for start in range(0, len(questions), at_once):
            some = questions[start : start + at_once]
            pairs = zip(some, self._pools(some, k, wanted.refine, only), strict=True)
            answers = (self._answer(question, pool, k, wanted, only) for question, pool in pairs)
            found += [replace(answer, more=answer.more and k < count) for answer in answers]
        return found

    def _answer(
        self, question: Question, pool: _Pool, k: int, wanted: AnswerOptions, only: Only | None
    ) -> Answer:
        more = True
        # What is related need not come first, for neighbours lift others: it is looked for among all of them.
        count = k if wanted.min_match is None else max(k, len(pool.ids))
        matches = self._matches(question, pool, count, wanted.refine, only)
        if wanted.min_match is not None:
            found = self._probabilities(question, np.array([match.cosine for match in matches], np.float64))
            found[[match.kind == "identical" for match in matches]] = 1.0  # whatever the spread says
            matches = [replace(m, match=float(p)) for m, p in zip(matches, found, strict=True)]
            # What is not in the pool is farther than all in it.
            farthest = self._probabilities(question, pool.cosines.min(initial=1.0, keepdims=True))
            more = float(farthest[0]) >= wanted.min_match
        if wanted.min_score is not None and self._settings.metric == "cosine":  # they fall with the rank
            more = more and bool(matches) and matches[-1].score >= wanted.min_score
        kept = _kept(matches, wanted)
        if len(kept.matches) > k:
            return Answer(kept.matches[:k], more=True)
        return replace(kept, more=more)

    def _probabilities(self, question: Question, plain: Scores) -> Scores:
        """That photos with these plain cosines are related to the question."""
        unrelated = self.background()
        if question.worded:
            if self._sample is None:
                self._sample = self._sampled()
            plain = unrelated.moved(plain, cosine(question.vector, self._sample).astype(np.float64))
        return unrelated.probability(plain)

    def background(self) -> Background:
        """How scores of random pairs of this library are spread.

        Raises:
            UsageError: it has too few photos to tell.
        """
        if self._background is None:
            self._background = background(self._sampled())
        if self._background is None:
            raise UsageError("the index has too few photos to tell probabilities; leave --min-match out")
        return self._background

    def _sampled(self) -> npt.NDArray[np.float32]:
        rows = self._catalog.matching("TRUE", ())
        return read_vectors(self._directory, spread(rows, SAMPLE))

    def _only(self, condition: Condition | None) -> Only | None:
        if condition is None:
            return None
        return Only(self._catalog.matching(condition.sql, condition.parameters), condition.chroma)

    def _pools(self, questions: Sequence[Question], k: int, refine: bool, only: Only | None) -> list[_Pool]:
        """Candidates with exact scores; those removed since the vectors were read are still among them."""
        vectors = np.stack([question.vector for question in questions])
        refine = refine and self._settings.metric == "cosine"
        gone = np.fromiter(self._catalog.unready_since(self._covered), np.int64)
        size = max(k, _pool_size(vectors.shape[1])) if refine else k
        found = self._nearest.nearest_each(vectors, k + len(gone), only, pool=size + len(gone))
        pairs = zip(questions, found, strict=True)
        return [self._pool(question, neighbours, gone, refine, size) for question, neighbours in pairs]

    def _pool(
        self,
        question: Question,
        found: Neighbours,
        gone: npt.NDArray[np.int64],
        refine: bool,
        size: int,
    ) -> _Pool:
        """The ``size`` nearest of those found, ranked; as many whether a scan or a graph found them."""
        here = ~np.isin(found.ids, gone) if len(gone) else slice(None)
        vector, ids, vectors = question.vector, found.ids[here], found.vectors[here]
        query, unit = normalised(vector[np.newaxis])[0], normalised(vectors)
        plain = RANKINGS["plain"](query, unit)
        ranked = plain if self._settings.metric == "cosine" else nearness(vector, vectors, "euclidean")
        if len(ids) > size:
            best = np.argsort(-ranked, kind="stable")[:size]
            ids, unit, plain, ranked = ids[best], unit[best], plain[best], ranked[best]
        if refine and len(ids):
            ranked = _refined(question, query, unit)
        order = np.lexsort((ids, -np.round(ranked, 6)))  # however they were computed, equals go by id
        return _Pool(ids[order], plain[order])

    def _matches(
        self, question: Question, pool: _Pool, k: int, refine: bool, only: Only | None
    ) -> list[Match]:
        """Up to ``k`` matches, best first.

        Photos with the bytes of a query picture lead, then, where answers are refined, the variants of a
        single one.  Plain answers to several pictures are ranked by scores alone.
        """
        refine = refine and self._settings.metric == "cosine"
        several = question.parts is not None
        twins = () if several and not refine else _passing(question.twins, only)
        pool = pool.holding(self._exact(question, twins))
        photos = {photo.id: photo for photo in twins} | self._ready(self._candidates(question, pool, k))
        cosines = pool.by_id()
        kinds = self._kinds.of(question.digests, question.originals, list(photos.values()), cosines)
        leading = [photo.id for photo in twins]
        if refine and question.pinned:
            leading += [i for i in pool.ids.tolist() if kinds.get(i) == "variant"]
        pool = pool.led_by(dict.fromkeys(leading))
        scores = _lifted(pool.cosines) if refine else pool.cosines.copy()
        if question.pinned:
            scores[: len(twins)] = 1.0  # the same bytes, whatever rounding says
        ranked = zip(pool.ids.tolist(), scores.tolist(), strict=True)
        best = [(i, score) for i, score in ranked if i in photos][:k]
        return [
            Match(rank, photos[i].file.absolute, score, kinds[i], str(i), cosines[i])
            for rank, (i, score) in enumerate(best, start=1)
        ]

    def _candidates(self, question: Question, pool: _Pool, k: int) -> list[int]:
        """Those that may be answers: the best ``k`` of the pool, and what may be variants farther back.

        Neighbours lift what is like the query above its own altered copies, and turned copies score low.
        """
        best: list[int] = pool.ids[:k].tolist()
        if not question.originals:
            return best
        nearest = pool.nearest(_POOL).tolist()
        known = self._known.phashes(nearest)
        hashed = np.array([i for i in nearest if i in known], np.int64)
        hashes = hashing.as_numbers([known[i] for i in hashed.tolist()])
        near = np.any([original.near(hashes) for original in question.originals], axis=0)
        return list(dict.fromkeys([*best, *hashed[near].tolist(), *nearest[:_ALWAYS_COMPARED]]))

    def _ready(self, ids: Sequence[int]) -> dict[int, Photo]:
        found = self._known.get_many(ids)
        return {i: photo for i, photo in found.items() if photo.state == "ready"}

    def _exact(self, question: Question, photos: Sequence[Photo]) -> dict[int, float]:
        """Cosines of photos, to the last digit: those of the pool may come of other sums."""
        scores = {}
        for photo in photos:
            if photo.vector is None:
                raise IndexDamaged(f"photo {photo.id} has no vector; run `vsearch check`")
            vector = self._rows.vectors.vector(photo.vector)
            scores[photo.id] = float(cosine(question.vector, vector[np.newaxis])[0])
        return scores


def _refined(question: Question, query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32]) -> Scores:
    """Refined scores of ``vectors``; ``query`` is the question's, and both are of unit length."""
    if question.parts is None or question.shares is None:
        return scores_by(query, vectors, refined)
    return refined_together(question.parts, question.shares, vectors)


def _lifted(plain: Scores) -> Scores:
    """Scores that fall with the rank: a photo is worth what it was lifted above."""
    return np.maximum.accumulate(plain[::-1])[::-1]


def _pool_size(dimension: int) -> int:
    return min(_POOL, max(_SMALLEST_POOL, _POOL_BYTES // (4 * dimension)))


def _check(wanted: AnswerOptions) -> None:
    if wanted.k is not None and not (isinstance(wanted.k, Integral) and wanted.k >= 1):
        raise UsageError(f"k must be at least 1, and a whole number; received {wanted.k!r}")
    if not _lies(wanted.min_score, -1):
        raise UsageError(f"a score lies between -1 and 1; received min-score {wanted.min_score!r}")
    if not _lies(wanted.min_match, 0):
        raise UsageError(f"a probability lies between 0 and 1; received min-match {wanted.min_match!r}")


def _lies(given: float | None, least: float) -> bool:
    """Whether ``given`` is a number from ``least`` to 1, or nothing."""
    return given is None or (isinstance(given, Real) and least <= given <= 1)


def _kept(matches: Sequence[Match], wanted: AnswerOptions) -> Answer:
    """The matches that reach the thresholds; a note says what was left out."""
    kept = [m for m in matches if wanted.min_score is None or m.score >= wanted.min_score]
    if wanted.min_match is not None:
        kept = [m for m in kept if m.match is not None and m.match >= wanted.min_match]
    if len(kept) == len(matches):
        return Answer(tuple(matches))
    ranks = {match.rank for match in kept}
    left = [match for match in matches if match.rank not in ranks]
    if wanted.min_match is None:
        best = f"scores {left[0].score:.3f}"
    else:  # by their own cosines, neighbours aside: these are what the probability is of
        nearest_one = max(left, key=lambda match: match.match or 0.0)
        chance = f"with a probability of {nearest_one.match:.2f} to be related"
        best = f"scores {nearest_one.cosine:.3f} by itself, {chance}"
    below = "all" if not kept else f"{len(left):,} more"
    nearest = f"{below} of the {len(matches):,} nearest are below the threshold"
    note = f"{nearest}; the best of them {best}"
    ranked = tuple(replace(match, rank=rank) for rank, match in enumerate(kept, start=1))
    return Answer(ranked, note)


def _passing(photos: Sequence[Photo], only: Only | None) -> Sequence[Photo]:
    if not photos or only is None:
        return photos
    passing = set(only.ids.tolist())
    return [photo for photo in photos if photo.id in passing]

"""Finding duplicates in an index: propose, judge, group; what was compared before is not compared again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.duplicates import comparisons, neighbours, photoset, proposals
from vsearch.duplicates.comparisons import UNKNOWN, Comparisons, Verdicts
from vsearch.duplicates.neighbours import NeighbourTable
from vsearch.duplicates.proposals import Adjacency, Edges, HashClasses, HashProposals, Stars
from vsearch.errors import StorageError
from vsearch.records import Location, Region, Relation
from vsearch.segmentrows import SegmentRows
from vsearch.variants.judging import UNRELATED, Compared, Judge, Verdict

FOLDER = "duplicates"
NEAREST = 6
# Copies cropped to 70 % score .71 and more in 95 of 100 cases, screenshots .57; below lies nearly nothing.
SCORE_FLOOR = 0.6
# Two shots of one scene within seconds; unrelated pictures of one class reach .88 once in a thousand pairs.
BURST_SCORE = 0.85
_CODES: tuple[Relation | None, ...] = (None, "altered", "turned", "cropped")
_PART = 8  # added to the code of a verdict on parts


@dataclass(frozen=True, slots=True)
class Link:
    """A row, how it is related to its group's representative, and where they coincide."""

    row: int
    relation: Relation
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A representative's row and its members."""

    representative: int
    members: tuple[Link, ...]


class Finder:
    """Finds groups among the photos of one index.

    Args:
        directory: of the index.
        catalog: open for reading.
        fingerprint: of the index's encoder.
    """

    def __init__(self, directory: IndexDirectory, catalog: Catalog, fingerprint: str) -> None:
        self._file = directory.path / FOLDER / "comparisons.npz"
        self._fingerprint = fingerprint
        self._vectors = SegmentRows(directory, "vectors")
        self._thumbnails = SegmentRows(directory, "thumbnails")
        self.photos = photoset.load(catalog)
        self._judged: dict[tuple[int, int, bool], Verdict] = {}
        self._judge: Judge[int] = Judge()

    def close(self) -> None:
        """Close the files."""
        self._vectors.close()
        self._thumbnails.close()

    def groups(self, rows: Iterable[int], apart: Iterable[tuple[int, int]]) -> list[Group]:
        """Groups among ``rows``; pairs in ``apart`` are taken for unrelated, because the user said so."""
        photos = self.photos
        if not len(photos):
            return []
        known = self._compare()
        wanted = np.zeros(len(photos), np.bool_)
        wanted[np.fromiter(rows, np.intp)] = True
        order = [row for row in photos.order() if wanted[row]]
        separate = frozenset(frozenset(pair) for pair in apart)
        same = self._same_pictures(order, known, separate)
        bursts = self._bursts([row for row in order if same.centre[row] == row], separate)
        self._save(known)
        return [*self._described(same), *_burst_groups(bursts)]

    def score(self, a: int, b: int) -> float:
        """Cosine similarity of two rows, exact."""
        return photoset.scores(self.photos, self._vectors, [(a, b)])[0]

    def hash_distance(self, a: int, b: int) -> int | None:
        """Bits between the pHashes of two rows, in the best of eight orientations."""
        if not (self.photos.has_hash[a] and self.photos.has_hash[b]):
            return None
        return int(proposals.orientation_distance(self.photos.hashed, np.array([a]), np.array([b]))[0])

    # -- proposing -------------------------------------------------------------------------------

    def _compare(self) -> Comparisons:
        """All proposals, from what is known and what is new."""
        known = comparisons.load(self._file, self._fingerprint, NEAREST)
        if known is None or self._is_narrow(known.basis):
            onto = photoset.basis(self.photos, self._vectors)
            known = comparisons.nothing(self._fingerprint, onto, NEAREST)
        known = known.moved_to(self.photos.digests)
        unasked = (known.nearest.rows == UNKNOWN).any(axis=1)
        self._recall(known.verdicts)
        if not unasked.any():
            return known
        # NumPy lets go of the interpreter: hashes on one core, vectors on others.
        with ThreadPoolExecutor(1) as side:
            edges = side.submit(self._hash_edges, known, unasked)
            nearest = self._nearest(known, unasked)
        return replace(known, edges=edges.result(), nearest=nearest)

    def _is_narrow(self, basis: npt.NDArray[np.float32]) -> bool:
        """Whether a basis is of so few photos that one of all would have more directions."""
        dimension, directions = basis.shape
        return bool(directions < min(len(self.photos), neighbours.DIMENSIONS, dimension))

    def _hash_edges(self, known: Comparisons, new: npt.NDArray[np.bool_]) -> Edges:
        """Pairs of near hashes, by the first row of each class."""
        classes = self._classes()
        heads = self._hashed_rows()[classes.first]
        fresh = proposals.hash_edges(self.photos.hashed.take(heads), new[heads])
        return Edges(
            np.concatenate([known.edges.a, heads[fresh.a].astype(np.int32)]),
            np.concatenate([known.edges.b, heads[fresh.b].astype(np.int32)]),
            np.concatenate([known.edges.distance, fresh.distance]),
        )

    def _hashed_rows(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.photos.has_hash)

    def _classes(self) -> HashClasses:
        return proposals.hash_classes(self.photos.hashed.take(self._hashed_rows()))

    def _nearest(self, known: Comparisons, unasked: npt.NDArray[np.bool_]) -> NeighbourTable:
        vectors = photoset.projected(self.photos, self._vectors, known.basis)
        everything, ask = np.arange(len(self.photos)), np.flatnonzero(unasked)
        fresh = neighbours.nearest(vectors, ask, everything, NEAREST, SCORE_FLOOR)
        rows, scores = known.nearest.rows.copy(), known.nearest.scores.copy()
        rows[ask], scores[ask] = fresh.rows, fresh.scores
        rest = np.flatnonzero(~unasked)
        if len(rest):
            among_new = neighbours.nearest(vectors, rest, ask, NEAREST, SCORE_FLOOR)
            better = neighbours.merged(NeighbourTable(rows[rest], scores[rest]), among_new)
            rows[rest], scores[rest] = better.rows, better.scores
        return NeighbourTable(rows, scores)

    def _hash_proposals(self, known: Comparisons) -> HashProposals:
        classes, hashed = self._classes(), self._hashed_rows()
        of = np.full(len(self.photos), -1, np.int32)
        of[hashed] = classes.of
        # Edges were found between first rows of classes; rows without a hash are classes of their own.
        lonely = np.flatnonzero(of < 0)
        of[lonely] = len(classes.first) + np.arange(len(lonely), dtype=np.int32)
        first = np.concatenate([hashed[classes.first], lonely])
        a, b = of[known.edges.a], of[known.edges.b]
        return HashProposals(HashClasses(of, first), Edges(a, b, known.edges.distance))

    # -- judging ---------------------------------------------------------------------------------

    def _same_pictures(
        self, order: list[int], known: Comparisons, separate: frozenset[frozenset[int]]
    ) -> Stars:
        by_hash = self._hash_proposals(known)
        queries, places = np.nonzero(known.nearest.rows >= 0)
        near = known.nearest.rows[queries, places]
        by_vector = Adjacency(
            queries.astype(np.int32), near, known.nearest.scores[queries, places], len(self.photos)
        )

        def whole(row: int, other: int) -> bool:
            return self._verdict(row, other, part=False, separate=separate).relation is not None

        def either(row: int, other: int) -> bool:
            return whole(row, other) or (
                self._verdict(row, other, part=True, separate=separate).relation is not None
            )

        ways = (
            (by_hash, whole, proposals.HASH_TRIES),
            (by_vector.of, either, proposals.VECTOR_TRIES),
        )
        return proposals.stars(order, ways)

    def _verdict(self, row: int, other: int, *, part: bool, separate: frozenset[frozenset[int]]) -> Verdict:
        if {row, other} in separate or self._is_burst_time(row, other):
            return UNRELATED
        key = (row, other, part)
        if key not in self._judged:
            ask = self._judge.part if part else self._judge.whole
            self._judged[key] = ask(self._compared(row), self._compared(other)) or UNRELATED
        return self._judged[key]

    def _compared(self, row: int) -> Compared[int]:
        taken = int(self.photos.taken[row])
        aspect = float(self.photos.hashed.aspect[row])
        return Compared(row, partial(self._thumbnail, row), aspect, None if taken < 0 else taken)

    def _is_burst_time(self, a: int, b: int) -> bool:
        """Whether the capture times say: two shots, one right after the other."""
        one, other = int(self.photos.taken[a]), int(self.photos.taken[b])
        return -1 not in (one, other) and 0 < abs(one - other) <= proposals.BURST_SECONDS

    def _bursts(self, order: list[int], separate: frozenset[frozenset[int]]) -> Stars:
        near: dict[int, list[int]] = {}
        for a, b in proposals.burst_pairs(self.photos.taken, np.array(order, np.intp)):
            near.setdefault(a, []).append(b)
            near.setdefault(b, []).append(a)

        def is_burst(row: int, other: int) -> bool:
            times = int(self.photos.taken[row]), int(self.photos.taken[other])
            close = abs(times[0] - times[1]) <= proposals.BURST_SECONDS
            return close and {row, other} not in separate and self.score(row, other) >= BURST_SCORE

        return proposals.stars(order, [(lambda row: near.get(row, ()), is_burst, proposals.HASH_TRIES)])

    def _described(self, found: Stars) -> list[Group]:
        """The groups of one picture; a content with several files is a group by itself."""
        alone = (row for row in found.centre if len(self.photos.photos[row]) > 1 and found.centre[row] == row)
        centres = dict.fromkeys([*found.members, *alone])
        return [
            Group(centre, tuple(self._link(row, centre) for row in found.members.get(centre, ())))
            for centre in sorted(centres)
        ]

    def _link(self, row: int, centre: int) -> Link:
        for part in (False, True):
            verdict = self._judged.get((row, centre, part), UNRELATED)
            if verdict.relation is not None:
                return Link(row, verdict.relation, verdict.region)
        raise AssertionError("a member without a verdict")

    # -- remembering -----------------------------------------------------------------------------

    def _recall(self, verdicts: Verdicts) -> None:
        columns = (verdicts.a.tolist(), verdicts.b.tolist(), verdicts.code.tolist(), verdicts.region.tolist())
        for a, b, code, region in zip(*columns, strict=True):
            relation = _CODES[code % _PART]
            where = Region(*region) if region[0] == region[0] else None
            verdict = Verdict(relation, where) if relation else UNRELATED
            self._judged[a, b, code >= _PART] = verdict

    def _save(self, known: Comparisons) -> None:
        keys = list(self._judged)
        verdicts = [self._judged[key] for key in keys]
        nowhere = (float("nan"),) * 4
        regions = [(r.x, r.y, r.width, r.height) if (r := v.region) else nowhere for v in verdicts]
        codes = [_CODES.index(v.relation) + _PART * k[2] for k, v in zip(keys, verdicts, strict=True)]
        saved = replace(
            known,
            verdicts=Verdicts(
                np.array([key[0] for key in keys], np.int32),
                np.array([key[1] for key in keys], np.int32),
                np.array(codes, np.uint8),
                np.array(regions, np.float64).reshape(-1, 4),
            ),
        )
        with contextlib.suppress(StorageError):  # full, or read-only: the next run compares anew
            comparisons.save(self._file, saved)

    def _thumbnail(self, row: int) -> bytes | None:
        number, place = self.photos.thumbnails[row]
        return self._thumbnails.thumbnail(Location(int(number), int(place))) if number >= 0 else None


def _burst_groups(found: Stars) -> list[Group]:
    return [
        Group(centre, tuple(Link(row, "burst") for row in rows))
        for centre, rows in sorted(found.members.items())
    ]

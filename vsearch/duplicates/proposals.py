"""Which photos to compare, and groups around representatives: pure, on arrays.

Perceptual hashes propose pictures that are the same as a whole, vectors propose pictures that share a
part, and capture times propose bursts.  Whoever judges a pair (:mod:`vsearch.variants.judging`) decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from vsearch import hashing
from vsearch.duplicates.nearhashes import HashTable

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.int32]
#: A way of being related: what it proposes to a row, whether two rows are related, how many may be tried.
Way = tuple[Callable[[int], Iterable[int]], Callable[[int, int], bool], int]

# One picture re-encoded, resized or recoloured stays within 10 bits, a mirror image derived from the stored
# hash within 11 for 98 in 100; of unrelated pairs 5 in a million are that close, and most of those fail the
# second hash.
HASH_BITS = 11
_DHASH_BITS = 22
# Pictures wider than this are not tall and the other way round; those between are both.
_SQUARE = 1.13
# So many alike hashes are remembered for each: a thousand scans of white paper stay linear.
_EDGES = 64
_WAITING = 2**22  # pairs found, before they are cut down to these
BURST_SECONDS = 10
_BURST_WINDOW = 16
# How often representatives may look for a larger group: each time, neighbours of neighbours have moved.
_ROUNDS = 5
#: How many representatives a photo is compared with at most, by hash and by vector.
HASH_TRIES = 32
VECTOR_TRIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Hashed:
    """The perceptual hashes of some photos, row by row.

    Attributes:
        phash, dhash: uint64 [N].
        aspect: width / height, float32 [N].
    """

    phash: Hashes
    dhash: Hashes
    aspect: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.phash)

    def take(self, rows: Rows) -> Hashed:
        """Some of the rows."""
        return Hashed(self.phash[rows], self.dhash[rows], self.aspect[rows])


@dataclass(frozen=True, slots=True, eq=False)
class HashClasses:
    """Photos whose hashes and shape are the same, as one: ``of`` row -> class, ``first`` class -> a row."""

    of: Numbers
    first: Rows


def hash_classes(hashed: Hashed) -> HashClasses:
    """Group rows with equal hashes, so that a thousand black pictures are one."""
    key = np.zeros(len(hashed), dtype=[("p", np.uint64), ("d", np.uint64), ("a", np.int16)])
    key["p"], key["d"] = hashed.phash, hashed.dhash
    key["a"] = np.rint(np.log(hashed.aspect) * 20)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return HashClasses(inverse.reshape(-1).astype(np.int32), first.astype(np.intp))


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Pairs of near hashes, ``a < b``: int32 [E] each, and the bits between them, uint8 [E]."""

    a: Numbers
    b: Numbers
    distance: npt.NDArray[np.uint8]


def hash_edges(hashed: Hashed, new: npt.NDArray[np.bool_]) -> Edges:
    """Pairs whose pHashes are near in one of eight orientations, at least one of each pair being new.

    Args:
        hashed: N distinct pictures.
        new: bool [N]; pairs of two old ones are left out.
    """
    found: list[Edges] = []
    waiting = 0
    for edges in _edges(hashed, new):
        found.append(edges)
        waiting += len(edges.a)
        if waiting > _WAITING:  # many alike: cut down now, so that memory stays bounded
            found = [_strongest(found)]
            waiting = len(found[0].a) if len(found[0].a) < _WAITING // 2 else 0
    return _strongest(found)


def _edges(hashed: Hashed, new: npt.NDArray[np.bool_]) -> Iterator[Edges]:
    everything = np.arange(len(hashed))
    wide, tall = hashed.aspect > 1 / _SQUARE, hashed.aspect < _SQUARE
    for orientation in range(8):
        if orientation < 4:
            yield from _looked_up(hashed, np.flatnonzero(new), everything, orientation)
        else:
            yield from _looked_up(hashed, np.flatnonzero(new & tall), np.flatnonzero(wide), orientation)
            yield from _looked_up(
                hashed, np.flatnonzero(new & wide), np.flatnonzero(tall & ~new), orientation
            )


def _looked_up(hashed: Hashed, queries: Rows, table: Rows, orientation: int) -> Iterator[Edges]:
    if not len(queries) or not len(table):
        return
    turned = hashing.turned_phashes(hashed.phash[queries], orientation)
    dhashes = hashing.turned_dhashes(hashed.dhash[queries], orientation) if orientation < 4 else None
    for pairs in HashTable(hashed.phash[table]).within(turned, HASH_BITS):
        query, other = queries[pairs.query], table[pairs.other]
        keep = query != other
        if dhashes is not None:
            keep &= np.bitwise_count(dhashes[pairs.query] ^ hashed.dhash[other]) <= _DHASH_BITS
        yield _ordered(query[keep], other[keep], pairs.distance[keep])


def _ordered(query: Rows, other: Rows, distance: npt.NDArray[np.uint8]) -> Edges:
    low, high = np.minimum(query, other), np.maximum(query, other)
    return Edges(low.astype(np.int32), high.astype(np.int32), distance)


def _strongest(edges: Sequence[Edges]) -> Edges:
    """Each pair once, at its smallest distance; of a row's pairs the nearest, unless another wants them."""
    if not edges:
        empty = np.zeros(0, np.int32)
        return Edges(empty, empty, np.zeros(0, np.uint8))
    a, b = np.concatenate([e.a for e in edges]), np.concatenate([e.b for e in edges])
    distance = np.concatenate([e.distance for e in edges])
    order = np.lexsort((distance, b, a))
    a, b, distance = a[order], b[order], distance[order]
    first = np.ones(len(a), np.bool_)
    first[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    a, b, distance = a[first], b[first], distance[first]
    keep = _ranked(a, b, distance) | _ranked(b, a, distance)
    return Edges(a[keep], b[keep], distance[keep])


def _ranked(rows: Numbers, others: Numbers, distance: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    order = np.lexsort((others, distance, rows))
    rank = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
    keep = np.zeros(len(rows), np.bool_)
    keep[order] = rank < _EDGES
    return keep


def orientation_distance(hashed: Hashed, a: Rows, b: Rows) -> npt.NDArray[np.uint8]:
    """Bits between the pHashes of rows ``a`` and ``b``, in the best of eight orientations."""
    turned = (hashing.turned_phashes(hashed.phash[a], orientation) for orientation in range(8))
    distances = [np.bitwise_count(hashes ^ hashed.phash[b]) for hashes in turned]
    best: npt.NDArray[np.uint8] = np.min(distances, axis=0)
    return best


class Adjacency:
    """Who is proposed to whom: rows to rows, both ways, strongest first.

    Args:
        a, b: rows, [E].
        strength: [E]; larger comes first.
        count: how many rows there are.
    """

    def __init__(self, a: Numbers, b: Numbers, strength: npt.NDArray[np.generic], count: int) -> None:
        rows, others = np.concatenate([a, b]), np.concatenate([b, a])
        order = np.lexsort((others, -np.concatenate([strength, strength]).astype(np.float64), rows))
        self._others = others[order]
        self._ends = np.cumsum(np.bincount(rows, minlength=count))

    def of(self, row: int) -> list[int]:
        """What is proposed to ``row``."""
        start = int(self._ends[row - 1]) if row else 0
        others: list[int] = self._others[start : int(self._ends[row])].tolist()
        return others


class HashProposals:
    """What the hashes propose to a row: rows with equal hashes, then rows with near ones.

    Ask in the order in which rows are grouped: of the rows of one class only the first 64 are proposed.
    """

    def __init__(self, classes: HashClasses, edges: Edges) -> None:
        self._of = classes.of
        self._near = Adjacency(edges.a, edges.b, -edges.distance.astype(np.int16), len(classes.first))
        self._first: dict[int, list[int]] = {}

    def __call__(self, row: int) -> list[int]:
        own = int(self._of[row])
        proposed = [other for near in (own, *self._near.of(own)) for other in self._first.get(near, ())]
        members = self._first.setdefault(own, [])
        if len(members) < _EDGES and row not in members:
            members.append(row)
        return proposed


def burst_pairs(taken: npt.NDArray[np.int64], rows: Rows) -> Iterator[tuple[int, int]]:
    """Pairs of rows taken within seconds of each other, at most 16 shots apart.

    Args:
        taken: capture time in seconds, int64 [N], -1 where unknown.
        rows: which rows may pair up.
    """
    known = rows[taken[rows] >= 0]
    order = known[np.lexsort((known, taken[known]))]
    times = taken[order]
    for step in range(1, min(_BURST_WINDOW, len(order) - 1) + 1):
        near = np.flatnonzero(times[step:] - times[:-step] <= BURST_SECONDS)
        yield from zip(order[near].tolist(), order[near + step].tolist(), strict=True)


@dataclass(slots=True)
class Stars:
    """Groups under construction.

    Attributes:
        centre: of each row seen so far; its own for a representative.
        members: rows of each representative, in the order in which they joined.
    """

    centre: dict[int, int] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)

    def representatives(self, proposed: Iterable[int]) -> Iterator[int]:
        """Where a row with these proposals may belong: first to their representatives, else to them."""
        seen = [row for row in proposed if row in self.centre]
        return iter(dict.fromkeys([*(self.centre[row] for row in seen), *seen]))

    def place(self, row: int, ways: Sequence[Way]) -> None:
        """Let a row join the first representative that it is related to, or be one."""
        self.centre[row] = row
        for propose, is_related, tries in ways:
            others = (target for target in self.representatives(propose(row)) if target != row)
            match = next((target for target in islice(others, tries) if is_related(row, target)), None)
            if match is not None:
                self.centre[row] = match
                self.members.setdefault(match, []).append(row)
                return

    def join(self, row: int, ways: Sequence[Way], rank: Mapping[int, int]) -> bool:
        """Let a representative join one that has more members; its own are placed anew; whether it did."""
        weight = self._weight(row, rank)
        for propose, is_related, tries in ways:
            others = (
                target
                for target in self.representatives(propose(row))
                if self._weight(target, rank) > weight and self._leads(target)
            )
            match = next((target for target in islice(others, tries) if is_related(row, target)), None)
            if match is not None:
                released = self.members.pop(row, [])
                self.centre[row] = match
                self.members.setdefault(match, []).append(row)
                for member in released:
                    if member == match:  # it led a larger group while it was a member of this one
                        self.centre[match] = match
                    else:
                        self.place(member, ways)
                return True
        return False

    def _leads(self, row: int) -> bool:
        return self.centre[row] == row or row in self.members

    def _weight(self, row: int, rank: Mapping[int, int]) -> tuple[int, int]:
        return len(self.members.get(row, ())), -rank[row]


def stars(order: Sequence[int], ways: Sequence[Way]) -> Stars:
    """Groups around representatives, the first in ``order`` that a row is related to itself.

    A row that is related to no representative, but to a member of a group, makes a second group around that
    member: nothing is chained, and nothing is lost.

    Args:
        order: all rows, best representatives first.
        ways: the strongest first.

    >>> related = {(1, 0), (2, 1)}
    >>> found = stars([0, 1, 2], [(lambda row: [row - 1], lambda a, b: (a, b) in related, 5)])
    >>> found.members  # 2 resembles 1, but not 0
    {0: [1], 1: [2]}
    """
    found = Stars()
    for row in order:
        found.place(row, ways)
    # Neighbours that came later stand for their representatives now: a framed copy is larger than its
    # original, so it came first, and a row with many copies has few others among its nearest.
    rank = {row: place for place, row in enumerate(order)}
    for _ in range(_ROUNDS):
        joined = [row for row in order if found.centre[row] == row and found.join(row, ways, rank)]
        if not joined:
            break
    return found

"""Pairs of 64-bit hashes within a few bits of each other, without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet 2012): a hash is cut into four chunks of 16 bits.  Two hashes
that differ in at most 11 bits differ in at most 2 bits in one of the chunks, so that looking up each chunk
and all its neighbours within 2 bits, 137 lookups, misses none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

_CHUNKS = 4
_BITS = 16
_FLIPS = np.array(
    [0, *(1 << i for i in range(_BITS)), *((1 << i) | (1 << j) for i, j in combinations(range(_BITS), 2))],
    dtype=np.uint16,
)
# Lookups are done for this many queries at once, and long lists are cut: memory stays at some 100 MB.
_QUERIES = 2**17
_EXPANDED = 2**21


@dataclass(frozen=True, slots=True, eq=False)
class HashPairs:
    """Pairs found: row of the query, row of the other (int32), and the bits in which they differ (uint8)."""

    query: Numbers
    other: Numbers
    distance: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.query)


class HashTable:
    """Hashes, looked up by chunk.

    Args:
        hashes: uint64 [N].
    """

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        self._tables = [_Chunk(_chunk(hashes, number)) for number in range(_CHUNKS)]

    def within(self, queries: Hashes, radius: int) -> Iterator[HashPairs]:
        """Everything within ``radius`` bits of each query, in pieces; a pair may come up several times.

        Args:
            queries: uint64 [Q].
            radius: at most 11; a larger one misses some pairs.
        """
        for start in range(0, len(queries), _QUERIES):
            some = queries[start : start + _QUERIES]
            for number, table in enumerate(self._tables):
                keys = _chunk(some, number)
                for flip in _FLIPS:
                    for rows, others in table.lookup(keys ^ flip):
                        distance = np.bitwise_count(some[rows] ^ self.hashes[others])
                        near = np.flatnonzero(distance <= radius)
                        if len(near):
                            found = (rows[near] + start).astype(np.int32)
                            yield HashPairs(found, others[near], distance[near])


class _Chunk:
    """One chunk's table: the rows sorted by key, and where each key starts."""

    def __init__(self, keys: npt.NDArray[np.uint16]) -> None:
        self._rows = np.argsort(keys, kind="stable").astype(np.int32)
        counts = np.bincount(keys, minlength=1 << _BITS)
        self._counts = counts.astype(np.int32)
        self._starts = (np.cumsum(counts) - counts).astype(np.int32)

    def lookup(self, keys: npt.NDArray[np.uint16]) -> Iterator[tuple[npt.NDArray[np.intp], Numbers]]:
        """Pairs of (place in ``keys``, row with that key), in bounded pieces."""
        counts = self._counts[keys]
        places = np.flatnonzero(counts)
        counts, starts = counts[places], self._starts[keys[places]]
        ends = np.cumsum(counts, dtype=np.int64)
        first = 0
        while first < len(places):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _EXPANDED, side="right")))
            part = slice(first, last)
            offsets = np.arange(int(ends[last - 1]) - before, dtype=np.int32)
            offsets += np.repeat(
                starts[part] - (ends[part] - counts[part] - before).astype(np.int32), counts[part]
            )
            yield np.repeat(places[part], counts[part]), self._rows[offsets]
            first = last


def _chunk(hashes: Hashes, number: int) -> npt.NDArray[np.uint16]:
    shifted = hashes >> np.uint64(_BITS * number)
    return (shifted & np.uint64(0xFFFF)).astype(np.uint16)

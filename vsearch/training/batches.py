"""Batches for training, streamed from segments: shuffled by block, split with a seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsearch.ingest import batched, in_parallel
from vsearch.training.staging import Pixels, Staged

BLOCK = 16  # photos read in one go; HDF5 reads them as one slice
_POOL_BYTES = 128 * 2**20  # photos that are mixed with one another


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of the photos to train on and to validate on, each ascending."""

    training: Sequence[int]
    validation: Sequence[int]


def split(count: int, fraction: float, seed: int) -> Split:
    """A random split; sizes as scikit-learn's ``train_test_split`` rounds: validation up, training the rest.

    >>> [len(part) for part in (split(7390, 0.25, 0).training, split(7390, 0.25, 0).validation)]
    [5542, 1848]
    >>> len(split(308, 0.25, 0).validation)
    77
    """
    held_out = math.ceil(count * fraction)
    order = np.random.default_rng(seed).permutation(count)
    return Split(sorted(map(int, order[held_out:])), sorted(map(int, order[:held_out])))


def in_order(staged: Staged, numbers: Sequence[int], batch_size: int) -> Iterator[Pixels]:
    """Batches of photos ``numbers`` as they lie, the last one shorter."""
    return in_parallel(staged.read, batched(numbers, batch_size), threads=1)


def shuffled(
    staged: Staged, numbers: Sequence[int], batch_size: int, seed: Sequence[int]
) -> Iterator[Pixels]:
    """One epoch of ``numbers`` in random batches; the same ``seed`` gives the same batches.

    Blocks of neighbours are read in random order, on a thread of their own, into a pool of 128 MiB (at least
    two blocks and two batches); batches are drawn from the pool.  Each photo comes once; the last batch may
    be shorter.
    """
    random = np.random.default_rng(seed)
    blocks = list(batched(numbers, BLOCK))
    order = (blocks[i] for i in random.permutation(len(blocks)))
    pool = _pool_photos(staged, batch_size)
    waiting: list[npt.NDArray[np.uint8]] = []
    for block in in_parallel(staged.read, order, threads=1):
        waiting.extend(photo.copy() for photo in block)  # a view would keep its whole block alive
        if len(waiting) >= pool:
            random.shuffle(waiting)
            while len(waiting) > pool - BLOCK and len(waiting) > batch_size:
                yield _drawn(waiting, batch_size)
    random.shuffle(waiting)
    while waiting:
        yield _drawn(waiting, batch_size)


def _pool_photos(staged: Staged, batch_size: int) -> int:
    return max(2 * BLOCK, 2 * batch_size, _POOL_BYTES // (3 * staged.size * staged.size))


def _drawn(waiting: list[npt.NDArray[np.uint8]], batch_size: int) -> Pixels:
    batch = np.stack(waiting[-batch_size:])
    del waiting[-batch_size:]
    return batch

"""Products of matrices on one thread.

BLAS has a thread for each core, and they wait for one another, spinning: where other work kept the cores
busy, asking an index of 423 photos took twice the CPU time that it takes on one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import LibController, OpenBLASController, ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to one thread, in the whole process, until the last of those that want it so is done.

    threadpoolctl's own limits restore what they found: of two threads that overlap, the one that begins
    second finds one thread, and leaves the process with it.  So does a program's own limit that begins while
    this one holds and ends later.  An OpenBLAS that was built on OpenMP, whose limits are each thread's own,
    is left alone.
    """
    limit = _limit  # a forked child has another
    limit.begin()
    try:
        yield
    finally:
        limit.end()


class _Limit:
    """How many want one thread, and how many threads each library had before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._wanting = 0
        self._before: list[tuple[LibController, int]] = []

    def begin(self) -> None:
        """One more wants it."""
        with self.lock:
            if not self._wanting:
                self._before = [(blas, blas.num_threads) for blas in _libraries()]
                _set((blas, 1) for blas, _ in self._before)
            self._wanting += 1

    def end(self) -> None:
        """One of them is done."""
        with self.lock:
            self._wanting -= 1
            if not self._wanting:
                self.restore()

    def restore(self) -> None:
        """What was set before, unless the program has set another number meanwhile."""
        _set((blas, number) for blas, number in self._before if blas.num_threads == 1)
        self._before = []


def _libraries() -> list[LibController]:
    """Those that are loaded, have one limit for all threads, and more than one thread; takes 0.3 ms."""
    found: list[LibController] = ThreadpoolController().select(user_api="blas").lib_controllers
    return [blas for blas in found if blas.num_threads > 1 and _layer(blas) != "openmp"]


def _layer(blas: LibController) -> str:
    return str(getattr(blas, "threading_layer", ""))


def _set(numbers: Iterator[tuple[LibController, int]]) -> None:
    # Since 3.8 threadpoolctl lets the thread that set a number set another, and no other thread.
    OpenBLASController.clear_controlling_thread(force=True)
    for blas, number in numbers:
        blas.set_num_threads(number)
    OpenBLASController.clear_controlling_thread()


def _begin_anew() -> None:
    """In a forked child: those that want it are threads of the parent."""
    global _limit
    left, _limit = _limit, _Limit()
    left.restore()
    left.lock.release()


_limit = _Limit()
if hasattr(os, "register_at_fork"):  # not on Windows
    # No thread of ours is inside threadpoolctl, which has a lock of its own, when the child begins.
    os.register_at_fork(
        before=lambda: _limit.lock.acquire(),
        after_in_parent=lambda: _limit.lock.release(),
        after_in_child=_begin_anew,
    )

"""Products of matrices on one thread.

BLAS has a thread for each core, and they wait for one another, spinning: where other work keeps the cores
busy, a query of 423 photos took twice the CPU time that it takes on one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import LibController, OpenBLASController, ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to one thread, in the whole process, until the last of those that want it so is done.

    threadpoolctl's own limits restore what they found: of two threads that overlap, the one that begins
    second finds one thread, and leaves the process with it (3.5 to 3.8).
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
        self._lock = threading.Lock()
        self._wanting = 0
        self._before: list[tuple[LibController, int]] = []

    def begin(self) -> None:
        """One more wants it."""
        with self._lock:
            if not self._wanting:
                self._before = [(blas, blas.num_threads) for blas in _libraries() if blas.num_threads > 1]
                for blas, _ in self._before:
                    blas.set_num_threads(1)
            self._wanting += 1

    def end(self) -> None:
        """One of them is done."""
        with self._lock:
            self._wanting -= 1
            if not self._wanting:
                self._restore()

    def leave_to_parent(self) -> None:
        """In a forked child: those that wanted it are threads of the parent, and one may hold the lock."""
        self._lock = threading.Lock()
        self._restore()

    def _restore(self) -> None:
        for blas, number in self._before:
            if blas.num_threads == 1:  # else the program has set another number meanwhile
                # Since 3.8 threadpoolctl lets the thread that set a number set another, and no other thread.
                OpenBLASController.clear_controlling_thread(force=True)
                blas.set_num_threads(number)
                OpenBLASController.clear_controlling_thread()
        self._before = []


@cache
def _libraries() -> list[LibController]:
    """What numpy has loaded; to look for it takes 0.3 ms."""
    found: list[LibController] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


def _begin_anew() -> None:
    global _limit
    _limit.leave_to_parent()
    _limit = _Limit()


_limit = _Limit()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_anew)

"""Threads that work on the index: a few, each with an ``Index`` of its own, behind a bounded queue.

An ``Index`` follows newly published generations by closing what it had open, so no two threads may share one.
What costs memory is shared all the same: the encoder, and Chroma's graph of a generation.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vsearch.errors import EncoderMismatch, IndexDamaged
from vsearch.index import Index
from vsearch.server.problems import busy

Result = TypeVar("Result")


class Workers:
    """Runs functions of an ``Index`` on threads.

    Args:
        index: where the threads' own come from; must not be used by others any more.
        threads: how many.
        waiting: how many calls may wait for a thread.
        what: what is being waited for, in messages.
    """

    def __init__(self, index: Index, threads: int, waiting: int, what: str) -> None:
        self._source = index
        # As text: to join Paths at each call takes 13 of 20 microseconds.
        self._settings_file = os.fspath(index.path / "index.json")
        self._catalog_file = os.fspath(index.path / "catalog.sqlite")
        self._limit = threads + waiting
        self._what = what
        self._lock = threading.Lock()
        self._opened: list[Index] = []
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"vsearch-{what}")
        self.running = 0

    async def run(self, function: Callable[[Index], Result]) -> Result:
        """``function`` of this thread's index.

        Raises:
            Problem: 503, too many calls wait already.
        """
        if self.running >= self._limit:
            raise busy(self._what)
        self.running += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        call = self._pool.submit(self._call, function)
        # One call back into the loop: asyncio.wrap_future makes one, and counting would need another.
        call.add_done_callback(lambda done: self._done(loop, answer, done))
        try:
            return await answer
        except asyncio.CancelledError:
            call.cancel()
            raise

    def warm(self) -> None:
        """Open the index on one thread ahead of the first question: Chroma alone takes a second."""
        self._pool.submit(self._call, Index.ready)

    def close(self) -> None:
        """Wait for what runs, and close all that was opened."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for index in self._opened:
            index.close()

    def _done(
        self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Result], done: Future[Result]
    ) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, answer, done)

    def _tell(self, answer: asyncio.Future[Result], done: Future[Result]) -> None:
        # Counted until the thread is free, even when the client has left before.
        self.running -= 1
        if answer.done():
            return
        if done.cancelled():
            answer.cancel()
        elif error := done.exception():
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    def _call(self, function: Callable[[Index], Result]) -> Result:
        index = self._index()
        try:
            return function(index)
        except (IndexDamaged, EncoderMismatch):
            # Another process may have replaced what this Index had open: rebuilt or re-encoded it.
            return function(self._renewed(index))

    def _index(self) -> Index:
        index: Index | None = getattr(self._mine, "index", None)
        if index is None or self._mine.signature != self._signature():
            index = self._renewed(index)
        return index

    def _signature(self) -> tuple[int, int]:
        """Changes when roots, settings or encoder do, and when the catalog is another file."""
        return _field(self._settings_file, "st_mtime_ns"), _field(self._catalog_file, "st_ino")

    def _renewed(self, old: Index | None) -> Index:
        self._mine.signature = self._signature()
        with self._lock:
            index = self._source.sibling()
            self._opened.append(index)
            if old is not None:
                self._opened.remove(old)
        if old is not None:
            old.close()
        self._mine.index = index
        return index


def _field(path: str, name: str) -> int:
    try:
        return int(getattr(os.stat(path), name))
    except FileNotFoundError:
        return 0  # opening it says what is missing

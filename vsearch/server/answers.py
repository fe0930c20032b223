"""Answers given before: as JSON, bounded in bytes, dropped as soon as anything in the index changes.

People ask the same again: Back, a reload, an address that was sent on, a page that scrolls.  Worked out
again, a question by id took 5.4 ms of CPU in the server, HTTP included; with a kept answer 0.8.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from vsearch.recent import Recent

_OVERHEAD = 256  # bytes of an entry besides: 173 were measured


class Answers:
    """Kept answers; may be used from several threads.

    Args:
        limit: bytes to keep at most; 0 keeps nothing.
        on_recall: called when a kept answer is given again.
    """

    def __init__(self, limit: int, on_recall: Callable[[], None] = lambda: None) -> None:
        self._lock = threading.Lock()
        self._edition: object = None
        self._limit = limit
        self._kept: Recent[str, bytes] = Recent(limit, _weight)
        self._on_recall = on_recall

    def of(self, edition: object, question: str, make: Callable[[], bytes]) -> bytes:
        """The answer to ``question``: the kept one if it is of this edition, else what ``make`` gives.

        Args:
            edition: of the index, read before: an answer is never older than that.
            question: all that was asked, in one spelling.
        """
        with self._lock:
            if edition != self._edition:
                # Answers to other editions that are being made go where nobody looks any more.
                self._edition, self._kept = edition, Recent(self._limit, _weight)
            kept = self._kept
        known = kept.find(question)
        if known is not None:
            self._on_recall()
            return known
        made = make()
        kept.put(question, made)
        return made


def _weight(question: str, answer: bytes) -> int:
    return len(question) + len(answer) + _OVERHEAD

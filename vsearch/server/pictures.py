"""Pictures uploaded to be searched for: in memory, named by their SHA-256, the oldest dropped first.

So a picture is uploaded once for all the pages of its results, and a search for it has an address.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from vsearch import files

PREFIX = "picture:"


class Pictures:
    """Uploaded pictures; may be used from several threads.

    Args:
        limit: bytes to keep at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes) -> str:
        """Keep ``data``; returns its name, ``picture:`` and the SHA-256."""
        digest = files.digest(data)
        with self._lock:
            if digest not in self._kept:
                self._kept[digest] = data
                self._bytes += len(data)
            self._kept.move_to_end(digest)
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return PREFIX + digest

    def get(self, name: str) -> bytes | None:
        """The picture called ``name``, unless it was dropped."""
        digest = name.removeprefix(PREFIX)
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

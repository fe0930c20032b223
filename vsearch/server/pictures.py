"""Pictures uploaded to be searched for: in memory, named by their SHA-256, the oldest dropped first.

So a picture is uploaded once for all the pages of its results, and a search for it has an address.
"""

from __future__ import annotations

from vsearch import files
from vsearch.recent import Recent

PREFIX = "picture:"


class Pictures:
    """Uploaded pictures; may be used from several threads.

    Args:
        limit: bytes to keep at most.
    """

    def __init__(self, limit: int) -> None:
        self._kept: Recent[str, bytes] = Recent(limit, lambda digest, data: len(data))

    def put(self, data: bytes) -> str:
        """Keep ``data``; returns its name, ``picture:`` and the SHA-256."""
        digest = files.digest(data)
        self._kept.put(digest, data)
        return PREFIX + digest

    def get(self, name: str) -> bytes | None:
        """The picture called ``name``, unless it was dropped."""
        return self._kept.find(name.removeprefix(PREFIX))

"""What a query asks with, as pages and montages show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A picture, a region of one, or words.

    Attributes:
        role: ``query``, ``unlike`` or ``region``.
        name: its path, its id, or the words.
        jpeg: what it looks like; ``None`` for words.
    """

    role: str
    name: str
    jpeg: bytes | None

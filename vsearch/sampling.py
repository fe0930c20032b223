"""Some of many, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], most: int) -> list[T]:
    """``most`` of ``items``, or all if they are fewer, at evenly spaced places.

    >>> spread("abcdefg", 3)
    ['a', 'c', 'e']
    >>> len(spread(range(2001), 2000))
    2000
    """
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]

"""What was asked for last, kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, those that were asked for last; may be used from several threads.

    Args:
        limit: how much all that is kept may weigh; a value that weighs more is not kept.
        weight: of a key and its value: bytes, say; by default each weighs 1, and ``limit`` is their number.
    """

    def __init__(self, limit: int, weight: Callable[[Key, Value], int] = lambda key, value: 1) -> None:
        self._limit = limit
        self._weight = weight
        self._total = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Key) -> Value | None:
        """The value for ``key``, or ``None``."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep ``value`` in place of what there was for ``key``; where it gets too much, the oldest go."""
        weight = self._weight(key, value)
        with self._lock:
            if key in self._values:
                self._total -= self._weight(key, self._values.pop(key))
            if weight > self._limit:
                return
            self._values[key] = value
            self._total += weight
            while self._total > self._limit:
                self._total -= self._weight(*self._values.popitem(last=False))

    def get(self, key: Key, make: Callable[[Key], Value]) -> Value:
        """The value for ``key``; made if it is not among them, meanwhile others may ask."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(key)
        self.put(key, value)
        return value

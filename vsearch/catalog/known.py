"""What the catalog was asked of photos before, kept until it changes: queries meet the same photos again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from vsearch.catalog.table import Catalog
from vsearch.records import Photo

Value = TypeVar("Value")

_MOST_PHOTOS = 8192  # 1 KiB each
_MOST_HASHES = 131_072  # 0.2 KiB each


class KnownPhotos:
    """Photos and their pHashes by id, as of the last :meth:`follow`; any thread may ask.

    Args:
        catalog: open for reading.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._begin(catalog.sequence())

    def follow(self) -> None:
        """Forget all when the catalog has changed."""
        sequence = self._catalog.sequence()
        if sequence != self._sequence:
            self._begin(sequence)

    def get_many(self, ids: Sequence[int]) -> dict[int, Photo]:
        """:meth:`Catalog.get_many`."""
        return self._photos.get(ids)

    def phashes(self, ids: Sequence[int]) -> dict[int, str]:
        """:meth:`Catalog.phashes`."""
        return self._hashes.get(ids)

    def _begin(self, sequence: int) -> None:
        """Keep nothing yet, as of ``sequence``."""
        self._photos: _Kept[Photo] = _Kept(_MOST_PHOTOS, self._catalog.get_many)
        self._hashes: _Kept[str] = _Kept(_MOST_HASHES, self._catalog.phashes)
        self._sequence = sequence  # last: another thread must not take the old ones for new


class _Kept(Generic[Value]):
    """Values by id, up to ``most``; then it begins anew."""

    def __init__(self, most: int, read: Callable[[Sequence[int]], dict[int, Value]]) -> None:
        self._most = most
        self._read = read
        self._values: dict[int, Value] = {}

    def get(self, ids: Sequence[int]) -> dict[int, Value]:
        """The values of ``ids``, read where they are not kept; ids that have none are left out."""
        values = self._values
        missing = [i for i in ids if i not in values]
        found = self._read(missing) if missing else {}
        if len(values) + len(found) > self._most:
            self._values = dict(found)
        else:
            values.update(found)
        return {i: values[i] if i in values else found[i] for i in ids if i in values or i in found}

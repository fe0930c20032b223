"""Looking around in an index: pages, cameras; and what a server needs beside that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vsearch.answering import Answering, PathLike
from vsearch.errors import UsageError
from vsearch.filters import Condition, Day
from vsearch.published import generations_of
from vsearch.records import Photo
from vsearch.segmentrows import SegmentRows

if TYPE_CHECKING:  # imported where it is used, or every command would wait for it
    from vsearch.photomap import PhotoMap

_LAST_ID = 2**63 - 1  # SQLite's largest integer


@dataclass(frozen=True, slots=True)
class Held:
    """How much an index holds now.

    Attributes:
        photos: that queries can find.
        failed: that could not be used.
        generation: the published one, 0 before the first.
        pending: changes that it lacks.
    """

    photos: int
    failed: int
    generation: int
    pending: int


class Browsable(Answering):
    """The part of :class:`vsearch.Index` that tells what photos there are."""

    def page(
        self,
        state: Literal["ready", "failed"] = "ready",
        *,
        limit: int = 100,
        after: str | None = None,
        newest: bool = False,
        condition: Condition | None = None,
    ) -> list[Photo]:
        """One page of the photos, in the order in which they came in.

        Args:
            state: ``ready``, or ``failed``: those that could not be used.
            limit: how many at most.
            after: the id of the last photo of the page before.
            newest: from the last one in to the first.
            condition: a filter, made by :meth:`condition`.

        Raises:
            UsageError: there is no such ``state``, ``limit`` is less than 1, or ``after`` is not an id.
        """
        if state not in ("ready", "failed"):
            raise UsageError(f"a photo is ready or failed; received state {state!r}")
        is_number = isinstance(limit, Integral) and 1 <= limit <= _LAST_ID
        if not is_number or (after is not None and not is_id(after)):
            raise UsageError(f"limit must be 1 or more, and after a photo's id; received {limit}, {after}")
        start = int(after) if after is not None else _LAST_ID if newest else 0
        sql, parameters = (condition.sql, condition.parameters) if condition else ("TRUE", ())
        return self._reading().page(
            state, int(limit), after=start, newest=newest, condition=sql, parameters=parameters
        )

    def map(
        self,
        where: str | None = None,
        *,
        under: PathLike | None = None,
        since: Day | None = None,
        until: Day | None = None,
        seed: int = 0,
        on_step: Callable[[], None] | None = None,
    ) -> PhotoMap:
        """The whole collection on a plane, photos that look alike close together; takes 20 s for 10,000.

        Args:
            where, under, since, until: filters, as for :meth:`query`.
            seed: another one gives another map of the same neighbourhoods.
            on_step: called now and then while photos are placed; what it raises ends the work.

        Returns:
            an empty map when there are no photos, or none meets the filter.

        Raises:
            MissingExtraError: the extra ``map`` is not installed.
            UsageError: the filter cannot be understood, or ``seed`` is not in 0..2**32 - 1.
        """
        from vsearch.photomap import Vectors, photo_map

        if not 0 <= seed < 2**32:
            raise UsageError(f"seed must be 0 or more and below 2**32; received {seed}")

        def read() -> PhotoMap:
            condition = self.condition(where, under=under, since=since, until=until)
            vectors = Vectors(self._directory, self._bundle.specification.dimension, self._settings.metric)
            return photo_map(vectors, self._reading(), condition, seed, on_step)

        return self._patiently(read)

    def photo(self, photo_id: str | int) -> Photo | None:
        """The photo with the ``id`` of a :class:`Match` or :class:`Photo`, or ``None``."""
        return self._reading().get(int(photo_id)) if is_id(photo_id) else None

    def thumbnail(self, photo_id: str | int) -> bytes | None:
        """The JPEG thumbnail of a photo, longest side 256 pixels, or ``None``."""
        with self._lock:
            photo = self.photo(photo_id)
            if photo is None or photo.thumbnail is None:
                return None
            return self._stored().thumbnails.thumbnail(photo.thumbnail)

    @contextmanager
    def thumbnails(self) -> Iterator[Callable[[str], bytes | None]]:
        """:meth:`vsearch.Index.thumbnail`, for thousands: the files that were used last stay open."""
        catalog, rows = self._reading(), SegmentRows(self._directory, "thumbnails")

        def thumbnail(photo_id: str) -> bytes | None:
            photo = catalog.get(int(photo_id)) if is_id(photo_id) else None
            if photo is None or photo.thumbnail is None:
                return None
            return rows.thumbnail(photo.thumbnail)

        try:
            yield thumbnail
        finally:
            rows.close()

    def held(self) -> Held:
        """The counts of :meth:`vsearch.Index.status`, which a server is asked for every few seconds."""
        catalog = self._reading()  # first: it may lie in another store than before
        generations = generations_of(self._directory, self._settings)
        number = generations.current()
        covered = generations.manifest(number).sequence if number else 0
        pending = catalog.count_changed_since(covered)
        return Held(catalog.count("ready"), catalog.count("failed"), number, pending)

    def edition(self) -> tuple[object, ...]:
        """What tells two states of the index apart: while it is equal, so is the answer to a question.

        But for questions that look at files outside the index: a crop, or a folder that may be anywhere.
        """
        catalog = self._reading()
        settings, current = self._directory.settings_file, self._directory.current_file
        stamps = [_stamp(path) for path in (settings, catalog.path, current)]
        return catalog.identity(), catalog.sequence(), *stamps

    def cameras(self) -> dict[str, int]:
        """How many photos each camera took, most first."""
        return dict(self._reading().cameras())

    def has_text(self) -> bool:
        """Whether the encoder understands words, so that queries may have a text."""
        return self._bundle.has_text

    def ready(self) -> bool:
        """Answer a query, so that the next one finds all open and imported; ``False`` without photos."""
        some = self.page(limit=1, newest=True)
        return bool(some and self.query(some[0], k=1))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Inode and time of change, ns: another one whenever the file was replaced."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def is_id(given: str | int) -> bool:
    """Whether ``given`` may be the id of a photo."""
    text = str(given)
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _LAST_ID

"""Maps of what is published: made once for each generation and filter, on a thread of their own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from dataclasses import dataclass
from functools import partial

from vsearch.index import Index
from vsearch.photomap import PhotoMap
from vsearch.recent import Recent
from vsearch.server.problems import Problem
from vsearch.server.workers import Workers

_KEPT = 4  # a map of 100,000 photos is about 8 MB of JSON


@dataclass(frozen=True, slots=True)
class Filters:
    """Which photos a map shows; as those of ``Index.map``."""

    where: str | None = None
    under: str | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """What a map is of: a generation, the encoder (re-encoding counts generations anew), and the filters."""

    generation: int
    encoder: str
    filters: Filters

    @property
    def etag(self) -> str:
        """The version as an HTTP entity tag."""
        chosen = hashlib.sha256(repr(self.filters).encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return f'"map-{self.encoder[:16]}-{self.generation}-{chosen}"'


class Maps:
    """Keeps the last few maps as JSON; used from the event loop alone.

    Args:
        workers: one thread with an index of its own.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._made: Recent[Version, asyncio.Task[bytes]] = Recent(_KEPT)
        self._stopping = threading.Event()

    async def of(self, version: Version) -> bytes:
        """The map of ``version``; everybody who asks meanwhile waits for the same one.

        Raises:
            MissingExtraError: openTSNE is not installed.
            UsageError: the filters cannot be understood.
            Problem: 503, the server stops.
        """
        making = self._made.find(version)
        if making is None or _failed(making):
            making = asyncio.create_task(self._workers.run(partial(self._make, version.filters)))
            self._made.put(version, making)
        # Shielded: a client that leaves must not take the map away from the others.
        return await asyncio.shield(making)

    def stop(self) -> None:
        """End the map that is being made, if any: who waits for it gets a problem."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and close the index."""
        self.stop()
        self._workers.close()

    def _make(self, filters: Filters, index: Index) -> bytes:
        found = index.map(
            filters.where,
            under=filters.under,
            since=filters.since,
            until=filters.until,
            on_step=self._go_on,
        )
        return json.dumps(map_json(found), separators=(",", ":")).encode()

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Problem(
                503, "stopping", "the server stops; ask again when it is back", {"Retry-After": "3"}
            )


def _failed(making: asyncio.Task[bytes]) -> bool:
    return making.done() and (making.cancelled() or making.exception() is not None)


def map_json(found: PhotoMap) -> dict[str, list[str] | list[float]]:
    """A map in columns; positions have five decimals."""
    return {
        "ids": list(found.ids),
        "paths": list(found.paths),
        "x": [round(float(x), 5) for x in found.positions[:, 0]],
        "y": [round(float(y), 5) for y in found.positions[:, 1]],
    }

"""The map of what is published: made once for each generation, on a thread that answers nothing else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from vsearch.index import Index
from vsearch.photomap import PhotoMap
from vsearch.server.workers import Workers


@dataclass(frozen=True, slots=True)
class Version:
    """What a map is of: a generation, and the encoder, since re-encoding counts generations anew."""

    generation: int
    encoder: str

    @property
    def etag(self) -> str:
        """The version as an HTTP entity tag."""
        return f'"map-{self.encoder[:16]}-{self.generation}"'


class Maps:
    """Keeps the newest map as JSON; used from the event loop alone.

    Args:
        workers: one thread with an index of its own.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._version: Version | None = None
        self._making: asyncio.Task[bytes] | None = None

    async def of(self, version: Version) -> bytes:
        """The map of ``version``; everybody who asks meanwhile waits for the same one.

        Raises:
            MissingExtraError: openTSNE is not installed.
        """
        if self._version != version or _failed(self._making):
            self._version = version
            self._making = asyncio.create_task(self._workers.run(_made))
        assert self._making is not None
        # Shielded: a client that leaves must not take the map away from the others.
        return await asyncio.shield(self._making)

    def close(self) -> None:
        """Wait for the map that is being made, if any."""
        self._workers.close()


def _failed(making: asyncio.Task[bytes] | None) -> bool:
    return making is None or (making.done() and (making.cancelled() or making.exception() is not None))


def _made(index: Index) -> bytes:
    return json.dumps(map_json(index.map()), separators=(",", ":")).encode()


def map_json(found: PhotoMap) -> dict[str, list[str] | list[float]]:
    """A map in columns; positions have five decimals."""
    return {
        "ids": list(found.ids),
        "paths": list(found.paths),
        "x": [round(float(x), 5) for x in found.positions[:, 0]],
        "y": [round(float(y), 5) for y in found.positions[:, 1]],
    }

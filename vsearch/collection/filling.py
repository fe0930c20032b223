"""Filling the parts of a collection: in batches, with graphs that lie complete on the disk at the end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch import durable
from vsearch.collection.chroma import HnswParameters, Metadata, Vectors, client_of, errors, pages, part_name
from vsearch.errors import CollectionError
from vsearch.records import Metric

if TYPE_CHECKING:
    import chromadb

_BATCH_BYTES = 4 * 2**20
# Chroma turns the vectors of an upsert into Python lists, 32 bytes a number: small batches keep that small.
_UPSERT_ROWS = 1024
_SMALLEST_THRESHOLD = 2  # Chroma takes no less
_READ_TO_WRITTEN = 10  # what a record costs to be read from Chroma's queue, in records written to its graph


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to upsert: ids, vectors float32 [b, D], and one metadata dictionary each.

    Every metadata key must be present each time, ``None`` for "no value": upserts merge keys.
    """

    ids: Sequence[str]
    vectors: Vectors
    metadatas: Sequence[Metadata]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.ids[rows], self.vectors[rows], self.metadatas[rows])


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of one part of a collection: rows to add or replace, and how many; ids to take out.

    Ids in ``removed`` that it never had are fine.
    """

    batches: Iterable[Batch]
    count: int
    removed: Iterable[str] = ()
    part: int = 0


def batches_of(dimension: int, rows: int) -> int:
    """How many of ``rows`` vectors go into one batch: 1,024, and 4 MiB, at the most."""
    return max(1, min(rows, _UPSERT_ROWS, _BATCH_BYTES // (4 * dimension)))


def threshold_of(records: int, dimension: int, standing: int = 0) -> int:
    """After how many of ``records`` Chroma shall write its graph, so that the last one makes it do so.

    Each upsert reads all records anew that wait for the graph to be written, and each writing writes the
    whole graph, ``standing`` photos too.  Of 256 numbers, 30,000 took 21 s when it was written after every
    2,000, and 40 s when once.

    >>> threshold_of(300, 256), threshold_of(30_000, 256), threshold_of(30_000, 256, standing=500_000)
    (300, 2143, 15000)
    """
    batch = batches_of(dimension, records)
    cheapest = max(2 * batch, math.isqrt(batch * (2 * standing + records) // _READ_TO_WRITTEN))
    parts = max(1, records // cheapest)
    return max(_SMALLEST_THRESHOLD, -(-records // parts))


def fill(folder: Path, changes: Changes, dimension: int, standing: int) -> int:
    """Apply the changes to their part and leave its graph complete on the disk; returns the part's count.

    What the graph lacks whoever opens the collection would insert all over again, so batches end where
    Chroma is to write it, and the last rows come twice if they are too few to make it do so.

    Args:
        standing: how many photos the part has; Chroma would read its whole graph to count them.
    """
    with _part(folder, changes.part) as photos:
        gone = _present(photos, changes.removed)
        records = len(gone) + changes.count
        threshold = max(_SMALLEST_THRESHOLD, records)  # rows that are removed cannot come twice
        if changes.count:
            threshold = threshold_of(records, dimension, standing)
        photos.modify(configuration={"hnsw": {"sync_threshold": threshold}})
    with _part(folder, changes.part) as photos:
        taken = 0
        for some in _cut(chain(pages(gone), changes.batches), threshold):
            _apply(photos, some)
            taken += len(some)
            durable.step("generation-upserted")
        if taken != records:
            raise CollectionError(f"{taken:,} of {records:,} changes came; please report this")
        while taken % threshold and changes.count:
            again = some[: threshold - taken % threshold]
            _apply(photos, again)
            taken += len(again)
        return photos.count()


def _cut(groups: Iterable[list[str] | Batch], length: int) -> Iterator[list[str] | Batch]:
    """The same rows, with an end after each ``length`` of them."""
    room = length
    for group in groups:
        rest = group
        while len(rest) > room:
            yield rest[:room]
            rest, room = rest[room:], length
        yield rest
        room = room - len(rest) or length


def _apply(photos: chromadb.Collection, rows: list[str] | Batch) -> None:
    """Upsert a batch, or remove ids."""
    if isinstance(rows, Batch):
        upsert(photos, rows)
    else:
        photos.delete(ids=rows)


def _present(photos: chromadb.Collection, ids: Iterable[str]) -> list[str]:
    return [i for page in pages(list(ids)) for i in photos.get(ids=page, include=[])["ids"]]


def upsert(photos: chromadb.Collection, batch: Batch) -> None:
    """Add the rows of a batch to Chroma's collection, or replace them."""
    photos.upsert(
        ids=list(batch.ids),
        embeddings=np.ascontiguousarray(batch.vectors, dtype=np.float32),
        metadatas=list(batch.metadatas),
    )


@contextlib.contextmanager
def _part(folder: Path, part: int) -> Iterator[chromadb.Collection]:
    with errors():
        client = client_of(folder)
        try:
            yield client.get_collection(part_name(part), embedding_function=None)
        finally:
            client.close()


def create(folder: Path, part: int, metric: Metric, hnsw: HnswParameters) -> None:
    """Make a part without photos in ``folder``."""
    configuration = configured(metric, hnsw)
    with errors():
        client = client_of(folder)
        try:
            client.create_collection(part_name(part), embedding_function=None, configuration=configuration)
        finally:
            client.close()


def breadth(parts: Sequence[int], hnsw: HnswParameters) -> int:
    """How many candidates to keep in each of ``parts``, which have so many photos.

    That of ``hnsw`` by the root of how many parts of one size would be as uneven as these: together they look
    at more candidates than one graph would, and find as much.  In five parts of 200,000 a fifth for each (40)
    found 99.0 % of the ten nearest, half for each all of them.

    >>> [breadth(parts, HnswParameters()) for parts in ([9], [9, 9], [900, 1], [9, 9, 9, 9, 9], [0])]
    [200, 142, 200, 90, 200]
    """
    sharing = sum(parts) ** 2 / max(1, sum(count**2 for count in parts))
    return math.ceil(hnsw.ef_search / math.sqrt(max(1.0, sharing)))


def share_breadth(folder: Path, parts: Sequence[int], hnsw: HnswParameters) -> None:
    """Set ``ef_search`` of each of the ``parts``, which have so many photos, to their :func:`breadth`."""
    shared = breadth(parts, hnsw)
    with errors():
        client = client_of(folder)
        try:
            for part in range(len(parts)):
                photos = client.get_collection(part_name(part), embedding_function=None)
                photos.modify(configuration={"hnsw": {"ef_search": shared}})
        finally:
            client.close()


def configured(metric: Metric, hnsw: HnswParameters, threshold: int | None = None) -> Any:
    """The configuration of a new collection; its graph is written each time that so many records came in."""
    space = "cosine" if metric == "cosine" else "l2"
    written = {} if threshold is None else {"sync_threshold": threshold}
    return {"hnsw": {"space": space, **asdict(hnsw), **written}}

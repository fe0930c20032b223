"""The map: every photo at a place on a plane, photos that look alike close together.

Vectors are read twice, a few MiB at a time: once for their principal components, once to put them on these.
So memory grows by 200 bytes a photo, however long the vectors are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsearch.blas import one_thread
from vsearch.catalog import Catalog, VectorRow
from vsearch.components import PrincipalComponents
from vsearch.directory import IndexDirectory
from vsearch.filters import Condition
from vsearch.layout import positions
from vsearch.nearest import read_vectors
from vsearch.ranking import normalised
from vsearch.records import Metric

Floats = npt.NDArray[np.float32]
_COMPONENTS = 50  # as scikit-learn's TSNE advises for long vectors
_SLICE_BYTES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class PhotoMap:
    """Photos and where they are on the map, by id.

    Attributes:
        ids: of the photos, opaque, as in :class:`~vsearch.records.Match`.
        paths: absolute.
        positions: float32 [N, 2], x and y in 0..1; only distances mean something.
    """

    ids: Sequence[str]
    paths: Sequence[str]
    positions: Floats

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of an index: where they lie, how long they are and how they are compared."""

    directory: IndexDirectory
    dimension: int
    metric: Metric


def photo_map(
    vectors: Vectors,
    catalog: Catalog,
    condition: Condition | None,
    seed: int,
    on_step: Callable[[], None] | None = None,
) -> PhotoMap:
    """The map of the photos that meet ``condition``; empty if there are none.

    ``on_step`` is called now and then; what it raises ends the work.

    Raises:
        MissingExtraError: openTSNE is not installed.
        IndexDamaged: a segment is missing or torn.
    """
    sql, parameters = (condition.sql, condition.parameters) if condition else ("TRUE", ())
    rows = catalog.matching(sql, parameters)
    with one_thread():  # with more, roundings and so positions would differ
        places = positions(_reduced(vectors, rows), seed, on_step)
    photos = catalog.get_many([row.photo_id for row in rows])
    found = {
        row.photo_id: place for row, place in zip(rows, places, strict=True) if row.photo_id in photos
    }  # without those removed meanwhile
    order = sorted(found)
    paths = [photos[i].file.absolute for i in order]
    return PhotoMap(
        [str(i) for i in order], paths, np.array([found[i] for i in order], np.float32).reshape(-1, 2)
    )


def _reduced(vectors: Vectors, rows: Sequence[VectorRow]) -> Floats:
    """The vectors on their first principal components, float32 [N, C], largest variance first."""
    components = min(_COMPONENTS, vectors.dimension, len(rows) - 1)
    if components < 1:
        return np.zeros((len(rows), 1), np.float32)
    running = PrincipalComponents(components)
    for batch in _batches(vectors, rows):
        running.update(batch)
    projection = running.projection()
    return np.concatenate([b @ projection.weights + projection.offset for b in _batches(vectors, rows)])


def _batches(vectors: Vectors, rows: Sequence[VectorRow]) -> Iterator[Floats]:
    step = max(1, _SLICE_BYTES // (4 * vectors.dimension))
    for start in range(0, len(rows), step):
        batch = read_vectors(vectors.directory, rows[start : start + step])
        yield normalised(batch) if vectors.metric == "cosine" else batch

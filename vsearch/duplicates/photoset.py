"""The photos to look for duplicates among, as arrays: one row for each distinct file content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from vsearch.catalog import Catalog
from vsearch.duplicates.neighbours import basis as principal_directions
from vsearch.duplicates.proposals import Hashed
from vsearch.errors import IndexDamaged
from vsearch.ranking import cosine, normalised
from vsearch.records import Location, Photo
from vsearch.segmentrows import SegmentRows

Vectors = npt.NDArray[np.float32]
_SAMPLE_BYTES = 2**25
_SLICE_BYTES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Photos by content, sorted by SHA-256, so that nothing depends on the order in which they were indexed.

    Attributes:
        digests: void32 [N].
        photos: ids of the photos with each content, by path.
        hashed: hashes and aspects; rows without a hash have ``has_hash`` False.
        pixels, size, taken: int64 [N]; -1 for an unknown capture time.
        vectors, thumbnails: segment and row of each, int32 [N, 2].
    """

    digests: npt.NDArray[np.void]
    photos: Sequence[Sequence[int]]
    hashed: Hashed
    has_hash: npt.NDArray[np.bool_]
    pixels: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    taken: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.int32]
    thumbnails: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.digests)

    def order(self) -> list[int]:
        """Rows, best representatives first: most pixels, most bytes, oldest."""
        taken = np.where(self.taken < 0, np.iinfo(np.int64).max, self.taken)
        rows = np.arange(len(self))
        best: list[int] = np.lexsort((rows, taken, -self.size, -self.pixels)).tolist()
        return best


def load(catalog: Catalog) -> PhotoSet:
    """All ready photos of a catalog."""
    rows = sorted(
        (_Row.of(photo) for photo in catalog.photos("ready")), key=lambda row: (row.digest, row.path)
    )
    contents = [list(group) for _, group in groupby(rows, key=lambda row: row.digest)]
    first = [group[0] for group in contents]
    aspects = [max(row.width, 1) / max(row.height, 1) for row in first]
    return PhotoSet(
        digests=np.frombuffer(b"".join(row.digest for row in first), "V32"),
        photos=[[row.id for row in group] for group in contents],
        hashed=Hashed(
            np.array([row.phash or 0 for row in first], np.uint64),
            np.array([row.dhash or 0 for row in first], np.uint64),
            np.array(aspects, np.float32),
        ),
        has_hash=np.array([row.phash is not None for row in first], np.bool_),
        pixels=np.array([row.width * row.height for row in first], np.int64),
        size=np.array([row.size for row in first], np.int64),
        taken=_seconds([row.taken_at for row in first]),
        vectors=np.array([row.vector for row in first], np.int32).reshape(-1, 2),
        thumbnails=np.array([row.thumbnail for row in first], np.int32).reshape(-1, 2),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    digest: bytes
    path: str
    id: int
    width: int
    height: int
    size: int
    phash: int | None
    dhash: int | None
    taken_at: str | None
    vector: tuple[int, int]
    thumbnail: tuple[int, int]

    @classmethod
    def of(cls, photo: Photo) -> _Row:
        facts = photo.facts
        if facts is None or photo.vector is None or photo.sha256 is None:
            raise IndexDamaged(f"photo {photo.id} is ready but has no vector; run `vsearch check`")
        thumbnail = photo.thumbnail
        return cls(
            bytes.fromhex(photo.sha256),
            photo.file.absolute,
            photo.id,
            facts.width,
            facts.height,
            photo.file.size,
            int(facts.phash, 16) if facts.phash else None,
            int(facts.dhash, 16) if facts.dhash else None,
            facts.taken_at,
            (photo.vector.segment, photo.vector.row),
            (thumbnail.segment, thumbnail.row) if thumbnail else (-1, -1),
        )


def _seconds(times: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Seconds since 1970, -1 for ``None`` (and for the times before, which cameras do not write)."""
    moments = np.array([time or "NaT" for time in times], dtype="datetime64[s]")
    return np.where(np.isnat(moments), -1, np.maximum(moments.astype(np.int64), -1))


def basis(photos: PhotoSet, rows: SegmentRows) -> Vectors:
    """Principal directions of an even sample of the photos' vectors, float32 [D, d]."""
    if not len(photos):
        return np.eye(1, dtype=np.float32)
    dimension = rows.segment(int(photos.vectors[0, 0])).row_shape()[0]
    wanted = min(len(photos), max(64, _SAMPLE_BYTES // (4 * dimension)))
    chosen = np.unique(np.linspace(0, len(photos) - 1, wanted).astype(np.intp))
    sample = np.concatenate([part for _, part in _read(photos, rows, chosen)])
    return principal_directions(normalised(sample))


def projected(photos: PhotoSet, rows: SegmentRows, onto: Vectors) -> Vectors:
    """Every vector on the directions ``onto``, at unit length: float32 [N, d]."""
    result = np.zeros((len(photos), onto.shape[1]), np.float32)
    for some, vectors in _read(photos, rows, np.arange(len(photos))):
        result[some] = normalised(vectors @ onto)
    return result


def scores(photos: PhotoSet, rows: SegmentRows, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """The exact cosine similarity of each pair of rows."""
    found = []
    for a, b in pairs:
        one, other = (rows.vector(Location(*map(int, photos.vectors[row]))) for row in (a, b))
        found.append(float(cosine(one, other[np.newaxis])[0]))
    return found


def _read(
    photos: PhotoSet, rows: SegmentRows, wanted: npt.NDArray[np.intp]
) -> Iterator[tuple[npt.NDArray[np.intp], Vectors]]:
    """Vectors of the rows ``wanted``, segment by segment, a few MiB at a time."""
    order = wanted[np.lexsort((photos.vectors[wanted, 1], photos.vectors[wanted, 0]))]
    for number, group in groupby(order.tolist(), key=lambda row: int(photos.vectors[row, 0])):
        segment, members = rows.segment(number), np.array(list(group))
        step = max(1, _SLICE_BYTES // (4 * segment.row_shape()[0]))
        for start in range(0, len(members), step):
            some = members[start : start + step]
            yield some, segment.read_rows(photos.vectors[some, 1].tolist())

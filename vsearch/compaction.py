"""Reclaiming rows of segments that no photo counts on any more.

A segment is never changed.  What is alive of those with many dead rows is copied to new segments, one
catalog transaction moves the photos over, and the old files go.  A kill leaves either the old or the new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from vsearch import durable, files
from vsearch.catalog import Catalog, SegmentKind, SegmentRow, photo_json
from vsearch.directory import IndexDirectory
from vsearch.records import Location, Photo
from vsearch.segments import Segment, SegmentWriter
from vsearch.settings import Settings

DEAD_SHARE = 0.3
_ROWS = 1024
_KINDS: tuple[SegmentKind, ...] = ("vectors", "thumbnails", "pixels")
# Runs of `sync --watch` leave a segment for every few photos; many such are joined into one.
_SMALL = 64
_MANY_SMALL = 32


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of one vectors segment is alive."""

    number: int
    rows: int
    live: int

    @property
    def dead_share(self) -> float:
        """Between 0 and 1."""
        return 1 - self.live / self.rows if self.rows else 1.0


def usage(catalog: Catalog) -> list[Usage]:
    """Every vectors segment with its live rows."""
    live = catalog.live_rows()
    return [Usage(s.number, s.rows, live.get(s.number, 0)) for s in catalog.segments("vectors")]


def dead_bytes(directory: IndexDirectory, catalog: Catalog) -> dict[str, int]:
    """Bytes of each kind of segment that a compaction would give back, by kind."""
    dead = dict.fromkeys(_KINDS, 0.0)
    for segment in usage(catalog):
        for kind in _KINDS:
            dead[kind] += segment.dead_share * durable.size_of(directory.segment(kind, segment.number))
    return {kind: int(size) for kind, size in dead.items()}


def wasteful(segments: Sequence[Usage]) -> list[int]:
    """Which segments to rewrite: those mostly dead, and small ones where there are many.

    >>> wasteful([Usage(1, 100, 80), Usage(2, 100, 60), Usage(3, 5, 5)])
    [2]
    >>> wasteful([Usage(n, 5, 5) for n in range(32)]) == list(range(32))
    True
    """
    small = [s.number for s in segments if s.live < _SMALL]
    chosen = {s.number for s in segments if s.dead_share > DEAD_SHARE}
    return sorted(chosen.union(small if len(small) >= _MANY_SMALL else ()))


def compact(directory: IndexDirectory, settings: Settings, catalog: Catalog) -> int:
    """Rewrite wasteful segments; returns how many were dropped.

    Only the holder of the writer's lock may call this.

    Raises:
        IndexDamaged: a segment cannot be read; nothing is changed.
        StorageError: the disk is full; nothing is changed.
    """
    chosen = wasteful(usage(catalog))
    doomed: list[int] = []
    rows = 0
    live = catalog.live_rows()
    for number in chosen:
        if rows and rows + live.get(number, 0) > _ROWS:
            _rewrite(directory, settings, catalog, doomed)
            doomed, rows = [], 0
        doomed.append(number)
        rows += live.get(number, 0)
    if doomed:
        _rewrite(directory, settings, catalog, doomed)
    return len(chosen)


def _rewrite(directory: IndexDirectory, settings: Settings, catalog: Catalog, doomed: Sequence[int]) -> None:
    """Copy what is alive of ``doomed`` into new segments, and drop them.

    Rows of segments with the same number belong together, so photos that lack a thumbnail, or pixels, go into
    segments of their own.
    """
    targets: dict[frozenset[SegmentKind], _Target] = {}
    moved: list[Photo] = []
    try:
        for number in doomed:
            moved += _copy_rows(directory, settings, catalog, number, targets)
        for target in targets.values():
            for writer in target.writers.values():
                writer.commit()
    except BaseException:
        for target in targets.values():
            for writer in target.writers.values():
                writer.abandon()
        raise
    held = [(kind, s.number) for kind in _KINDS for s in catalog.segments(kind) if s.number in doomed]
    with catalog.change() as change:
        for target in targets.values():
            for kind, writer in target.writers.items():
                row = SegmentRow(kind, target.number, writer.rows, files.sha256(str(writer.path)))
                change.add_segment(row)
        change.refile(moved)
        for kind, number in held:
            change.drop_segment(kind, number)
    for kind, number in held:
        durable.remove(directory.segment(kind, number))
        durable.step("segment-removed")


@dataclass(frozen=True, slots=True)
class _Target:
    """The new segments of one number, of which each has the same photos in the same rows."""

    number: int
    writers: dict[SegmentKind, SegmentWriter]


def _copy_rows(
    directory: IndexDirectory,
    settings: Settings,
    catalog: Catalog,
    number: int,
    targets: dict[frozenset[SegmentKind], _Target],
) -> Iterator[Photo]:
    """Append the live rows of segment ``number``; yields the photos with their new locations."""
    for (vector, thumbnail, pixels), sharing in groupby(
        catalog.in_segment(number), key=lambda photo: (photo.vector, photo.thumbnail, photo.pixels)
    ):
        photos = list(sharing)
        places: dict[SegmentKind, Location | None] = {
            "vectors": vector,
            "thumbnails": thumbnail,
            "pixels": pixels,
        }
        held: dict[SegmentKind, Location] = {kind: p for kind, p in places.items() if p is not None}
        target = targets.get(frozenset(held))
        if target is None:
            fresh = catalog.next_segment() + len(targets)
            writers = {kind: _writer(directory, settings, kind, fresh) for kind in held}
            target = targets[frozenset(held)] = _Target(fresh, writers)
        new = Location(target.number, target.writers["vectors"].rows)
        located = [
            replace(
                photo,
                vector=new,
                thumbnail=new if thumbnail else None,
                pixels=new if pixels else None,
            )
            for photo in photos
        ]
        for kind, place in held.items():
            _append(directory, catalog, target.writers[kind], kind, place, located[0])
        yield from located


def _writer(directory: IndexDirectory, settings: Settings, kind: SegmentKind, target: int) -> SegmentWriter:
    return SegmentWriter(directory.segment(kind, target), kind, settings.encoder)


def _append(
    directory: IndexDirectory,
    catalog: Catalog,
    writer: SegmentWriter,
    kind: SegmentKind,
    place: Location,
    photo: Photo,
) -> None:
    with Segment(directory.segment(kind, place.segment)) as segment:
        row = segment.thumbnail(place.row) if kind == "thumbnails" else segment.read_rows([place.row])
    root = catalog.roots.index(photo.file.root)
    data = [row] if isinstance(row, bytes) else row
    writer.append(data, [photo.id], [photo.sha256 or ""], [photo_json(photo, root)])

"""Pixels to train on: photos staged once into HDF5 segments, or those an index has kept.

A staging folder holds ``pixels/000001.h5`` ... and ``staged.jsonl``, one line a photo: where its pixels lie,
and the size and time of the file they came from.  The next training of the same input size reads only what
is new or changed.  A line is written after its segment, so a stop costs one segment at the most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from vsearch import durable, files, images
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle
from vsearch.encoders.architectures import Architecture
from vsearch.errors import PhotoError, UsageError
from vsearch.ingest import BATCH, batched, in_parallel, reading_threads
from vsearch.records import FileStat, ResizeMode, Skipped
from vsearch.resizing import Resizing
from vsearch.segments import Segment, SegmentWriter

Pixels = npt.NDArray[np.uint8]
OnPhoto = Callable[[int, int], None]
RESIZE: ResizeMode = "stretch"
_SEGMENT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class PixelRow:
    """Where the pixels of one photo lie."""

    segment: Path
    row: int


@dataclass(frozen=True, slots=True)
class Staged:
    """The photos a training may use.

    Attributes:
        rows: one for each photo.
        size: side of the stored pixels.
        resizing: how photos were made square.
        skipped: photos that could not be read.
    """

    rows: Sequence[PixelRow]
    size: int
    resizing: Resizing
    skipped: Sequence[Skipped] = field(default=())

    def read(self, wanted: Sequence[int]) -> Pixels:
        """The pixels of photos ``wanted`` (numbers into ``rows``), uint8 [n, S, S, 3], in that order."""
        result = np.empty((len(wanted), self.size, self.size, 3), np.uint8)
        by_segment: dict[Path, list[int]] = {}
        for place, number in enumerate(wanted):
            by_segment.setdefault(self.rows[number].segment, []).append(place)
        for path, places in by_segment.items():
            with Segment(path) as segment:
                result[places] = segment.read_rows([self.rows[wanted[place]].row for place in places])
        return result

    def digest(self) -> str:
        """Of the contents of all photos, hexadecimal; names, places and order do not matter."""
        by_segment: dict[Path, list[int]] = {}
        for row in self.rows:
            by_segment.setdefault(row.segment, []).append(row.row)
        contents: list[str] = []
        for path, rows in by_segment.items():
            with Segment(path) as segment:
                known = segment.digests()
            contents.extend(known[row] for row in rows)
        return hashlib.sha256("".join(sorted(contents)).encode()).hexdigest()


def default_folder(architecture: Architecture) -> Path:
    """Where pixels of this input size are staged unless told otherwise: in the user's cache."""
    return Path(platformdirs.user_cache_dir("vsearch")) / "staging" / f"{architecture.input_size}-{RESIZE}"


def stage(
    found: Sequence[FileStat],
    folder: Path,
    architecture: Architecture,
    *,
    on_photo: OnPhoto | None = None,
) -> Staged:
    """Decode what the folder does not hold yet; memory is a few batches.

    Args:
        found: the photos.
        folder: the staging folder; made if need be.
        on_photo: called with the number of photos looked at, and of all.

    Raises:
        StorageError: the folder cannot be written.
    """
    with durable.storage_errors(folder):
        (folder / "pixels").mkdir(parents=True, exist_ok=True)
    ledger = _Ledger(folder)
    skipped: list[Skipped] = []
    new = [file for file in found if ledger.find(file) is None]
    done = len(found) - len(new)
    writer = _Writer(folder, ledger, architecture.input_size)
    for readings in in_parallel(
        lambda batch: [_read(file, architecture.input_size) for file in batch],
        batched(new, BATCH),
        reading_threads(),
    ):
        for reading in readings:
            done += 1
            if on_photo:
                on_photo(done, len(found))
            if reading.failure is not None:
                skipped.append(reading.failure)
            else:
                writer.add(reading)
    writer.commit()
    rows = [row for file in found if (row := ledger.find(file)) is not None]
    return Staged(rows, architecture.input_size, Resizing(RESIZE), tuple(skipped))


def kept_pixels(path: Path, architecture: Architecture) -> Staged:
    """The pixels an index has kept.

    Raises:
        UsageError: it keeps none, or none of this input size.
        IndexNotFound, IndexDamaged: it cannot be read.
    """
    directory = IndexDirectory(path)
    settings = directory.settings()
    specification = Bundle(directory.encoder).specification
    with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
        rows = [
            PixelRow(directory.segment("pixels", photo.pixels.segment), photo.pixels.row)
            for photo in catalog.photos("ready")
            if photo.pixels is not None
        ]
    fits = specification.input_size == architecture.input_size
    if not rows:
        remedy = ", or build the index with --keep-pixels" if fits else ""
        raise UsageError(f"{path} keeps no pixels; name the photo folders in place of --index{remedy}")
    if not fits:
        raise UsageError(
            f"{path} keeps pixels of {specification.input_size} x {specification.input_size} and "
            f"{architecture.name} learns from {architecture.input_size} x {architecture.input_size}; "
            "name the photo folders in place of --index"
        )
    return Staged(
        sorted(set(rows), key=lambda r: (r.segment, r.row)), specification.input_size, specification.resizing
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    file: FileStat
    sha256: str = ""
    pixels: Pixels | None = None
    failure: Skipped | None = None


def _read(file: FileStat, size: int) -> _Reading:
    path = file.absolute
    try:
        files.check_format(path)
        data = files.read(path)
        pixels = images.decode(data, size, RESIZE, name=path).pixels
        return _Reading(file, files.digest(data), pixels)
    except PhotoError as error:
        return _Reading(file, failure=Skipped(path, error.reason, error.remedy))


class _Ledger:
    """``staged.jsonl``: which photo, as which file, lies where."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "staged.jsonl"
        self._folder = folder
        self._rows: dict[tuple[str, int, int], PixelRow] = {}
        for line in self._lines():
            path, size, mtime_ns, segment, row = json.loads(line)
            place = folder / "pixels" / segment
            if place.is_file():
                self._rows[path, size, mtime_ns] = PixelRow(place, row)

    def find(self, file: FileStat) -> PixelRow | None:
        """Where the pixels of this very state of a file lie."""
        return self._rows.get(_key(file))

    def next_segment(self) -> Path:
        """A name that no segment has."""
        taken = {int(path.stem) for path in (self._folder / "pixels").glob("[0-9]*.h5")}
        return self._folder / "pixels" / f"{max(taken, default=0) + 1:06d}.h5"

    def add(self, segment: Path, staged: Sequence[FileStat]) -> None:
        """Write down a finished segment."""
        lines = list(self._lines())
        for row, file in enumerate(staged):
            self._rows[_key(file)] = PixelRow(segment, row)
            lines.append(json.dumps([*_key(file), segment.name, row]))
        durable.write_atomic(self._path, "".join(f"{line}\n" for line in lines).encode())

    def _lines(self) -> Iterator[str]:
        if self._path.exists():
            yield from self._path.read_text("utf-8").splitlines()


def _key(file: FileStat) -> tuple[str, int, int]:
    return file.absolute, file.size, file.mtime_ns


class _Writer:
    """Fills segments of 256 MiB."""

    def __init__(self, folder: Path, ledger: _Ledger, size: int) -> None:
        self._ledger = ledger
        self._limit = max(1, _SEGMENT_BYTES // (3 * size * size))
        self._segment: SegmentWriter | None = None
        self._staged: list[FileStat] = []
        durable.sweep(folder / "pixels")

    def add(self, reading: _Reading) -> None:
        """Append one photo."""
        assert reading.pixels is not None
        if self._segment is None:
            self._segment = SegmentWriter(self._ledger.next_segment(), "pixels")
        facts = json.dumps({"path": reading.file.absolute})
        self._segment.append(reading.pixels[np.newaxis], [len(self._staged)], [reading.sha256], [facts])
        self._staged.append(reading.file)
        if len(self._staged) >= self._limit:
            self.commit()

    def commit(self) -> None:
        """Finish the segment and write it down."""
        if self._segment is not None:
            self._segment.commit()
            self._ledger.add(self._segment.path, self._staged)
        self._segment, self._staged = None, []

"""Writing readings down: segments first, then one catalog transaction that makes them exist."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch import durable, files
from vsearch.catalog import Catalog, SegmentKind, SegmentRow, photo_json
from vsearch.directory import KINDS, IndexDirectory
from vsearch.errors import IndexDamaged
from vsearch.ingest import Job, Reading
from vsearch.plan import Encode, Reuse, is_refused, settle
from vsearch.ranking import normalised
from vsearch.records import Location, Photo, Skipped, SyncReport
from vsearch.segments import SegmentWriter
from vsearch.settings import Settings

SEGMENT_ROWS = 1024
# With a slow encoder a segment takes long to fill; what a kill can lose stays within a minute.
SEGMENT_SECONDS = 60.0
# Rows are written together, since h5py takes as long for one as for a hundred: 0.61 ms a photo when there
# were 16, 0.12 ms when 128.  Bytes are counted, as a row of flattened latents, or of pixels, is 200 KB.
WAITING_BYTES = 2 * 2**20


class Tally:
    """Counts what a run changed, for its :class:`SyncReport`."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.counts = dict.fromkeys(("added", "updated", "moved", "removed", "unchanged", "withheld"), 0)
        self.skipped: list[Skipped] = []

    def stays(self, photo: Photo) -> None:
        """Count a photo whose file is the same; one that failed is reported again."""
        if photo.state == "failed":
            path = photo.file.absolute
            self.skipped.append(Skipped(path, photo.reason or "", photo.remedy or ""))
        else:
            self.counts["unchanged"] += 1

    def report(self) -> SyncReport:
        """The counts so far."""
        return SyncReport(**self.counts, skipped=tuple(self.skipped), seconds=time.monotonic() - self.started)


class Committer:
    """Takes readings in order and commits them, a segment at a time.

    Args:
        directory, settings: of the index.
        catalog: open for writing.
        tally: counts what is committed.
        reread: decodes and encodes a job whatever the catalog knows.
        is_gone: whether a photo's file is no longer where the catalog has it, so that the same bytes
            elsewhere are that photo, moved; called from several threads.
        retry_failed: decode failed photos again even when their bytes are the same.
    """

    def __init__(
        self,
        directory: IndexDirectory,
        settings: Settings,
        catalog: Catalog,
        tally: Tally,
        reread: Callable[[Job], Reading],
        is_gone: Callable[[Photo], bool],
        *,
        retry_failed: bool = False,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._catalog = catalog
        self._tally = tally
        self._reread = reread
        self._is_gone_from = is_gone
        self._retry_failed = retry_failed
        self._next_id = catalog.next_id()
        self._writers: dict[SegmentKind, SegmentWriter] = {}
        self._start_segment()

    def is_known(self, job: Job, sha256: str) -> bool:
        """Whether the catalog can settle ``job`` without decoding it."""
        return isinstance(self._settle(job, sha256), Reuse)

    def take(self, reading: Reading) -> bool:
        """Write one reading; commits when the segment is full, and says whether it did."""
        if reading.failure is not None:
            self._take_failure(reading)
        else:
            self._take_photo(reading)
        full = len(self._photos) >= SEGMENT_ROWS or len(self._touched) >= SEGMENT_ROWS
        late = (self._photos or self._touched) and time.monotonic() - self._segment_started > SEGMENT_SECONDS
        if full or late:
            self.commit()
        return bool(full or late)

    def commit(self) -> None:
        """Make everything taken so far exist."""
        self._flush_rows()
        writers = list(self._writers.values())
        for writer in writers:
            writer.commit()
        self._writers = {}
        if self._photos or self._touched:
            with self._catalog.change() as change:
                for writer in writers:
                    change.add_segment(_segment_row(writer))
                change.put(self._photos.values())
                change.refile(photo for photo in self._touched.values() if photo.id not in self._photos)
        self._start_segment()

    def abandon(self) -> None:
        """Drop what was not committed."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}

    def _start_segment(self) -> None:
        self._number = self._catalog.next_segment()
        self._photos: dict[int, Photo] = {}
        self._touched: dict[int, Photo] = {}
        self._by_digest: dict[str, Photo] = {}
        self._waiting: list[tuple[Photo, Reading]] = []
        self._waiting_bytes = 0
        self._rows = 0
        self._segment_started = time.monotonic()

    def _take_failure(self, reading: Reading) -> None:
        failure, job = reading.failure, reading.job
        assert failure is not None
        self._tally.skipped.append(Skipped(job.path, failure.reason, failure.remedy))
        if reading.sha256 is None and not os.path.lexists(job.path):
            return  # vanished between the walk and the reading: nothing to remember
        if reading.sha256 is None and _has_vector(job.known) and not is_refused(job.file):
            return  # nothing tells that its bytes are others: its vector answers until they can be read
        photo = Photo(
            job.known.id if job.known else self._new_id(),
            job.file,
            reading.sha256,
            "failed",
            reason=failure.reason,
            remedy=failure.remedy,
        )
        if photo != job.known:  # a row that is put again would cost a generation
            self._photos[photo.id] = photo

    def _take_photo(self, reading: Reading) -> None:
        assert reading.sha256 is not None
        decision = self._settle(reading.job, reading.sha256)
        if isinstance(decision, Encode) and reading.vector is None:
            # Its twin, known when it was read, has changed since (two photos swapped names, say).
            self.take(self._reread(reading.job))
            return
        self._count(decision)
        if isinstance(decision, Reuse):
            photo = decision.photo
            if decision.change == "unchanged":
                self._touched[photo.id] = photo
                return
            if not photo.id:
                photo = replace(photo, id=self._new_id())
            self._remember(photo)
        else:
            self._append(decision, reading)

    def _count(self, decision: Reuse | Encode) -> None:
        if isinstance(decision, Reuse) and decision.change == "unchanged":
            self._tally.stays(decision.photo)
        else:
            self._tally.counts[decision.change] += 1

    def _settle(self, job: Job, sha256: str) -> Reuse | Encode:
        same = [p for p in self._catalog.with_digest(sha256) if p.state == "ready"]
        uncommitted = self._by_digest.get(sha256)
        if uncommitted is not None:
            same.insert(0, uncommitted)
        vanished = next((p for p in same if self._is_gone(p)), None)
        return settle(job.file, sha256, job.known, same, vanished, retry_failed=self._retry_failed)

    def _is_gone(self, photo: Photo) -> bool:
        return self._is_gone_from(self._photos.get(photo.id, photo))  # it may have moved in this segment

    def _append(self, decision: Encode, reading: Reading) -> None:
        photo = Photo(
            id=decision.photo_id or self._new_id(),
            file=reading.job.file,
            sha256=reading.sha256,
            state="ready",
            facts=reading.facts,
            vector=Location(self._number, self._rows),
            thumbnail=Location(self._number, self._rows),
            pixels=Location(self._number, self._rows) if self._settings.keep_pixels else None,
        )
        self._rows += 1
        self._remember(photo)
        self._waiting.append((photo, reading))
        self._waiting_bytes += reading.nbytes
        if self._waiting_bytes >= WAITING_BYTES:
            self._flush_rows()

    def _remember(self, photo: Photo) -> None:
        self._photos[photo.id] = photo
        if photo.sha256 and photo.state == "ready":
            self._by_digest[photo.sha256] = photo

    def _flush_rows(self) -> None:
        if not self._waiting:
            return
        photos = [photo for photo, _ in self._waiting]
        readings = [reading for _, reading in self._waiting]
        vectors = np.stack([r.vector for r in readings if r.vector is not None])
        if self._settings.metric == "cosine":
            vectors = normalised(vectors)
        self._write("vectors", vectors, photos)
        self._write("thumbnails", [r.thumbnail for r in readings], photos)
        if self._settings.keep_pixels:
            pixels = np.stack([r.pixels for r in readings if r.pixels is not None])
            self._write("pixels", pixels, photos)
        self._waiting, self._waiting_bytes = [], 0

    def _write(self, kind: SegmentKind, data: npt.NDArray[Any] | list[bytes], photos: list[Photo]) -> None:
        if kind not in self._writers:
            path = self._directory.segment(kind, self._number)
            self._writers[kind] = SegmentWriter(path, kind, self._settings.encoder)
        self._writers[kind].append(
            data,
            [photo.id for photo in photos],
            [photo.sha256 or "" for photo in photos],
            [photo_json(photo, self._catalog.roots.index(photo.file.root)) for photo in photos],
        )

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def sweep(directory: IndexDirectory, catalog: Catalog) -> None:
    """Remove what an interrupted writer left: temporary files, and segments the catalog never got.

    Only the holder of the lock may call this.
    """
    sweep_unfinished(directory)
    with durable.storage_errors(directory.store):
        directory.make_folders()
    for kind in KINDS:
        folder = directory.store / kind
        known = {directory.segment(kind, s.number) for s in catalog.segments(kind)}
        _refuse_unknown(catalog, known, kind, directory)
        for orphan in set(folder.glob("*.h5")) - known:
            durable.remove(orphan)


def sweep_unfinished(directory: IndexDirectory) -> None:
    """The temporary files alone, which need no catalog to be known."""
    kinds = (directory.store / kind for kind in KINDS)
    for folder in (directory.path, directory.store, directory.chroma, *kinds):
        durable.sweep(folder)


def _refuse_unknown(catalog: Catalog, known: set[Path], kind: SegmentKind, directory: IndexDirectory) -> None:
    """A damaged list of segments must not cost a segment that photos count on."""
    if kind == "vectors":
        missing = {directory.segment(kind, number) for number in catalog.live_rows()} - known
        if missing:
            raise IndexDamaged(
                f"{catalog.path} is damaged: it does not list {min(missing).name}, which photos count on; "
                "run `vsearch rebuild`"
            )


def _has_vector(known: Photo | None) -> bool:
    """Whether the catalog has a vector of ``known``; re-encoding hands out its photos without a digest."""
    return known is not None and known.state == "ready" and known.sha256 is not None


def _segment_row(writer: SegmentWriter) -> SegmentRow:
    number = int(Path(writer.path).stem)
    return SegmentRow(writer.kind, number, writer.rows, files.sha256(str(writer.path)))

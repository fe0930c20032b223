"""``reencode``: another encoder's vectors beside the old ones, then one atomic switch.

The new vectors fill a second store, with a catalog of its own in which every photo keeps its id.  A run that
was killed finds there what it had committed, and goes on.  Once all is there and published,
``index.json`` names the new encoder and the new store in one write, and the old store goes.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter as Count
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vsearch import durable, files
from vsearch.catalog import Catalog
from vsearch.committer import Tally, sweep
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle, Encoder
from vsearch.errors import PhotoError, UsageError, VsearchError
from vsearch.ingest import IsKnown, Job, Reader, Reading, batched
from vsearch.plan import may_remove
from vsearch.published import generations_of, remove_superseded
from vsearch.records import Device, Photo, Skipped, SyncReport
from vsearch.segments import Segment
from vsearch.settings import Settings
from vsearch.updates import Counter, OnProgress, Run, Writable, finish

_PAGE = 500
_GONE = "its file was gone when the index was encoded anew"
_REMEDY = "put it back and run `vsearch sync`"


def reencode(
    directory: IndexDirectory,
    bundle: Bundle,
    on_progress: OnProgress | None = None,
    device: Device = "auto",
) -> SyncReport:
    """Exchange the encoder of an index; only the holder of the writer's lock may call this.

    Raises:
        UsageError: more than half of the photos of a folder are gone.
        IndexDamaged: the index cannot be read.
        StorageError: the disk is full; the old store stays.
    """
    settings = directory.settings()
    remove_superseded(directory, settings)
    tally = Tally()
    with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
        old = _Old(directory, settings, catalog, Bundle(directory.encoder))
        if settings.encoder == bundle.fingerprint:
            _give_up(directory.next_store(settings), settings)
            tally.counts["unchanged"] = catalog.count("ready")
            return tally.report()
        target = directory.next_store(settings)
        wanted = replace(settings, encoder=bundle.fingerprint, store=target.store.name)
        _prepare(target, wanted, bundle, catalog.roots)
        with Catalog(target.catalog_file, catalog.roots) as fresh:
            new = Writable(target, wanted, fresh, Encoder(Bundle(target.encoder), device))
            _Reencoding(old, new, tally).run(on_progress)
    directory.write_settings(wanted)
    remove_superseded(directory, wanted)
    return tally.report()


@dataclass(frozen=True, slots=True)
class _Old:
    """The index as it is: its directory, settings, catalog and encoder."""

    directory: IndexDirectory
    settings: Settings
    catalog: Catalog
    bundle: Bundle


class _Reencoding:
    """One run, from what the new store has already to a store that can take over."""

    def __init__(self, old: _Old, new: Writable, tally: Tally) -> None:
        self._old = old
        self._new = new
        self._tally = tally
        a, b = old.bundle.specification, new.encoder.specification
        self._pixels_fit = (a.input_size, a.resizing) == (b.input_size, b.resizing)

    def run(self, on_progress: OnProgress | None) -> None:
        """Fill the new store, publish it, and mark it as finished."""
        sweep(self._new.directory, self._new.catalog)
        self._drop_outdated()
        missing = self._refuse_absent()
        run = Run(self._new, self._tally, lambda photo: False, make_reader=self._reader)
        run.read(map(self._job, self._missing()), Counter(self._tally, missing, on_progress))
        self._carry_failed()
        finish(self._new)
        with self._new.catalog.change() as change:
            change.reserve(self._old.catalog.next_id())
            change.note("settings", self._new.settings.as_json())
        self._new.directory.finish_store()

    def _drop_outdated(self) -> None:
        """Take out what the index knows otherwise now: it may have been written to since a run was killed."""
        for page in batched(self._new.catalog.photos(), _PAGE):
            now = self._old.catalog.get_many([photo.id for photo in page])
            outdated = [photo.id for photo in page if not _is_same(photo, now.get(photo.id))]
            if outdated:
                with self._new.catalog.change() as change:
                    change.remove(outdated)

    def _missing(self) -> Iterator[Photo]:
        """The photos without a new vector."""
        for page in batched(self._old.catalog.photos("ready"), _PAGE):
            done = self._new.catalog.get_many([photo.id for photo in page])
            yield from (photo for photo in page if not _is_ready(done.get(photo.id)))

    def _refuse_absent(self) -> int:
        """How many photos must be encoded, unless most of a folder cannot be."""
        total, absent = Count[str](), Count[str]()
        missing = 0
        for photo in self._missing():
            missing += 1
            path = photo.file.absolute
            absent[photo.file.root] += not self._has_pixels(photo) and not os.access(path, os.R_OK)
        for photo in self._old.catalog.photos("ready"):
            total[photo.file.root] += 1
        for root, gone in absent.items():
            if not may_remove(gone, total[root]):
                raise UsageError(
                    f"{gone:,} of {total[root]:,} photos in {root} are not there, or cannot be read; mount "
                    "that disk, make them readable, or take out what is gone with `vsearch sync --prune`, "
                    "and run this again"
                )
        self._tally.counts["unchanged"] = total.total() - missing
        return missing

    def _has_pixels(self, photo: Photo) -> bool:
        return self._pixels_fit and photo.pixels is not None

    def _job(self, photo: Photo) -> Job:
        """What the committer takes for a photo whose bytes changed: it gets a new vector and keeps its id."""
        file = photo.file
        if not self._has_pixels(photo):
            with contextlib.suppress(PhotoError):  # the reader meets it again, and says so
                found = files.stat_file(file.absolute)
                file = replace(found, root=file.root, path=file.path)
        return Job(file, replace(photo, sha256=None))

    def _reader(self, encoder: Encoder, settings: Settings, is_known: IsKnown) -> Reader:
        if self._pixels_fit:
            return _KeptPixels(self._old, encoder, settings, is_known)
        return Reader(encoder, settings, is_known)

    def _carry_failed(self) -> None:
        """Every other photo stays as failed: with its old reason, or because its file is gone."""
        for page in batched(self._old.catalog.photos(), _PAGE):
            done = self._new.catalog.get_many([photo.id for photo in page])
            rest = [_failed(photo) for photo in page if photo.id not in done]
            if rest:
                with self._new.catalog.change() as change:
                    change.put(rest)
        reported = {skipped.path for skipped in self._tally.skipped}
        for photo in self._new.catalog.photos("failed"):
            path = photo.file.absolute
            if path not in reported:
                self._tally.skipped.append(Skipped(path, photo.reason or "", photo.remedy or ""))


class _KeptPixels(Reader):
    """A reader that takes a photo's pixels, thumbnail and facts from the old store where they are there."""

    def __init__(
        self,
        old: _Old,
        encoder: Encoder,
        settings: Settings,
        is_known: IsKnown,
    ) -> None:
        super().__init__(encoder, settings, is_known)
        self._old = old

    def _decode(self, job: Job) -> Reading:
        photo = self._old.catalog.get(job.known.id) if job.known else None
        if photo is None or not (photo.pixels and photo.thumbnail and photo.sha256):
            return super()._decode(job)
        if self.is_known(job, photo.sha256):
            return Reading(job, photo.sha256)
        directory = self._old.directory
        with Segment(directory.segment("pixels", photo.pixels.segment)) as segment:
            pixels = segment.read_rows([photo.pixels.row])[0]
        with Segment(directory.segment("thumbnails", photo.thumbnail.segment)) as segment:
            thumbnail = segment.thumbnail(photo.thumbnail.row)
        return Reading(job, photo.sha256, photo.facts, thumbnail, pixels)


def _prepare(target: IndexDirectory, settings: Settings, bundle: Bundle, roots: list[str]) -> None:
    """A store for ``bundle``: what an earlier run left, if it was for this one and is whole."""
    with contextlib.suppress(VsearchError):
        with Catalog(target.catalog_file, roots) as catalog:
            whole = not catalog.flaws()
        if whole and Bundle(target.encoder).fingerprint == bundle.fingerprint:
            return
    generations_of(target, settings).discard()
    target.begin_store()
    Catalog(target.catalog_file, roots, create=True).close()
    bundle.copy_to(target.encoder)


def _give_up(target: IndexDirectory, settings: Settings) -> None:
    """Remove what a run that was killed has filled: the present encoder is wanted after all."""
    if target.store.exists():
        generations_of(target, settings).discard()
        durable.remove(target.store)


def _is_ready(photo: Photo | None) -> bool:
    return photo is not None and photo.state == "ready"


def _is_same(new: Photo, old: Photo | None) -> bool:
    """Whether ``new`` is the vector of the photo ``old`` as the index has it."""
    if old is None or new.state == "failed":
        return False
    return (new.file.root, new.file.path, new.sha256) == (old.file.root, old.file.path, old.sha256)


def _failed(photo: Photo) -> Photo:
    if photo.state == "failed":
        return photo
    return Photo(photo.id, photo.file, None, "failed", reason=_GONE, remedy=_REMEDY)

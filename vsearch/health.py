"""``check``: disk, catalog, segments and collection held against each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import islice

from vsearch import durable, files
from vsearch.catalog import Catalog, SegmentKind, SegmentRow
from vsearch.directory import KINDS, IndexDirectory, place
from vsearch.duplicates.actions import Duplicates
from vsearch.encoders import Bundle
from vsearch.errors import PhotoError, StorageError, VsearchError
from vsearch.inspection import collection_problems
from vsearch.records import Location, Photo, Problem
from vsearch.segments import Segment
from vsearch.settings import Settings

_REBUILD = "run `vsearch rebuild`"
_REREAD = "run `vsearch rebuild`, then `vsearch sync` to read its photos again"
_SYNC = "the next `vsearch sync` mends it"
_SHOWN = 5  # wrong rows of each segment


def check(path: str | os.PathLike[str] | None = None, *, full: bool = False) -> Iterator[Problem]:
    """Everything that is wrong with an index, each with its remedy; nothing when all is well.

    ``path`` is the index directory, by default the one that commands run here would use.

    Every byte of the segments and of the graph is read.  Vectors in the collection are compared with those
    in the segments on a sample, or, with ``full``, all of them.

    Raises:
        IndexNotFound: there is no index.
        IndexBusy: another process is writing; what it is doing would look wrong.
    """
    directory = IndexDirectory(place(path))
    with contextlib.ExitStack() as held:
        with contextlib.suppress(StorageError):  # nobody writes where nobody can
            held.enter_context(directory.writing())
        try:
            settings = directory.settings()
        except VsearchError as error:
            yield _problem(error)
            return
        yield from _strays(directory)
        yield from _encoder_problems(directory, settings)
        yield from _content_problems(directory, settings, full)


def _problem(error: VsearchError) -> Problem:
    what, remedy = error.what_and_remedy()
    return Problem(what, remedy or _REBUILD)


def _strays(directory: IndexDirectory) -> Iterator[Problem]:
    folders = {directory.path, directory.store, directory.chroma}
    folders.update(directory.store / kind for kind in KINDS)
    for folder in sorted(folders):
        for stray in sorted(folder.glob(f"{durable.TEMPORARY}*")):
            yield Problem(f"{stray} is left over from a run that was killed", _SYNC)


def _encoder_problems(directory: IndexDirectory, settings: Settings) -> Iterator[Problem]:
    try:
        found = Bundle(directory.encoder).fingerprint
    except StorageError as error:
        yield _problem(error)
        return
    except VsearchError as error:
        yield Problem(f"{directory.encoder} is damaged: {error}", _REBUILD)
        return
    if found != settings.encoder:
        what = f"{directory.encoder} has fingerprint {found[:12]} and not {settings.encoder[:12]}"
        yield Problem(what, f"restore that folder, or {_REBUILD}")


def _content_problems(directory: IndexDirectory, settings: Settings, full: bool) -> Iterator[Problem]:
    try:
        with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
            for flaw in catalog.flaws():
                yield Problem(f"{catalog.path} is damaged: {flaw}", _REBUILD)
            for kind in KINDS:
                yield from _kind_problems(directory, settings, catalog, kind)
            yield from _row_problems(directory, catalog)
            yield from _generation_problems(directory, catalog, full)
            yield from map(_problem, Duplicates(directory, catalog, settings.encoder).problems())
    except VsearchError as error:
        yield _problem(error)


def _kind_problems(
    directory: IndexDirectory, settings: Settings, catalog: Catalog, kind: SegmentKind
) -> Iterator[Problem]:
    """Files of one kind that are missing, changed, or too many."""
    listed = catalog.segments(kind)
    for row in listed:
        yield from _segment_problems(directory, settings, row)
    known = {directory.segment(kind, row.number) for row in listed}
    for extra in sorted(set((directory.store / kind).glob("[0-9]*.h5")) - known):
        yield Problem(f"{extra} is not in the catalog: a run was stopped before it was committed", _SYNC)


def _segment_problems(directory: IndexDirectory, settings: Settings, row: SegmentRow) -> Iterator[Problem]:
    path = directory.segment(row.kind, row.number)
    try:
        if files.sha256(str(path)) != row.sha256:
            yield Problem(f"{path} is damaged: its checksum is not the catalog's", _REREAD)
            return
        with Segment(path) as segment:  # its bytes are those that were written: it can be opened
            if segment.fingerprint not in ("", settings.encoder):
                what = f"{path} was made with encoder {segment.fingerprint[:12]}"
                yield Problem(f"{what} and not {settings.encoder[:12]}", _REREAD)
            if segment.rows != row.rows:
                yield Problem(f"{path} has {segment.rows} rows and not {row.rows}", _REBUILD)
    except PhotoError as error:
        if path.exists():
            yield Problem(f"{path} cannot be read: {error.reason}", "make it readable")
        else:
            yield Problem(f"{path} is missing: {error.reason}", _REREAD)
    except VsearchError as error:
        yield Problem(error.what_and_remedy()[0], _REREAD)


def _row_problems(directory: IndexDirectory, catalog: Catalog) -> Iterator[Problem]:
    """Photos whose vectors are not where the catalog says, or are of other bytes."""
    listed = {row.number: row for row in catalog.segments("vectors")}
    for number in sorted(catalog.live_rows()):
        row = listed.get(number)
        path = directory.segment("vectors", number)
        if row is None:
            yield Problem(f"{catalog.path} does not list {path}, which photos count on", _REBUILD)
        elif path.is_file() and files.sha256(str(path)) == row.sha256:
            with Segment(path) as segment:
                digests = segment.digests()
            yield from islice(_misplaced(catalog.in_segment(number), digests), _SHOWN)


def _misplaced(photos: list[Photo], digests: list[str]) -> Iterator[Problem]:
    for photo in photos:
        place = photo.vector or Location(0, -1)
        if not 0 <= place.row < len(digests) or digests[place.row] != photo.sha256:
            path = photo.file.absolute
            yield Problem(f"{path}: row {place.row} of segment {place.segment} is another photo's", _REBUILD)


def _generation_problems(directory: IndexDirectory, catalog: Catalog, full: bool) -> Iterator[Problem]:
    if not catalog.published() and not directory.current_file.exists():
        if catalog.count("ready"):
            yield Problem(f"{directory.path} has photos, none of them published", _SYNC)
        return
    for found in collection_problems(directory, full=full):
        yield _problem(VsearchError(found))

"""Changing an index: one run over files, ``add`` and ``remove``, under the writer's lock."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from vsearch import durable, files
from vsearch.catalog import Catalog
from vsearch.collection import preload
from vsearch.committer import Committer, Tally, sweep
from vsearch.compaction import compact
from vsearch.directory import IndexDirectory
from vsearch.encoders import Encoder
from vsearch.errors import UsageError
from vsearch.ingest import IsKnown, Job, ReadAll, Reader, read_here
from vsearch.paths import refuse_no_path
from vsearch.plan import needs_reading
from vsearch.publisher import Publisher
from vsearch.records import FileStat, Photo, SyncReport
from vsearch.settings import Settings
from vsearch.sources import Source, count, sources_of, walk


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: files looked at, of how many, how many were encoded, how many skipped."""

    done: int
    total: int
    encoded: int
    skipped: int


OnProgress = Callable[[Progress], None]
MakeReader = Callable[[Encoder, Settings, IsKnown], Reader]


@dataclass(frozen=True, slots=True)
class Writable:
    """An index open for writing: what a run needs."""

    directory: IndexDirectory
    settings: Settings
    catalog: Catalog
    encoder: Encoder


def add(
    index: Writable,
    photos: Sequence[str | os.PathLike[str]],
    *,
    retry_failed: bool = False,
    on_progress: OnProgress | None = None,
    read_all: ReadAll = read_here,
) -> SyncReport:
    """Add the photos in files and folders; what is in the index and unchanged is left alone.

    ``read_all`` decides where the photos are read.

    Raises:
        UsageError: a path does not exist, or there is no photo in any of them.
    """
    total = count(photos, index.settings.exclude)
    tally = Tally()
    sources = sources_of(photos, index.settings.exclude)
    _refuse_excluded(index, sources)
    sweep(index.directory, index.catalog)
    index = _with_roots(index, sources)
    run = Run(index, tally, retry_failed=retry_failed, read_all=read_all)
    counter = Counter(tally, total, on_progress)
    tally.counts["removed"] += _drop_excluded(index)
    run.read(run.news(run.scan(sources), counter), counter)
    finish(index)
    return tally.report()


def is_excluded(index: Writable, file: FileStat) -> bool:
    """Whether walks leave out a file that another walk came across: by other globs, or from further down."""
    settings, path = index.settings, file.path
    walked = index.catalog.roots.index(file.root) not in settings.unwalked
    return walked and files.is_walked(path) and files.is_left_out(path, settings.exclude)


def _drop_excluded(index: Writable) -> int:
    """Take out what ``exclude`` leaves out, if it changed since this was done last; how many photos."""
    exclude, noted = json.dumps(index.settings.exclude), index.catalog.noted("exclude")
    if noted == exclude or (noted is None and not index.settings.exclude):
        return 0
    ids = [photo.id for photo in index.catalog.photos() if is_excluded(index, photo.file)]
    with index.catalog.change() as change:
        change.remove(ids)
        change.note("exclude", exclude)
    return len(ids)


def finish(index: Writable) -> None:
    """What every run does at its end: reclaim dead rows, publish what is pending."""
    compact(index.directory, index.settings, index.catalog)
    Publisher(index.directory, index.settings, index.catalog, index.encoder.dimension).publish()


def remove(index: Writable, paths: Sequence[str | os.PathLike[str]]) -> SyncReport:
    """Take the photos at, and below, ``paths`` out of the index; no file is touched.

    A root at, or below, one of them is walked no more, unless the walk of another comes across it anyway.

    Raises:
        UsageError: the index has neither a photo nor a root at one of them, or none is named.
    """
    if not paths:
        raise UsageError("name photos of the index, or folders of them")
    tally = Tally()
    sweep(index.directory, index.catalog)
    found = [_named(index, path) for path in paths]  # all of them, before anything is changed
    ids = {photo_id for each in found for photo_id in each.ids}
    _walk_no_more(index, {root for each in found for root in each.roots})
    with index.catalog.change() as change:
        change.remove(ids)
    tally.counts["removed"] = len(ids)
    finish(index)
    return tally.report()


@dataclass(frozen=True, slots=True)
class _Named:
    """What the index has at, and below, a path: ids of photos, and roots that are walked."""

    ids: frozenset[int]
    roots: frozenset[str]


def _named(index: Writable, path: str | os.PathLike[str]) -> _Named:
    refuse_no_path(path)
    places, walked = files.places(path), index.directory.walked(index.settings)
    ids = frozenset(_ids_at(index.catalog, os.fspath(path)))
    roots = frozenset(root for root in walked if any(map(Path(root).is_relative_to, places)))
    if not (ids or roots):
        raise UsageError(f"{os.fspath(path)}: the index has no photo there; see `vsearch status`")
    return _Named(ids, roots)


def _walk_no_more(index: Writable, leaving: set[str]) -> None:
    """Let later runs walk none of these roots, but those that the walk of another comes across."""
    walked = index.directory.walked(index.settings)
    staying = walked.keys() - leaving
    left = [walked[root] for root in leaving if not any(map(Path(root).is_relative_to, staying))]
    if left:
        write_settings(index, index.settings.leaving(left))


def _ids_at(catalog: Catalog, path: str) -> list[int]:
    """The photos at, and below, ``path``; a link to a photo of the index is itself one, and not the other."""
    given = os.path.abspath(files.expanded(path))
    if os.path.islink(given) and not os.path.isdir(given):
        folder, name = os.path.split(given)
        ways = [os.path.join(place, name) for place in files.places(folder)]
        if link := [*_ids_below(catalog, ways)]:
            return link
    return [*_ids_below(catalog, files.places(path))]


def _ids_below(catalog: Catalog, places: Iterable[str]) -> Iterator[int]:
    for place in places:
        for root in catalog.roots:
            if not Path(place).is_relative_to(root):
                if Path(root).is_relative_to(place):
                    yield from (photo.id for photo in catalog.below(root, ""))
                continue
            relative = os.path.relpath(place, root)
            relative = "" if relative == "." else relative
            photo = catalog.find(root, relative)
            if photo is not None:
                yield photo.id
            yield from (photo.id for photo in catalog.below(root, relative))


class Run:
    """One pass over files.

    Args:
        index: open for writing.
        tally: counts what changes.
        is_gone: whether a photo's file is gone, as :class:`Committer` asks; by default, look.
        retry_failed: read photos again that failed before.
        make_reader: what reads a photo, given what :class:`Reader` is given.
        read_all: where many are read.
    """

    def __init__(
        self,
        index: Writable,
        tally: Tally,
        is_gone: Callable[[Photo], bool] | None = None,
        *,
        retry_failed: bool = False,
        make_reader: MakeReader = Reader,
        read_all: ReadAll = read_here,
    ) -> None:
        self._index = index
        self._make_reader = make_reader
        self._read_all = read_all
        self._tally = tally
        self._is_gone = is_gone or self._gone_from_disk
        self._retry_failed = retry_failed
        self._roots = sorted(index.catalog.roots, key=len, reverse=True)

    def scan(self, sources: Sequence[Source]) -> Iterator[FileStat]:
        """Every photo in ``sources``, each under the root that it belongs to."""
        for root, name in sources:
            exclude = self._index.settings.exclude
            for file in walk(root, name, exclude, self._tally.skipped.append):
                yield self.rooted(file)

    def news(self, found: Iterable[FileStat], counter: Counter) -> Iterator[Job]:
        """The files among ``found`` that are new or changed; the rest is counted."""
        for file in found:
            if self._index.settings.exclude and is_excluded(self._index, file):
                counter.step(encoded=False)
                continue
            known = self._index.catalog.find(file.root, file.path)
            if needs_reading(file, known, retry_failed=self._retry_failed):
                yield Job(file, known)
            elif known is not None:
                self._tally.stays(known)
                counter.step(encoded=False)

    def read(self, jobs: Iterable[Job], counter: Counter) -> None:
        """Read files and commit what they hold, publishing on the way."""
        index = self._index
        never = self._make_reader(index.encoder, index.settings, lambda job, sha256: False)
        committer = Committer(
            index.directory,
            index.settings,
            index.catalog,
            self._tally,
            lambda job: never.read([job])[0],
            self._is_gone,
            retry_failed=self._retry_failed,
        )
        reader = self._make_reader(index.encoder, index.settings, committer.is_known)
        publisher = Publisher(index.directory, index.settings, index.catalog, index.encoder.dimension)
        try:
            with closing(self._read_all(reader, jobs)) as readings:
                for n, reading in enumerate(readings):
                    if n == 0:
                        preload()  # something was read, so something will be published
                    with durable.uninterrupted():  # it is taken as a whole, or not at all
                        grown = committer.take(reading)
                    if grown:
                        publisher.publish_if_grown()
                    counter.step(encoded=reading.vector is not None)
            with durable.uninterrupted():
                committer.commit()
        except KeyboardInterrupt:
            with durable.uninterrupted():
                committer.commit()  # what is encoded is kept
            raise
        except BaseException:
            committer.abandon()
            raise

    def _gone_from_disk(self, photo: Photo) -> bool:
        file = photo.file
        return self.rooted(file) != file or files.is_gone(file.root, file.path)

    def rooted(self, file: FileStat) -> FileStat:
        """``file`` under the innermost root that holds it, so that no file has two rows."""
        path = file.absolute
        for root in self._roots:
            if root == file.root:
                return file
            if path.startswith(root.rstrip(os.sep) + os.sep):
                return replace(file, root=root, path=os.path.relpath(path, root))
        return file


class Counter:
    """Tells ``on_progress`` how far the run is."""

    def __init__(self, tally: Tally, total: int, on_progress: OnProgress | None) -> None:
        self._tally = tally
        self._total = total
        self._on_progress = on_progress
        self._done = 0
        self._encoded = 0

    def step(self, *, encoded: bool) -> None:
        """One file is done."""
        self._done += 1
        self._encoded += encoded
        if self._on_progress:
            skipped = len(self._tally.skipped)
            self._on_progress(Progress(self._done, self._total, self._encoded, skipped))


def _refuse_excluded(index: Writable, sources: Sequence[Source]) -> None:
    """A photo that walks leave out would go again with the next ``sync``."""
    settings = index.settings
    named = (folder for folder, name in sources if name is None)
    for root in (*index.directory.walked(settings), *named):
        for folder, name in sources:
            path = files.absolute(folder, name or "")
            relative = os.path.relpath(path, root)
            if not Path(path).is_relative_to(root) or (name and not files.is_walked(relative)):
                continue
            if name is None:  # a glob may leave out all that is in a folder, and not the folder
                relative = "" if path == root or files.is_hidden(relative) else os.path.join(relative, "any")
            if files.is_left_out(relative, settings.exclude):
                globs = " ".join(settings.exclude)
                raise UsageError(
                    f"{path} is left out by the index's --exclude ({globs}); move it, or give "
                    "`vsearch build-index` another --exclude (none leaves out nothing)"
                )


def _with_roots(index: Writable, wanted: Iterable[Source]) -> Writable:
    """The index with every folder of ``wanted`` inside one of its roots.

    The folder of a single photo becomes a root that ``sync`` does not walk: nobody asked for the rest.
    """
    settings = index.settings
    for root, name in wanted:
        known = index.directory.roots(settings)
        walked = index.directory.walked(settings)
        if name is None:
            is_covered = any(_comes_across(each, root) for each in walked)
        else:
            is_covered = any(map(Path(root).is_relative_to, known))
        if is_covered:
            continue
        if root in known:
            settings = index.directory.with_walked(settings, root)
            continue
        settings = index.directory.with_root(settings, root)
        if name is not None:
            settings = settings.leaving([len(known)])
    if settings != index.settings:
        write_settings(index, settings)
    return replace(index, settings=settings)


def _comes_across(root: str, folder: str) -> bool:
    """Whether the walk of ``root`` enters ``folder``: not if it is hidden there."""
    inside = Path(folder).is_relative_to(root)
    return inside and (folder == root or not files.is_hidden(os.path.relpath(folder, root)))


def write_settings(index: Writable, settings: Settings) -> None:
    """Replace ``index.json``, and the copy that the catalog keeps of it."""
    index.directory.write_settings(settings)
    index.catalog.roots = index.directory.roots(settings)
    with index.catalog.change() as change:
        change.note("settings", settings.as_json())

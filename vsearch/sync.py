"""Making the index equal to its folders: what is new, changed, moved and gone, in one run."""

from __future__ import annotations

import json
import os
from collections import Counter as Count
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

from vsearch import files
from vsearch.catalog import Scan
from vsearch.committer import Tally, sweep
from vsearch.errors import PhotoError
from vsearch.ingest import Job, batched
from vsearch.plan import Fate, is_bare, judge, may_remove
from vsearch.processes import ProcessReaders
from vsearch.records import FileStat, Photo, Planned, PlannedChange, Skipped, SyncReport
from vsearch.updates import Counter, OnProgress, Run, Writable, finish, is_excluded, write_settings

_PAGE = 500


@dataclass
class _Sight:
    """What the walk of all roots came to, beside the files it saw.

    Attributes:
        hidden: absolute paths that could not be read; what is at or below them is unknown.
        seen: files seen in each root.
    """

    hidden: list[str] = field(default_factory=list)
    seen: Count[str] = field(default_factory=Count)

    def is_hidden(self, file: FileStat) -> bool:
        """Whether not having seen ``file`` says nothing."""
        path = file.absolute
        return any(path == place or path.startswith(place.rstrip(os.sep) + os.sep) for place in self.hidden)


class Sync:
    """One run of ``sync``.

    Args:
        index: open for writing, or, for :meth:`plan` alone, for reading.
        prune: remove what is gone, however much of a root it is.
        retry_failed: read photos again that failed before.
    """

    def __init__(self, index: Writable, *, prune: bool = False, retry_failed: bool = False) -> None:
        self._index = index
        self._prune = prune
        self._retry_failed = retry_failed
        self._tally = Tally()
        self._sight = _Sight()
        self._run = Run(
            index,
            self._tally,
            self._is_gone,
            retry_failed=retry_failed,
            read_all=ProcessReaders(index.catalog),
        )
        self._scan: Scan | None = None
        self._known: Count[str] = Count()

    def run(self, on_progress: OnProgress | None = None) -> SyncReport:
        """Make the index equal to its folders.

        Raises:
            StorageError: the disk is full, read-only or failing.
        """
        sweep(self._index.directory, self._index.catalog)
        scan = self._look()
        counter = Counter(self._tally, scan.count_unread(), on_progress)
        self._run.read((Job(file, known) for file, known in scan.unread()), counter)
        self._remove(scan)
        if self._prune:
            self._leave_absent()
        finish(self._index)
        return self._tally.report()

    def plan(self) -> Iterator[Planned]:
        """What :meth:`run` would change; reads files, if at all, to see what merely moved.

        A file that cannot be read is none: of a format that is not read, or known not to be a photo.
        """
        scan = self._look()
        moved: set[int] = set()
        for file, known in scan.unread():
            yield from self._planned(scan, file, known, moved)
        leaves = self._leaving(scan, moved)
        for photo in scan.gone():
            if photo.id not in moved:
                change: PlannedChange = "remove" if leaves(photo) else "withhold"
                yield Planned(change, photo.file.absolute)

    def _look(self) -> Scan:
        """Walk the roots, hold them against the catalog."""
        scan = self._scan = self._index.catalog.scan()
        scan.see(self._walked())
        for page in batched(scan.known(), _PAGE):
            self._judge(scan, page)
        return scan

    def _judge(self, scan: Scan, page: list[tuple[Photo, FileStat | None]]) -> None:
        by_fate: dict[Fate, list[Photo]] = {"stays": [], "read": [], "gone": [], "unknown": []}
        for known, seen in page:
            if seen is None and (seen := self._named(known)) is not None:
                scan.see([seen])
            fate = judge(known, seen, self._sight.is_hidden, retry_failed=self._retry_failed)
            by_fate[fate].append(known)
            self._known[known.file.root] += 1
        for photo in by_fate["stays"] + by_fate["unknown"]:
            self._tally.stays(photo)
        scan.settle(by_fate["stays"])
        scan.doom(by_fate["gone"])

    def _walked(self) -> Iterator[FileStat]:
        settings = self._index.settings
        for number, root in enumerate(self._index.catalog.roots):
            if number not in settings.unwalked:
                for file in files.walk(root, settings.exclude, self._cannot_read):
                    yield self._saw(file)

    def _named(self, photo: Photo) -> FileStat | None:
        """The file of a photo that was named by itself, since no walk comes across it."""
        number = self._index.catalog.roots.index(photo.file.root)
        if number not in self._index.settings.unwalked and files.is_walked(photo.file.path):
            return None
        if self._run.rooted(photo.file) != photo.file:
            return None  # another root, added since, holds it
        try:
            found = files.stat_file(photo.file.absolute)
        except PhotoError:
            return None
        return self._saw(replace(found, root=photo.file.root, path=photo.file.path))

    def _saw(self, file: FileStat) -> FileStat:
        file = self._run.rooted(file)
        self._sight.seen[file.root] += 1
        return file

    def _cannot_read(self, skipped: Skipped) -> None:
        self._tally.skipped.append(skipped)
        self._sight.hidden.append(skipped.path)

    def _is_gone(self, photo: Photo) -> bool:
        """Whether the same bytes elsewhere are ``photo``, moved; not so if its whole root is absent."""
        present = self._prune or self._sight.seen[photo.file.root] > 0
        return present and self._scan is not None and self._scan.is_gone(photo)

    def _leaving(self, scan: Scan, moved: Collection[int] = ()) -> Callable[[Photo], bool]:
        """Whether a photo that is gone may be taken out: it is excluded now, or few of its root are gone."""
        excluded, gone = Count[str](), Count[str]()
        for photo in scan.gone():
            if photo.id not in moved:
                (excluded if is_excluded(self._index, photo.file) else gone)[photo.file.root] += 1
        withheld = self._withheld()
        removable = {
            root
            for root, n in gone.items()
            if may_remove(n, self._known[root] - excluded[root], prune=self._prune)
            and (self._prune or n < withheld.get(root, n + 1))  # additions do not make them fewer
        }
        return lambda photo: photo.file.root in removable or is_excluded(self._index, photo.file)

    def _withheld(self) -> dict[str, int]:
        """How many photos of each root the last run withheld."""
        noted = self._index.catalog.noted("withheld")
        return dict(json.loads(noted)) if isinstance(noted, str) else {}

    def _remove(self, scan: Scan) -> None:
        """Take out what is gone."""
        leaves = self._leaving(scan)
        withheld = Count[str]()
        for page in batched(scan.gone(), _PAGE):
            leaving = [photo.id for photo in page if leaves(photo)]
            withheld.update(photo.file.root for photo in page if not leaves(photo))
            self._tally.counts["removed"] += len(leaving)
            self._tally.counts["withheld"] += len(page) - len(leaving)
            if leaving:
                with self._index.catalog.change() as change:
                    change.remove(leaving)
        if withheld != self._withheld():
            with self._index.catalog.change() as change:
                change.note("withheld", json.dumps(withheld))

    def _leave_absent(self) -> None:
        """Walk roots no more that are not there, and of which no photo is left."""
        index = self._index
        absent = [
            number
            for root, number in index.directory.walked(index.settings).items()
            if not (os.path.isdir(root) or root in self._sight.hidden or index.catalog.holds(number))
        ]
        if absent:
            write_settings(index, index.settings.leaving(absent))

    def _planned(self, scan: Scan, file: FileStat, known: Photo | None, moved: set[int]) -> Iterator[Planned]:
        path = file.absolute
        if files.is_other_picture(path):
            return  # never read: sync lists it as skipped
        if known is not None:
            is_other = file.size != known.file.size
            if not is_other and (digest := _digest(path)) is not None:
                is_other = digest != known.sha256 or known.state == "failed" or is_bare(known)
            if is_other:
                yield Planned("update", path)
            return
        origin = None
        if scan.may_have_moved(file.size) and (digest := _digest(path)) is not None:
            same = list(self._index.catalog.with_digest(digest))
            ready = [photo for photo in same if photo.state == "ready"]
            if same and not ready:
                return  # they could not be read before: sync tries, and lists it as skipped
            origin = next((p for p in ready if p.id not in moved and self._is_gone(p)), None)
        if origin is None:
            yield Planned("add", path)
        else:
            moved.add(origin.id)
            yield Planned("move", path, origin.file.absolute)


def _digest(path: str) -> str | None:
    try:
        return files.sha256(path, files.LARGEST)
    except PhotoError:  # it vanished, or cannot be read: the run itself will say so
        return None

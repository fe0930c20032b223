"""Adding uploaded photos: saved first, then indexed by the one writer, many at a time.

An upload is on the disk, under a name made from its SHA-256, before anything else happens; it is acknowledged
when a published generation has it.  A kill in between leaves a file that the next start of the server adds.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from vsearch import durable, files
from vsearch.errors import IndexBusy, StorageError, UsageError, VsearchError
from vsearch.images import decode
from vsearch.index import Index
from vsearch.updates import Progress

FOLDER = "vsearch uploads"
NO_FOLDER = "the index has no photo folder to save uploads under; `vsearch add FOLDER` gives it one"
_MOST_AT_ONCE = 256
_BUSY_SECONDS = 0.5
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif", "HEIF": "heic"}


@dataclass(frozen=True, slots=True)
class Adding:
    """How far the writer is: uploads that wait, and the progress of the run under way, if one is."""

    waiting: int
    progress: Progress | None
    busy: bool


@dataclass(frozen=True, slots=True)
class _Saved:
    paths: Sequence[Path]
    added: Future[None]


class Adder:
    """The server's writer: one thread, one ``Index``.

    Args:
        index: used by nobody else.
        max_megapixels: larger pictures are refused.
    """

    def __init__(self, index: Index, max_megapixels: float) -> None:
        self._index = index
        self._max_megapixels = max_megapixels
        self._queue: queue.SimpleQueue[_Saved | None] = queue.SimpleQueue()
        self._waiting = 0
        self._progress: Progress | None = None
        self._busy = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vsearch-adder", daemon=True)

    def start(self) -> None:
        """Start, with what an earlier server saved and did not come to index."""
        left = [Path(root, FOLDER) for root in self._index.walked_roots()]
        left = [folder for folder in left if any(folder.glob("*/*"))]
        if left:
            self._submit(left)
        self._thread.start()

    def stop(self) -> None:
        """Finish the run under way."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join()
        self._index.close()

    def state(self) -> Adding:
        """How far it is."""
        return Adding(self._waiting, self._progress, self._busy)

    def save(self, data: bytes, root: str) -> Path:
        """Write one upload, which decodes, under ``root``, durably, and say where.

        Raises:
            PhotoError: it is no picture, or too large.
            StorageError: the root cannot be written.
        """
        kind = decode(data, 8, max_megapixels=self._max_megapixels, name="upload").facts.format
        digest, suffix = files.digest(data), _SUFFIXES.get(kind, kind.lower())
        folder = Path(root, FOLDER, time.strftime("%Y-%m"))
        if not os.path.isdir(root):  # to make it would hide photos below where a disk is mounted later
            raise StorageError(f"the photo folder {root} is not there; mount its disk")
        with durable.storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            durable.fsync_folder(folder.parent)
            for month in sorted(folder.parent.iterdir()):
                for there in takewhile(Path.exists, _places(month, digest, suffix)):
                    if files.sha256(str(there)) == digest:  # sent before, and not edited since
                        return there
        path = next(path for path in _places(folder, digest, suffix) if not path.exists())
        durable.write_atomic(path, data)
        return path

    def add(self, paths: Sequence[Path]) -> Future[None]:
        """Index files that :meth:`save` wrote; done when a published generation has them."""
        return self._submit(paths)

    def _submit(self, paths: Sequence[Path]) -> Future[None]:
        wanted = _Saved(paths, Future())
        self._waiting += len(paths)
        self._queue.put(wanted)
        return wanted.added

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            together = [first]
            while sum(len(w.paths) for w in together) < _MOST_AT_ONCE and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                together.append(following)
            self._add(together)

    def _add(self, together: Sequence[_Saved]) -> None:
        try:
            self._settle(together)
        finally:
            self._waiting -= sum(len(wanted.paths) for wanted in together)
            self._progress = None

    def _settle(self, together: Sequence[_Saved]) -> None:
        try:
            self._patiently([path for wanted in together for path in wanted.paths])
        except VsearchError as error:
            if isinstance(error, UsageError) and len(together) > 1:  # one that the index leaves out, say
                for wanted in together:
                    self._settle([wanted])
                return
            for wanted in together:
                wanted.added.set_exception(error)
        else:
            for wanted in together:
                wanted.added.set_result(None)

    def _patiently(self, paths: Sequence[Path]) -> None:
        """Index ``paths``, waiting for another process that writes."""
        while True:
            try:
                self._busy = False
                self._index.add(*paths, on_progress=self._show)
                return
            except IndexBusy:
                self._busy = True
                if self._stopping.wait(_BUSY_SECONDS):
                    raise

    def _show(self, progress: Progress) -> None:
        self._progress = progress


def _places(folder: Path, digest: str, suffix: str) -> Iterator[Path]:
    """Where an upload may be saved: a later place if what lies in an earlier one was edited."""
    yield folder / f"{digest[:32]}.{suffix}"
    yield from (folder / f"{digest[:32]}-{n}.{suffix}" for n in count(1))


def root_of(roots: Sequence[str], wanted: str | None) -> str:
    """The root to save under: the one called ``wanted``, else the only one.

    Raises:
        UsageError: there is no such root, or it must be chosen.
    """
    if not roots:
        raise UsageError(NO_FOLDER)
    if wanted is None and len(roots) == 1:
        return roots[0]
    found = [root for root in roots if wanted in (root, os.path.basename(root))]
    if len(found) != 1:
        raise UsageError(f"choose the photo folder with root; it must be one of {', '.join(roots)}")
    return found[0]

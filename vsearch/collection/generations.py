"""Generations: publishing, opening and retiring Chroma directories."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from vsearch import durable
from vsearch.collection.chroma import Changes, Collection, HnswParameters, create, errors, fill
from vsearch.errors import CollectionError, IndexDamaged
from vsearch.records import Metric

_MANIFEST = "generation.json"
_DATABASE = "chroma.sqlite3"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation says of itself.

    Attributes:
        sequence: the catalog sequence it covers.
        catalog: identity of that catalog.
        count: photos in it.
        dimension: D.
        metric: how distances are measured.
        fingerprint: of the encoder.
        files: size of each file in bytes, by relative name.
        digests: SHA-256 of each file that opening does not change.
        stamps: ``[size, mtime_ns, ctime_ns]`` of those when they were written: a file that still has
            them need not be read to know that it is the same.
    """

    sequence: int
    catalog: str
    count: int
    dimension: int
    metric: Metric
    fingerprint: str
    files: dict[str, int]
    digests: dict[str, str]
    stamps: dict[str, list[int]]


class Generations:
    """The generations below ``chroma/`` and the ``CURRENT`` file that names the published one.

    Args:
        folder: the ``chroma`` directory.
        current_file: the ``CURRENT`` file.
    """

    def __init__(self, folder: Path, current_file: Path) -> None:
        self._folder = folder
        self._current_file = current_file

    def current(self) -> int:
        """The published generation's number; 0 before the first one.

        Raises:
            IndexDamaged: CURRENT is not a number.
        """
        try:
            number = int(self._current_file.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except (ValueError, OSError) as error:
            raise self._bad_current("it does not hold a number") from error
        if number < 1:
            raise self._bad_current(f"there is no generation {number}")
        return number

    def folder(self, number: int) -> Path:
        """The directory of generation ``number``."""
        return self._folder / f"{number:06d}"

    def manifest(self, number: int) -> Manifest:
        """What generation ``number`` says of itself, checked against the sizes of its files.

        Raises:
            IndexDamaged: a file is missing or has another size than when it was published.
        """
        folder = self.folder(number)
        try:
            manifest = Manifest(**durable.unsealed((folder / _MANIFEST).read_bytes()))
        except OSError as error:
            raise _damaged(folder, f"its {_MANIFEST} cannot be read") from error
        except (ValueError, TypeError) as error:
            raise _damaged(folder, f"{_MANIFEST}: {error}") from error
        sizes = _file_sizes(folder)
        for name, size in manifest.files.items():
            found = sizes.get(name, 0)
            # Each opening writes a row into chroma.sqlite3, so that one may have grown.
            if found < size or (found > size and name != _DATABASE):
                raise _damaged(folder, f"{name} is {found} bytes and not {size}")
        return manifest

    def verify(self, number: int, *, every_byte: bool = False) -> Manifest:
        """The manifest, once the graph files are known to be what was published.

        A flipped bit in them could end the process.  Those whose stamp is the same are taken at their
        word, unless ``every_byte``; the rest are read: an index that was copied costs 0.1 s per 100 MB.

        Raises:
            IndexDamaged: a file is not what was published.
        """
        folder = self.folder(number)
        manifest = self.manifest(number)
        for name, digest in manifest.digests.items():
            same = not every_byte and manifest.stamps.get(name) == _stamp(folder / name)
            if not same and _digest(folder / name) != digest:
                raise _damaged(folder, f"the checksum of {name} does not match")
        return manifest

    def open(self, number: int) -> Collection:
        """Open generation ``number`` for reading; it stays until the collection is closed.

        Where this user may not write, Chroma, which does so on opening, gets a copy of its SQLite file.

        Raises:
            IndexDamaged: it is torn.
            CollectionError: Chroma cannot open it.
        """
        folder = self.folder(number)
        with contextlib.ExitStack() as resources:
            resources.callback(_close, _share(folder))
            manifest = self.verify(number)
            if not _writable(folder):
                folder = _borrowed(folder, resources)
            with errors():
                collection = resources.enter_context(Collection(folder))
                if collection.count() != manifest.count:
                    raise _damaged(folder, f"{collection.count()} photos and not {manifest.count}")
            collection.on_close(resources.pop_all().close)
            return collection

    def publish(
        self,
        changes: Changes,
        *,
        base: int,
        sequence: int,
        dimension: int,
        metric: Metric,
        fingerprint: str,
        hnsw: HnswParameters,
        catalog: str = "",
    ) -> int:
        """Publish a new generation and return its number.

        Args:
            changes: rows to add or replace, ids to take out.
            base: the generation to start from; 0 starts empty.
            sequence: the catalog sequence that the result covers.
            catalog: identity of the catalog.

        Raises:
            StorageError: the disk is full, read-only or failing; the published generation is untouched.
        """
        number = 1 + max([self._current_or_zero(), *self._numbers()])
        temporary = durable.temporary_beside(self.folder(number))
        try:
            with durable.storage_errors(temporary):
                self._start(temporary, base, metric, hnsw)
            durable.step("generation-copied")
            count = fill(temporary, changes)
            _check_written(temporary)
            durable.step("generation-persisted")
            with durable.storage_errors(temporary):
                described = _described(temporary)
                manifest = Manifest(sequence, catalog, count, dimension, metric, fingerprint, *described)
                (temporary / _MANIFEST).write_bytes(durable.sealed(asdict(manifest)))
            durable.publish(temporary, self.folder(number), "generation")
        finally:
            durable.remove(temporary)
        durable.write_atomic(self._current_file, f"{number:06d}".encode(), "current")
        self.retire()
        return number

    def retire(self) -> None:
        """Remove what is not needed: old generations, and those that a killed writer never published.

        The one before the current stays, for readers about to open it where locks do not work, and so
        does every one that a reader has open.  Only the holder of the writer's lock may call this.
        """
        current = self._current_or_zero()
        if not current:
            return  # a damaged CURRENT must not cost the generation that it should name
        older = sorted(n for n in self._numbers() if n < current)
        unpublished = [n for n in self._numbers() if n > current]
        for number in older[:-1] + unpublished:
            if not durable.in_use(self.folder(number) / _MANIFEST):
                durable.remove_at_once(self.folder(number))
                durable.step("generation-removed")

    def _current_or_zero(self) -> int:
        try:
            return self.current()
        except IndexDamaged:
            return 0

    def _start(self, folder: Path, base: int, metric: Metric, hnsw: HnswParameters) -> None:
        if base:
            _copy(self.folder(base), folder)
        else:
            folder.mkdir(parents=True)
            create(folder, metric, hnsw)

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(name) for name in os.listdir(self._folder) if name.isdecimal()]

    def _bad_current(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"{self._current_file} is damaged: {why}; run `vsearch rebuild` to write it anew")


def _share(folder: Path) -> int | None:
    try:
        return durable.share(folder / _MANIFEST)
    except OSError as error:
        raise _damaged(folder, f"its {_MANIFEST} cannot be read") from error


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / _DATABASE, os.W_OK)


def _borrowed(folder: Path, resources: contextlib.ExitStack) -> Path:
    """A temporary directory with links to the graph files and a copy of the SQLite file."""
    with durable.storage_errors(tempfile.gettempdir()):
        temporary = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="vsearch-")))
        for entry in folder.iterdir():
            if entry.is_dir():
                (temporary / entry.name).symlink_to(entry, target_is_directory=True)
        (temporary / _DATABASE).write_bytes((folder / _DATABASE).read_bytes())
    return temporary


def _described(folder: Path) -> tuple[dict[str, int], dict[str, str], dict[str, list[int]]]:
    """Sizes, digests and stamps of what was written."""
    sizes = _file_sizes(folder)
    fixed = [name for name in sizes if name != _DATABASE]
    digests = {name: _digest(folder / name) for name in fixed}
    return sizes, digests, {name: _stamp(folder / name) for name in fixed}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _copy(source: Path, target: Path) -> None:
    """Copy a generation that readers may be opening meanwhile.

    Opening one writes a row into chroma.sqlite3, so that file is copied through SQLite; the graph files
    do not change.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{_DATABASE}*", _MANIFEST))
    old = sqlite3.connect(source / _DATABASE, timeout=60)
    new = sqlite3.connect(target / _DATABASE)
    try:
        old.backup(new)
    except sqlite3.Error as error:
        raise _damaged(source, str(error)) from error
    finally:
        old.close()
        new.close()


def _check_written(folder: Path) -> None:
    """Chroma keeps records that its graph files lack in a queue, and of the others the last one.

    A single removal is too little for it to write the graph, and waits.

    Raises:
        CollectionError: the graph files lack some.
    """
    database = sqlite3.connect(folder / _DATABASE)
    try:
        (waiting,) = database.execute("SELECT count(*) FROM embeddings_queue").fetchone()
    except sqlite3.Error as error:
        raise CollectionError(f"Chroma left a database that cannot be read: {error}") from error
    finally:
        database.close()
    if waiting > 2:
        raise CollectionError(f"Chroma did not write its graph: {waiting} records wait; please report this")


def _file_sizes(folder: Path) -> dict[str, int]:
    """Sizes of Chroma's files; SQLite's journals come and go and do not count."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in files
        if file.name != _MANIFEST and not file.name.endswith(("-journal", "-wal", "-shm"))
    }


def _damaged(folder: Path, why: str) -> IndexDamaged:
    return IndexDamaged(f"{folder} is damaged: {why}; run `vsearch rebuild` to make the collection anew")

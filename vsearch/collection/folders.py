"""Collections as Chroma directories, one in the folder of each generation.

A large one lies in parts side by side: adding to a graph takes the longer the larger it is, and parts in
which nothing changes are only copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from vsearch import durable
from vsearch.collection.chroma import Collection, open_folder, part_name
from vsearch.collection.filling import breadth, create, fill, share_breadth
from vsearch.collection.generations import MANIFEST, Base, Description, Manifest, Place, Source, damaged
from vsearch.errors import CollectionError, StorageError

_DATABASE = "chroma.sqlite3"
_WAITING = "SELECT count(*) FROM embeddings_queue GROUP BY topic"
# The folder of a graph has the name of its segment.
_GRAPHS = """SELECT segments.id, collections.name FROM segments
    JOIN collections ON collections.id = segments.collection WHERE segments.scope = 'VECTOR'"""
_HARDLY_ANY = 16 * 2**20  # bytes: with less, what Chroma could not write is put down to that


class InFolders(Place):
    """Each collection is a Chroma directory: the folder of its generation."""

    # What all the copies and graph writes of a long build cost together stays in proportion to it.
    growth: ClassVar[float] = 0.5

    def check(self, folder: Path, manifest: Manifest) -> None:
        """See :class:`Place`; looks at the sizes of the files."""
        sizes = _file_sizes(folder)
        for name, size in manifest.files.items():
            found = sizes.get(name, 0)
            # Each opening writes a row into chroma.sqlite3, so that one may have grown.
            if found < size or (found > size and name != _DATABASE):
                raise damaged(folder, f"{name} is {found} bytes and not {size}")

    def verify(self, folder: Path, manifest: Manifest, *, every_byte: bool) -> None:
        """See :class:`Place`."""
        for name, digest in manifest.digests.items():
            same = not every_byte and manifest.stamps.get(name) == _stamp(folder / name)
            if not same and _digest(folder / name) != digest:
                raise damaged(folder, f"the checksum of {name} does not match")

    def open(self, folder: Path, manifest: Manifest, resources: contextlib.ExitStack) -> Collection:
        """See :class:`Place`.

        Where this user may not write, Chroma, which does so on opening, gets a copy of its SQLite file.
        """
        parts = [number for number, count in enumerate(manifest.parts) if count]
        return open_folder(folder if _writable(folder) else _borrowed(folder, resources), parts)

    def write(
        self, folder: Path, number: int, source: Source, base: Base | None, description: Description
    ) -> Manifest:
        """See :class:`Place`."""
        d = description
        with durable.storage_errors(folder), _full_disks(folder):
            parts = _start(folder, base, d)
            before, begun = breadth(parts, d.hnsw), len(parts)
            untouched = set(range(begun))
            durable.step("generation-copied")
            for changes in source(base.sequence if base else 0):
                untouched.discard(changes.part)
                while len(parts) <= changes.part:
                    create(folder, len(parts), d.metric, d.hnsw)
                    parts.append(0)
                parts[changes.part] = fill(folder, changes, d.dimension, standing=parts[changes.part])
            if breadth(parts, d.hnsw) != before or len(parts) > begun:
                share_breadth(folder, parts, d.hnsw)
        _check_written(folder)
        durable.step("generation-persisted")
        with durable.storage_errors(folder):
            kept = _kept(folder, untouched, base.digests if base else {})
            sizes, digests, stamps = _described(folder, kept)
        return Manifest(
            sequence=d.sequence,
            catalog=d.catalog,
            count=sum(parts),
            dimension=d.dimension,
            metric=d.metric,
            fingerprint=d.fingerprint,
            files=sizes,
            digests=digests,
            stamps=stamps,
            parts=parts,
            part_ids=d.part_ids,
        )

    def drop(self, home: Path, identities: set[str], keep: set[str]) -> None:
        """See :class:`Place`; with the folder all is gone."""


@contextlib.contextmanager
def _full_disks(folder: Path) -> Iterator[None]:
    """Chroma does not always say why it could not write."""
    try:
        yield
    except CollectionError as error:
        try:
            left = shutil.disk_usage(folder.parent).free
        except OSError:
            left = _HARDLY_ANY
        if left >= _HARDLY_ANY:
            raise
        raise StorageError(
            f"cannot write {folder}: the disk is full; free some space{durable.AGAIN}"
        ) from error


def _start(folder: Path, base: Base | None, description: Description) -> list[int]:
    """Begin a generation; returns the counts of its parts, of which there is one at least."""
    if base:
        _copy(base.folder, folder)
        return list(base.parts)
    folder.mkdir(parents=True)
    create(folder, 0, description.metric, description.hnsw)
    return [0]


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


def _kept(folder: Path, untouched: set[int], digests: dict[str, str]) -> dict[str, str]:
    """Those ``digests`` of what was copied that are of graph files of these parts: none was written since."""
    names = {part_name(part) for part in untouched}
    graphs = {graph for graph, name in _rows(folder, _GRAPHS) if name in names}
    return {name: digest for name, digest in digests.items() if name.split("/")[0] in graphs}


def _described(
    folder: Path, known: dict[str, str]
) -> tuple[dict[str, int], dict[str, str], dict[str, list[int]]]:
    """Sizes, digests and stamps of what was written; a ``known`` digest is taken as it is."""
    sizes = _file_sizes(folder)
    fixed = [name for name in sizes if name != _DATABASE]
    digests = {name: known.get(name) or _digest(folder / name) for name in fixed}
    return sizes, digests, {name: _stamp(folder / name) for name in fixed}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        # Processors without instructions for SHA-256 take 2.4 times as long for that.
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _copy(source: Path, target: Path) -> None:
    """Copy a generation that readers may be opening meanwhile.

    Opening one writes a row into chroma.sqlite3, so that file, which has a rollback journal and no WAL, is
    copied under SQLite's lock; the graph files do not change.
    """
    others = shutil.ignore_patterns(f"{_DATABASE}*", MANIFEST)
    shutil.copytree(source, target, ignore=others, copy_function=_clone)
    database = sqlite3.connect(source / _DATABASE, timeout=60)
    try:
        database.execute("BEGIN")  # reading takes the lock, and first mends what a kill left
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        _clone(str(source / _DATABASE), str(target / _DATABASE))
    except sqlite3.Error as error:
        raise damaged(source, str(error)) from error
    finally:
        database.close()


def _clone(source: str, target: str) -> str:
    """Copy a file by the system's own call, which shares the blocks on Btrfs and XFS (a reflink)."""
    try:
        with open(source, "rb") as old, open(target, "wb") as new:
            rest = os.fstat(old.fileno()).st_size
            while rest and (copied := os.copy_file_range(old.fileno(), new.fileno(), rest)):
                rest -= copied
    except (OSError, AttributeError):
        rest = 1  # not here, or not this file; what fails for good, fails again
    return shutil.copyfile(source, target) if rest else target


def _check_written(folder: Path) -> None:
    """Refuse a directory whose graph files lack records.

    Chroma queues what its graph files do not have yet, and keeps the last record of each part that was
    written.  A single removal is too little for it to write the graph.  So two records a part may wait.

    Raises:
        CollectionError: the graph files lack some.
    """
    waiting = max((count for (count,) in _rows(folder, _WAITING)), default=0)
    if waiting > 2:
        raise CollectionError(f"Chroma did not write its graph: {waiting} records wait; please report this")


def _rows(folder: Path, query: str) -> list[Any]:
    """What Chroma's SQLite file answers to ``query``."""
    database = sqlite3.connect(folder / _DATABASE)
    try:
        return database.execute(query).fetchall()
    except sqlite3.Error as error:
        raise CollectionError(f"Chroma left a database that cannot be read: {error}") from error
    finally:
        database.close()


def _file_sizes(folder: Path) -> dict[str, int]:
    """Sizes of Chroma's files; SQLite's journals come and go and do not count."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in files
        if file.name != MANIFEST and not file.name.endswith(("-journal", "-wal", "-shm"))
    }

"""The collection: a Chroma directory per *generation*, published and then never modified.

Chroma's embedded store rewrites its HNSW files in place and keeps no second copy: a kill can ruin it, and two
processes on one directory lose vectors silently.  So the writer works on a private copy and publishes that:

    copy the current generation -> upsert, delete -> force the graph to disk -> close -> fsync -> rename
    -> switch CURRENT

Readers open what CURRENT names and need no lock.  Beside Chroma's files each generation has a
``generation.json``: the catalog sequence that it covers, and the name and size of each file, so that a torn
directory is noticed before Chroma opens it (opening one can end the process).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.errors import CollectionError, IndexDamaged
from vsearch.records import Metric

if TYPE_CHECKING:
    import chromadb
    from chromadb.api.client import Client

Vectors = npt.NDArray[np.float32]
Metadata = dict[str, str | int | float | bool | None]

_NAME = "photos"
_MANIFEST = "generation.json"
_DATABASE = "chroma.sqlite3"
_BATCH_BYTES = 16 * 2**20
_BATCH_ROWS = 5000  # get_max_batch_size() of chromadb 1.5 is 5461
# A graph file is written each time this many records have come in.  While loading that is never; the
# smallest threshold Chroma takes is 2, which makes the next two records write everything.
_WRITE_NEVER = 2**31 - 1
_WRITE_NOW = 2


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """Parameters of the HNSW graph (Malkov & Yashunin 2018): build breadth, degree, search breadth."""

    ef_construction: int = 200
    max_neighbors: int = 32
    ef_search: int = 200


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a generation says of itself.

    Attributes:
        sequence: the catalog sequence it covers.
        count: photos in it.
        dimension: D.
        metric: how distances are measured.
        fingerprint: of the encoder.
        files: size of each file in bytes, by relative name.
    """

    sequence: int
    count: int
    dimension: int
    metric: Metric
    fingerprint: str
    files: dict[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to upsert: ids, vectors float32 [b, D], and one metadata dictionary each.

    Every metadata key must be present each time, ``None`` for "no value": upserts merge keys.
    """

    ids: Sequence[str]
    vectors: Vectors
    metadatas: Sequence[Metadata]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of the collection: id, distance (1 - cosine, or squared Euclidean), metadata."""

    id: str
    distance: float
    metadata: Metadata


class Collection:
    """One open generation.  Use :meth:`close`, or as a context manager, when done."""

    def __init__(self, folder: Path) -> None:
        self._client = _client(folder)
        try:
            self._photos = self._client.get_collection(_NAME, embedding_function=None)
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._client.close()

    def count(self) -> int:
        """Photos in the collection."""
        with _errors():
            return self._photos.count()

    def search(self, vectors: Vectors, k: int, where: dict[str, Any] | None = None) -> list[list[Hit]]:
        """The ``k`` nearest photos to each of ``vectors`` (float32 [n, D]), nearest first.

        Raises:
            CollectionError: Chroma refused.
        """
        if not np.isfinite(vectors).all():  # Chroma takes NaN and answers NaN
            raise CollectionError("a query vector has NaN or infinite numbers; nothing can be near it")
        with _errors():
            found = self._photos.query(
                query_embeddings=np.ascontiguousarray(vectors, dtype=np.float32),
                n_results=k,
                where=where,
                include=["distances", "metadatas"],
            )
        distances, metadatas = found["distances"], found["metadatas"]
        assert distances is not None and metadatas is not None  # both were asked for
        return [
            [Hit(i, float(d), dict(m)) for i, d, m in zip(*row, strict=True)]  # type: ignore[arg-type]
            for row in zip(found["ids"], distances, metadatas, strict=True)
        ]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """The stored vectors of ``ids``, float32 [D] each; ids that are not there are left out."""
        found: dict[str, Vectors] = {}
        for start in range(0, len(ids), _BATCH_ROWS):
            with _errors():
                got = self._photos.get(ids=list(ids[start : start + _BATCH_ROWS]), include=["embeddings"])
            embeddings = got["embeddings"]
            assert embeddings is not None  # asked for
            found.update((i, np.asarray(v, np.float32)) for i, v in zip(got["ids"], embeddings, strict=True))
        return found

    def ids(self) -> list[str]:
        """Every id, paged."""
        result: list[str] = []
        while True:
            with _errors():
                page = self._photos.get(limit=_BATCH_ROWS, offset=len(result), include=[])["ids"]
            result.extend(page)
            if len(page) < _BATCH_ROWS:
                return result


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
            return int(self._current_file.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except (ValueError, OSError) as error:
            raise IndexDamaged(
                f"{self._current_file} is damaged: it does not hold a number; "
                "run `vsearch rebuild` to write it anew"
            ) from error

    def folder(self, number: int) -> Path:
        """The directory of generation ``number``."""
        return self._folder / f"{number:06d}"

    def manifest(self, number: int) -> Manifest:
        """What generation ``number`` says of itself, checked against its files.

        Raises:
            IndexDamaged: a file is missing or has another size than when it was published.
        """
        folder = self.folder(number)
        try:
            manifest = Manifest(**json.loads((folder / _MANIFEST).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder, f"its {_MANIFEST} cannot be read") from error
        sizes = _file_sizes(folder)
        for name, size in manifest.files.items():
            found = sizes.get(name, 0)
            # Each opening writes a row into chroma.sqlite3, so that one may have grown.
            if found < size or (found > size and name != _DATABASE):
                raise _damaged(folder, f"{name} is {found} bytes and not {size}")
        return manifest

    def open(self, number: int) -> Collection:
        """Open generation ``number`` for reading.

        Raises:
            IndexDamaged: it is torn.
            CollectionError: Chroma cannot open it.
        """
        self.manifest(number)
        with _errors():
            return Collection(self.folder(number))

    def publish(
        self,
        batches: Iterable[Batch],
        removed: Iterable[str],
        *,
        base: int,
        sequence: int,
        dimension: int,
        metric: Metric,
        fingerprint: str,
        hnsw: HnswParameters,
    ) -> int:
        """Publish a new generation and return its number.

        Args:
            batches: rows to add or replace.
            removed: ids that must not be in it; ids it never had are fine.
            base: the generation to start from; 0 starts empty.
            sequence: the catalog sequence that the result covers.

        Raises:
            StorageError: the disk is full, read-only or failing; the published generation is untouched.
        """
        number = 1 + max([self.current(), *self._numbers()])
        temporary = durable.temporary_beside(self.folder(number))
        try:
            with durable.storage_errors(temporary):
                self._start(temporary, base, metric, hnsw)
            durable.step("generation-copied")
            count = _fill(temporary, batches, removed)
            durable.step("generation-persisted")
            manifest = Manifest(sequence, count, dimension, metric, fingerprint, _file_sizes(temporary))
            with durable.storage_errors(temporary):
                (temporary / _MANIFEST).write_text(json.dumps(asdict(manifest)))
            durable.publish(temporary, self.folder(number))
        finally:
            durable.remove(temporary)
        durable.step("generation-renamed")
        durable.write_atomic(self._current_file, f"{number:06d}".encode())
        durable.step("current-switched")
        self._retire(number)
        durable.step("generations-retired")
        return number

    def _start(self, folder: Path, base: int, metric: Metric, hnsw: HnswParameters) -> None:
        if base:
            _copy(self.folder(base), folder)
        else:
            folder.mkdir(parents=True)
            space = "cosine" if metric == "cosine" else "l2"
            _create(folder, {"space": space, "sync_threshold": _WRITE_NEVER, **asdict(hnsw)})

    def _retire(self, current: int) -> None:
        """Remove old generations, all but the one before: a reader may be about to open that."""
        numbers = sorted(n for n in self._numbers() if n < current)
        for number in numbers[:-1]:
            durable.remove(self.folder(number))

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(name) for name in os.listdir(self._folder) if name.isdecimal()]


def batches_of(dimension: int, rows: int) -> int:
    """How many of ``rows`` vectors fit a batch of 16 MiB."""
    return max(1, min(rows, _BATCH_ROWS, _BATCH_BYTES // (4 * dimension)))


def _fill(folder: Path, batches: Iterable[Batch], removed: Iterable[str]) -> int:
    """Apply the changes and leave a graph that lies complete on the disk; returns the count.

    The graph is written once, at the end: set the threshold to 2, reopen, upsert two records again.
    """
    last: Batch | None = None
    with _photos(folder) as photos:
        photos.modify(configuration={"hnsw": {"sync_threshold": _WRITE_NEVER}})
    with _photos(folder) as photos:
        gone = list(removed)
        for start in range(0, len(gone), _BATCH_ROWS):
            photos.delete(ids=gone[start : start + _BATCH_ROWS])
        for batch in batches:
            _upsert(photos, batch)
            last = batch
            durable.step("generation-upserted")
        photos.modify(configuration={"hnsw": {"sync_threshold": _WRITE_NOW}})
    with _photos(folder) as photos:
        count = photos.count()
        if last is not None:
            for _ in range(_WRITE_NOW):
                _upsert(photos, Batch(last.ids[:1], last.vectors[:1], last.metadatas[:1]))
    return count


def _upsert(photos: chromadb.Collection, batch: Batch) -> None:
    photos.upsert(
        ids=list(batch.ids),
        embeddings=np.ascontiguousarray(batch.vectors, dtype=np.float32),
        metadatas=list(batch.metadatas),
    )


@contextlib.contextmanager
def _photos(folder: Path) -> Iterator[chromadb.Collection]:
    with _errors():
        client = _client(folder)
        try:
            yield client.get_collection(_NAME, embedding_function=None)
        finally:
            client.close()


def _create(folder: Path, hnsw: dict[str, Any]) -> None:
    with _errors():
        client = _client(folder)
        try:
            client.create_collection(
                _NAME,
                embedding_function=None,
                configuration={"hnsw": hnsw},  # type: ignore[arg-type]
            )
        finally:
            client.close()


def _client(folder: Path) -> Client:
    # Clients are cached by the path string, hence realpath.
    chromadb = _import_chromadb()
    settings = chromadb.config.Settings(anonymized_telemetry=False, _env_file=None)
    client: Client = chromadb.PersistentClient(os.path.realpath(folder), settings=settings)
    return client


def _import_chromadb() -> Any:
    try:
        import chromadb
    except ValueError as error:
        # pydantic reads a .env of the current directory at import, and refuses what it does not like.
        raise CollectionError(
            "Chroma cannot start, because a .env file in this folder or an environment variable sets one "
            f"of its options wrongly ({str(error).splitlines()[0]}); run vsearch from another folder"
        ) from error
    return chromadb


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


def _file_sizes(folder: Path) -> dict[str, int]:
    """Sizes of Chroma's files; SQLite's journals come and go and do not count."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in files
        if file.name != _MANIFEST and not file.name.endswith(("-journal", "-wal", "-shm"))
    }


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    chromadb = _import_chromadb()
    try:
        yield
    except (chromadb.errors.ChromaError, ValueError, KeyError) as error:
        raise CollectionError(f"Chroma refused: {str(error).splitlines()[0]}") from error


def _damaged(folder: Path, why: str) -> IndexDamaged:
    return IndexDamaged(f"{folder} is damaged: {why}; run `vsearch rebuild` to make the collection anew")

"""Chroma itself: opening a directory, loading its collections, asking them."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.errors import CollectionError, IndexDamaged

if TYPE_CHECKING:
    from chromadb import Collection as ChromaCollection
    from chromadb.api.client import Client

# Given at each `get_collection`, though there is no such function; as an error it would come as a refusal.
# Once, at import: `catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", "legacy embedding function config", DeprecationWarning)

Vectors = npt.NDArray[np.float32]
ErrorMap = Callable[[], contextlib.AbstractContextManager[None]]
Metadata = dict[str, str | int | float | bool | None]
Answer = TypeVar("Answer")

_OVERHEAD_BYTES = 512  # links of 32 neighbours, and the id, of one photo
_PAGE = 5000  # get_max_batch_size() of chromadb 1.5 is 5461
# Chroma shares what clients of one path hold, but looks it up, and drops it, without a lock.
_opening = threading.RLock()
_MEND = "run `vsearch check`, then `vsearch rebuild` if it says so"


@dataclass(frozen=True, slots=True)
class HnswParameters:
    """Parameters of the HNSW graph (Malkov & Yashunin 2018): build breadth, degree, search breadth."""

    ef_construction: int = 200
    max_neighbors: int = 32
    ef_search: int = 200


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of the collection: id, distance (1 - cosine, or squared Euclidean)."""

    id: str
    distance: float


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Photos near a vector, nearest first: their ids, int64 [n], and their vectors, float32 [n, D]."""

    ids: npt.NDArray[np.int64]
    vectors: Vectors


class Collection:
    """One open generation.  Use :meth:`close`, or as a context manager, when done.

    Args:
        client: Chroma's own.
        parts: names of Chroma's collections.
        errors: maps Chroma's exceptions to ours.
        disconnect: closes the client, when the collection is closed.
    """

    def __init__(
        self, client: Client, parts: Sequence[str], errors: ErrorMap, disconnect: Callable[[Client], None]
    ) -> None:
        self._client = client
        self._errors = errors
        self._disconnect = disconnect
        self._closing: Callable[[], None] | None = None
        self._threads = ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1)) if len(parts) > 1 else None
        try:
            with errors():
                self._parts = [client.get_collection(name, embedding_function=None) for name in parts]
                self._counts = self._each(_loaded)
        except BaseException:
            self._close_client()
            raise

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        closing, self._closing = self._closing, None
        (closing or self._close_client)()

    def on_close(self, closing: Callable[[], None]) -> None:
        """Have :meth:`close` run ``closing``, which must call it again: that lets go of the files."""
        self._closing = closing

    def _close_client(self) -> None:
        if self._threads:
            self._threads.shutdown()
        self._disconnect(self._client)

    def _each(self, ask: Callable[[ChromaCollection], Answer]) -> list[Answer]:
        """What each part answers; Chroma lets go of the interpreter lock meanwhile."""
        with self._errors():
            return list((self._threads.map if self._threads else map)(ask, self._parts))

    def count(self) -> int:
        """Photos in the collection."""
        return sum(self._counts)

    def search(self, vectors: Vectors, k: int) -> list[list[Hit]]:
        """The ``k`` nearest photos to each of ``vectors`` (float32 [n, D]), nearest first.

        Raises:
            CollectionError: Chroma refused.
        """
        found = []
        for parts in self._query(vectors, k, "distances"):
            hits = [Hit(i, float(d)) for part in parts for i, d in zip(*part, strict=True)]
            found.append(sorted(hits, key=attrgetter("distance"))[:k])
        return found

    def _query(
        self,
        vectors: Vectors,
        k: int,
        what: Literal["distances", "embeddings"],
        where: dict[str, Any] | None = None,
    ) -> list[tuple[tuple[list[str], Any], ...]]:
        """For each of ``vectors`` what each part has nearest: ids, and what else is wanted of them."""
        if not np.isfinite(vectors).all():  # Chroma takes NaN and answers NaN
            raise CollectionError("a query vector has NaN or infinite numbers; nothing can be near it")
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)

        def ask(part: ChromaCollection) -> list[tuple[list[str], Any]]:
            found = part.query(query_embeddings=vectors, n_results=k, where=where, include=[what])
            wanted = found[what]
            assert wanted is not None  # it was asked for
            return list(zip(found["ids"], wanted, strict=True))

        return list(zip(*self._each(ask), strict=True)) if self._parts else [()] * len(vectors)

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """The stored vectors of ``ids``, float32 [D] each; ids that are not there are left out."""
        found: dict[str, Vectors] = {}
        for part in self._each(partial(_vectors, ids=ids)):
            found |= part
        return found

    def near_each(
        self, vectors: Vectors, k: int, where: dict[str, Any] | None = None
    ) -> list[list[Neighbours]]:
        """For each of ``vectors`` (float32 [Q, D]) the ``k`` photos of each part that are nearest to it.

        With their vectors, but without distances and metadata, which take Chroma longer than the search
        itself: 12.9 ms with metadata, 2.5 ms without, 6.6 ms with vectors, for 200 of 2,000 photos.

        Raises:
            CollectionError: Chroma refused.
        """
        return [
            [
                Neighbours(
                    np.array([_photo_id(i) for i in ids], dtype=np.int64),
                    np.asarray(near, np.float32).reshape(len(ids), vectors.shape[1]),
                )
                for ids, near in parts
            ]
            for parts in self._query(vectors, k, "embeddings", where)
        ]

    def ids(self) -> list[str]:
        """Every id, paged."""
        return list(chain.from_iterable(self._each(_ids)))


def _photo_id(given: str) -> int:
    if not (given.isascii() and given.isdecimal()):
        raise IndexDamaged(f"the collection has a row {given!r}, which is no photo of this index; {_MEND}")
    return int(given)


def _loaded(part: ChromaCollection) -> int:
    """How many photos a part has, its graph read.

    Else Chroma would read it with the first query, and take files that are gone for empty.
    """
    count = part.count()
    if count:
        embeddings = part.get(limit=1, include=["embeddings"])["embeddings"]
        assert embeddings is not None  # asked for
        first = np.asarray(embeddings, np.float32)
        if not part.query(query_embeddings=first, n_results=1, include=[])["ids"][0]:
            raise IndexDamaged(f"the graph of the collection is empty; {_MEND}")
    return count


def _vectors(part: ChromaCollection, ids: Sequence[str]) -> dict[str, Vectors]:
    found: dict[str, Vectors] = {}
    for page in pages(ids):
        got = part.get(ids=page, include=["embeddings"])
        embeddings = got["embeddings"]
        assert embeddings is not None  # asked for
        found.update((i, np.asarray(v, np.float32)) for i, v in zip(got["ids"], embeddings, strict=True))
    return found


def _ids(part: ChromaCollection) -> list[str]:
    result: list[str] = []
    while True:
        page = part.get(limit=_PAGE, offset=len(result), include=[])["ids"]
        result.extend(page)
        if len(page) < _PAGE:
            return result


def part_name(number: int) -> str:
    """What Chroma calls a part.

    >>> part_name(0), part_name(1)
    ('photos', 'photos-1')
    """
    return f"photos-{number}" if number else "photos"


def memory_estimate(photos: int, dimension: int) -> int:
    """Bytes that Chroma holds in memory for a collection: vectors, graph links, ids.

    >>> memory_estimate(1_000_000, 256) // 2**20
    1464
    """
    return photos * (4 * dimension + _OVERHEAD_BYTES)


def pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids, no more at a time than Chroma takes."""
    return (list(ids[start : start + _PAGE]) for start in range(0, len(ids), _PAGE))


def open_folder(folder: Path, parts: Sequence[int]) -> Collection:
    """Open the collection in ``folder``, which has these parts."""
    with errors(), _opening:
        client = client_of(folder)
    return Collection(client, [part_name(number) for number in parts], errors, _close)


def _close(client: Client) -> None:
    with _opening:
        client.close()


def client_of(folder: Path) -> Client:
    """Chroma's own, of the directory ``folder``."""
    _forget_in_children()
    # Clients are cached by the path string, hence realpath.
    client: Client = import_chromadb().PersistentClient(os.path.realpath(folder), settings=quiet())
    return client


def _forget_parent() -> None:
    """In a forked child the threads of Chroma's core are gone, and who waits for them waits for ever.

    To let go of what the parent had open would wait for them too, even when the child ends: it gets a
    reference that nobody drops.
    """
    from chromadb.api.shared_system_client import SharedSystemClient

    global _opening
    _opening = threading.RLock()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(SharedSystemClient._identifier_to_system))
    SharedSystemClient.clear_system_cache()


@cache
def _forget_in_children() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_forget_parent)


def quiet() -> Any:
    """Chroma's settings without telemetry, and without those of a .env file."""
    return import_chromadb().config.Settings(anonymized_telemetry=False, _env_file=None)


def preload() -> None:
    """Begin to import Chroma on a thread: 1.1 s that a build spends beside its decoding, not after it."""
    threading.Thread(target=_try_import, name="preload").start()


def _try_import() -> None:
    # Raised again where Chroma is used; RuntimeError is how it fails when the process is ending.
    with contextlib.suppress(CollectionError, RuntimeError):
        import_chromadb()
        # The first client would import it, which takes 0.12 s.
        importlib.import_module("chromadb.api.rust")


@cache  # each question asks for it
def import_chromadb() -> Any:
    """The package, which takes a second to import.

    Raises:
        CollectionError: its options are set wrongly.
    """
    try:
        with durable.uninterrupted():
            import chromadb
    except ValueError as error:
        # pydantic reads a .env of the current directory at import, and refuses what it does not like.
        raise CollectionError(
            "Chroma cannot start, because a .env file in this folder or an environment variable sets one "
            f"of its options wrongly ({str(error).splitlines()[0]}); run vsearch from another folder"
        ) from error
    return chromadb


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Map Chroma's exceptions, and the panics of its Rust core, to ours."""
    chromadb = import_chromadb()
    try:
        yield
    except (chromadb.errors.ChromaError, ValueError, KeyError, RuntimeError) as error:
        raise CollectionError(f"Chroma refused: {first_line(error)}; {_MEND}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pyo3's, derived from BaseException, not importable
            raise
        raise CollectionError(f"Chroma gave up: {first_line(error)}; {_MEND}") from error


def first_line(error: BaseException) -> str:
    """The first line of its text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]

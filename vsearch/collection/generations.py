"""Generations: publishing, opening and retiring them, wherever their collections lie."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from vsearch import durable
from vsearch.collection.chroma import Collection, HnswParameters
from vsearch.collection.filling import Changes
from vsearch.errors import CollectionError, IndexDamaged, StorageError, VsearchError
from vsearch.records import Metric

MANIFEST = "generation.json"
# What changed in each part since a catalog sequence; since 0, all there is.
Source = Callable[[int], Iterable[Changes]]


@dataclass(frozen=True, slots=True)
class Description:
    """What a generation is of, and how its graph is built.

    Attributes:
        sequence: the catalog sequence that it covers.
        dimension: D.
        metric: how distances are measured.
        fingerprint: of the encoder.
        catalog: identity of the catalog.
        hnsw: of its graph.
        part_ids: how many ids share a part.
    """

    sequence: int
    dimension: int
    metric: Metric
    fingerprint: str
    catalog: str = ""
    hnsw: HnswParameters = field(default_factory=HnswParameters)
    part_ids: int = 0


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
        digests: BLAKE2b of each file that opening does not change.
        stamps: ``[size, mtime_ns, ctime_ns]`` of those when they were written: a file that still has
            them need not be read to know that it is the same.
        parts: photos in each part, where its files hold it.
        part_ids: how many ids shared a part; by another number an id would lie in two.
        server: URL of the Chroma server that holds it; ``""`` where its files do.
        collection: name of its collection there.
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
    parts: list[int]
    part_ids: int = 0
    server: str = ""
    collection: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """A generation that another one may start from: its folder, and what its manifest says."""

    folder: Path
    sequence: int
    parts: list[int]
    digests: dict[str, str]


class Place(ABC):
    """Where collections lie: in the folders of their generations, or on a server.

    Attributes:
        url: of the server; ``""`` for none.
        growth: by how much of itself a collection grows before a long build publishes on its way.
    """

    growth: ClassVar[float]
    url: str = ""

    @abstractmethod
    def check(self, folder: Path, manifest: Manifest) -> None:
        """Raise IndexDamaged if a glance at ``folder`` tells that it is not what ``manifest`` says."""

    @abstractmethod
    def verify(self, folder: Path, manifest: Manifest, *, every_byte: bool) -> None:
        """Raise IndexDamaged if what ``manifest`` describes is not what was published.

        Args:
            folder: of the generation.
            manifest: checked already.
            every_byte: read all of it, where that can be done.
        """

    @abstractmethod
    def open(self, folder: Path, manifest: Manifest, resources: contextlib.ExitStack) -> Collection:
        """Open a verified generation; ``resources`` are let go of when the collection is closed."""

    @abstractmethod
    def write(
        self, folder: Path, number: int, source: Source, base: Base | None, description: Description
    ) -> Manifest:
        """Make a collection for generation ``number``, and ``folder``, which will be its folder."""

    @abstractmethod
    def drop(self, home: Path, identities: set[str], keep: set[str]) -> None:
        """Drop what removing folders below ``home`` leaves, of catalogs of these identities.

        Args:
            home: the folder of the generations.
            identities: of catalogs.
            keep: names of collections that stay.
        """


class Generations:
    """The generations of one index, and the ``CURRENT`` file that names the published one.

    Each has a folder with its manifest, which says where its collection lies.

    Args:
        folder: the ``chroma`` directory.
        current_file: the ``CURRENT`` file.
        place_at: the place with this URL; the one with ``""`` is the folder itself.
        url: of the place where new ones are published.
    """

    def __init__(
        self, folder: Path, current_file: Path, place_at: Callable[[str], Place], url: str = ""
    ) -> None:
        self._folder = folder
        self._current_file = current_file
        self._place_at = place_at
        self._place = place_at(url)

    @property
    def url(self) -> str:
        """Of the server where new generations are published; ``""`` for none."""
        return self._place.url

    @property
    def growth(self) -> float:
        """By how much of itself the collection grows before a long build publishes on its way."""
        return self._place.growth

    def current(self) -> int:
        """The published generation's number; 0 before the first one.

        Raises:
            IndexDamaged: CURRENT is not a number.
            StorageError: this user may not read it.
        """
        try:
            number = int(self._current_file.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except PermissionError as error:
            raise durable.not_readable(self._current_file) from error
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
            IndexDamaged: it cannot be read, or a file is missing or has another size than when published.
            StorageError: this user may not read it.
        """
        folder = self.folder(number)
        try:
            manifest = Manifest(**durable.unsealed((folder / MANIFEST).read_bytes()))
        except PermissionError as error:
            raise durable.not_readable(folder / MANIFEST) from error
        except OSError as error:
            raise damaged(folder, f"its {MANIFEST} cannot be read") from error
        except (ValueError, TypeError) as error:
            raise damaged(folder, f"{MANIFEST}: {error}") from error
        self._place_at(manifest.server).check(folder, manifest)
        return manifest

    def verify(self, number: int, *, every_byte: bool = False) -> Manifest:
        """The manifest, once the collection is known to be what was published.

        A flipped bit in a graph file could end the process.  Files whose stamp is the same are taken at
        their word, unless ``every_byte``; the rest are read: an index that was copied costs 0.1 to 0.2 s
        per 100 MB.  On a server the number of photos is all that can be told.

        Raises:
            IndexDamaged: it is not.
            CollectionError: the server cannot be reached.
        """
        manifest = self.manifest(number)
        self._place_at(manifest.server).verify(self.folder(number), manifest, every_byte=every_byte)
        return manifest

    def open(self, number: int) -> Collection:
        """Open generation ``number`` for reading; it stays until the collection is closed.

        Raises:
            IndexDamaged: it is not what was published.
            CollectionError: Chroma cannot open it, or its server cannot be reached.
        """
        folder = self.folder(number)
        with contextlib.ExitStack() as resources:
            resources.callback(_close, _share(folder))
            manifest = self.verify(number)
            collection = self._place_at(manifest.server).open(folder, manifest, resources)
            resources.callback(collection.close)
            if collection.count() != manifest.count:
                raise damaged(folder, f"{collection.count()} photos and not {manifest.count}")
            collection.on_close(resources.pop_all().close)
            return collection

    def publish(self, source: Source, description: Description, *, base: int) -> int:
        """Publish a new generation and return its number.

        Args:
            source: rows to add or replace and ids to take out since a sequence, part by part.
            description: of the result.
            base: the generation to start from; 0 starts empty.

        Raises:
            StorageError: the disk is full, read-only or failing; the published generation is untouched.
            CollectionError: Chroma refuses, or its server cannot be reached; likewise.
        """
        number = 1 + max([self._current_or_zero(), *self._numbers()])
        temporary = durable.temporary_beside(self.folder(number))
        self._drop_unnamed(description.catalog)
        try:
            manifest = self._place.write(temporary, number, source, self._base(base), description)
            with durable.storage_errors(temporary):
                (temporary / MANIFEST).write_bytes(durable.sealed(asdict(manifest)))
            durable.publish(temporary, self.folder(number), "generation")
        except Exception:
            with contextlib.suppress(VsearchError):  # else the next one does it
                self._drop_unnamed(description.catalog)
            raise
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
        before = self._manifests()
        older = sorted(n for n in self._numbers() if n < current)
        unpublished = [n for n in self._numbers() if n > current]
        for number in older[:-1] + unpublished:
            if not durable.in_use(self.folder(number) / MANIFEST):
                durable.remove_at_once(self.folder(number))
                durable.step("generation-removed")
        self._drop(before, {manifest.collection for manifest in self._manifests()})

    def discard(self) -> None:
        """Drop what lies elsewhere, of all generations: the folder itself is about to go."""
        self._drop(self._manifests(), set())

    def _drop(self, manifests: list[Manifest], keep: set[str]) -> None:
        identities = {manifest.catalog for manifest in manifests}
        for url in {manifest.server for manifest in manifests}:
            # A server that the index has left may be gone for good.
            with contextlib.suppress(*() if url == self.url else (CollectionError,)):
                self._place_at(url).drop(self._folder, identities, keep)

    def _drop_unnamed(self, catalog: str) -> None:
        """Drop what was filled for ``catalog`` and never published: it would fill the disk of a server."""
        manifests = self._manifests()
        if len(manifests) == len(self._numbers()):  # one that cannot be read now may name any of them
            self._place.drop(self._folder, {catalog}, {manifest.collection for manifest in manifests})

    def _base(self, number: int) -> Base | None:
        manifest = self.manifest(number) if number else None
        if manifest is None or manifest.server != self.url:
            return None
        return Base(self.folder(number), manifest.sequence, manifest.parts, manifest.digests)

    def _manifests(self) -> list[Manifest]:
        """Those that can be read."""
        found = []
        for number in self._numbers():
            with contextlib.suppress(IndexDamaged, StorageError):
                found.append(self.manifest(number))
        return found

    def _current_or_zero(self) -> int:
        try:
            return self.current()
        except (IndexDamaged, StorageError):
            return 0

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return [int(name) for name in os.listdir(self._folder) if name.isdecimal()]

    def _bad_current(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"{self._current_file} is damaged: {why}; run `vsearch rebuild` to write it anew")


def damaged(place: str | os.PathLike[str], why: str) -> IndexDamaged:
    """The error that says so of a generation."""
    return IndexDamaged(
        f"{os.fspath(place)} is damaged: {why}; run `vsearch rebuild` to make the collection anew"
    )


def _share(folder: Path) -> int | None:
    try:
        return durable.share(folder / MANIFEST)
    except PermissionError as error:
        raise durable.not_readable(folder / MANIFEST) from error
    except OSError as error:
        raise damaged(folder, f"its {MANIFEST} cannot be read") from error


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)

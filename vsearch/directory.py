"""The index directory: where things lie in it, ``index.json``, the writer's lock.

index.json   catalog.sqlite   encoder/   pixels/   vectors/   thumbnails/   chroma/   CURRENT
duplicates/  lock   lock.holder

All but ``index.json``, ``duplicates/`` and the lock lie in the *store*: at first the index directory itself.
Re-encoding fills a second store, a folder within, and one atomic change of ``index.json`` switches to it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import filelock

from vsearch import durable
from vsearch.errors import (
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    StorageError,
    UsageError,
    VersionMismatch,
)
from vsearch.paths import refuse_no_path
from vsearch.settings import Settings

NAME = ".vsearch"
SegmentKind = Literal["vectors", "pixels", "thumbnails"]
KINDS: tuple[SegmentKind, ...] = ("vectors", "pixels", "thumbnails")
VARIABLE = "VSEARCH_INDEX"
FORMAT_VERSION = 1
_CATALOG = "catalog.sqlite"
_HOLDER = "lock.holder"
_UNFINISHED = "unfinished"  # a file in a store that re-encoding still fills
_STORE = "store-{:06d}"
_CONTENT = (_CATALOG, f"{_CATALOG}-journal", "CURRENT", "encoder", *KINDS, "chroma")  # of a store


class IndexDirectory:
    """Paths, settings and lock of one index.

    Args:
        path: the index directory itself (``…/.vsearch``).
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.settings_file = self.path / "index.json"
        self.lock_file = self.path / "lock"
        self.store = self.path

    @property
    def catalog_file(self) -> Path:
        """The catalog."""
        return self.store / _CATALOG

    @property
    def encoder(self) -> Path:
        """The folder of the encoder bundle."""
        return self.store / "encoder"

    @property
    def chroma(self) -> Path:
        """The folder of the generations."""
        return self.store / "chroma"

    @property
    def current_file(self) -> Path:
        """The file that names the published generation."""
        return self.store / "CURRENT"

    @classmethod
    def create(cls, path: Path, settings: Settings, fill: Callable[[IndexDirectory], None]) -> IndexDirectory:
        """Make an empty index directory; ``index.json`` is written last and makes it one.

        Args:
            path: where.
            settings: what ``index.json`` will hold.
            fill: puts the encoder bundle and an empty catalog into it.

        Raises:
            UsageError: the name of the place is not UTF-8.
            IndexExists: an index is there, or a folder that holds something else.
            IndexDamaged: an index without its ``index.json`` is there.
            StorageError: the place cannot be written.
        """
        directory = cls(path)
        if os.fsencode(directory.path) != str(directory.path).encode(errors="replace"):
            raise UsageError(
                f"{path} is not UTF-8, and Chroma takes no other names; choose another place with --index"
            )
        if directory.settings_file.exists():
            raise IndexExists(f"{path} is an index already; use `vsearch add` to go on with it")
        directory.refuse_headless()
        _refuse_foreign(directory.path)
        with durable.storage_errors(path, "choose a writable place with --index"):
            directory.make_folders()
        with directory.writing():
            if directory.settings_file.exists():
                raise IndexExists(f"{path} has just become an index; use `vsearch add` to go on with it")
            for name in (_CATALOG, f"{_CATALOG}-journal"):  # of a creation that was killed
                durable.remove(directory.path / name)
            fill(directory)
            directory.write_settings(settings)
        return directory

    def make_folders(self) -> None:
        """Make the folders of the store."""
        for folder in (*KINDS, "chroma"):
            (self.store / folder).mkdir(parents=True, exist_ok=True)

    def at_store(self, store: str) -> IndexDirectory:
        """The same index directory as it will be, or was, with another store."""
        directory = IndexDirectory(self.path)
        directory.store = self.path / store
        return directory

    def next_store(self, settings: Settings) -> IndexDirectory:
        """The same index directory with the store that comes after that of ``settings``."""
        return self.at_store(_STORE.format(settings.store_number + 1))

    def begin_store(self) -> None:
        """Make the folders of the store, marked as unfinished, in the place of whatever was there."""
        with durable.storage_errors(self.store):
            durable.remove(self.store)
            self.store.mkdir(parents=True)
            (self.store / _UNFINISHED).touch()
            self.make_folders()

    def finish_store(self) -> None:
        """Take the mark of :meth:`begin_store` away."""
        durable.remove(self.store / _UNFINISHED)

    def is_finished(self, store: Path) -> bool:
        """Whether re-encoding filled ``store`` to its end."""
        return not (store / _UNFINISHED).exists()

    def superseded(self, settings: Settings) -> list[IndexDirectory]:
        """This directory at each store that came before that of ``settings``, gone already or not."""
        names = ["", *map(_STORE.format, range(1, settings.store_number))]
        return [self.at_store(name) for name in names] if settings.store_number else []

    def remove_superseded(self, settings: Settings) -> None:
        """Remove the stores that came before that of ``settings``; only the holder of the lock may."""
        if not settings.store_number:
            return
        for name in (*_CONTENT, *map(_STORE.format, range(1, settings.store_number))):
            durable.remove(self.path / name)
            durable.step("store-removed")

    def refuse_headless(self) -> None:
        """Raise IndexDamaged if this is an index that lost its ``index.json``."""
        if not self.settings_file.exists() and _has_vectors(self.path):
            raise self._damaged_settings("it is missing")

    def segment(self, kind: str, number: int) -> Path:
        """The file of one segment."""
        return self.store / kind / f"{number:06d}.h5"

    def settings(self) -> Settings:
        """Read ``index.json``.

        Raises:
            IndexNotFound: there is none.
            IndexDamaged: it is not what it should be.
            StorageError: this user may not read it.
            VersionMismatch: another format version wrote it.
        """
        try:
            data = self.settings_file.read_bytes()
            self._check_version(json.loads(data))  # first: another version may seal in another way
            fields = durable.unsealed(data)
        except (FileNotFoundError, NotADirectoryError) as error:
            self.refuse_headless()
            inside = self.path / NAME
            remedy = (
                f"did you mean {inside}?" if inside.is_dir() else "make one with `vsearch build-index PHOTOS`"
            )
            raise IndexNotFound(f"{self.path} is not an index: it has no index.json; {remedy}") from error
        except PermissionError as error:
            raise durable.not_readable(self.settings_file) from error
        except OSError as error:
            raise IndexDamaged(
                f"cannot read {self.settings_file}: {error.strerror}; check the disk"
            ) from error
        except ValueError as error:
            raise self._damaged_settings(str(error)) from error
        try:
            del fields["format_version"]
            settings = Settings.of(fields)
        except (KeyError, TypeError) as error:
            raise self._damaged_settings(str(error)) from error
        self.store = self.path / settings.store
        return settings

    def _check_version(self, content: object) -> None:
        version = content.get("format_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise VersionMismatch(
                f"{self.path}: index format {version}, this vsearch reads {FORMAT_VERSION}; "
                "use the vsearch that wrote it, or build the index anew"
            )

    def write_settings(self, settings: Settings) -> None:
        """Replace ``index.json``."""
        content = {"format_version": FORMAT_VERSION, **asdict(settings)}
        durable.write_atomic(self.settings_file, durable.sealed(content), "settings")
        self.store = self.path / settings.store

    def roots(self, settings: Settings) -> list[str]:
        """The photo folders, absolute."""
        return [self.resolved(root) for root in settings.roots]

    def walked(self, settings: Settings) -> dict[str, int]:
        """The photo folders that are walked, absolute, and their numbers."""
        return {root: n for n, root in enumerate(self.roots(settings)) if n not in settings.unwalked}

    def stored(self, path: str, roots: Iterable[str]) -> str:
        """``path`` as it is written down: relative to the index if a root is around both, so that it moves
        with the photos."""
        around = any(os.path.commonpath([root, self.path, path]) == root for root in roots)
        return os.path.relpath(path, self.path) if around else path

    def resolved(self, stored: str) -> str:
        """The absolute path of what :meth:`stored` gave."""
        return os.path.normpath(self.path / stored)

    def with_root(self, settings: Settings, root: str) -> Settings:
        """Settings that know ``root`` too; a root around the index is kept relative to it."""
        return replace(settings, roots=(*settings.roots, self.stored(root, [root])))

    def with_walked(self, settings: Settings, root: str) -> Settings:
        """Settings by which ``root``, known before by single photos, is walked as a whole."""
        roots = self.roots(settings)
        return replace(settings, unwalked=tuple(n for n in settings.unwalked if roots[n] != root))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; the holder's pid, host and start time stand beside it.

        The lock is the operating system's, so that of a dead process is free at once.  On file systems
        without one, ``filelock`` makes the file itself the lock, and takes over that of a dead process of
        this host; one of another host must be removed by hand.

        Raises:
            IndexBusy: another process has it; the message says which.
            StorageError: the directory cannot be written.
        """
        if not self.path.is_dir():
            raise IndexNotFound(f"{self.path} is not an index: there is no such folder")
        lock = filelock.FileLock(self.lock_file, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise IndexBusy(self._busy()) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StorageError(
                f"cannot lock {self.lock_file}: {reason}; the index must be on a writable disk"
            ) from error
        try:
            self._sign()
            yield
        finally:
            (self.path / _HOLDER).unlink(missing_ok=True)
            lock.release()

    def _sign(self) -> None:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "started": started,
        }
        durable.write_atomic(self.path / _HOLDER, json.dumps(holder).encode(), "holder")

    def _busy(self) -> str:
        try:
            holder: dict[str, Any] = json.loads((self.path / _HOLDER).read_bytes())
            who = f"process {holder['pid']} on {holder['host']}, since {holder['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process"
        return f"{self.path} is being written by {who}; wait for it to end, or stop it"

    def _damaged_settings(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"{self.settings_file} is damaged: {why}; run `vsearch rebuild` to write it anew")


def place(path: str | os.PathLike[str] | None) -> Path:
    """The index at ``path``, or, for ``None``, the one that commands mean; see :func:`find`.

    Raises:
        UsageError: ``path`` is no path, or an empty one.
    """
    if path is None:
        return find()
    refuse_no_path(path)
    return Path(os.path.expanduser(path))


def find(start: Path | None = None) -> Path:
    """The index that commands mean: ``VSEARCH_INDEX``, else the nearest ``.vsearch`` upwards.

    Raises:
        IndexNotFound: there is none up to the root of the file system.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(os.path.expanduser(named))
    here = Path(start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / NAME / "index.json").is_file() or _has_vectors(folder / NAME):
            return folder / NAME
    raise IndexNotFound(
        f"no index in {here} or above it; make one with `vsearch build-index PHOTOS`, "
        f"or name one with --index or {VARIABLE}"
    )


def stores_in(path: Path) -> list[Path]:
    """The folders of an index at ``path`` that may be stores."""
    return [path, *sorted(path.glob("store-[0-9]*"))]


def _has_vectors(path: Path) -> bool:
    return any(any(store.glob("vectors/*.h5")) for store in stores_in(path))


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise IndexExists(f"{path} is a file and not an index directory; choose another place")
    expected = {*KINDS, "chroma", "encoder", _CATALOG, f"{_CATALOG}-journal", "lock", _HOLDER}
    names = set(os.listdir(path)) if path.exists() else set()
    foreign = {n for n in names - expected if not n.startswith(durable.TEMPORARY)}
    if foreign:
        raise IndexExists(
            f"{path} is not an index and not empty (it holds {sorted(foreign)[0]}); "
            "choose another place with --index"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return str(os.getuid())

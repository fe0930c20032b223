"""The index directory: where things lie in it, ``index.json``, the writer's lock.

index.json   catalog.sqlite   encoder/   pixels/   vectors/   thumbnails/   chroma/   CURRENT   lock
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock

from vsearch import durable
from vsearch.errors import (
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    StorageError,
    VersionMismatch,
)
from vsearch.records import Metric

NAME = ".vsearch"
VARIABLE = "VSEARCH_INDEX"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``index.json`` holds.

    Attributes:
        encoder: the bundle's fingerprint.
        metric: how photos are ranked; fixed at creation.
        max_megapixels: larger photos are skipped.
        keep_pixels: whether pixels segments are written and kept.
        exclude: globs that the walks leave out.
        roots: photo folders; ``..`` and the like are relative to the index directory, so that an
            index inside its photo folder moves with it.
        chroma_url: the Chroma server that holds the collection, or ``None`` for the embedded one.
    """

    encoder: str
    metric: Metric = "cosine"
    max_megapixels: float = 200.0
    keep_pixels: bool = False
    exclude: tuple[str, ...] = ()
    roots: tuple[str, ...] = field(default=())
    chroma_url: str | None = None


class IndexDirectory:
    """Paths, settings and lock of one index.

    Args:
        path: the index directory itself (``…/.vsearch``).
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.settings_file = self.path / "index.json"
        self.catalog_file = self.path / "catalog.sqlite"
        self.encoder = self.path / "encoder"
        self.chroma = self.path / "chroma"
        self.current_file = self.path / "CURRENT"
        self.lock_file = self.path / "lock"

    @classmethod
    def create(cls, path: Path, settings: Settings, put_encoder: Callable[[Path], None]) -> IndexDirectory:
        """Make an empty index directory; ``index.json`` is written last and makes it one.

        Args:
            path: where.
            settings: what ``index.json`` will hold.
            put_encoder: copies the encoder bundle to the path it is given.

        Raises:
            IndexExists: an index is there, or a folder that holds something else.
            StorageError: the place cannot be written.
        """
        directory = cls(path)
        if directory.settings_file.exists():
            raise IndexExists(f"{path} is an index already; use `vsearch add` to go on with it")
        _refuse_foreign(directory.path)
        with durable.storage_errors(path):
            for folder in ("pixels", "vectors", "thumbnails", "chroma"):
                (directory.path / folder).mkdir(parents=True, exist_ok=True)
        put_encoder(directory.encoder)
        directory.write_settings(settings)
        return directory

    def segment(self, kind: str, number: int) -> Path:
        """The file of one segment."""
        return self.path / kind / f"{number:06d}.h5"

    def settings(self) -> Settings:
        """Read ``index.json``.

        Raises:
            IndexNotFound: there is none.
            IndexDamaged: it is not what it should be.
            VersionMismatch: another format version wrote it.
        """
        try:
            fields = json.loads(self.settings_file.read_bytes())
            version = fields.pop("format_version")
        except FileNotFoundError as error:
            raise IndexNotFound(
                f"{self.path} is not an index: it has no index.json; "
                "make one with `vsearch build-index PHOTOS`"
            ) from error
        except OSError as error:
            raise IndexDamaged(f"cannot read {self.settings_file}: {error.strerror}") from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise self._damaged_settings("it is not the JSON that vsearch writes") from error
        if version != FORMAT_VERSION:
            raise VersionMismatch(
                f"{self.path}: index format {version}, this vsearch reads {FORMAT_VERSION}; "
                "use the vsearch that wrote it, or build the index anew"
            )
        return self._parse(fields)

    def write_settings(self, settings: Settings) -> None:
        """Replace ``index.json``."""
        content = {"format_version": FORMAT_VERSION, **asdict(settings)}
        durable.write_atomic(self.settings_file, json.dumps(content, indent=2).encode())

    def roots(self, settings: Settings) -> list[str]:
        """The photo folders, absolute."""
        return [os.path.normpath(self.path / root) for root in settings.roots]

    def with_root(self, settings: Settings, root: str) -> Settings:
        """Settings that know ``root`` too; a root around the index is kept relative to it."""
        inside = os.path.commonpath([root, self.path]) == root
        stored = os.path.relpath(root, self.path) if inside else root
        return replace(settings, roots=(*settings.roots, stored))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; the holder's pid, host and start time stand in the lock file.

        The lock is the operating system's, so that of a dead process is free at once.

        Raises:
            IndexBusy: another process has it; the message says which.
            StorageError: the directory cannot be written.
        """
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
            lock.release()

    def _sign(self) -> None:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "started": started,
        }
        durable.write_atomic(self.path / "lock.holder", json.dumps(holder).encode())

    def _busy(self) -> str:
        try:
            holder: dict[str, Any] = json.loads((self.path / "lock.holder").read_bytes())
            who = f"process {holder['pid']} on {holder['host']}, since {holder['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process"
        return f"{self.path} is being written by {who}; wait for it to end, or stop it"

    def _parse(self, fields: dict[str, Any]) -> Settings:
        try:
            settings = Settings(**fields)
            return replace(settings, exclude=tuple(settings.exclude), roots=tuple(map(str, settings.roots)))
        except TypeError as error:
            raise self._damaged_settings(str(error)) from error

    def _damaged_settings(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"{self.settings_file} is damaged: {why}; run `vsearch rebuild` to write it anew")


def find(start: Path | None = None) -> Path:
    """The index that commands mean: ``VSEARCH_INDEX``, else the nearest ``.vsearch`` upwards.

    Raises:
        IndexNotFound: there is none up to the root of the file system.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    here = Path(start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / NAME / "index.json").is_file():
            return folder / NAME
    raise IndexNotFound(
        f"no index in {here} or above it; make one with `vsearch build-index PHOTOS`, "
        f"or name one with --index or {VARIABLE}"
    )


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise IndexExists(f"{path} is a file and not an index directory; choose another place")
    expected = {"pixels", "vectors", "thumbnails", "chroma", "encoder", "catalog.sqlite"}
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

"""Writing so that a kill, a crash or a full disk leaves either the old file or the new one.

The order is always the same: write under a temporary name in the same folder, fsync the file, rename,
fsync the folder.  Temporary names start with ``TEMPORARY`` and are swept by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsearch.errors import StorageError, UsageError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".writing-"
_FAULT_VARIABLE = "VSEARCH_TEST_FAULT"
_BEGINNING = 4096  # bytes that tell the sort of a file
LONGEST_NAME = 255  # bytes, on every common file system
_ELSEWHERE = "choose a writable place"
# Ends some remedies; whoever knows better takes it off.
AGAIN = " and run the same command again"
_REMEDIES = {
    errno.ENOSPC: ("the disk is full", f"free some space{AGAIN}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space{AGAIN}"),
    errno.ENOENT: ("there is no such folder", "make it first"),
    errno.ENOTDIR: ("there is no such folder", "make it first"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
    errno.EROFS: ("the file system is read-only", ""),
    errno.EACCES: ("permission denied", ""),
    errno.EPERM: ("permission denied", ""),
}


def step(name: str) -> None:
    """Mark a step of the write path; kills the process here when a test asked for it.

    Tests set the environment variable ``VSEARCH_TEST_FAULT=name`` or ``name:3`` (the third time).
    """
    wanted = os.environ.get(_FAULT_VARIABLE)
    if wanted is None:
        return
    target, _, count = wanted.partition(":")
    if target != name:
        return
    left = int(count or 1) - 1
    os.environ[_FAULT_VARIABLE] = f"{target}:{left}"
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def storage_errors(path: str | os.PathLike[str], elsewhere: str = _ELSEWHERE) -> Iterator[None]:
    """Turn ``OSError`` of a write to ``path`` into :class:`StorageError` with a remedy.

    ``elsewhere`` says how to choose another place, where this one may not be written.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, elsewhere) from error


def storage_error(path: str | os.PathLike[str], error: OSError, elsewhere: str = _ELSEWHERE) -> StorageError:
    """The :class:`StorageError` that says what ``error`` means for writing ``path``."""
    default = (error.strerror or str(error), f"check the disk{AGAIN}")
    reason, remedy = _REMEDIES.get(error.errno or 0, default)
    return StorageError(f"cannot write {os.fspath(path)}: {reason}; {remedy or elsewhere}")


def not_readable(path: str | os.PathLike[str]) -> StorageError:
    """The error for a file or folder of an index that this user may not read: it is no damage."""
    return StorageError(f"cannot read {os.fspath(path)}: permission denied; make it readable for this user")


def temporary_beside(path: Path) -> Path:
    """A temporary name in the folder of ``path``, distinct for each thread of each process."""
    mine = f"{TEMPORARY}{os.getpid()}.{threading.get_native_id()}-"
    if len(os.fsencode(mine + path.name)) > LONGEST_NAME:
        return path.with_name(mine + hashlib.sha256(os.fsencode(path.name)).hexdigest())
    return path.with_name(mine + path.name)


def fsync_file(path: Path) -> None:
    """Force the file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Opening a folder to fsync it is a POSIX notion that os.open gives for files and folders alike.
fsync_folder = fsync_file


def fsync_tree(folder: Path) -> None:
    """Force every file and folder below ``folder`` to the disk, itself included."""
    for parent, _, names in os.walk(folder):
        for name in names:
            fsync_file(Path(parent, name))
        fsync_folder(Path(parent))


def publish(temporary: Path, target: Path, name: str) -> None:
    """Give finished work its name: fsync ``temporary`` (a file or a folder), rename, fsync.

    ``name`` is what the steps are called: ``<name>-written``, ``-fsynced``, ``-renamed``.
    """
    step(f"{name}-written")
    with storage_errors(target):
        (fsync_tree if temporary.is_dir() else fsync_file)(temporary)
        step(f"{name}-fsynced")
        os.replace(temporary, target)
        fsync_folder(target.parent)
    step(f"{name}-renamed")


def write_atomic(path: Path, data: bytes, name: str = "file") -> None:
    """Replace the file at ``path`` by ``data``, or leave it as it was.

    Raises:
        StorageError: the disk is full, read-only or failing.
    """
    temporary = temporary_beside(path)
    try:
        with storage_errors(path):
            temporary.write_bytes(data)
        publish(temporary, path, name)
    finally:
        with contextlib.suppress(OSError):  # what went wrong was told
            temporary.unlink()


@dataclass(frozen=True, slots=True)
class Sort:
    """A sort of file that people have written; it takes the place of its like, never of a photo.

    Attributes:
        name: what a person calls it.
        mark: what such a file has near its beginning, in lower case.
    """

    name: str
    mark: bytes


PAGE = Sort("page", b"<html")
MONTAGE = Sort("montage of vsearch's", b"vsearch montage")


def write_output(path: Path, data: bytes, sort: Sort) -> None:
    """Write a file that a person named, through links; what is no regular file, a pipe say, is written to.

    Raises:
        UsageError: it is a folder, or a file of another sort.
        StorageError: the disk is full, read-only or failing.
    """
    path = _output(path, sort)
    if _is_replaced(path):
        write_atomic(path, data)
    else:
        with storage_errors(path):
            path.write_bytes(data)


def check_output(path: Path, sort: Sort) -> None:
    """Refuse, before the work begins, a place where :func:`write_output` could not write.

    Raises:
        UsageError, StorageError: as there.
    """
    path = _output(path, sort)
    if _is_replaced(path):
        trial = temporary_beside(path)
        with storage_errors(path):
            trial.touch()
            trial.unlink()


def _output(path: Path, sort: Sort) -> Path:
    path = Path(os.path.expanduser(path))
    if os.path.isdir(path):
        raise UsageError(f"{os.path.realpath(path)} is a folder; name a file to write")
    if not _is_replaced(path):
        return path  # the pipe that /dev/stdout leads to has no name of its own
    path = Path(os.path.realpath(path))
    with storage_errors(path), contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        beginning = file.read(_BEGINNING)
        if beginning and sort.mark not in beginning.lower():
            raise UsageError(f"{path} exists and is not a {sort.name}; choose another name")
    return path


def _is_replaced(path: Path) -> bool:
    return os.path.isfile(path) or not os.path.exists(path)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done.

    HDF5 calls our code to write, from C, where an exception cannot pass: a Ctrl-C there was swallowed, left
    rows of zeros, or ended the process with a segmentation fault.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            signal.raise_signal(signal.SIGINT)


def sealed(content: dict[str, Any]) -> bytes:
    """``content`` as JSON with a checksum of itself, for :func:`unsealed`."""
    return json.dumps({**content, "checksum": _checksum(content)}, indent=2).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """The content of :func:`sealed` JSON; a flipped bit must not pass for another setting.

    Raises:
        ValueError: it is no JSON object, or not the one that was sealed.
    """
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("it does not hold a JSON object")
    if content.pop("checksum", None) != _checksum(content):
        raise ValueError("its checksum does not match: it is damaged, or was edited by hand")
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sweep(folder: Path) -> None:
    """Remove what an interrupted writer left in ``folder``; only the holder of the lock may."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        remove(leftover)


def remove(path: Path) -> None:
    """Remove a file or a folder tree; it may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_at_once(path: Path) -> None:
    """Remove a folder tree so that nobody ever sees a part of it."""
    doomed = temporary_beside(path)
    try:
        os.replace(path, doomed)
    except FileNotFoundError:
        return
    remove(doomed)


def share(path: Path) -> int | None:
    """Hold ``path`` in use until the descriptor is closed; ``None`` where locks do not work.

    Raises:
        FileNotFoundError: it is gone, or about to go.
    """
    descriptor = os.open(path, os.O_RDONLY)
    if fcntl is None:
        return descriptor
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except (BlockingIOError, FileNotFoundError):  # the writer is removing it
            is_there = False
        except OSError:  # a file system without flock
            return None
        if not is_there:
            raise FileNotFoundError(errno.ENOENT, "it is being removed", os.fspath(path))
        undo.pop_all()
    return descriptor


def in_use(path: Path) -> bool:
    """Whether a process holds ``path`` by :func:`share`; where locks do not work, no."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 when there is none."""
    if path.is_file():
        return path.stat().st_size
    files = (Path(parent, name) for parent, _, names in os.walk(path) for name in names)
    return sum(_size_or_zero(file) for file in files)


def _size_or_zero(file: Path) -> int:
    # A reader may measure while the writer swaps generations.
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0

"""Finding and reading the files of photos: the standard library alone."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import io
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from vsearch.errors import PhotoError
from vsearch.records import FileStat, Skipped

PHOTO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffixes in (
        ("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "gif", "webp", "bmp", "dib", "ico"),
        ("tif", "tiff", "avif", "avifs", "heic", "heif", "hif"),
        ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "ppm", "pgm", "pbm", "pnm", "pfm"),
    )
    for suffix in suffixes
)
# Pictures that are not read: listed as skipped, so that nobody believes them indexed.
# fmt: off
OTHER_PICTURES = frozenset((
    ".3fr", ".ai", ".arw", ".blp", ".cdr", ".cr2", ".cr3", ".cur", ".dcr", ".dds", ".djvu", ".dng", ".eps",
    ".erf", ".exr", ".fit", ".fits", ".flc", ".fli", ".gpl", ".hdr", ".icns", ".iiq", ".jxl", ".k25",
    ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pcd", ".pcx", ".pef", ".psb", ".psd", ".raf",
    ".raw", ".rw2", ".rwl", ".sgi", ".sr2", ".srf", ".srw", ".svg", ".svgz", ".tga", ".wmf", ".x3f",
    ".xbm", ".xcf", ".xpm",
))
# fmt: on
# Thumbnails that Synology NAS boxes keep beside the photos; hidden folders are skipped as well.
SKIPPED_FOLDERS = frozenset(("@eaDir",))
LARGEST = 2**30  # bytes of a file that is read as a picture
_PIECE = 2**16
REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EACCES: "make it readable for this user",
    errno.EISDIR: "name a photo",
}


def walk(root: str, exclude: Sequence[str], on_error: Callable[[Skipped], None]) -> Iterator[FileStat]:
    """Every photo under ``root``, folder by folder, names sorted by their bytes.

    A photo is a regular file with a suffix of :data:`PHOTO_SUFFIXES` or :data:`OTHER_PICTURES`, in
    any case.  Links to files and folders are followed, those to folders last; a folder that is reached
    twice, by a loop say, is walked once, by its own path if it lies under ``root``.
    Hidden files and folders and ``@eaDir`` are left out.  Memory is bounded by the largest folder.

    Args:
        root: the folder.
        exclude: globs for ``fnmatch`` on the relative path or on the name alone: ``*`` crosses
            ``/``, so ``raw/*`` is all below ``raw``, ``*.gif`` every GIF.  A folder that matches is
            not entered.  Case counts.
        on_error: told of each folder or file that cannot be read; the walk goes on.
    """
    root = os.path.abspath(root)
    return _walk_folder(root, "", _excluder(exclude), on_error, set())


def _walk_folder(
    root: str,
    folder: str,
    excluded: Callable[[str, str], bool],
    on_error: Callable[[Skipped], None],
    visited: set[tuple[int, int]],
) -> Iterator[FileStat]:
    pending, linked = [folder], deque[str]()
    while pending or linked:
        folder = pending.pop() if pending else linked.popleft()
        folders: list[str] = []
        for entry in _entries(absolute(root, folder), on_error, visited):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if excluded(path, entry.name):
                continue
            if _is_folder(entry):
                (linked if entry.is_symlink() else folders).append(path)
            elif _is_photo_name(entry.name):
                yield from _seen(root, path, entry, on_error)
        pending.extend(reversed(folders))


def _entries(
    folder: str, on_error: Callable[[Skipped], None], visited: set[tuple[int, int]]
) -> list[os.DirEntry[str]]:
    """What a folder holds, sorted; nothing if it was visited, vanished or cannot be read."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            return []
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        on_error(Skipped(folder, f"folder cannot be read: {_reason(error)}", _remedy(error)))
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that loops onto itself
        return False


def _is_photo_name(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in PHOTO_SUFFIXES or suffix in OTHER_PICTURES


def _seen(
    root: str, path: str, entry: os.DirEntry[str], on_error: Callable[[Skipped], None]
) -> Iterator[FileStat]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # vanished since, or a dangling link
        return
    except OSError as error:
        on_error(Skipped(absolute(root, path), _reason(error), _remedy(error)))
        return
    if stat.S_ISREG(status.st_mode):
        yield FileStat(root, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _excluder(patterns: Sequence[str]) -> Callable[[str, str], bool]:
    """Whether (relative path, name) is hidden, a NAS's own, or matches a pattern."""
    globs = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]

    def excluded(path: str, name: str) -> bool:
        if name.startswith(".") or name in SKIPPED_FOLDERS:
            return True
        return any(glob.match(path) or glob.match(name) for glob in globs)

    return excluded


def stat_file(path: str) -> FileStat:
    """One named file as a walk would see it; its folder is the root, whatever its suffix.

    Raises:
        PhotoError: it is missing, unreadable, or no regular file (opening a FIFO would hang).
    """
    path = os.path.abspath(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_regular(path)
    root, name = os.path.split(path)
    return FileStat(root, name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def check_format(path: str) -> None:
    """Refuse, before it is read, a picture of a format that vsearch does not read.

    Raises:
        PhotoError: its suffix is one of :data:`OTHER_PICTURES`.
    """
    if is_other_picture(path):
        suffix = os.path.splitext(path)[1].lower()
        raise PhotoError(path, f"{suffix} files are not read", "export it as JPEG, PNG or TIFF")


def is_other_picture(path: str) -> bool:
    """Whether ``path`` is a picture of a format that vsearch lists and does not read."""
    return os.path.splitext(path)[1].lower() in OTHER_PICTURES


def absolute(root: str, path: str) -> str:
    """The absolute path of ``path``, which is relative to ``root``; ``""`` is the root itself."""
    return os.path.join(root, path) if path else root


def is_gone(root: str, path: str) -> bool:
    """Whether nothing is called ``path`` in ``root`` any more, although ``root`` is there.

    An empty root may be one that is not mounted; what it held is not gone.  Where names differ in more
    than case alone (not on most disks of macOS and Windows), a file may be reached by a name it lost.
    """
    full = absolute(root, path)
    folder, name = os.path.split(full)
    try:
        if os.path.lexists(full):
            any_case = os.path.lexists(os.path.join(folder, name.swapcase()))
            return any_case and name not in os.listdir(folder)
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def is_walked(path: str) -> bool:
    """Whether walks yield a file of this relative path, exclusions aside; others must be named."""
    return not is_hidden(path) and _is_photo_name(path)


def is_left_out(path: str, exclude: Sequence[str]) -> bool:
    """Whether walks leave out what has this relative path: hidden, or a glob matches it or a folder above."""
    excluded, parts = _excluder(exclude), path.split(os.sep)
    return any(excluded("/".join(parts[: n + 1]), part) for n, part in enumerate(parts))


def is_hidden(path: str) -> bool:
    """Whether a file of this relative path, or a folder that it is in, is hidden or a NAS's own."""
    return any(part.startswith(".") or part in SKIPPED_FOLDERS for part in path.split("/"))


def places(path: str | os.PathLike[str]) -> list[str]:
    """The absolute paths that ``path`` may mean: as it is, and with the links on its way followed.

    A photo may be gone, or lie in a folder that is a link: the catalog has what the walk came across,
    from where the root really lies.
    """
    given = expanded(os.fspath(path))
    if "\0" in given:
        return []
    given = os.path.abspath(given)
    folders = [given]
    while (folder := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(folder)
    followed = (os.path.join(os.path.realpath(f), os.path.relpath(given, f)) for f in folders)
    return list(dict.fromkeys([given, *map(os.path.normpath, followed)]))


class Below:
    """A folder, and all that is in it: ``path in Below(folder)``; the folder may be a link."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._places = [(place, place.rstrip(os.sep) + os.sep) for place in places(folder)]

    def __contains__(self, path: str) -> bool:
        return any(path == place or path.startswith(inside) for place, inside in self._places)

    def holds(self, path: str) -> bool:
        """Whether ``path`` is in the folder by its name, or leads into it through links."""
        return path in self or os.path.realpath(path) in self


# --- reading -------------------------------------------------------------------------------------


def expanded(path: str | bytes) -> str:
    """``path`` with the folder that ``~`` stands for; one with NUL, which no file has, as it is."""
    path = os.fsdecode(path)  # what ``__fspath__`` gives may be bytes
    return path if "\0" in path else os.path.expanduser(path)


def read(path: str, limit: int = LARGEST) -> bytes:
    """The bytes of a file, or of what a shell's ``<(...)`` gives.

    Raises:
        PhotoError: it cannot be read, is larger than ``limit`` bytes, or may never end: a named FIFO, say.
    """
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or _is_descriptor(path)):
            raise _not_regular(path)
        with open(path, "rb") as file:
            return content(file, path, limit)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _is_descriptor(path: str) -> bool:
    """Whether this is a file that whoever started the process opened for it."""
    return path.startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))


def content(file: BinaryIO, name: str, limit: int = LARGEST) -> bytes:
    """All bytes of an open file, from its start if it can go there; one that is too large is not read.

    Raises:
        PhotoError: it cannot be read, or is larger than ``limit`` bytes; errors call it ``name``.
    """
    if isinstance(file, io.TextIOBase):
        raise PhotoError(name, "opened as text", "open it with mode 'rb'")
    pieces: list[bytes] = []
    try:
        size = _rewound(file)
        left = limit + 1 if size <= limit else 0
        while left and (piece := file.read(min(size + _PIECE, left))):
            pieces.append(piece)
            left -= len(piece)
    except (AttributeError, OSError, ValueError) as error:
        raise _unreadable(name, error) from error
    if not left:
        raise _too_large(name, limit)
    return b"".join(pieces)


def _rewound(file: BinaryIO) -> int:
    """How large a file is, which is then at its start; 0 where that cannot be told."""
    if not file.seekable():
        return 0
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def digest(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 of ``data``, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256(path: str, limit: int | None = None) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces.

    Raises:
        PhotoError: it cannot be read, or is larger than ``limit`` bytes.
    """
    try:
        with open(path, "rb") as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                raise _too_large(path, limit)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _not_regular(path: str) -> PhotoError:
    return PhotoError(path, "not a regular file", "name a photo")


def _too_large(path: str, limit: int) -> PhotoError:
    return PhotoError(path, f"larger than {limit / 2**20:,.0f} MiB", "leave it out")


def _unreadable(path: str, error: Exception) -> PhotoError:
    return PhotoError(path, _reason(error), _remedy(error))


def _remedy(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return REMEDIES.get(number or 0, "check the path and the disk")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error)

"""What a run is given: folders to walk, and single files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vsearch import files
from vsearch.errors import PhotoError, UsageError
from vsearch.paths import refuse_no_path
from vsearch.records import FileStat, Skipped

Source = tuple[str, str | None]  # a folder and None, or a folder and the name of one file in it


def count(photos: Sequence[str | os.PathLike[str]], exclude: Sequence[str]) -> int:
    """How many photos the files and folders hold, without reading any.

    Raises:
        UsageError: a path does not exist, or there is no photo in any of them.
    """
    unreadable: list[Skipped] = []
    sources = sources_of(photos, exclude)
    total = sum(1 for source in sources for _ in walk(*source, exclude, unreadable.append))
    if not total:
        raise UsageError(_nothing(photos, unreadable, exclude))
    return total


def found(photos: Sequence[str | os.PathLike[str]], exclude: Sequence[str]) -> list[FileStat]:
    """The photos in files and folders, without reading any; one that is named twice comes once.

    Raises:
        UsageError: a path does not exist, or there is no photo in any of them.
    """
    unreadable: list[Skipped] = []
    sources = sources_of(photos, exclude)
    inside = [file for source in sources for file in walk(*source, exclude, unreadable.append)]
    if not inside:
        raise UsageError(_nothing(photos, unreadable, exclude))
    return inside


def walk(
    root: str, name: str | None, exclude: Sequence[str], on_error: Callable[[Skipped], None]
) -> Iterable[FileStat]:
    """The files of a source; folders that cannot be read go to ``on_error``."""
    if name is None:
        return files.walk(root, exclude, on_error)
    return [files.stat_file(files.absolute(root, name))]


def sources_of(photos: Sequence[str | os.PathLike[str]], exclude: Sequence[str]) -> list[Source]:
    """The folders and files to look at: each of ``photos`` once, less those that a walk of another finds."""
    sources = dict.fromkeys(map(_source, photos))
    folders = {root for root, name in sources if name is None}

    def is_found_in(folder: str, path: str, name: str | None) -> bool:
        relative = os.path.relpath(path, folder)
        return not files.is_left_out(relative, exclude) and (name is None or files.is_walked(relative))

    def is_covered(root: str, name: str | None) -> bool:
        path = files.absolute(root, name or "")
        around = folders.intersection(map(str, Path(path).parents))
        return any(is_found_in(folder, path, name) for folder in around)

    return [source for source in sources if not is_covered(*source)]


def _source(path: str | os.PathLike[str]) -> Source:
    """A folder as ``(folder, None)``, a file as ``(its folder, its name)``; both resolved."""
    refuse_no_path(path)
    given = os.path.realpath(os.path.expanduser(os.fspath(path)))
    if os.path.isdir(given):
        if not os.access(given, os.R_OK | os.X_OK):
            raise UsageError(f"cannot read {path}: permission denied; make it readable for this user")
        return given, None
    try:
        file = files.stat_file(given)
    except PhotoError as error:
        raise UsageError(f"{os.fspath(path)}: {error.reason}; {error.remedy}") from error
    return file.root, file.path


def _nothing(
    photos: Sequence[str | os.PathLike[str]], skipped: Sequence[Skipped], exclude: Sequence[str]
) -> str:
    if not photos:
        return "name photos, or folders of photos"
    names = ", ".join(os.fspath(path) for path in photos)
    why = f" ({len(skipped)} folders could not be read)" if skipped else ""
    known = "jpg, png, webp, gif, tiff, bmp, avif, heic, jp2, ppm, ico"
    left = f" that --exclude {' '.join(exclude)} does not leave out" if exclude else ""
    return f"no photos in {names}{why}{left}; vsearch looks for files that end in {known} and the like"

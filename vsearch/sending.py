"""What a client sends: the photos in files and folders of this machine, a few at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from vsearch import files
from vsearch.errors import PhotoError, UsageError
from vsearch.paths import refuse_no_path
from vsearch.records import Skipped

_TOGETHER = 16
_TOGETHER_BYTES = 32 * 2**20  # half of what a server takes by default


def paths(photo: str | os.PathLike[str], unreadable: list[Skipped]) -> Iterator[str]:
    """A file, or every photo in a folder and below it; what cannot be read goes to ``unreadable``.

    Raises:
        UsageError: there is no such file or folder.
    """
    refuse_no_path(photo)
    path = os.path.expanduser(os.fspath(photo))
    if not os.path.isdir(path):
        try:
            files.stat_file(path)
        except PhotoError as error:
            raise UsageError(f"{os.fspath(photo)}: {error.reason}; {error.remedy}") from error
        yield path
        return
    for file in files.walk(os.path.realpath(path), (), unreadable.append):
        yield file.absolute


def batches(names: Sequence[str]) -> Iterator[list[str]]:
    """A few files at a time, of few bytes; a large one alone."""
    some: list[str] = []
    room = _TOGETHER_BYTES
    for path in names:
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if some and (len(some) == _TOGETHER or size > room):
            yield some
            some, room = [], _TOGETHER_BYTES
        some.append(path)
        room -= size
    if some:
        yield some


def parts(names: Sequence[str], unreadable: list[Skipped]) -> list[tuple[str, tuple[str, bytes]]]:
    """Files as parts of a form, each called by its number; those that cannot be read go to ``unreadable``."""
    found = []
    for number, path in enumerate(names):
        try:
            found.append(("file", (str(number), files.read(path))))
        except PhotoError as error:
            unreadable.append(Skipped(path, error.reason, error.remedy))
    return found

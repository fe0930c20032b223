"""What can be the path of a file or folder."""

from __future__ import annotations

import os

from vsearch.errors import UsageError


def refuse_no_path(path: object) -> None:
    """Refuse what names no file or folder.

    Raises:
        UsageError: it is no path, or has a character that no path has; or it is an empty one, of an unset
            variable in a shell, which must not stand for the working directory.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        raise UsageError(f"a file or folder is named by its path; received {path!r}")
    if not text:
        raise UsageError("a path is empty; name a file or folder, or . for this folder")
    if "\0" in text:
        raise UsageError(f"{text!r} has a NUL character, which no path has")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} has a character that no path of this system has") from None

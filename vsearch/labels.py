"""What each photo shows, for evaluation: by its folder, by a pattern on its path, or from a CSV file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from vsearch import files
from vsearch.errors import UsageError
from vsearch.records import FileStat

Rule = Callable[[FileStat], str | None]


def rule(text: str) -> Rule:
    """The rule that ``--labels`` means.

    ``folder``: the name of the folder a photo lies in.  A file that ends in ``.csv``: its lines are path
    (absolute, or relative to the CSV file) and label.  All else is a regular expression, searched in the path
    relative to the photo folder; its first group, or the whole match, is the label.

    Raises:
        UsageError: the file cannot be read, or the expression is none.
    """
    if text == "folder":
        return lambda file: os.path.basename(os.path.dirname(_path(file)))
    if text.endswith(".csv"):
        return _from_csv(Path(text).expanduser())
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"--labels takes folder, a .csv file or a regular expression; {text!r} is none: {error}"
        ) from error
    return lambda file: _matched(pattern, file.path)


def check(labels: Sequence[str]) -> None:
    """Refuse labels that nothing can be measured with.

    Raises:
        UsageError: no two photos share a label, or all do.
    """
    different = len(set(labels))
    if different < 2 or different == len(labels):
        raise UsageError(
            f"{len(labels)} photos have {different} different labels; measuring needs at least two, each on "
            "several photos: give other --labels"
        )


def _path(file: FileStat) -> str:
    return files.absolute(file.root, file.path)


def _matched(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    return found and (found[1] if pattern.groups else found[0])


def _from_csv(path: Path) -> Rule:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {reason}; give lines of path,label in UTF-8") from error
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None:
        raise UsageError(f"{path}, row {short}: each row must be path,label")
    known = {os.path.realpath(path.parent / row[0]): row[1] for row in rows}
    return lambda file: known.get(os.path.realpath(_path(file)))

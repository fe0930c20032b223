"""What each photo shows, for evaluation: by its folder, by a pattern on its path, or from a CSV file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from vsearch.errors import UsageError
from vsearch.records import FileStat

Rule = Callable[[FileStat], str | None]


def rule(text: str) -> Rule:
    """The rule that ``--labels`` means.

    ``folder``: the name of the folder a photo lies in.  A file that ends in ``.csv``: its lines are path
    (absolute, or relative to the CSV file) and label.  All else is a regular expression, searched in the path
    relative to the photo folder; its first group, or the whole match, is the label.

    Raises:
        UsageError: the file cannot be read, or gives a photo two labels; or ``text`` is no regular
            expression.
    """
    if text == "folder":
        return lambda file: os.path.basename(os.path.dirname(file.absolute))
    if text.endswith(".csv"):
        return _from_csv(Path(os.path.expanduser(text)))
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"--labels takes folder, a .csv file or a regular expression; {text!r} is none: {error}"
        ) from error
    return lambda file: _matched(pattern, file.path)


def labelled(photos: Sequence[FileStat], text: str) -> list[tuple[FileStat, str]]:
    """Those of ``photos`` that have a label by the :func:`rule` that ``text`` means, each with it.

    Raises:
        UsageError: none has, or ``text`` means no rule.
    """
    label = rule(text)
    found = [(photo, name) for photo in photos if (name := label(photo)) is not None]
    if not found:
        raise UsageError(_none_labelled(photos, text))
    return found


def check(labels: Sequence[str]) -> None:
    """Refuse labels that nothing can be measured with.

    Raises:
        UsageError: no two photos share a label, or all do.
    """
    different = len(set(labels))
    if different < 2 or different == len(labels):
        raise UsageError(
            f"{len(labels)} photos have {different} different labels; measuring needs at least two, each on "
            "several photos: give other --labels, or more photos"
        )


def _matched(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    return found and (found[1] if pattern.groups else found[0])


def _none_labelled(photos: Sequence[FileStat], text: str) -> str:
    if not text.endswith(".csv"):
        return f"none of {len(photos)} photos has a label; give other --labels"
    rows = _rows(Path(os.path.expanduser(text)))
    if not rows:
        return f"{text} is empty; give lines of path,label"
    named = os.path.realpath(
        Path(os.path.expanduser(text)).parent / rows[-1][0]
    )  # the first may be a heading
    return (
        f"{text} names none of {len(photos)} photos; its last line is of {named}, and one of the photos is "
        f"{photos[0].absolute}: paths in it are absolute, or relative to its folder"
    )


def _from_csv(path: Path) -> Rule:
    known: dict[str, str] = {}
    for given, label, *_ in _rows(path):
        before = known.setdefault(os.path.realpath(path.parent / given), label)
        if before != label:
            raise UsageError(f"{path} names {given} twice, as {before} and as {label}; leave one of them")
    return lambda file: known.get(os.path.realpath(file.absolute))


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {path}: {reason}; give lines of path,label in UTF-8") from error
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None:
        raise UsageError(f"{path}, row {short}: each row must be path,label")
    return rows

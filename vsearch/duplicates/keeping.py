"""Which photo of a group to keep: rules, applied one after the other until one decides.  Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vsearch.duplicates.records import DuplicatePhoto
from vsearch.errors import UsageError

#: What is tried when nothing is asked for.
DEFAULT_RULES = ("largest", "oldest")
# Formats that lose nothing first; WebP and AVIF mostly are made from a JPEG.
FORMATS = ("TIFF", "PNG", "BMP", "HEIF", "JPEG", "MPO", "JPEG2000", "AVIF", "WEBP", "GIF")
_ALLOWED = "largest, oldest, sharpest, format, path:GLOB"


@dataclass(frozen=True, slots=True)
class Choice:
    """The photo to keep, and why, in words."""

    photo: DuplicatePhoto
    why: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: photos with the smallest rank are better; ``tell`` says why one was."""

    name: str
    rank: Callable[[DuplicatePhoto], float]
    tell: Callable[[DuplicatePhoto], str]


def parse(text: str) -> list[Rule]:
    """Rules separated by commas, strongest first.

    ``largest`` most pixels, ``oldest`` earliest capture time (of the file, where there is none),
    ``sharpest``, ``format`` the one that loses least, ``path:GLOB`` a path that matches, or whose end does.

    Raises:
        UsageError: there is no such rule.

    >>> [rule.name for rule in parse("path:*/originals/*,largest")]
    ['path:*/originals/*', 'largest']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--keep takes {_ALLOWED}, separated by commas; received {text!r}")
    return [_rule(name) for name in names]


def needs_sharpness(rules: Sequence[Rule]) -> bool:
    """Whether a rule asks how sharp the photos are."""
    return any(rule.name == "sharpest" for rule in rules)


def choose(photos: Sequence[DuplicatePhoto], rules: Sequence[Rule], decided: Mapping[str, str]) -> Choice:
    """The photo to keep.

    Args:
        photos: at least one.
        rules: strongest first; what they leave undecided goes to more bytes, then to the first path.
        decided: SHA-256 of photos that the user wants kept, and the path that was named; they come before all
            rules, and that path before others with the same bytes.
    """
    left = [photo for photo in photos if photo.sha256 in decided] or list(photos)
    left = [photo for photo in left if decided.get(photo.sha256) == photo.path] or left
    if len(left) == 1 and len(photos) > 1:
        return Choice(left[0], "you decided so")
    for rule in rules:
        best = min(map(rule.rank, left))
        better = [photo for photo in left if rule.rank(photo) == best]
        if len(better) == 1:
            return Choice(better[0], rule.tell(better[0]))
        left = better
    kept = min(left, key=lambda photo: (-photo.bytes, photo.path))
    why = "more bytes" if any(photo.bytes != kept.bytes for photo in left) else "first of equals by path"
    return Choice(kept, why)


def _rule(name: str) -> Rule:
    if name.startswith("path:") and len(name) > 5:
        glob = name[5:]
        return Rule(name, lambda photo: not _is_like(photo.path, glob), lambda photo: f"path is like {glob}")
    if name not in _RULES:
        raise UsageError(f"--keep takes {_ALLOWED}; received {name!r}")
    return _RULES[name]


def _is_like(path: str, glob: str) -> bool:
    """Whether a glob fits the whole path, or its end from some folder on."""
    return fnmatch.fnmatch(path, glob) or fnmatch.fnmatch(path, f"*/{glob}")


def _age(photo: DuplicatePhoto) -> float:
    if photo.taken_at is None:
        return photo.mtime_ns / 1e9
    return datetime.fromisoformat(photo.taken_at).replace(tzinfo=UTC).timestamp()


_RULES = {
    "largest": Rule(
        "largest",
        lambda photo: -photo.width * photo.height,
        lambda photo: f"largest: {photo.width} x {photo.height}",
    ),
    "oldest": Rule(
        "oldest",
        _age,
        lambda photo: f"oldest: {photo.taken_at.replace('T', ' ') if photo.taken_at else 'by file time'}",
    ),
    "sharpest": Rule(
        "sharpest",
        lambda photo: -(photo.sharpness or 0.0),
        lambda photo: f"sharpest: {photo.sharpness or 0.0:.0f}",
    ),
    "format": Rule(
        "format",
        lambda photo: FORMATS.index(photo.format) if photo.format in FORMATS else len(FORMATS),
        lambda photo: f"format: {photo.format}",
    ),
}

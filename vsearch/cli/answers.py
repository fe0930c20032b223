"""What becomes of the answers to a query: printed, drawn, opened, copied."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vsearch.durable import LONGEST_NAME
from vsearch.errors import UsageError

_CLOCK = 2.0  # seconds: how finely FAT keeps times

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.question import Asked, Crop, Picture
    from vsearch.records import Answer, Match
    from vsearch.render.parts import Part


@dataclass(frozen=True, slots=True)
class Output:
    """Where the answers go, as the options of ``query`` say."""

    as_json: bool = False
    paths: bool = False
    null: bool = False
    html: Path | None = None
    sheet: Path | None = None
    preview: bool = False
    open_best: bool = False
    copy_to: Path | None = None
    link_to: Path | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A query as people see it.

    Attributes:
        asked: what it asks with.
        plus, minus: how its pictures were named.
        filters: which were used.
    """

    asked: Asked
    plus: Sequence[str] = ()
    minus: Sequence[str] = ()
    filters: Sequence[str] = ()

    @property
    def name(self) -> str:
        """All of it but the filters, in one line."""
        words = [] if self.asked.text is None else [f'"{self.asked.text}"']
        region = "" if self.asked.crop is None else f", region {self.asked.crop} of the first"
        unlike = f", unlike {' + '.join(self.minus)}" if self.minus else ""
        return " + ".join([*self.plus, *words]) + region + unlike


def check_output(output: Output) -> None:
    """Refuse what contradicts itself, or has no place.

    Raises:
        UsageError: two kinds of listing at once, a montage in a format that is none, or a file of another
            sort in its place.
        StorageError: the place cannot be written.
    """
    from vsearch import durable

    if output.as_json + output.paths + output.null + output.preview > 1:
        raise UsageError("--json, --paths, -0 and --preview exclude each other; choose one")
    if _are_one(output.copy_to, output.link_to):
        raise UsageError("--copy-to and --link-to need a folder each")
    if _are_one(output.html, output.sheet):
        raise UsageError("--html and --sheet need a file each")
    if output.sheet is not None and output.sheet.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"a montage is a .jpg or a .png; received {output.sheet}")
    if output.html is not None:
        durable.check_output(output.html, durable.PAGE)
    if output.sheet is not None:
        durable.check_output(output.sheet, durable.MONTAGE)


def _are_one(a: Path | None, b: Path | None) -> bool:
    if a is None or b is None:
        return False
    return os.path.realpath(os.path.expanduser(a)) == os.path.realpath(os.path.expanduser(b))


def deliver(
    index: Index,
    query: Shown,
    answer: Answer,
    output: Output,
) -> None:
    """Print the matches and write, copy or open what was asked for."""
    matches = answer.matches
    parts = _parts(index, query) if output.html or output.sheet else []
    if output.html is not None:
        from vsearch.render.html import SheetRow, write_sheet

        row = SheetRow(query.name, parts, matches, query.filters, answer.note)
        write_sheet(output.html, [row], index.thumbnail)
        print(f"contact sheet: {output.html}", file=sys.stderr)
    if output.sheet is not None:
        from vsearch.render.montage import write_montage

        shown = write_montage(output.sheet, parts, matches, index.thumbnail)
        rest = f", the first {shown:,} of {len(matches):,} matches" if shown < len(matches) else ""
        print(f"montage: {output.sheet}{rest}", file=sys.stderr)
    if output.copy_to is not None:
        _place(matches, output.copy_to, shutil.copy2, "copied")
    if output.link_to is not None:
        _place(matches, output.link_to, os.symlink, "linked")
    if output.preview:
        from vsearch.render.preview import show

        show(matches, index.thumbnail, sys.stdout)
    else:
        _print(query.name, matches, output)
    if output.open_best and matches:
        _open(matches[0].path)


def _print(name: str, matches: Sequence[Match], output: Output) -> None:
    from vsearch.render.text import console, match_json, matches_table, write_paths

    if output.as_json:
        for match in matches:
            print(match_json(name, match))
    elif output.paths or output.null:
        write_paths((match.path for match in matches), "\0" if output.null else "\n")
    elif matches:
        console(sys.stdout).print(matches_table(matches))


def _parts(index: Index, query: Shown) -> list[Part]:
    from vsearch.render.parts import Part

    asked = query.asked
    crops = [asked.crop, *[None] * len(asked.plus)]
    parts = [
        Part("region" if crop else "query", name, _thumbnail(index, weighted.picture, crop))
        for weighted, name, crop in zip(asked.plus, query.plus, crops, strict=False)
    ]
    if asked.text is not None:
        parts.append(Part("query", f'"{asked.text}"', None))
    unlike = zip(asked.minus, query.minus, strict=True)
    return parts + [Part("unlike", name, _thumbnail(index, w.picture, None)) for w, name in unlike]


def _thumbnail(index: Index, picture: Picture, crop: Crop | None) -> bytes | None:
    from vsearch.images import decode
    from vsearch.question import box_of
    from vsearch.records import Photo

    if isinstance(picture, Photo):
        if crop is None:
            return index.thumbnail(picture.id)
        picture = index.path_of(picture)
    limit = index.max_megapixels
    whole = decode(picture, 8, max_megapixels=limit)
    if crop is None:
        return whole.thumbnail
    box = box_of(crop, (whole.facts.width, whole.facts.height))
    return decode(picture, 8, max_megapixels=limit, box=box).thumbnail


def _place(matches: Sequence[Match], folder: Path, put: Callable[[str, str], object], done: str) -> None:
    """Put each match into ``folder`` under ``rank-name``; what is there already is never replaced.

    A run that was stopped may be repeated: what it has put there stays.
    """
    from vsearch.durable import storage_errors, temporary_beside
    from vsearch.render.text import printable

    width, placed, there = len(str(len(matches))), 0, 0
    folder = Path(os.path.expanduser(folder))  # which shells do not after `=`
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for match in matches:
        target = folder / _fitting(f"{match.rank:0{width}d}-{Path(match.path).name}")
        if not (os.path.isfile(match.path) and os.access(match.path, os.R_OK)):
            print(f"skipped {printable(match.path)}: it is gone, or cannot be read", file=sys.stderr)
            continue
        if os.path.lexists(target):
            if target.is_symlink() != (put is os.symlink) or not _is_put(match.path, target):
                raise UsageError(f"{printable(str(target))} is there already; choose an empty folder")
            there += 1
            continue
        temporary = temporary_beside(target)
        try:
            with storage_errors(f"{target} from {match.path}"):
                put(match.path, str(temporary))
                os.replace(temporary, target)
        finally:
            with suppress(OSError):  # half of a copy
                temporary.unlink()
        placed += 1
    rest = f"; {there} there already" if there else ""
    print(f"{done} {placed} photos into {folder}{rest}", file=sys.stderr)


def _is_put(path: str, target: Path) -> bool:
    """Whether ``target`` is a link to the file at ``path``, or a copy of it by size and time."""
    if target.is_symlink():
        return os.readlink(target) == path
    copy, original = target.stat(), os.stat(path)
    apart = abs(copy.st_mtime - original.st_mtime)
    return target.is_file() and copy.st_size == original.st_size and apart <= _CLOCK


def _fitting(name: str) -> str:
    """``name``, shortened before its suffix to what file systems take."""
    stem, suffix = os.path.splitext(name)
    room = LONGEST_NAME - len(os.fsencode(suffix))
    encoded = os.fsencode(stem)
    return name if len(encoded) <= room else encoded[:room].decode("utf-8", "ignore") + suffix


def _open(path: str) -> None:
    if not os.path.exists(path):
        raise UsageError(f"cannot open {path}: the file is gone; `vsearch sync` makes the index follow")
    if sys.platform == "win32":
        os.startfile(path)
        return
    program = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.run([program, path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"cannot open {path}: {program} is missing or failed; open it by hand") from error

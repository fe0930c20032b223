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

from vsearch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.question import Asked, Crop, Picture
    from vsearch.records import Match
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
    if output.copy_to is not None and output.link_to is not None and output.copy_to == output.link_to:
        raise UsageError("--copy-to and --link-to need a folder each")
    if output.sheet is not None and output.sheet.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"a montage is a .jpg or a .png; received {output.sheet}")
    if output.html is not None:
        durable.check_output(output.html, durable.PAGE)
    if output.sheet is not None:
        durable.check_output(output.sheet, durable.MONTAGE)


def deliver(
    index: Index,
    query: Shown,
    matches: Sequence[Match],
    output: Output,
) -> None:
    """Print the matches and write, copy or open what was asked for."""
    parts = _parts(index, query) if output.html or output.sheet else []
    if output.html is not None:
        from vsearch.render.html import SheetRow, write_sheet

        write_sheet(output.html, [SheetRow(query.name, parts, matches, query.filters)], index.thumbnail)
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
    """Put each match into ``folder`` under ``rank-name``; what is there already is never replaced."""
    from vsearch.durable import storage_errors
    from vsearch.render.text import printable

    width, placed = len(str(len(matches))), 0
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for match in matches:
        target = folder / f"{match.rank:0{width}d}-{Path(match.path).name}"
        if os.path.lexists(target):
            raise UsageError(f"{printable(str(target))} is there already; choose an empty folder")
        if not os.access(match.path, os.R_OK):
            print(f"skipped {printable(match.path)}: it is gone, or cannot be read", file=sys.stderr)
            continue
        try:
            with storage_errors(target):
                put(match.path, str(target))
        except StorageError:
            with suppress(OSError):  # half of a copy; a name too long is none
                target.unlink()
            raise
        placed += 1
    print(f"{done} {placed} photos into {folder}", file=sys.stderr)


def _open(path: str) -> None:
    if sys.platform == "win32":
        os.startfile(path)
        return
    program = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.run([program, path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"cannot open {path}: {program} is missing or failed; open it by hand") from error

"""The query command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import NOTHING_FOUND, app
from vsearch.cli.options import IndexOption, JsonOption
from vsearch.errors import UsageError

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.records import Match


@app.command()
def query(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The picture to look for.")],
    index: IndexOption = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many matches.")] = 10,
    as_json: JsonOption = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line.")] = False,
    null: Annotated[bool, typer.Option("-0", help="Print paths ended by NUL, for `xargs -0`.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a contact sheet that opens offline."),
    ] = None,
) -> None:
    """Show the photos most like a picture, best first.

    Examples:

      vsearch query cat.jpg

      vsearch query cat.jpg -k 20 --html cats.html

      vsearch query cat.jpg --paths | head -3
    """
    from vsearch.index import Index

    if as_json + paths + null > 1:
        raise UsageError("--json, --paths and -0 exclude each other; choose one")
    with Index.open(index) as opened:
        matches = opened.query(image, k=k)
        if html is not None:
            _write_sheet(opened, html, image, matches)
    _print(str(image), matches, as_json=as_json, paths=paths, null=null)
    if not matches:
        print("nothing found: the index has no photos", file=sys.stderr)
        raise typer.Exit(NOTHING_FOUND)


def _print(name: str, matches: list[Match], *, as_json: bool, paths: bool, null: bool) -> None:
    from vsearch.render.text import console, match_json, matches_table

    if as_json:
        for match in matches:
            print(match_json(name, match))
    elif paths or null:
        end = "\0" if null else "\n"
        sys.stdout.write("".join(match.path + end for match in matches))
    elif matches:
        console(sys.stdout).print(matches_table(matches))


def _write_sheet(index: Index, target: Path, image: Path, matches: list[Match]) -> None:
    from vsearch.images import decode
    from vsearch.render.html import SheetRow, write_sheet

    picture = decode(os.fspath(image), 8).thumbnail
    write_sheet(target, [SheetRow(str(image), picture, matches)], index.thumbnail)
    print(f"contact sheet: {target}", file=sys.stderr)

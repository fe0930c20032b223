"""The map command."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from vsearch import durable
from vsearch.cli import NOTHING_FOUND, app
from vsearch.cli.options import IndexOption, JsonOption, SinceOption, UnderOption, UntilOption
from vsearch.cli.querying import Filter, named_filters
from vsearch.errors import UsageError


@app.command("map")
def map_photos(
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that opens offline.")
    ] = None,
    index: IndexOption = None,
    where: Filter = None,
    under: UnderOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another map.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw the whole collection as one zoomable picture: photos that look alike lie close together.

    Examples:

      vsearch map --html map.html

      vsearch map --html rome.html --where "taken >= 2024 and folder = trips/rome"

      vsearch map --json > places.jsonl
    """
    from vsearch.index import Index

    if html is None and not as_json:
        raise UsageError("say where the map goes: --html FILE, or --json for the positions")
    if html is not None:
        durable.check_output(html, durable.PAGE)
    with Index.open(index) as opened, _working("placing the photos"):
        found = opened.map(where, under=under, since=since, until=until, seed=seed)
    if not len(found):
        print("no photos to draw; add some, or choose another filter", file=sys.stderr)
        raise typer.Exit(NOTHING_FOUND)
    if as_json:
        for photo, path, (x, y) in zip(found.ids, found.paths, found.positions.tolist(), strict=True):
            print(json.dumps({"id": photo, "path": path, "x": round(x, 5), "y": round(y, 5)}))
    if html is not None:
        from vsearch.render.map import write_map

        filters = named_filters(where, under=under, since=since, until=until)
        with opened, _working("drawing the thumbnails"), opened.thumbnails() as thumbnail:
            write_map(html, found, thumbnail, filters)
        print(f"map: {html}", file=sys.stderr)


def _working(what: str) -> AbstractContextManager[object]:
    """A spinner, for people only."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)

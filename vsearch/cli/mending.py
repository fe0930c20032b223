"""Commands that hold an index together: check, rebuild, reencode."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from vsearch.cli import FAILED, app
from vsearch.cli.building import run_and_report
from vsearch.cli.options import DeviceOption, IndexOption, JsonOption, StrictOption


@app.command()
def check(
    index: IndexOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every vector of the collection, not a sample.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Hold disk, catalog, segments and collection against each other; exit with 2 if anything is wrong.

    Example:

      vsearch check --full
    """
    from vsearch.index import Index
    from vsearch.render.text import printable

    wrong = False
    for problem in Index.check(index, full=full):
        wrong = True
        fields = {"problem": problem.what, "remedy": problem.remedy}
        print(json.dumps(fields) if as_json else printable(f"{problem.what}; {problem.remedy}"))
    if wrong:
        raise typer.Exit(FAILED)
    print("all is well", file=sys.stderr)


@app.command()
def rebuild(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Make the collection anew from the stored vectors, and whatever else is damaged; no photo is read.

    Example:

      vsearch rebuild
    """
    from vsearch.index import Index

    report = Index.rebuild(index)
    if as_json:
        print(json.dumps(report.as_json()))
        return
    restored = f"; restored {', '.join(report.restored)}" if report.restored else ""
    print(f"{report.photos:,} photos in {report.seconds:.1f} s{restored}")
    if report.unknown:
        print(
            "index.json and its copy were both lost, so nothing is excluded any more, and folders of photos "
            "that were named one by one are read as wholes; set --exclude and --max-megapixels again with "
            "`vsearch build-index PHOTOS`, before the next `vsearch sync`",
            file=sys.stderr,
        )
    if report.lost:
        print(f"{report.lost:,} photos must be read anew; run `vsearch sync`", file=sys.stderr)
    elif "catalog.sqlite" in report.restored:
        print("run `vsearch sync`: it brings back other files with the same bytes", file=sys.stderr)


@app.command()
def reencode(
    encoder: Annotated[
        str,
        typer.Option("--encoder", metavar="NAME|DIR", help="The new encoder: see `vsearch encoders`."),
    ],
    index: IndexOption = None,
    device: DeviceOption = "auto",
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Exchange the encoder: make all vectors anew, beside the old ones, which answer until all is there.

    A run that was stopped goes on where it was. Kept pixels are used where they fit the new encoder;
    other photos are read from their files.

    Example:

      vsearch reencode --encoder photo-small
    """
    from vsearch.index import Index

    opened = Index.open(index, device=device)
    run_and_report(
        opened,
        "re-encoding",
        lambda show: opened.reencode(encoder, on_progress=show),
        strict,
        as_json,
    )

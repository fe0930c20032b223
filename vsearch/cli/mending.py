"""Commands for what may be damaged: check, rebuild."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from vsearch.cli import FAILED, app
from vsearch.cli.options import IndexOption, JsonOption


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
    if report.lost or "catalog.sqlite" in report.restored:
        print(f"{report.lost:,} photos lost their vectors; run `vsearch sync`", file=sys.stderr)

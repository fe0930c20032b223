"""Commands that only report: status, encoders."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from vsearch.cli import app
from vsearch.cli.options import IndexOption, JsonOption


@app.command()
def status(
    index: IndexOption = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="List the photos that failed, why, and what to do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the index holds.

    Examples:

      vsearch status

      vsearch status --failed
    """
    from vsearch.index import Index
    from vsearch.render.text import console, skipped_text, status_table

    with Index.open(index) as opened:
        if failed:
            for skipped in opened.failed():
                fields = {"path": skipped.path, "reason": skipped.reason, "remedy": skipped.remedy}
                print(json.dumps(fields) if as_json else skipped_text(skipped))
        elif as_json:
            print(json.dumps(opened.status().as_json()))
        else:
            console(sys.stdout).print(status_table(opened.status()))


@app.command()
def encoders(as_json: JsonOption = False) -> None:
    """List the encoders that can be named with --encoder.

    Example:

      vsearch encoders
    """
    from vsearch.encoders import available
    from vsearch.render.text import console, encoder_json, encoders_table

    if as_json:
        for info in available():
            print(encoder_json(info))
    else:
        console(sys.stdout).print(encoders_table(available()))

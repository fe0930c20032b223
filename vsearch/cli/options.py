"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="The index directory; else VSEARCH_INDEX, else the nearest .vsearch upwards.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with 3 if photos were skipped.")]
UnderOption = Annotated[str | None, typer.Option("--under", metavar="FOLDER", help="Only below it.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="DATE", help="Only taken then or later.")]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="DATE", help="Only taken then or earlier.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="auto|cpu|cuda", help="Where networks run; auto takes a GPU that can be used."
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|HOST:PORT",
        help="Decode and encode on this Ray cluster; photos and index on storage that its nodes share.",
    ),
]

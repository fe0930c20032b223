"""The serve command."""

from __future__ import annotations

import math
import sys
from typing import Annotated

import typer

from vsearch.cli import app
from vsearch.cli.options import DeviceOption, IndexOption
from vsearch.errors import MissingExtraError, UsageError, install

_MIB = 2**20


@app.command()
def serve(
    index: IndexOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; another host needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8750,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="VSEARCH_TOKEN",
            help="What the page and programs must show; safer in VSEARCH_TOKEN than on the command line.",
        ),
    ] = None,
    allow_add: Annotated[
        bool, typer.Option("--allow-add", help="Take photos by upload, into a photo folder of the index.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A name that browsers use for this server; may be repeated."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve on another host without a token: to everyone.")
    ] = False,
    max_upload: Annotated[
        float, typer.Option("--max-upload", metavar="MIB", min=0.001, help="Largest upload, MiB.")
    ] = 64.0,
    max_megapixels: Annotated[
        float, typer.Option("--max-megapixels", min=0.001, help="Largest uploaded picture.")
    ] = 50.0,
    keep_answers: Annotated[
        float,
        typer.Option(
            "--keep-answers", metavar="MIB", min=0, help="Room for answers given before, MiB; 0 for none."
        ),
    ] = 8.0,
    device: DeviceOption = "auto",
) -> None:
    """Serve the index: a web page, and an HTTP API for programs and other machines.

    Examples:

      vsearch serve

      VSEARCH_TOKEN=... vsearch serve --host 0.0.0.0 --allow-host photos.lan
    """
    try:
        from vsearch.server.options import Options
        from vsearch.server.running import serve as run
    except ImportError as error:
        raise MissingExtraError(f"serving needs {error.name}; {install('server')}") from error
    from vsearch.index import Index

    options = Options(
        host=host,
        port=port,
        token=token,
        insecure=insecure,
        allow_add=allow_add,
        allow_hosts=tuple(allow_host or ()),
        max_upload_bytes=_mib(max_upload, "--max-upload"),
        max_megapixels=max_megapixels,
        kept_answers_bytes=_mib(keep_answers, "--keep-answers"),
    )
    run(Index.open(index, device=device), options, _announce)


def _mib(given: float, option: str) -> int:
    if not math.isfinite(given):
        raise UsageError(f"{option} is a number of MiB; received {given}")
    return int(given * _MIB)


def _announce(url: str) -> None:
    print(f"vsearch serves {url} (Ctrl-C stops it)", file=sys.stderr, flush=True)

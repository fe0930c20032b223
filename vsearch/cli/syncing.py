"""The sync command."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import app
from vsearch.cli.building import run_and_report
from vsearch.cli.options import DeviceOption, IndexOption, JsonOption, StrictOption
from vsearch.errors import CollectionError, IndexBusy, StorageError, UsageError

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.records import Planned, SyncReport
    from vsearch.updates import OnProgress

_PAUSE_S = 30.0  # before a watch tries again what failed


@app.command()
def sync(
    index: IndexOption = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove what is gone, even if it is more than half of a folder."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed before.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and sync whenever something changes; stop with Ctrl-C.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    device: DeviceOption = "auto",
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the index equal to its folders: new, changed, renamed, moved and removed photos.

    A renamed or moved photo is not decoded again. Where more than half of the photos of an indexed folder
    are gone, they stay in the index until --prune: the disk may not be mounted.

    Examples:

      vsearch sync

      vsearch sync --dry-run

      vsearch sync --watch
    """
    from vsearch.index import Index

    if watch and dry_run:
        raise UsageError("--watch and --dry-run exclude each other; choose one")
    opened = Index.open(index, device=device)
    if dry_run:
        _print_plan(opened.plan(prune=prune, retry_failed=retry_failed), as_json)
        return

    def action(show: OnProgress) -> SyncReport:
        if watch:
            _wait_for_writers(opened)
        return opened.sync(prune=prune, retry_failed=retry_failed, on_progress=show)

    def run() -> None:
        run_and_report(opened, "syncing", action, strict and not watch, as_json)

    for _ in _occasions(opened, watch):
        if watch:
            _persistently(run)
        else:
            run()


def _occasions(index: Index, watch: bool) -> Iterator[None]:
    """Once now; with ``watch``, again after each change."""
    if watch:
        from vsearch.watching import changes, check_installed

        check_installed()
        print("watching for changes; stop with Ctrl-C", file=sys.stderr)
        # Watching begins before the first sync, so that nothing falls between.
        yield from changes(index.roots, str(index.path))
    else:
        yield


def _persistently(run: Callable[[], None]) -> None:
    """Run until it succeeds: no further change may come, and what is in the way may be gone soon."""
    from vsearch.render.text import printable

    said = ""
    while True:
        try:
            return run()
        except (CollectionError, IndexBusy, StorageError) as error:
            if str(error) != said:
                said = str(error)
                print(
                    f"vsearch: {printable(said)}; the watch goes on, and tries again every {_PAUSE_S:.0f} s",
                    file=sys.stderr,
                )
        time.sleep(_PAUSE_S)


def _wait_for_writers(index: Index) -> None:
    """Let another process finish; it must not end the watch."""
    while index.is_busy():
        time.sleep(1)


def _print_plan(plan: Iterator[Planned], as_json: bool) -> None:
    from vsearch.render.text import planned_text

    nothing = True
    for planned in plan:
        nothing = False
        fields = {"change": planned.change, "path": planned.path, "origin": planned.origin}
        print(json.dumps(fields) if as_json else planned_text(planned))
    if nothing:
        print("nothing to do", file=sys.stderr)

"""The evaluate command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import app
from vsearch.cli.options import DeviceOption, JsonOption
from vsearch.errors import UsageError

if TYPE_CHECKING:
    from vsearch.evaluation.comparison import Contestant, Result
    from vsearch.records import FileStat


@app.command()
def evaluate(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Folders of photos.")],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="folder|REGEX|CSV",
            help="What each photo shows: its folder's name, the first group of a regular expression on "
            "its path, or a .csv file of path,label.",
        ),
    ] = None,
    itself: Annotated[
        bool, typer.Option("--self", help="Without labels: look for altered copies of the photos.")
    ] = False,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="NAME|DIR",
            help="May be repeated. Default: photo, unless --baseline is given.",
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", metavar="NAME", help="pixels, colour or dhash; may be repeated."),
    ] = None,
    ranking: Annotated[
        list[str] | None,
        typer.Option(
            "--ranking",
            metavar="NAME",
            help="plain (by cosine similarity, the default), expanded, smoothed, or refined as queries are; "
            "may be repeated.",
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", min=1, help="For recall@k, with --labels. Default: 10.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="At most N photos, evenly spread. 0: all.")
    ] = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Leave out paths or names that match."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with a chart and a dozen queries."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure encoders on your photos: each photo is the query once, all others are the answers.

    Examples:

      vsearch evaluate ~/Photos --labels folder --encoder photo --encoder pet160.encoder --baseline pixels

      vsearch evaluate ~/Photos --labels folder --ranking plain --ranking refined

      vsearch evaluate ~/Photos --self --encoder photo --limit 500
    """
    from vsearch import durable
    from vsearch.evaluation.comparison import contestants

    if itself == (labels is not None):
        raise UsageError("choose what counts as right: either --labels folder|REGEX|CSV, or --self")
    if itself and (html is not None or ranking or k is not None):
        raise UsageError("-k, --html and --ranking need --labels")
    if html is not None:
        durable.check_output(html, durable.PAGE)
    names = encoder or ([] if baseline else ["photo"])
    compared = contestants(names, baseline or (), device)
    chosen = _photos(photos, exclude or (), limit)
    if itself:
        _by_itself(compared, chosen, as_json)
    else:
        _by_labels(compared, chosen, str(labels), ranking or ["plain"], k or 10, html, as_json)


def _photos(photos: Sequence[Path], exclude: Sequence[str], limit: int) -> list[FileStat]:
    from vsearch import sources, updates
    from vsearch.cli.progress import progress_bar
    from vsearch.cli.skipping import print_left_out
    from vsearch.evaluation.comparison import readable
    from vsearch.sampling import spread

    found = sources.found(photos, exclude)
    some = spread(found, limit or len(found))
    with progress_bar("reading") as show:
        good, skipped = readable(some, lambda done, total: show(updates.Progress(done, total, done, 0)))
    print_left_out(skipped)
    if len(good) < 3:
        raise UsageError(f"{len(good)} photos can be read; measuring needs at least 3: name more photos")
    return good


def _by_itself(compared: Sequence[Contestant], photos: Sequence[FileStat], as_json: bool) -> None:
    from vsearch.evaluation.comparison import compare_with_itself
    from vsearch.render.evaluation import self_table
    from vsearch.render.text import console

    results = [compare_with_itself(contestant, photos) for contestant in compared]
    if as_json:
        for result in results:
            print(json.dumps(result.as_json()))
    else:
        console(sys.stdout).print(self_table(results))


def _by_labels(
    compared: Sequence[Contestant],
    photos: Sequence[FileStat],
    labels: str,
    rankings: Sequence[str],
    k: int,
    html: Path | None,
    as_json: bool,
) -> None:
    from vsearch.evaluation import labels as labelling
    from vsearch.evaluation.comparison import compare
    from vsearch.render.evaluation import quality_table
    from vsearch.render.text import console

    pairs = labelling.labelled(photos, labels)
    if len(pairs) < len(photos):
        print(f"{len(photos) - len(pairs):,} photos have no label and are left out", file=sys.stderr)
    named = [label for _, label in pairs]
    labelling.check(named)
    known = [file for file, _ in pairs]
    results = [r for contestant in compared for r in compare(contestant, known, named, k, rankings)]
    if as_json:
        for result in results:
            print(json.dumps(result.as_json()))
    else:
        console(sys.stdout).print(quality_table(results))
    if html is not None:
        _write_page(html, results, known, named)


def _write_page(
    target: Path, results: Sequence[Result], photos: Sequence[FileStat], labels: Sequence[str]
) -> None:
    from vsearch.images import decode
    from vsearch.render.evaluation import Shown, write_page

    def shown(row: int) -> Shown:
        path = photos[row].absolute
        return Shown(path, labels[row], decode(path, 8).thumbnail)

    write_page(target, results, labels, shown)
    print(f"page: {target}", file=sys.stderr)

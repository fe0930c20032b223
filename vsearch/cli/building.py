"""Commands that write: build-index, add, remove."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import SKIPPED, app
from vsearch.cli.options import DeviceOption, IndexOption, JsonOption, RayOption, StrictOption

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.records import SyncReport
    from vsearch.updates import OnProgress

_MUCH_MEMORY = 2**29
_SHORT = 256  # numbers of a projected vector

Photos = Annotated[
    list[Path], typer.Argument(metavar="PHOTOS...", help="Folders of photos, or single photos.")
]


@app.command("build-index")
def build_index(
    photos: Photos,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="DIR", help="Where the index goes; by default PHOTOS/.vsearch."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME|DIR",
            help="A name that `vsearch encoders` lists, or a bundle's folder. Default: photo.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="GLOB",
            help="Leave out paths or names that match; may be repeated. `none` takes it back.",
        ),
    ] = None,
    keep_pixels: Annotated[
        bool | None,
        typer.Option(
            "--keep-pixels/--drop-pixels",
            help="Keep the decoded pixels of photos read from now on, for training and re-encoding.",
        ),
    ] = None,
    max_megapixels: Annotated[
        float | None,
        typer.Option("--max-megapixels", min=0.001, help="Skip larger photos. Default: 200."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="cosine|euclidean", help="How photos are ranked. Default: cosine."),
    ] = None,
    chroma: Annotated[
        str | None,
        typer.Option(
            "--chroma",
            metavar="URL",
            help="Keep the collection on this Chroma server, from now on; `none` takes it back.",
        ),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Train --encoder pet160, travel600 or compact on these photos first, if need be."
        ),
    ] = False,
    device: DeviceOption = "auto",
    ray: RayOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Index photos: read each once, turn it into a vector, store it. An index that exists is continued.

    On more than four cores one process per core reads photos, at most 16;
    the variable VSEARCH_PROCESSES sets another number, 1 for threads.

    Examples:

      vsearch build-index ~/Photos

      vsearch build-index /mnt/nas/photos --index ~/nas.vsearch --exclude 'raw/*'

      vsearch build-index ~/Photos --chroma http://photos.lan:8000

      vsearch build-index /mnt/nas/photos --ray 10.0.0.1:6379
    """
    from vsearch import cluster, processes
    from vsearch.index import Index

    if ray is None:
        processes.process_count()  # like the cluster below, before an index is made in vain
    place = index or _default_place(photos)
    if exists := Index.exists(place):
        print(f"{place} is an index already; going on with it", file=sys.stderr)
    if train:
        encoder = str(_trained(photos, place, encoder, exclude or [], device))
    with cluster.connected(ray) if ray is not None else nullcontext():  # first: no index is made in vain
        opened = Index.build(
            place,
            photos,
            encoder=encoder,
            metric=metric,
            exclude=[] if exclude == ["none"] else exclude or None,
            keep_pixels=keep_pixels,
            max_megapixels=max_megapixels,
            chroma=chroma,
            device=device,
        )
        if exists and keep_pixels:
            print("pixels are kept of photos that are read from now on", file=sys.stderr)
        _warn_of_memory(opened, photos, exclude or [])
        action = partial(opened.add, *photos, ray=ray)
        run_and_report(opened, "indexing", lambda show: action(on_progress=show), strict, as_json)


@app.command()
def add(
    photos: Photos,
    index: IndexOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed before.")
    ] = False,
    device: DeviceOption = "auto",
    ray: RayOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add photos to the index; those that are in it and unchanged are not read again.

    Examples:

      vsearch add ~/Photos/2024

      vsearch add new.jpg --index ~/nas.vsearch
    """
    from vsearch.index import Index

    opened = Index.open(index, device=device)
    run_and_report(
        opened,
        "adding",
        lambda show: opened.add(*photos, retry_failed=retry_failed, on_progress=show, ray=ray),
        strict,
        as_json,
    )


@app.command()
def remove(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Photos, or folders with all below them."),
    ],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take photos out of the index. No file is touched.

    They come back with the next sync, unless their whole photo folder is named: that is no
    longer synced, if no other folder that is synced is around it.

    Example:

      vsearch remove ~/Photos/screenshots
    """
    from vsearch.index import Index

    opened = Index.open(index)
    run_and_report(opened, "removing", lambda show: opened.remove(*paths), False, as_json)


def _trained(photos: list[Path], place: Path, encoder: str | None, exclude: list[str], device: str) -> Path:
    """The bundle beside the index, trained now unless it was before."""
    from vsearch.cli.training import run
    from vsearch.training import Options, Request
    from vsearch.training.checkpoints import Checkpoint
    from vsearch.training.session import architecture_named

    architecture = architecture_named(encoder or "compact")
    bundle = place.with_name(f"{place.name}-{architecture.name}.encoder")
    if bundle.exists():
        print(f"{bundle} was trained before; going on with it", file=sys.stderr)
        return bundle
    options = Options(architecture.epochs, architecture.batch_size, architecture.learning_rate)
    resume = Checkpoint(bundle).exists
    run(
        Request(
            architecture, options, bundle, tuple(photos), exclude=tuple(exclude), resume=resume, device=device
        )
    )
    return bundle


def _warn_of_memory(index: Index, photos: list[Path], exclude: list[str]) -> None:
    """Say beforehand what a collection of long vectors will take."""
    from vsearch import sources
    from vsearch.collection import memory_estimate
    from vsearch.render.text import size_text

    dimension = index.encoder_info.dimension
    if dimension <= _SHORT:
        return  # nothing to advise, so the photos need no counting
    count = sources.count(photos, exclude)
    estimate = memory_estimate(count, dimension)
    if estimate >= _MUCH_MEMORY:
        projected = memory_estimate(count, _SHORT)
        print(
            f"vsearch: with {dimension:,} numbers a photo, Chroma will hold about "
            f"{size_text(estimate)} in memory; "
            f"an encoder trained with --vector pca:{_SHORT} takes {size_text(projected)}",
            file=sys.stderr,
        )


def _default_place(photos: list[Path]) -> Path:
    """VSEARCH_INDEX, else ``.vsearch`` in the first folder."""
    from vsearch.directory import NAME, VARIABLE

    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    first = Path(os.path.expanduser(photos[0]))
    return (first if first.is_dir() else first.parent) / NAME


def run_and_report(
    index: Index,
    title: str,
    action: Callable[[OnProgress], SyncReport],
    strict: bool,
    as_json: bool,
) -> None:
    """Do ``action`` under a progress bar titled ``title``, and print what came of it."""
    from vsearch.cli.progress import progress_bar
    from vsearch.render.text import print_skipped, printable, report_text

    walked = index.walked_roots()
    with progress_bar(title) as show:
        report = action(show)
    print_skipped(report.skipped, remembered=True)
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        print(f"{report_text(report)}; index: {index.path}")
    if report.withheld:
        print(
            f"{report.withheld:,} photos are gone, more than half of a folder: is it mounted? "
            "`vsearch sync --prune` takes them out",
            file=sys.stderr,
        )
    for root in sorted({*walked}.difference(index.walked_roots())):
        print(f"{printable(root)} is no longer synced, until `vsearch add` names it again", file=sys.stderr)
    if strict and report.skipped:
        raise typer.Exit(SKIPPED)

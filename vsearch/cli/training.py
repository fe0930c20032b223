"""The train command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import FAILED, INTERRUPTED, app
from vsearch.cli.options import DeviceOption, JsonOption
from vsearch.errors import UsageError

if TYPE_CHECKING:
    from vsearch.training import Callbacks, Request, Trained
    from vsearch.training.labelled import HeadTrained
    from vsearch.training.loop import Step
    from vsearch.training.records import Epoch


@app.command()
def train(
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="[PHOTOS...]", help="Folders of photos to learn from.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="pet160, travel600 or compact, the default (`vsearch encoders`); with --head the encoder "
            "below it: photo, or that of the index.",
        ),
    ] = None,
    head: Annotated[
        bool,
        typer.Option("--head", help="Learn a projection of an encoder's vectors from --labels, in seconds."),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="folder|REGEX|CSV", help="With --head: what each photo shows, as in evaluate."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder of the result. Default: NAME.encoder, or head.encoder.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="DIR",
            help="Learn from the pixels that this index has kept; with --head from its vectors.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", help="Passes over the photos. Default: 10.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help="Photos a step. Default: 10, travel600 5.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="R", help="Of Adam. Default: 0.001, compact 0.002."),
    ] = None,
    validation_split: Annotated[
        float,
        typer.Option("--validation-split", metavar="F", help="Part of the photos that is held out."),
    ] = 0.25,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of split, weights and order.")] = 0,
    patience: Annotated[
        int,
        typer.Option("--patience", metavar="N", help="Stop after N epochs without progress. 0: never."),
    ] = 0,
    vector: Annotated[
        str,
        typer.Option(
            "--vector",
            metavar="flat|mean|pca:N",
            help="The whole latent, its mean over all places, or N principal components.",
        ),
    ] = "flat",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="auto|float32|int8",
            help="auto takes int8 where it is faster and ranks alike.",
        ),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last finished epoch of this -o.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Leave out paths or names in PHOTOS that match."),
    ] = None,
    staging: Annotated[
        Path | None,
        typer.Option(
            "--staging",
            metavar="DIR",
            help="Where decoded photos are kept for the next training. Default: the user's cache.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train an autoencoder on your photos, or a head on an encoder; the result is an encoder for build-index.

    Ctrl-C keeps the best so far; --resume goes on from there.

    Examples:

      vsearch train ~/Photos --encoder pet160 -o pet160.encoder

      vsearch train ~/Photos --vector pca:256 -o mine.encoder

      vsearch train ~/Photos --labels folder --head -o mine.encoder
    """
    if head or labels is not None:
        given = any(option is not None for option in (epochs, batch_size, learning_rate, staging))
        changed = (validation_split, patience, vector, precision, resume) != (0.25, 0, "flat", "auto", False)
        _check_head(head, labels, given or changed)
        trained_head = _train_head(
            photos or [], encoder, str(labels), index, exclude or [], seed, output, device
        )
        print(json.dumps(trained_head.as_json()) if as_json else _head_sentence(trained_head))
        return
    from vsearch.training import Options, Request, VectorKind
    from vsearch.training.session import architecture_named

    encoder = encoder or "compact"
    architecture = architecture_named(encoder)
    options = Options(
        epochs=architecture.epochs if epochs is None else epochs,
        batch_size=architecture.batch_size if batch_size is None else batch_size,
        learning_rate=architecture.learning_rate if learning_rate is None else learning_rate,
        validation_split=validation_split,
        seed=seed,
        patience=patience,
        vector=VectorKind.parse(vector),
        precision=precision,  # type: ignore[arg-type]  # Options checks it
    )
    request = Request(
        architecture=architecture,
        options=options,
        output=output or Path(f"{encoder}.encoder"),
        photos=tuple(photos or ()),
        index=index,
        exclude=tuple(exclude or ()),
        staging=staging,
        resume=resume,
        device=device,
    )
    trained = run(request)
    print(json.dumps(trained.as_json()) if as_json else _sentence(trained))
    _explain_stop(trained, request)


def _check_head(head: bool, labels: str | None, others: bool) -> None:
    if not head or labels is None:
        raise UsageError("--head and --labels go together: train --head learns from labels alone")
    if others:
        raise UsageError("--head learns without epochs; leave the options of autoencoders out")


def _train_head(
    photos: list[Path],
    encoder: str | None,
    labels: str,
    index: Path | None,
    exclude: list[str],
    seed: int,
    output: Path | None,
    device: str,
) -> HeadTrained:
    from vsearch.cli.progress import progress_bar
    from vsearch.cli.skipping import print_left_out
    from vsearch.training.labelled import HeadCallbacks, HeadRequest, train_head
    from vsearch.updates import Progress

    request = HeadRequest(
        labels, output or Path("head.encoder"), tuple(photos), encoder, index, tuple(exclude), seed, device
    )
    with progress_bar("encoding") as show:
        progress = HeadCallbacks(
            on_photo=lambda done, total: show(Progress(done, total, done, 0)), on_skipped=print_left_out
        )
        return train_head(request, progress)


def _head_sentence(trained: HeadTrained) -> str:
    known, unseen = trained.known, trained.unseen
    lines = [
        f"{trained.bundle}: a head on {trained.base}, learned from {trained.photos:,} photos of "
        f"{trained.labels} labels ({trained.method}, shrinkage {trained.shrinkage:g}, stretch "
        f"{trained.stretch:g}), {trained.dimension} numbers a photo",
        f"held-out photos ({known.photos}):  mAP {known.plain:.3f} plain, {known.head:.3f} with the head",
    ]
    if unseen is None:
        lines.append("held-out labels: too few labels to tell; it may help with these labels only")
    else:
        note = "" if unseen.head >= unseen.plain else "; it helps with these labels only"
        lines.append(
            f"held-out labels ({unseen.labels}):  mAP {unseen.plain:.3f} plain, {unseen.head:.3f} with the "
            f"head{note}"
        )
    lines.append(f"index with: vsearch build-index PHOTOS --encoder {shlex.quote(trained.bundle)}")
    return "\n".join(lines)


def run(request: Request) -> Trained:
    """Train, with a bar on terminals and a line an epoch on stderr.

    Raises:
        typer.Exit: Ctrl-C came before any epoch was finished.
    """
    from vsearch.training import train as train_encoder

    with _shown(request) as progress:
        try:
            return train_encoder(request, progress)
        except KeyboardInterrupt:
            print(
                "vsearch: stopped before the first epoch was finished; staged photos are kept, "
                "the same command begins anew",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _shown(request: Request) -> Iterator[Callbacks]:
    from vsearch.cli.progress import progress_bar
    from vsearch.cli.skipping import print_left_out
    from vsearch.training import Callbacks
    from vsearch.training.loop import Listener
    from vsearch.updates import Progress

    seconds: list[float] = []

    with progress_bar("staging") as staged, progress_bar("training") as trained:

        def show_step(step: Step) -> None:
            done = (step.epoch - 1) * step.total + step.done
            trained(Progress(done, step.epochs * step.total, done, 0))

        def show_epoch(epoch: Epoch) -> None:
            seconds.append(epoch.seconds)
            left = time_left(seconds, request.options.epochs - epoch.number)
            print(
                f"epoch {epoch.number}/{request.options.epochs}: loss {epoch.loss:.5f}, "
                f"validation {epoch.validation_loss:.5f}, {epoch.seconds:.0f} s, {_duration(left)} left",
                file=sys.stderr,
            )

        def show_compiling() -> None:
            print("compiling the steps, which takes a minute or more", file=sys.stderr)

        yield Callbacks(
            on_photo=lambda done, total: staged(Progress(done, total, done, 0)),
            on_skipped=print_left_out,
            listener=Listener(show_compiling, show_step, show_epoch),
        )


def _explain_stop(trained: Trained, request: Request) -> None:
    """Why it stopped early, and what to do."""
    from vsearch.training.checkpoints import Checkpoint

    best = trained.outcome.best.number
    again = f"{shlex.join(['vsearch', *sys.argv[1:]])}{'' if request.resume else ' --resume'}"
    if trained.outcome.stopped == "interrupted":
        done = len(trained.outcome.epochs)
        print(
            f"vsearch: stopped after epoch {done}; {trained.bundle} has the best so far (epoch {best}). "
            f"Go on with: {again}",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED)
    if trained.outcome.stopped == "nan":
        print(
            f"vsearch: the loss became NaN; {trained.bundle} has the best epoch before that ({best}). "
            "Train again with a lower --learning-rate and another -o",
            file=sys.stderr,
        )
        raise typer.Exit(FAILED)
    if trained.outcome.stopped == "finished" and trained.outcome.resumed == len(trained.outcome.epochs):
        done = trained.outcome.resumed
        epochs = "1 epoch is" if done == 1 else f"{done} epochs are"
        print(
            f"{epochs} done already, so nothing was trained; go on with --epochs {done + 1} or more",
            file=sys.stderr,
        )
    if trained.outcome.stopped == "patience":
        print(f"no progress since epoch {best}: stopped", file=sys.stderr)
    print(
        f"index with: vsearch build-index PHOTOS --encoder {shlex.quote(trained.bundle)}\n"
        f"to train on later, {Checkpoint(request.output).folder} is kept; it may be removed",
        file=sys.stderr,
    )


def _sentence(trained: Trained) -> str:
    best, trial = trained.outcome.best, trained.trial
    text = (
        f"{trained.bundle}: {trained.architecture} trained on {trained.photos:,} photos, best epoch "
        f"{best.number} (validation loss {best.validation_loss:.5f}), {trained.dimension:,} numbers a photo, "
        f"{trained.precision}"
    )
    if trial is None:
        return text
    return f"{text} (int8: {trial.speedup:.2f}x as fast, overlap@5 {trial.overlap_at_5:.3f})"


def time_left(seconds: Sequence[float], epochs: int) -> float:
    """How many seconds ``epochs`` more take, by what those of this run took.

    The first, in which much is done for the first time, counts only as long as it is alone.

    >>> time_left([30.0], 9), time_left([30.0, 2.0, 4.0], 7)
    (270.0, 21.0)
    """
    latest = (seconds[1:] or seconds)[-3:]
    return epochs * sum(latest) / len(latest)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""One training from beginning to end."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsearch import sources
from vsearch.encoders.architectures import ARCHITECTURES, Architecture, build
from vsearch.encoders.devices import device_named
from vsearch.errors import EncoderError, MissingExtraError, UsageError, install
from vsearch.records import Skipped
from vsearch.training import staging
from vsearch.training.batches import split
from vsearch.training.checkpoints import Checkpoint
from vsearch.training.devices import import_keras
from vsearch.training.exporting import Finished, write_bundle
from vsearch.training.loop import Diverged, Listener, Trainer
from vsearch.training.records import Options, Trained
from vsearch.training.staging import OnPhoto, Staged

_NEEDED = ("matplotlib", "onnx", "tf2onnx")


@dataclass(frozen=True, slots=True)
class Request:
    """What to train, on what, and where the bundle goes.

    Attributes:
        architecture: which autoencoder.
        options: how to train it.
        output: the bundle's folder.
        photos: files and folders; or
        index: an index whose kept pixels are used.
        exclude: globs to leave out.
        staging: where decoded photos are kept; by default in the user's cache.
        resume: go on after the last finished epoch.
        device: where it trains: ``cpu``, ``cuda``, or ``auto``, a GPU that TensorFlow finds.
    """

    architecture: Architecture
    options: Options
    output: Path
    photos: Sequence[str | os.PathLike[str]] = ()
    index: Path | None = None
    exclude: Sequence[str] = ()
    staging: Path | None = None
    resume: bool = False
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Callbacks: each photo staged, those that could not be, and what :class:`Listener` tells."""

    on_photo: OnPhoto = field(default=lambda done, total: None)
    on_skipped: Callable[[Sequence[Skipped]], None] = field(default=lambda skipped: None)
    listener: Listener = field(default_factory=Listener)


def architecture_named(name: str) -> Architecture:
    """The architecture called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"vsearch trains {', '.join(ARCHITECTURES)}; received --encoder {name}")
    return ARCHITECTURES[name]


def train(request: Request, progress: Callbacks | None = None) -> Trained:
    """Stage, train, export; the bundle then lies at ``request.output``.

    Ctrl-C ends the training after its last finished epoch: the bundle is written with the best weights so
    far, and ``resume`` goes on from there.  So does a loss that is no longer a number.

    Raises:
        UsageError: too few photos, or options that make no sense.
        EncoderError: the loss was NaN before any epoch was finished, or a checkpoint cannot be used.
        KeyboardInterrupt: before any epoch was finished.
        StorageError: the disk is full, read-only or failing.
    """
    progress = progress or Callbacks()
    device = device_named(request.device)
    _check(request)
    if device == "cuda":
        import_keras(device)  # before hours of staging
    staged = _stage(request, progress)
    progress.on_skipped(staged.skipped)
    parts = split(len(staged.rows), request.options.validation_split, request.options.seed)
    _check_count(request, staged, len(parts.training))
    keras = import_keras(device)
    keras.utils.set_random_seed(request.options.seed)
    models = build(request.architecture)
    trainer = Trainer(request.architecture, models, request.options)
    try:
        outcome = trainer.run(
            staged, parts, Checkpoint(request.output), progress.listener, resume=request.resume
        )
    except Diverged as error:
        raise EncoderError(
            f"{request.architecture.name}: the loss became NaN in the first epoch; nothing was kept: "
            f"train with a lower --learning-rate than {request.options.learning_rate:g}"
        ) from error
    return write_bundle(
        Finished(request.architecture, models, request.options, staged, parts, outcome, device),
        request.output,
    )


def _check(request: Request) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"training needs {', '.join(missing)}; {install('train')}")
    if bool(request.photos) == bool(request.index):
        raise UsageError("name either photo folders or --index to train on")
    if request.exclude and not request.photos:
        raise UsageError("--exclude goes with photo folders; with --index alone all its photos are used")
    checkpoint = Checkpoint(request.output)
    if request.output.exists() and not (request.output / "history.json").is_file():
        raise UsageError(f"{request.output} exists and is not a trained encoder; choose another -o")
    if not request.resume and (request.output.exists() or checkpoint.exists):
        raise UsageError(
            f"{request.output if request.output.exists() else checkpoint.folder} is there already; "
            "add --resume to go on with it, or choose another -o"
        )


def _stage(request: Request, progress: Callbacks) -> Staged:
    if request.index is not None:
        return staging.kept_pixels(request.index, request.architecture)
    found = sources.found(request.photos, request.exclude)
    folder = request.staging or staging.default_folder(request.architecture)
    return staging.stage(found, folder, request.architecture, on_photo=progress.on_photo)


def _check_count(request: Request, staged: Staged, training: int) -> None:
    skipped = len(staged.skipped)
    if not staged.rows:
        first = staged.skipped[0]
        raise UsageError(
            f"none of {skipped} photos can be read (the first, {first.path}: {first.reason}); "
            "name a folder of intact photos"
        )
    components = request.options.vector.components
    least = max(request.options.batch_size, components + 1)
    if training < least or training == len(staged.rows):
        narrow = least > request.options.batch_size
        why, smaller = (
            (f"pca:{components}", "--vector pca:N") if narrow else (f"a batch of {least}", "--batch-size")
        )
        raise UsageError(
            f"{len(staged.rows)} photos, of which {training} are to train on, are too few for {why}; "
            f"add photos, or give `vsearch train` a smaller {smaller} or --validation-split"
        )

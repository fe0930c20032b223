"""From trained weights to an encoder bundle: graph, projection, precision, record and pictures."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch import __version__, durable
from vsearch.components import PrincipalComponents
from vsearch.encoders import Bundle, Encoder, graphs
from vsearch.encoders.architectures import Architecture, Models, pooled
from vsearch.encoders.bundles import GRAPH, SPECIFICATION
from vsearch.encoders.specification import Specification
from vsearch.evaluation.measures import nearest
from vsearch.records import Device
from vsearch.sampling import spread
from vsearch.training.batches import Split, in_order
from vsearch.training.forward import forward
from vsearch.training.pictures import draw_losses, draw_reconstructions
from vsearch.training.records import Options, Outcome, PrecisionTrial, Trained
from vsearch.training.staging import Pixels, Staged

OVERLAP = 0.95  # of the five nearest, below which int8 is not taken
_CALIBRATION_PHOTOS = 128
_TRIAL_PHOTOS = 256
_BATCH = 4
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Finished:
    """A training that is over: all that goes into its bundle."""

    architecture: Architecture
    models: Models
    options: Options
    staged: Staged
    split: Split
    outcome: Outcome
    device: Device = "auto"


def write_bundle(finished: Finished, output: Path) -> Trained:
    """Export the encoder and write the bundle at ``output``, replacing one that is there.

    Raises:
        UsageError: there are too few photos for the components asked for.
        StorageError: ``output`` cannot be written.
    """
    with durable.storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=durable.TEMPORARY, dir=output.parent))
    try:
        made = _Export(finished, scratch).run()
        trained = _trained(finished, output, made)
        _describe(finished, made, trained)
        with durable.storage_errors(output):
            durable.remove(output)
        durable.publish(made.folder, output, "encoder")
    finally:
        durable.remove(scratch)
    return trained


@dataclass(frozen=True, slots=True)
class _Made:
    folder: Path
    specification: Specification
    trial: PrecisionTrial | None


class _Export:
    """Makes the graphs in a scratch folder."""

    def __init__(self, finished: Finished, scratch: Path) -> None:
        self.finished = finished
        self.scratch = scratch
        self.network = scratch / "network.onnx"
        height, width, channels = finished.architecture.latent_shape
        flat = finished.options.vector.pooling == "flat"
        self.dimension = height * width * channels if flat else channels

    def run(self) -> _Made:
        """The bundle of the precision that was asked for, or of the better one."""
        options = self.finished.options
        graphs.export(pooled(self.finished.models.encoder, options.vector.pooling), self.network)
        projection = self._projection()
        exact = self._bundle(self.network, "float32", projection)
        if options.precision == "float32":
            return _Made(exact.folder, exact.specification, None)
        graphs.quantise(self.network, self.scratch / "int8.onnx", self._calibration())
        small = self._bundle(self.scratch / "int8.onnx", "int8", projection)
        trial = self._compare(*(Encoder(bundle, self.finished.device) for bundle in (exact, small)))
        better = trial.speedup > 1 and trial.overlap_at_5 >= OVERLAP
        chosen = small if better or options.precision == "int8" else exact
        return _Made(chosen.folder, chosen.specification, trial)

    def _projection(self) -> graphs.Projection | None:
        components = self.finished.options.vector.components
        if not components:
            return None
        flat = Encoder(self._bundle(self.network, "flat", None), self.finished.device)
        running = PrincipalComponents(components)
        for pixels in in_order(self.finished.staged, self.finished.split.training, _BATCH):
            running.update(flat.encode(pixels))
        return running.projection()

    def _bundle(self, network: Path, name: str, projection: graphs.Projection | None) -> Bundle:
        folder = self.scratch / name
        folder.mkdir()
        architecture, staged = self.finished.architecture, self.finished.staged
        graphs.assemble(network, folder / GRAPH, architecture.input_size, self.dimension, projection)
        specification = Specification(
            name=architecture.name,
            input_size=architecture.input_size,
            resize=staged.resizing.mode,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            layout="NHWC",
            input_dtype="uint8",
            dimension=len(projection.offset) if projection else self.dimension,
            parameters=architecture.parameters,
            trained=True,
            precision="int8" if name == "int8" else "float32",
            licence="yours",
            provenance=_provenance(),
            fill=staged.resizing.fill,
            interpolation=staged.resizing.interpolation,
        )
        (folder / SPECIFICATION).write_text(specification.as_json())
        return Bundle(folder)

    def _calibration(self) -> Iterator[Pixels]:
        return in_order(self.finished.staged, spread(self.finished.split.training, _CALIBRATION_PHOTOS), 1)

    def _compare(self, exact: Encoder, small: Encoder) -> PrecisionTrial:
        """Both on held-out photos, by turns; each pair of batches gives a ratio of times."""
        split = self.finished.split
        numbers = spread(split.validation, _TRIAL_PHOTOS)
        if len(numbers) < 2 * _BATCH:
            numbers = [*numbers, *spread(split.training, 2 * _BATCH)]
        vectors: tuple[list[Any], list[Any]] = [], []
        ratios = []
        for pixels in in_order(self.finished.staged, numbers, _BATCH):
            seconds = [_timed(e, pixels, v) for e, v in zip((exact, small), vectors, strict=True)]
            ratios.append(seconds[0] / seconds[1])
        overlap = _overlap(np.concatenate(vectors[0]), np.concatenate(vectors[1]))
        return PrecisionTrial(round(overlap, 4), round(float(np.median(ratios)), 3), len(numbers))


def _timed(encoder: Encoder, pixels: Pixels, vectors: list[npt.NDArray[np.float32]]) -> float:
    started = time.perf_counter()
    vectors.append(encoder.encode(pixels))
    return time.perf_counter() - started


def _overlap(exact: npt.NDArray[np.float32], small: npt.NDArray[np.float32]) -> float:
    """Which part of each photo's five nearest others, found with one encoder, the other finds too."""
    k = min(5, len(exact) - 1)
    pairs = zip(nearest(exact, k), nearest(small, k), strict=True)
    return float(np.mean([len(set(a.tolist()) & set(b.tolist())) / k for a, b in pairs]))


def _describe(finished: Finished, made: _Made, trained: Trained) -> None:
    """Put record, weights and pictures beside the graph."""
    record = {
        **trained.as_json(),
        "options": finished.options.as_json(),
        "training_photos": len(finished.split.training),
        "validation_photos": len(finished.split.validation),
        "history": [asdict(epoch) for epoch in finished.outcome.epochs],
    }
    del record["bundle"]  # a bundle may move
    (made.folder / SPECIFICATION).write_text(replace(made.specification, training=record).as_json())
    history = json.dumps(record["history"], indent=2) + "\n"
    (made.folder / "history.json").write_text(history)
    finished.models.autoencoder.save_weights(made.folder / "model.weights.h5")
    title = f"{finished.architecture.name}, {len(finished.split.training):,} photos"
    draw_losses(finished.outcome.epochs, title, made.folder / "loss.png")
    originals = finished.staged.read(spread(finished.split.validation, _SHOWN))
    rebuilt = _rebuilt(finished.models, originals)
    draw_reconstructions(originals, rebuilt, made.folder / "reconstructions.png")


def _rebuilt(models: Models, originals: Pixels) -> Pixels:
    one_by_one = [
        np.asarray(forward(models.autoencoder, picture[np.newaxis].astype(np.float32) / 255))[0]
        for picture in originals
    ]
    levels: Pixels = np.rint(np.stack(one_by_one) * 255).astype(np.uint8)
    return levels


def _trained(finished: Finished, output: Path, made: _Made) -> Trained:
    return Trained(
        bundle=str(output),
        architecture=finished.architecture.name,
        photos=len(finished.staged.rows),
        skipped=len(finished.staged.skipped),
        outcome=finished.outcome,
        dimension=made.specification.dimension,
        precision=made.specification.precision,
        trial=made.trial,
    )


def _provenance() -> dict[str, Any]:
    packages = ("keras", "tensorflow", "onnxruntime")
    return {
        "what": f"trained by vsearch {__version__} on photos of the user's own",
        "versions": {package: metadata.version(package) for package in packages},
    }

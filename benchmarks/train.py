"""Training: ours against the study's way, on the same photos, for the same number of steps.

    python benchmarks/train.py PHOTOS [--architecture travel600] [--limit 60] [--steps 10]

The study's way holds all photos in one float32 array and calls ``model.fit``.  Each side runs in a process of
its own, one epoch after a warm-up step that compiles; prints images/s, peak memory (MiB), mean loss
of the epoch, and the ratios.  With --steps an epoch ends early: what all photos take in memory shows at once.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import measured
import numpy as np

from vsearch import sources
from vsearch.encoders.architectures import ARCHITECTURES, Architecture, build
from vsearch.images import read_pixels
from vsearch.training.batches import in_order
from vsearch.training.devices import import_keras
from vsearch.training.loop import Trainer
from vsearch.training.records import Options
from vsearch.training.staging import stage


def the_study_s_way(architecture: Architecture, paths: list[str], steps: int | None) -> dict[str, float]:
    """One array, ``model.fit``."""
    keras = import_keras("auto")
    ordered = [paths[number] for number in order(len(paths))]
    pixels = np.array([read_pixels(path, architecture.input_size, "stretch") for path in ordered])
    pictures = pixels.astype("float32") / 255
    keras.utils.set_random_seed(0)
    model = build(architecture).autoencoder
    model.compile(keras.optimizers.Adam(architecture.learning_rate), "mse")
    warm_up = pictures[: architecture.batch_size]
    model.train_on_batch(warm_up, warm_up)
    started = time.perf_counter()
    history = model.fit(
        pictures,
        pictures,
        batch_size=architecture.batch_size,
        steps_per_epoch=steps,
        epochs=1,
        verbose=0,
        shuffle=False,
    )
    count = min(len(paths), (steps or len(paths)) * architecture.batch_size)
    return figures(count / (time.perf_counter() - started), history.history["loss"][0])


def our_way(architecture: Architecture, photos: Path, limit: int, steps: int | None) -> dict[str, float]:
    """Staged segments, streamed."""
    keras = import_keras("auto")
    options = Options(1, architecture.batch_size, architecture.learning_rate)
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(sources.found([photos], ())[:limit], Path(folder), architecture)
        keras.utils.set_random_seed(0)
        trainer = Trainer(architecture, build(architecture), options)
        numbers = order(len(staged.rows))
        trainer.step(staged.read(numbers[: architecture.batch_size]))
        losses = []
        started = time.perf_counter()
        for batch in islice(in_order(staged, numbers, architecture.batch_size), steps):
            losses += [trainer.step(batch)] * len(batch)
        speed = len(losses) / (time.perf_counter() - started)
    return figures(speed, float(np.mean(losses)))


def order(count: int) -> list[int]:
    """One random order for both sides, so that they take the same steps and their losses can be compared."""
    return [int(number) for number in np.random.default_rng(0).permutation(count)]


def figures(images_per_second: float, loss: float) -> dict[str, float]:
    """What both sides report; ru_maxrss is KiB on Linux."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images_per_s": images_per_second, "peak_mib": peak, "loss": loss}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time one epoch of ours against the study's way.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="travel600")
    parser.add_argument("--limit", type=int, default=10**6, help="use the first N photos")
    parser.add_argument("--steps", type=int, help="end the epoch after N steps")
    parser.add_argument("--side", choices=("study", "ours"), help="run one side, in this process")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    architecture = ARCHITECTURES[options.architecture]
    if options.side == "ours":
        print(json.dumps(our_way(architecture, options.photos, options.limit, options.steps)))
        return
    if options.side == "study":
        found = sources.found([options.photos], ())[: options.limit]
        print(json.dumps(the_study_s_way(architecture, [f"{f.root}/{f.path}" for f in found], options.steps)))
        return
    sides = {}
    for side in ("study", "ours"):
        done = subprocess.run(
            [sys.executable, *sys.argv, "--side", side], check=True, stdout=subprocess.PIPE, text=True
        )
        sides[side] = json.loads(done.stdout.splitlines()[-1])
        print(f"{side:6}", {name: round(value, 4) for name, value in sides[side].items()})
    ratios = {name: round(sides["ours"][name] / sides["study"][name], 3) for name in sides["ours"]}
    print(f"{'ratio':6}", ratios)
    count = min(options.limit, len(sources.found([options.photos], ())))
    measured.write(options.json, [figure(options.architecture, count, sides["ours"], sides["study"])])


def figure(name: str, photos: int, ours: dict[str, float], study: dict[str, float]) -> measured.Figure:
    def both(side: dict[str, float]) -> str:
        return f"{side['images_per_s']:.2f} images/s, {side['peak_mib'] / 1024:.1f} GiB"

    faster = ours["images_per_s"] / study["images_per_s"]
    memory = ours["peak_mib"] / study["peak_mib"]
    return measured.Figure(
        f"train `{name}` on {photos:,} photos",
        both(ours),
        f"`model.fit` {both(study)}",
        f"{faster:.2f}x as fast, {memory:.2f}x memory",
        "`train.py`",
    )


if __name__ == "__main__":
    main()

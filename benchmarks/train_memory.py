"""Training: does its peak memory grow with the number of photos?

    python benchmarks/train_memory.py [200 20000] [--architecture travel600] [--steps 20]

Photos are generated: JPEGs of the architecture's input size, 200 different ones and links to them.  Each size
runs in a process of its own, on the road of `vsearch train`: the files are listed, staged into segments and
read back shuffled by block; the epoch ends after some steps.  Prints peak memory (MiB) and its ratio to the
first size.  20,000 photos of 600 x 600 need 22 GB of disk in the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import measured
import numpy as np
from PIL import Image

from vsearch import sources
from vsearch.encoders.architectures import ARCHITECTURES, Architecture, build
from vsearch.training.batches import in_order, shuffled, split
from vsearch.training.devices import import_keras
from vsearch.training.loop import Trainer
from vsearch.training.records import Options
from vsearch.training.staging import stage

DIFFERENT = 200


def make_photos(folder: Path, count: int, size: int) -> None:
    """``count`` JPEGs of ``size`` x ``size``; beyond 200 they are links to the first ones."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"{number:06d}.jpg"
        if number < DIFFERENT:
            blocks = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            blocks.resize((size, size), Image.Resampling.BICUBIC).save(place, quality=90)
        else:
            os.link(folder / f"{number % DIFFERENT:06d}.jpg", place)


def train(architecture: Architecture, photos: Path, folder: Path, steps: int) -> dict[str, float]:
    """Stage all photos, train and validate for some steps; ru_maxrss is KiB on Linux."""
    options = Options(1, architecture.batch_size, architecture.learning_rate)
    staged = stage(sources.found([photos], ()), folder, architecture)
    parts = split(len(staged.rows), options.validation_split, options.seed)
    import_keras("auto")
    trainer = Trainer(architecture, build(architecture), options)
    for batch in islice(shuffled(staged, parts.training, options.batch_size, (0, 1)), steps):
        trainer.step(batch)
    for batch in islice(in_order(staged, parts.validation, options.batch_size), steps):
        trainer.loss(batch)
    return {
        "photos": len(staged.rows),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of training, by number of photos.")
    parser.add_argument("counts", type=int, nargs="*", default=[200, 20_000])
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="travel600")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--photos", type=Path, help="run one size, in this process")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    architecture = ARCHITECTURES[options.architecture]
    if options.photos is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(train(architecture, options.photos, Path(folder), options.steps)))
        return
    peaks: dict[int, float] = {}
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            make_photos(photos, count, architecture.input_size)
            command = [sys.executable, *sys.argv, "--photos", str(photos)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        peak = peaks[count] = figures["peak_mib"]
        ratio = peak / peaks[options.counts[0]]
        print(f"{figures['photos']:6,} photos: {peak:,} MiB, ratio {ratio:.3f}", flush=True)
    size = f"{architecture.input_size} x {architecture.input_size}"
    few, many = options.counts[0], options.counts[-1]
    row = measured.Figure(
        f"memory of training, {many:,} photos of {size}",
        f"{peaks[many]:,} MiB",
        f"{few:,} photos: {peaks[few]:,} MiB",
        f"{peaks[many] / peaks[few]:.2f}",
        "`train_memory.py`",
    )
    measured.write(options.json, [row])


if __name__ == "__main__":
    main()

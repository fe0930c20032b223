"""Index and query as the 2020 study did it, against vsearch, on the same photos in one run.

    python benchmarks/study.py PHOTOS pet160.encoder travel600.encoder

The study's way: every photo decoded at full size, resized and kept in one float32 array, encoded with
`model.predict` (batch 16 at 160 pixels, 4 at 600), then scikit-learn's exact `NearestNeighbors`; nothing
is stored.  vsearch: `build-index` with the trained bundle and one cold `query`, each a process of its own.
For each bundle: seconds from start to answer, peak memory, images/s of the encoders alone
(`model.predict` against ONNX Runtime on ready batches, two runs at a time as in a build), and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import measured
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from vsearch.encoders.architectures import Architecture

VSEARCH = (sys.executable, "-m", "vsearch")
BATCHES = {"pet160": 16, "travel600": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--side", choices=("study", "encoding"), help="run one part, in this process")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    paths = sorted(str(path) for path in given.photos.rglob("*") if path.is_file())
    if given.side:
        side = {"study": study, "encoding": encoding}[given.side]
        print(json.dumps(side(given.bundles[0], paths)))
        return
    measured.write(given.json, [compare(given.photos, bundle, paths[0]) for bundle in given.bundles])


def compare(photos: Path, bundle: Path, query: str) -> measured.Figure:
    theirs = part(photos, bundle, "study")
    with tempfile.TemporaryDirectory() as scratch:
        index = ("--index", str(Path(scratch, "index")))
        build = measured.run(
            [*VSEARCH, "build-index", str(photos), *index, "--encoder", str(bundle), "--json"]
        )
        asked = measured.run([*VSEARCH, "query", query, *index, "-k", "5", "--json"])
    speeds = part(photos, bundle, "encoding")
    total, most = build.seconds + asked.seconds, max(build.peak_mib, asked.peak_mib)
    faster, memory = theirs["seconds"] / total, most / theirs["peak_mib"]
    print(f"{bundle.name}, {theirs['photos']} photos")
    print(f"  the study's way       {theirs['seconds']:7.1f} s  {theirs['peak_mib']:7.0f} MiB")
    print(f"  build-index           {build.seconds:7.1f} s  {build.peak_mib:7.0f} MiB")
    print(f"  query, cold           {asked.seconds:7.1f} s  {asked.peak_mib:7.0f} MiB")
    print(f"  as fast, in memory    {faster:7.2f}x {memory:10.2f}x")
    print(
        f"  encoding alone: predict {theirs['predict_per_s']:.1f}/s, ours {speeds['per_s']:.1f}/s, "
        f"{speeds['per_s'] / theirs['predict_per_s']:.2f}x   (to reach: 2x)",
        flush=True,
    )
    return measured.Figure(
        f"index and ask with `{bundle.name.removesuffix('.encoder')}`",
        f"{total:.1f} s, {most:,.0f} MiB",
        f"as the study did it: {theirs['seconds']:.1f} s, {theirs['peak_mib']:,.0f} MiB",
        f"{faster:.2f}x as fast, {memory:.2f}x memory",
        "`study.py`",
    )


def part(photos: Path, bundle: Path, side: str) -> dict[str, float]:
    """What one side measures, in a process of its own."""
    return measured.run([sys.executable, __file__, str(photos), str(bundle), "--side", side]).json()


class StudysWay:
    """All photos in one float32 array, ``model.predict``, scikit-learn's exact neighbours; nothing kept."""

    def __init__(self, architecture: Architecture) -> None:
        from vsearch.encoders.architectures import build
        from vsearch.training.devices import import_keras

        import_keras("auto")
        self._size = architecture.input_size
        self._batch = BATCHES.get(architecture.name, 16)
        self._encoder = build(architecture).encoder

    def index(self, paths: Sequence[str]) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._paths = list(paths)
        pixels = np.array([self._read(path) for path in paths]).astype("float32") / 255
        started = time.perf_counter()
        latents = self._encoder.predict(pixels, batch_size=self._batch, verbose=0)
        self.predict_s = time.perf_counter() - started
        self._neighbours = NearestNeighbors(n_neighbors=5).fit(latents.reshape(len(pixels), -1))

    def ask(self, path: str) -> list[str]:
        """The five nearest of what was indexed."""
        latent = self._encoder.predict(self._read(path)[np.newaxis] / np.float32(255), verbose=0)
        _, rows = self._neighbours.kneighbors(latent.reshape(1, -1))
        return [self._paths[row] for row in rows[0]]

    def _read(self, path: str) -> np.ndarray:
        return np.asarray(Image.open(path).convert("RGB").resize((self._size, self._size)))


def study(bundle: Path, paths: Sequence[str]) -> dict[str, float]:
    """The study's way, from imports to five neighbours of the first photo."""
    started = time.perf_counter()
    from vsearch.encoders.architectures import ARCHITECTURES

    name = json.loads((bundle / "encoder.json").read_text())["training"]["architecture"]
    way = StudysWay(ARCHITECTURES[name])
    way.index(paths)
    way.ask(paths[0])
    return {
        "photos": len(paths),
        "seconds": time.perf_counter() - started,
        "predict_per_s": len(paths) / way.predict_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def encoding(bundle: Path, paths: Sequence[str]) -> dict[str, float]:
    """Images/s of the bundle on pixels that lie ready, on both cores as a build uses them."""
    from vsearch import images
    from vsearch.encoders import Encoder, resolve
    from vsearch.ingest import batch_of, batched, in_parallel

    encoder = Encoder(resolve(bundle))
    size = encoder.specification.input_size
    pixels = [images.read_pixels(path, size, "stretch") for path in paths[:128]]
    batches = [np.stack(batch) for batch in batched(pixels, batch_of(size))]
    encoder.encode(batches[0])
    started = time.perf_counter()
    for _ in in_parallel(encoder.encode, batches, os.cpu_count() or 1):
        pass
    return {"per_s": len(pixels) / (time.perf_counter() - started)}


if __name__ == "__main__":
    main()

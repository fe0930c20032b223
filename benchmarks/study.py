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
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

VSEARCH = (sys.executable, "-m", "vsearch")
BATCHES = {"pet160": 16, "travel600": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--side", choices=("study", "encoding"), help="run one part, in this process")
    given = parser.parse_args()
    paths = sorted(str(path) for path in given.photos.rglob("*") if path.is_file())
    if given.side:
        part = {"study": study, "encoding": encoding}[given.side]
        print(json.dumps(part(given.bundles[0], paths)))
        return
    for bundle in given.bundles:
        compare(given.photos, bundle, paths[0])


def compare(photos: Path, bundle: Path, query: str) -> None:
    theirs = json.loads(run([sys.executable, __file__, str(photos), str(bundle), "--side", "study"])[0])
    with tempfile.TemporaryDirectory() as scratch:
        index = ("--index", str(Path(scratch, "index")))
        _, build, peak = run(
            [*VSEARCH, "build-index", str(photos), *index, "--encoder", str(bundle), "--json"]
        )
        _, asked, query_peak = run([*VSEARCH, "query", query, *index, "-k", "5", "--json"])
    speeds = json.loads(run([sys.executable, __file__, str(photos), str(bundle), "--side", "encoding"])[0])
    total, most = build + asked, max(peak, query_peak)
    print(f"{bundle.name}, {theirs['photos']} photos")
    print(f"  the study's way       {theirs['seconds']:7.1f} s  {theirs['peak_mib']:7.0f} MiB")
    print(f"  build-index           {build:7.1f} s  {peak:7.0f} MiB")
    print(f"  query, cold           {asked:7.1f} s  {query_peak:7.0f} MiB")
    print(f"  as fast, in memory    {theirs['seconds'] / total:7.2f}x {most / theirs['peak_mib']:10.2f}x")
    print(
        f"  encoding alone: predict {theirs['predict_per_s']:.1f}/s, ours {speeds['per_s']:.1f}/s, "
        f"{speeds['per_s'] / theirs['predict_per_s']:.2f}x   (to reach: 2x)",
        flush=True,
    )


def run(command: Sequence[str]) -> tuple[str, float, float]:
    """Last line of output, wall seconds and peak resident MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return output.splitlines()[-1], time.perf_counter() - started, usage.ru_maxrss / 1024


def study(bundle: Path, paths: Sequence[str]) -> dict[str, float]:
    """The study's way, from imports to five neighbours of the first photo."""
    started = time.perf_counter()
    from sklearn.neighbors import NearestNeighbors

    from vsearch.encoders.architectures import ARCHITECTURES, build
    from vsearch.training.devices import import_keras

    import_keras("auto")
    architecture = ARCHITECTURES[
        json.loads((bundle / "encoder.json").read_text())["training"]["architecture"]
    ]
    size = architecture.input_size
    pictures = [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in paths]
    pixels = np.array(pictures).astype("float32") / 255
    encoder = build(architecture).encoder
    ready = time.perf_counter()
    latents = encoder.predict(pixels, batch_size=BATCHES.get(architecture.name, 16), verbose=0)
    encoded = time.perf_counter()
    flat = latents.reshape(len(pixels), -1)
    NearestNeighbors(n_neighbors=5).fit(flat).kneighbors(
        encoder.predict(pixels[:1], verbose=0).reshape(1, -1)
    )
    return {
        "photos": len(paths),
        "seconds": time.perf_counter() - started,
        "predict_per_s": len(paths) / (encoded - ready),
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

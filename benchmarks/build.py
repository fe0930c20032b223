"""How near `build-index` and `query` come to what their parts cost, in one run on the same photos.

    python benchmarks/build.py PHOTOS [--encoder photo]

Prints, with ratios:

- the wall time of `vsearch build-index` against a floor: the same photos decoded by the same Pillow calls
  in two threads, plus ONNX Runtime on batches that lie ready (both cores);
- peak memory of a build of about 400 and of about 4,000 photos (the folder ten times, as altered copies);
- `vsearch query`, cold, from the shell, against `python -c "import chromadb, onnxruntime"`;
- `vsearch --help`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measured

VSEARCH = (sys.executable, "-m", "vsearch")
THREADS = 2
FLOOR_BATCH = 16
# Installed packages are compiled to bytecode, and a checkout is with its first run.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", default="photo")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-memory", action="store_true", help="leave out the build of 4,000 photos")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = [report_build(options.photos, options.encoder, options.repeats, Path(scratch))]
        figures.append(report_query(options.photos, options.repeats, Path(scratch)))
        if not options.skip_memory:
            figures.insert(0, report_memory(options.photos, options.encoder, Path(scratch)))
    measured.write(options.json, figures)


def report_build(photos: Path, encoder: str, repeats: int, scratch: Path) -> measured.Figure:
    paths = [str(path) for path in sorted(photos.rglob("*")) if path.is_file()]
    floors, builds = [], []
    for n in range(repeats):  # in turn, so that a drifting machine slows both
        floors.append(floor(paths, encoder))
        seconds, _ = build(photos, encoder, scratch / f"{n}.vsearch")
        builds.append(seconds)
    decode, encode = (statistics.median(column) for column in zip(*floors, strict=True))
    wall = statistics.median(builds)
    print(f"{len(paths)} photos, encoder {encoder}, medians of {repeats}")
    print(f"  decode, {THREADS} threads             {decode:7.2f} s  {len(paths) / decode:6.1f} photos/s")
    print(f"  encode, ready batches         {encode:7.2f} s  {len(paths) / encode:6.1f} photos/s")
    print(f"  build-index, whole process    {wall:7.2f} s  {len(paths) / wall:6.1f} photos/s")
    print(f"  build-index / (decode + encode) = {wall / (decode + encode):.2f}   (to reach: at most 1.25)")
    return measured.Figure(
        f"index {len(paths):,} photos",
        f"{wall:.1f} s",
        f"decoding them in two threads, then encoding ready batches, {decode + encode:.1f} s",
        f"{wall / (decode + encode):.2f}x the time",
        "`build.py`",
    )


def floor(paths: list[str], encoder: str) -> tuple[float, float]:
    """Seconds to decode all photos in two threads, and to encode them from memory on both cores."""
    import numpy as np
    import onnxruntime

    from vsearch import encoders, images

    bundle = encoders.resolve(encoder)
    specification = bundle.specification

    def decode(path: str) -> np.ndarray:
        decoded = images.decode(path, specification.input_size, specification.resize)
        _, pixels = decoded.thumbnail, decoded.pixels  # a build makes both
        return pixels

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = np.stack(list(pool.map(decode, paths)))
    decoded = time.perf_counter()
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(bundle.graph), session_options)
    name = session.get_inputs()[0].name
    ready = time.perf_counter()
    for start in range(0, len(pixels), FLOOR_BATCH):
        session.run(None, {name: pixels[start : start + FLOOR_BATCH]})
    return decoded - started, time.perf_counter() - ready


def build(photos: Path, encoder: str, index: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of one `vsearch build-index` process."""
    command = [*VSEARCH, "build-index", str(photos), "--index", str(index), "--encoder", encoder, "--json"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    assert process.stdout is not None
    report = json.loads(process.stdout.read().splitlines()[-1])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and report["added"], report
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def report_query(photos: Path, repeats: int, scratch: Path) -> measured.Figure:
    query = next(path for path in sorted(photos.rglob("*")) if path.is_file())
    commands = {
        "import chromadb, onnxruntime": (sys.executable, "-c", "import chromadb, onnxruntime"),
        "vsearch query": (*VSEARCH, "query", str(query), "--index", str(scratch / "0.vsearch")),
        "vsearch --help": (*VSEARCH, "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(max(5, repeats)):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"  {name:30s}{seconds:6.2f} s")
    asked, imports = medians["vsearch query"], medians["import chromadb, onnxruntime"]
    print(f"  query / imports = {asked / imports:.2f}   (to reach: at most 1.15)")
    return measured.Figure(
        "cold `vsearch query`",
        f"{asked:.2f} s",
        f'`python -c "import chromadb, onnxruntime"` {imports:.2f} s',
        f"{asked / imports:.2f}x the time",
        "`build.py`",
    )


def report_memory(photos: Path, encoder: str, scratch: Path) -> measured.Figure:
    once, many = scratch / "once", scratch / "many"
    for copy, (folder, copies) in enumerate(((once, 1), (many, 10))):
        for number in range(copies):
            for n, path in enumerate(sorted(p for p in photos.rglob("*") if p.is_file())):
                target = folder / str(number) / f"{n:05d}{path.suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                with target.open("ab") as file:  # other bytes, same picture: nothing is recognised
                    file.write(f"{copy}.{number}".encode())
    peaks = [build(folder, encoder, scratch / f"{folder.name}.vsearch")[1] for folder in (once, many)]
    counts = [sum(1 for _ in files(folder)) for folder in (once, many)]
    for count, peak in zip(counts, peaks, strict=True):
        print(f"  peak memory, {count:5d} photos    {peak:7.0f} MiB   (to reach: under 900)")
    print(f"  ratio {peaks[1] / peaks[0]:.2f}   (to reach: within 10 %)")
    return measured.Figure(
        f"peak memory of a build, {counts[1]:,} photos",
        f"{peaks[1]:.0f} MiB",
        f"{counts[0]:,} photos: {peaks[0]:.0f} MiB",
        f"{peaks[1] / peaks[0]:.2f}",
        "`build.py`",
    )


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()

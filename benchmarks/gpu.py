"""Encoding on an NVIDIA GPU against the CPU: pictures a second, memory, how far vectors differ.

    python benchmarks/gpu.py                          # the bundled encoders
    python benchmarks/gpu.py --encoder photo --encoder FOLDER --batches 1 16 64

Needs `onnxruntime-gpu[cuda,cudnn]` in place of `onnxruntime`.  The CPU is measured with one run on each of
its cores, as a build encodes; the GPU with two threads, so that one prepares while the other computes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import measured
import numpy as np

from vsearch.encoders import Encoder, resolve
from vsearch.encoders.devices import free_gpu_bytes
from vsearch.errors import VsearchError
from vsearch.records import Device

SECONDS = 3.0
GPU_THREADS = 2


def pictures(count: int, side: int) -> np.ndarray:
    """Smooth noise: uint8 [count, side, side, 3], the same each time."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, side // 20 + 1, side // 20 + 1, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(20, axis=1).repeat(20, axis=2)[:, :side, :side])


def rate(encoder: Encoder, pixels: np.ndarray, threads: int) -> float:
    """Pictures a second when so many threads encode the same batch over and over."""
    encoder.encode(pixels)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(encoder.encode, repeat(pixels, threads)))  # each thread's memory
        started = time.perf_counter()
        once = 0.0
        runs = 0
        while once < SECONDS:
            runs += len(list(pool.map(encoder.encode, repeat(pixels, 4 * threads))))
            once = time.perf_counter() - started
    return runs * len(pixels) / once


def free_gpu() -> int:
    return free_gpu_bytes() or 0


def measure(name: str, batches: list[int]) -> list[list[str]]:
    bundle = resolve(name)
    side = bundle.specification.input_size
    free = free_gpu()
    devices: dict[Device, tuple[Encoder, int]] = {
        "cpu": (Encoder(bundle, "cpu"), os.cpu_count() or 1),
        "cuda": (Encoder(bundle, "cuda"), GPU_THREADS),
    }
    pixels = pictures(max(batches), side)
    few = min(batches)
    one, other = (
        np.concatenate([encoder.encode(pixels[n : n + few]) for n in range(0, len(pixels), few)])
        for encoder, _ in devices.values()
    )
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float((np.einsum("nd,nd->n", one, other) / norms).min())
    rows = []
    for batch in sorted(batches):  # ONNX Runtime keeps the memory that it once took
        cpu, cuda = (rate(encoder, pixels[:batch], threads) for encoder, threads in devices.values())
        taken = (free - free_gpu()) / 2**20
        shown = [f"{cpu:,.0f}", f"{cuda:,.0f}", f"{cuda / cpu:.2f}", f"{taken:,.0f}", f"{cosine:.6f}"]
        rows.append([bundle.specification.name, str(batch), *shown])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", action="append", help="a name or a folder; again for more")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    given = parser.parse_args()
    names = given.encoder or ("photo", "photo-small")
    try:
        rows = [row for name in names for row in measure(name, given.batches)]
    except VsearchError as error:
        sys.exit(str(error))
    headings = [
        "encoder",
        "batch",
        f"CPU, {os.cpu_count()} threads, /s",
        "GPU /s",
        "ratio",
        "GPU MiB",
        "smallest cosine",
    ]
    print(measured.markdown(headings, rows))


if __name__ == "__main__":
    main()

"""The least wall time that indexing can take on this machine, and how near `build-index` comes to it.

    python benchmarks/limits.py PHOTOS [--encoder photo] [--enlarge 12] [--copies 10] [--repeats 3]

Each part runs alone, on one thread, on the same photos, and its CPU seconds are counted:

- decode: libjpeg-turbo through simplejpeg with DCT scaling to no less than twice the input (Pillow for what
  is no JPEG), upright, resized;
- encode: ONNX Runtime on batches that lie ready, as large as a build's;
- HDF5: writing the vectors and thumbnails, flushed and fsynced;
- Chroma: raw inserts of the vectors with metadata; its import, a second, is not counted.

Their sum, divided by the number of cores, is the limit: no schedule of these parts is faster.  What busy
cores lose to one another shows in *together*: the same decoding and encoding and nothing else, on as many
threads as a build has.  Then `vsearch build-index` is timed as a whole process, start-up and publishing
included.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chromadb
import chromadb.api.rust
import h5py
import measured
import numpy as np
import simplejpeg
from build import build
from PIL import Image

from vsearch import encoders, images
from vsearch.ingest import batch_of, batched, in_parallel, reading_threads

CHROMA_BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", default="photo")
    parser.add_argument("--enlarge", type=float, metavar="MEGAPIXELS", help="enlarge the photos first")
    parser.add_argument("--limit", type=int, help="use this many photos only")
    parser.add_argument("--copies", type=int, default=1, help="take each so many times, with other bytes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        photos = copy_photos(options.photos, Path(scratch, "photos"), options.limit, options.enlarge)
        multiply(photos, options.copies)
        figure = report(photos, options.encoder, options.repeats, Path(scratch))
    measured.write(options.json, [figure])


def copy_photos(source: Path, target: Path, limit: int | None, megapixels: float | None) -> Path:
    """Copies of the photos, as they are or enlarged to ``megapixels``; those that cannot be read stay out."""
    target.mkdir()
    paths = sorted(path for path in source.rglob("*") if path.is_file())[:limit]
    for n, path in enumerate(paths):
        if megapixels is None:
            (target / f"{n:05d}{path.suffix}").write_bytes(path.read_bytes())
            continue
        with Image.open(path) as image:
            picture = image.convert("RGB")
        scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        size = round(picture.width * scale), round(picture.height * scale)
        picture.resize(size, Image.Resampling.BICUBIC).save(target / f"{n:05d}.jpg", quality=90)
    return target


def multiply(photos: Path, copies: int) -> None:
    """Copies with other bytes beside them: the start of a process counts for less; none is recognised."""
    for path in sorted(photos.iterdir()):
        for copy in range(1, copies):
            (photos / f"{path.stem}-{copy}{path.suffix}").write_bytes(path.read_bytes() + b"%d" % copy)


def report(photos: Path, encoder: str, repeats: int, scratch: Path) -> measured.Figure:
    paths = sorted(photos.iterdir())
    bundle = encoders.resolve(encoder)
    parts: dict[str, list[float]] = {name: [] for name in ("decode", "encode", "HDF5", "Chroma")}
    together, walls = [], []
    for n in range(repeats):  # in turn, so that a drifting machine slows all alike
        pixels, seconds = timed(decode_all, paths, bundle.specification.input_size)
        parts["decode"].append(seconds)
        vectors, seconds = timed(encode_all, bundle, pixels)
        parts["encode"].append(seconds)
        thumbnails = [thumbnail(one) for one in pixels]
        _, seconds = timed(write_hdf5, scratch / f"{n}.h5", vectors, thumbnails)
        parts["HDF5"].append(seconds)
        _, seconds = timed(insert, scratch / f"{n}.chroma", vectors)
        parts["Chroma"].append(seconds)
        together.append(decode_and_encode(bundle, paths))
        walls.append(build(photos, encoder, scratch / f"{n}.vsearch")[0])
    medians = {name: statistics.median(values) for name, values in parts.items()}
    cores = os.cpu_count() or 1
    limit, wall = sum(medians.values()) / cores, statistics.median(walls)
    print(f"{len(paths)} photos, encoder {encoder}, {cores} cores, medians of {repeats}")
    for name, seconds in medians.items():
        print(f"  {name:8s}{seconds:8.2f} CPU s {len(paths) / seconds:9.1f} photos/s on one core")
    print(f"  limit   {limit:8.2f} s     {len(paths) / limit:9.1f} photos/s on {cores} cores")
    both = statistics.median(together)
    print(f"  together{both:8.2f} s     {len(paths) / both:9.1f} photos/s, decoded and encoded alone")
    print(f"  build   {wall:8.2f} s     {len(paths) / wall:9.1f} photos/s")
    print(f"  limit / build = {limit / wall:.2f}   (to reach: at least 0.90)")
    return measured.Figure(
        f"index {len(paths):,} photos, `{Path(encoder).stem}`",
        f"{wall:.1f} s",
        f"its parts alone, on {cores} cores without a pause: {limit:.1f} s",
        f"{limit / wall:.2f} of the limit",
        "`limits.py`",
    )


def timed(action: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What ``action(*arguments)`` returned, and the CPU seconds it took."""
    started = time.process_time()
    result = action(*arguments)
    return result, time.process_time() - started


def decode_all(paths: list[Path], size: int) -> np.ndarray:
    return np.stack([decode(path, size) for path in paths])


def decode(path: Path, size: int) -> np.ndarray:
    data = path.read_bytes()
    if not simplejpeg.is_jpeg(data):
        return images.read_pixels(data, size)
    try:
        array = simplejpeg.decode_jpeg(data, min_width=2 * size, min_height=2 * size, fastdct=True)
    except ValueError:  # CMYK and the like
        return images.read_pixels(data, size)
    picture = Image.fromarray(array)
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def encode_all(bundle: encoders.Bundle, pixels: np.ndarray) -> np.ndarray:
    encoder = encoders.Encoder(bundle)
    batch = batch_of(bundle.specification.input_size)
    return np.concatenate([encoder.encode(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])


def decode_and_encode(bundle: encoders.Bundle, paths: list[Path]) -> float:
    """Wall seconds of both on as many threads as a build has, each with batches of its own."""
    encoder, size = encoders.Encoder(bundle), bundle.specification.input_size
    batches = batched(paths, batch_of(size))
    started = time.perf_counter()
    for _ in in_parallel(lambda some: encoder.encode(decode_all(some, size)), batches, reading_threads()):
        pass
    return time.perf_counter() - started


def thumbnail(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def write_hdf5(path: Path, vectors: np.ndarray, thumbnails: list[bytes]) -> None:
    with h5py.File(path, "w") as file:
        file["vectors"] = vectors
        file["thumbnails"] = np.frombuffer(b"".join(thumbnails), np.uint8)
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def insert(folder: Path, vectors: np.ndarray) -> None:
    client: Any = chromadb.PersistentClient(str(folder))
    hnsw = {"space": "cosine", "ef_construction": 200, "max_neighbors": 32}
    photos = client.create_collection("photos", embedding_function=None, configuration={"hnsw": hnsw})
    for start in range(0, len(vectors), CHROMA_BATCH):
        some = vectors[start : start + CHROMA_BATCH]
        ids = [str(start + n) for n in range(len(some))]
        photos.add(ids=ids, embeddings=some, metadatas=[{"path": f"{i}.jpg"} for i in ids])
    client.close()


if __name__ == "__main__":
    main()

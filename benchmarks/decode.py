"""What decoding costs: a 12-megapixel JPEG by draft and in full, thumbnails, hashes.

    python benchmarks/decode.py [FOLDER...]

Prints milliseconds of one thread, the ratio of draft to full, and images/s on FOLDER's photos.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from vsearch import files, hashing, images

SIZE = 260


def milliseconds(function: Callable[[], object], repeats: int = 7) -> float:
    """The fastest of some runs, in thread time: other processes do not count."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times) * 1e3


def large_jpeg() -> bytes:
    """4000 x 3000 pixels of smooth colours with grain, about as hard to decode as a photo."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (75, 100, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-4, 5, (3000, 4000, 1), dtype=np.int16)
    buffer = io.BytesIO()
    pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def full_decode(data: bytes) -> Image.Image:
    """What a program without ``draft`` does."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def measure_large() -> None:
    data = large_jpeg()
    full = milliseconds(lambda: full_decode(data))
    pixels = milliseconds(lambda: images.read_pixels(data, SIZE))
    everything = milliseconds(lambda: images.decode(data, SIZE).thumbnail)
    print(f"12-megapixel JPEG, full decode     {full:8.1f} ms")
    print(f"12-megapixel JPEG, read_pixels     {pixels:8.1f} ms, {pixels / full:.2f} of the full")
    print(f"12-megapixel JPEG, with thumbnail  {everything:8.1f} ms, {everything / full:.2f}")


def measure_folder(folder: str) -> None:
    found = files.walk(folder, (), lambda skipped: None)
    photos = [files.read(files.absolute(file.root, file.path)) for file in found]
    decoded = [images.decode(photo, SIZE) for photo in photos]
    per_photo = milliseconds(lambda: [images.decode(photo, SIZE).thumbnail for photo in photos], 3)
    hashes = milliseconds(lambda: [hashing.perceptual_hashes(d.picture) for d in decoded], 3)
    print(f"{len(photos)} photos: {len(photos) / per_photo * 1e3:.0f}/s with thumbnails")
    print(f"perceptual hashes: {hashes / len(photos):.2f} ms a photo")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="of photos")
    folders = parser.parse_args().folders
    measure_large()
    for folder in folders:
        measure_folder(folder)

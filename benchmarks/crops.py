"""Vectors of real pictures, by the hundred thousand: random crops of a few photos, by the product's encoder.

    python benchmarks/crops.py PHOTOS FILE.npy [--count 100500]

Made-up vectors lie in clean clusters.  These lie as photos do: some crops of one photo show the same, others
have little in common.  PHOTOS may be several folders.  `rebuild.py --vectors FILE.npy` takes the file, and
`scale.py step` ten times as many of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from vsearch.encoders import Encoder, resolve
from vsearch.files import PHOTO_SUFFIXES
from vsearch.ingest import batch_of, batched, in_parallel, reading_threads
from vsearch.ranking import normalised

SMALLEST, SHARE = 24, (0.05, 1.0)  # pixels a side; of the area of the largest square
BRIGHTNESS = (0.6, 1.5)
MIXED = 2**16  # at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=100_500)
    parser.add_argument("--encoder", default="photo")
    given = parser.parse_args()
    found = sorted(path for folder in given.photos for path in folder.rglob("*"))
    paths = [path for path in found if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    if not paths:
        parser.error("there is no photo in these folders")
    started = time.perf_counter()
    vectors = cropped(paths, given.count, Encoder(resolve(given.encoder)))
    np.save(given.file, vectors)
    print(f"{len(vectors):,} crops of {len(paths):,} photos in {time.perf_counter() - started:.0f} s")


def cropped(paths: Sequence[Path], count: int, encoder: Encoder) -> npt.NDArray[np.float32]:
    """Vectors of ``count`` crops, as many of each photo, in random order; the same in each run."""
    each = -(-count // len(paths))
    of_photo = partial(_encoded, each=each, encoder=encoder)
    vectors = np.concatenate([*in_parallel(of_photo, enumerate(paths), reading_threads())])
    np.random.default_rng(0).shuffle(vectors)
    return vectors[:count]


def mixed(vectors: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """So many unit vectors, each one of ``vectors`` with up to half as much of another; the same in each run.

    Into a graph they go as crops of photos do: 50,000 mixed of 5,000 crops took as long as 50,000 crops.
    """
    random = np.random.default_rng(1)
    made = np.empty((count, vectors.shape[1]), np.float32)
    for start in range(0, count, MIXED):
        rows = min(MIXED, count - start)
        one, other = (vectors[random.integers(0, len(vectors), rows)] for _ in range(2))
        some = random.uniform(0, 0.5, (rows, 1)).astype(np.float32)
        made[start : start + rows] = normalised(one + some * other)
    return made


def _encoded(numbered: tuple[int, Path], each: int, encoder: Encoder) -> npt.NDArray[np.float32]:
    number, path = numbered
    random = np.random.default_rng(number)
    side = encoder.specification.input_size
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    crops = (_crop(photo, side, random) for _ in range(each))
    return np.concatenate([encoder.encode(np.stack(some)) for some in batched(crops, batch_of(side))])


def _crop(photo: Image.Image, side: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random square of the photo, mirrored and of another brightness half the time: uint8 [S, S, 3]."""
    shortest = min(photo.size)
    edge = max(min(SMALLEST, shortest), round(shortest * random.uniform(*SHARE) ** 0.5))
    left, top = (int(random.integers(0, length - edge + 1)) for length in photo.size)
    crop = photo.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + edge, top + edge))
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.5:
        crop = ImageEnhance.Brightness(crop).enhance(random.uniform(*BRIGHTNESS))
    return np.asarray(crop)


if __name__ == "__main__":
    main()

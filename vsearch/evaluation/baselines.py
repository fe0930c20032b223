"""What any encoder has to beat: vectors that need no training, compared by cosine like all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from vsearch import hashing

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]
SIZE = 160
_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Baseline:
    """One baseline: from pixels uint8 [N, 160, 160, 3], stretched, to vectors float32 [N, dimension]."""

    name: str
    dimension: int
    encode: Callable[[Pixels], Vectors]


def raw_pixels(pixels: Pixels) -> Vectors:
    """The pixels themselves."""
    return pixels.reshape(len(pixels), -1).astype(np.float32)


def colour_histogram(pixels: Pixels) -> Vectors:
    """How often each of 8 x 8 x 8 colours occurs."""
    levels = (pixels // (256 // _LEVELS)).astype(np.int64)
    bins = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    counts = [np.bincount(one.ravel(), minlength=_LEVELS**3) for one in bins]
    return np.stack(counts).astype(np.float32)


def difference_hash(pixels: Pixels) -> Vectors:
    """The 64 bits of dHash as -1 and 1: their cosine is 1 - (differing bits) / 32."""
    digits = [hashing.perceptual_hashes(Image.fromarray(one))[1] for one in pixels]
    hashes = hashing.as_numbers(digits)
    bits = (hashes[:, np.newaxis] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    return bits.astype(np.float32) * 2 - 1


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Baseline("pixels", 3 * SIZE * SIZE, raw_pixels),
            Baseline("colour", _LEVELS**3, colour_histogram),
            Baseline("dhash", 64, difference_hash),
        )
    }
)

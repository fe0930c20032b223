"""Perceptual hashes: the same picture re-encoded, resized or recoloured hashes (nearly) alike.

pHash compares the 8 x 8 lowest DCT frequencies with their median, dHash each pixel of a 9 x 8
picture with its right neighbour (hackerfactor.com, 2011 and 2013).  64 bits each, as 16 hexadecimal
digits.
Two photos of one thing are nearly always within 10 bits; unrelated ones are 18 or more apart in
999 of 1,000 pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The eight orientations of a picture, itself first.
_TURNS = (None, *Image.Transpose)


def perceptual_hashes(picture: Image.Image) -> tuple[str, str]:
    """pHash and dHash of ``picture`` (any mode, any size), 16 hexadecimal digits each."""
    import imagehash  # here, because its scipy takes longer to import than all the rest

    grey = _small_grey(picture)
    return str(imagehash.phash(grey)), str(imagehash.dhash(grey))


def orientations(picture: Image.Image) -> list[str]:
    """pHashes of the eight orientations of ``picture``, as it is first: finds turned copies."""
    import imagehash

    # 32 x 32 is the size at which pHash works: it resizes no further.
    grey = _small_grey(picture).resize((32, 32), Image.Resampling.LANCZOS)
    turned = (grey if turn is None else grey.transpose(turn) for turn in _TURNS)
    return [str(imagehash.phash(each)) for each in turned]


def _small_grey(picture: Image.Image) -> Image.Image:
    """Averaged down to a shortest side of 96 to 191: ample for 32 x 32, in half the time."""
    grey = picture.convert("L")
    return grey.reduce(max(1, min(grey.size) // 96))


def as_number(digits: str) -> np.uint64:
    """A hash as the 64-bit number that :func:`distances` compares."""
    return np.uint64(int(digits, 16))


def hamming(a: str, b: str) -> int:
    """Number of bits, 0 to 64, in which two hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def distances(query: np.uint64, hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bits in which ``query`` differs from each of ``hashes``: ``uint64 [N]`` -> ``uint8 [N]``."""
    differing: NDArray[np.uint8] = np.bitwise_count(hashes ^ query)
    return differing

"""Perceptual hashes: the same picture re-encoded, resized or recoloured hashes (nearly) alike.

pHash compares the 8 x 8 lowest DCT frequencies with their median, dHash each pixel of a 9 x 8 picture with
its right neighbour (hackerfactor.com, 2011 and 2013).  64 bits each, as 16 hexadecimal digits.  Two photos of
one thing are nearly always within 10 bits; unrelated ones are 18 or more apart in 999 of 1,000 pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# 32 x 32 is the size at which pHash works; its 8 lowest frequencies, DCT-II, as a matrix [8, 32].
_DCT = 2 * np.cos(np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1))
# Mirroring changes the sign of every second coefficient of a row or column: none, rows, columns, both.
_ALTERNATING = np.resize([1.0, -1.0], 8)
_SIGNS = np.stack(
    [np.outer(down, across) for down in (np.ones(8), _ALTERNATING) for across in (np.ones(8), _ALTERNATING)]
)


_LONGEST = 4096


def perceptual_hashes(picture: Image.Image) -> tuple[str, str]:
    """pHash and dHash of ``picture`` (any mode, any size), 16 hexadecimal digits each."""
    import imagehash  # here, because its scipy takes longer to import than all the rest

    grey = small_grey(picture)
    return str(imagehash.phash(grey)), str(imagehash.dhash(grey))


def orientations(picture: Image.Image) -> NDArray[np.uint64]:
    """pHashes of the eight orientations of ``picture``, uint64 [8]: finds turned copies.

    The picture as it is comes first.  One DCT is enough: mirroring changes the sign of every second
    coefficient, transposing transposes them.  As a product of small matrices, a third of a millisecond in
    all, it needs no scipy, whose import takes as long as that of all else.
    """
    grey = small_grey(picture).resize((32, 32), Image.Resampling.LANCZOS)
    low = np.round(_DCT @ np.asarray(grey, np.float64) @ _DCT.T, 6)  # what is 0 is 0
    turned = (np.stack([low, low.T])[:, np.newaxis] * _SIGNS).reshape(8, 64)
    middle = np.sort(turned, axis=1)[:, 31:33].mean(axis=1, keepdims=True)
    return np.packbits(turned > middle, axis=1).view(">u8").reshape(8).astype(np.uint64)


def small_grey(picture: Image.Image) -> Image.Image:
    """Grey, averaged down to a shortest side of 96 to 191: ample for 32 x 32, in half the time."""
    plain = picture if picture.mode in ("L", "RGB") else picture.convert("L")
    times = min(plain.size) // 96
    reduced = plain.reduce(times) if times > 1 else plain
    if max(reduced.size) > _LONGEST:  # a strip: to resize it in one go would take seconds
        reduced = reduced.reduce((max(1, reduced.width // 96), max(1, reduced.height // 96)))
    return reduced if reduced.mode == "L" else reduced.convert("L")


def as_numbers(digits: Sequence[str]) -> NDArray[np.uint64]:
    """Hashes as the 64-bit numbers that :func:`distances` compares, uint64 [N]."""
    return np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.uint64)


def distances(turned: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bits in which each of ``hashes`` (uint64 [N]) differs from the nearest of ``turned`` (uint64 [M]).

    >>> distances(as_numbers(["00" * 8, "ff" * 8]), as_numbers(["00" * 7 + "03"])).tolist()
    [2]
    """
    differing: NDArray[np.uint8] = np.bitwise_count(hashes ^ turned[:, np.newaxis]).min(axis=0)
    return differing


# --- turning stored hashes -----------------------------------------------------------------------

# Bit 63 is the top left coefficient or pixel, eight bits a row.  Mirroring negates every second DCT
# coefficient, so it flips their bits in pHash (coefficients between plus and minus the median aside:
# 2 bits in the median, 10 in 99 of 100 photos); transposing transposes both.
_ODD_COLUMNS = np.uint64(0x5555555555555555)
_ODD_ROWS = np.uint64(0x00FF00FF00FF00FF)


def turned_phashes(hashes: NDArray[np.uint64], orientation: int) -> NDArray[np.uint64]:
    """pHashes of pictures turned, from the pHashes of the pictures alone.

    Args:
        hashes: uint64 [N].
        orientation: bit 2 transposes first, then bit 0 mirrors left-right, bit 1 top-bottom.

    >>> turned_phashes(np.array([0x5555555555555555], np.uint64), 1).tolist()
    [0]
    """
    turned = _transposed(hashes) if orientation & 4 else hashes
    turned = turned ^ _ODD_COLUMNS if orientation & 1 else turned
    return turned ^ _ODD_ROWS if orientation & 2 else turned


def turned_dhashes(hashes: NDArray[np.uint64], orientation: int) -> NDArray[np.uint64]:
    """dHashes of mirrored pictures (orientation 0 to 3, as above); transposed ones cannot be derived."""
    rows = hashes.astype(">u8").view(np.uint8).reshape(-1, 8)
    if orientation & 2:
        rows = rows[:, ::-1]
    if orientation & 1:  # each row reversed, and every comparison the other way round
        rows = ~np.packbits(np.unpackbits(rows, axis=1).reshape(-1, 8, 8)[:, :, ::-1], axis=2)[:, :, 0]
    turned = np.ascontiguousarray(rows).view(">u8").reshape(-1)
    return turned.astype(np.uint64)


def _transposed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
    packed = np.packbits(bits.transpose(0, 2, 1), axis=2).reshape(-1, 8)
    return np.ascontiguousarray(packed).view(">u8").reshape(-1).astype(np.uint64)

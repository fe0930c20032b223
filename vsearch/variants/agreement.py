"""Whether two pictures show the same, block by block: pure functions on small grey pictures.

Hashes and vectors propose pairs; they cannot decide.  Here two pictures that should coincide are cut into
blocks, and each block with texture is compared by normalised cross-correlation, which brightness, contrast
and colour do not change.  The *agreement* is the share of textured blocks that correlate: near 1 for one
picture encoded twice, still above one half under a caption or text, low for two exposures of one scene.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Pixel = TypeVar("Pixel", bound=np.generic)

SIDE = 64
_BLOCK = 8
# A block is textured from this standard deviation on (grey levels): below it JPEG noise is all there is.
_TEXTURE = 3.0
_BLOCK_CORRELATION = 0.7
# With fewer textured blocks than this, a picture is flat: its colours and details can be compared alone.
FEW_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two pictures agree.

    Attributes:
        share: textured blocks that correlate, 0 to 1.
        textured: how many blocks have texture in either picture.
        correlation: of all pixels, -1 to 1.
    """

    share: float
    textured: int
    correlation: float

    @property
    def flat(self) -> bool:
        """Whether there is too little texture to tell."""
        return self.textured < FEW_BLOCKS


def oriented(grey: npt.NDArray[Pixel], orientation: int) -> npt.NDArray[Pixel]:
    """``grey`` [H, W] (or [H, W, 3]) in one of eight orientations: bit 0 mirrors left-right, bit 1
    top-bottom, bit 2 transposes first.

    >>> oriented(np.array([[1, 2], [3, 4]], np.uint8), 5).tolist()
    [[3, 1], [4, 2]]
    """
    turned = grey.swapaxes(0, 1) if orientation & 4 else grey
    turned = turned[::-1] if orientation & 2 else turned
    return turned[:, ::-1] if orientation & 1 else turned


def best_orientation(a: Floats, b: Floats) -> int:
    """The orientation of ``b`` that correlates best with ``a``; ties go to the lowest.

    Args:
        a, b: float32 [S, S], :func:`standardised`.
    """
    scores = [float(np.multiply(a, oriented(b, orientation)).mean()) for orientation in range(8)]
    return int(np.argmax(np.round(scores, 3)))


def textured_blocks(grey: Grey) -> int:
    """How many blocks of a picture, uint8 [H, W], have texture."""
    return int((_blocks(grey, _BLOCK).std(axis=1) >= _TEXTURE).sum())


def compare(a: Grey, b: Grey, mask: npt.NDArray[np.bool_] | None = None, block: int = _BLOCK) -> Agreement:
    """The agreement of two pictures of one shape, uint8 [H, W].

    Args:
        mask: bool [H, W], where both have pixels; blocks not fully inside do not count.
        block: side of a block, pixels.
    """
    blocks_a, blocks_b = _blocks(a, block), _blocks(b, block)
    std_a, std_b = blocks_a.std(axis=1), blocks_b.std(axis=1)
    textured = np.maximum(std_a, std_b) >= _TEXTURE
    if mask is not None:
        textured &= _blocks(mask, block).min(axis=1) > 0
    centred_a = blocks_a - blocks_a.mean(axis=1, keepdims=True)
    centred_b = blocks_b - blocks_b.mean(axis=1, keepdims=True)
    correlations = (centred_a * centred_b).mean(axis=1) / np.maximum(std_a * std_b, 1e-3)
    count = int(textured.sum())
    agreeing = int((correlations[textured] >= _BLOCK_CORRELATION).sum())
    inside = np.ones(a.shape, np.bool_) if mask is None else mask
    return Agreement(agreeing / count if count else 0.0, count, correlation(a[inside], b[inside]))


def beyond(a: Grey, b: Grey) -> Floats:
    """By how much each pixel of either picture lies outside of what the other shows there and next to it.

    For details of a few pixels, uint8 [H, W]: both are blurred a little against the noise of JPEG, and one
    may lie half a pixel beside the other.  Where the other has contrast itself, half of that is allowed for.

    Returns:
        float32 [H, W], grey levels; 0 or less where they agree.  How bright the whole is does not count.
    """
    blurred_a, blurred_b = (_over_three(grey.astype(np.float32), _blurred) for grey in (a, b))
    blurred_b = blurred_b + np.median(blurred_a - blurred_b)
    return np.maximum(_outside(blurred_a, blurred_b), _outside(blurred_b, blurred_a))


def _outside(a: Floats, b: Floats) -> Floats:
    low = _over_three(b, lambda above, here, below: np.minimum(np.minimum(above, here), below))
    high = _over_three(b, lambda above, here, below: np.maximum(np.maximum(above, here), below))
    outside: Floats = np.maximum(a - high, low - a) - (high - low) / 2
    return outside


def _blurred(above: Floats, here: Floats, below: Floats) -> Floats:
    blurred: Floats = (above + 2 * here + below) * np.float32(0.25)
    return blurred


def _over_three(values: Floats, combined: Callable[[Floats, Floats, Floats], Floats]) -> Floats:
    """Each pixel combined with its neighbours above and below, and the outcome with those at its sides."""
    for _ in range(2):
        padded = np.pad(values, ((1, 1), (0, 0)), "edge")
        values = combined(padded[:-2], padded[1:-1], padded[2:]).T
    return values


def reduced(grey: Grey) -> Floats:
    """Averaged over 4 x 4 pixels."""
    h, w = grey.shape[0] // 4, grey.shape[1] // 4
    means: Floats = grey[: h * 4, : w * 4].reshape(h, 4, w, 4).mean(axis=(1, 3), dtype=np.float32)
    return means


def standardised(values: Floats) -> Floats:
    """``values`` less their mean, divided by their standard deviation: their mean product correlates."""
    centred: Floats = values - values.mean()
    scaled: Floats = centred / max(float(centred.std()), 1e-6)
    return scaled


def correlation(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Pearson's, of all pixels of two pictures of one shape, -1 to 1."""
    if not a.size:
        return 0.0
    return float((standardised(a.astype(np.float32)) * standardised(b.astype(np.float32))).mean())


def _blocks(grey: npt.NDArray[np.generic], side: int) -> Floats:
    """``[H, W]`` -> float32 [blocks, side * side]; what does not fill a block is left out."""
    h, w = grey.shape[0] // side, grey.shape[1] // side
    cut = grey[: h * side, : w * side].reshape(h, side, w, side).swapaxes(1, 2)
    return cut.reshape(h * w, side * side).astype(np.float32)

"""How photos become squares: what ``encoder.json`` says, and the decoder does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeGuard

from vsearch.records import ResizeMode

Interpolation = Literal["bicubic", "bilinear"]
Fill = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Resizing:
    """How a photo becomes a square.

    Attributes:
        mode: ``crop`` (shortest side to S, then the centre), ``stretch`` or ``pad`` (bars).
        fill: RGB of the bars, 0-255; grey is 0 after the usual ``(x - 127) / 128``.
        interpolation: the filter of the last step.
    """

    mode: ResizeMode = "crop"
    fill: Fill = (127, 127, 127)
    interpolation: Interpolation = "bicubic"


def is_fill(value: object) -> TypeGuard[Fill]:
    """Whether ``value`` can be one: a tuple of three whole numbers, 0 to 255."""
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(type(level) is int and 0 <= level <= 255 for level in value)
    )

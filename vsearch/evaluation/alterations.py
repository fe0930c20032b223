"""Altered copies of a picture, made in memory: what happens to photos on their way through the world."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageEnhance, ImageOps

Alteration = Callable[[Image.Image], Image.Image]


def crop(picture: Image.Image) -> Image.Image:
    """The middle 80 % of each side."""
    width, height = picture.size
    left, top = width // 10, height // 10
    return picture.crop((left, top, max(left + 1, width - left), max(top + 1, height - top)))


def turn(picture: Image.Image) -> Image.Image:
    """By 90 degrees."""
    return picture.transpose(Image.Transpose.ROTATE_90)


def reencode(picture: Image.Image) -> Image.Image:
    """As JPEG of quality 30."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    with Image.open(buffer) as copy:
        copy.load()
        return copy.convert("RGB")


def brighten(picture: Image.Image) -> Image.Image:
    """By 30 %."""
    return ImageEnhance.Brightness(picture).enhance(1.3)


def shrink(picture: Image.Image) -> Image.Image:
    """To a quarter of each side."""
    return ImageOps.scale(picture, 0.25) if min(picture.size) >= 4 else picture


ALTERATIONS: Mapping[str, Alteration] = MappingProxyType(
    {
        "crop": crop,
        "turn": turn,
        "mirror": ImageOps.mirror,
        "re-encode": reencode,
        "brightness": brighten,
        "resize": shrink,
    }
)

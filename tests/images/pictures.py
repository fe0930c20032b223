"""Pictures that the tests of images make, and how they compare them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from vsearch import images

RAW = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> how a camera stores it


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Red, green, blue and yellow quarters: every turn of it is a different picture."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("lime", (width // 2, 0, width, height // 2))
    picture.paste("blue", (0, height // 2, width // 2, height))
    picture.paste("yellow", (width // 2, height // 2, width, height))
    return picture


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def photo_size(source: images.Source) -> tuple[int, int]:
    facts = images.decode(source, 8).facts
    return facts.width, facts.height

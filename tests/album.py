"""Albums that tests make: pictures of coloured tiles, each seed another picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture of 4 x 4 coloured tiles; the same seed gives the same picture."""
    tiles = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(tiles).resize(size, Image.Resampling.NEAREST)


def write(path: Path, seed: int, **save: Any) -> Path:
    """Save picture ``seed`` at ``path``; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".jpg", ".jpeg"):
        save.setdefault("quality", 95)
    picture(seed).save(path, **save)
    return path


def write_album(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """``count`` pictures in two subfolders, as PNG and JPEG."""
    suffixes = ("png", "jpg")
    return [
        write(folder / f"day{n % 2}" / f"photo{n:03d}.{suffixes[n % 2]}", n)
        for n in range(first, first + count)
    ]

"""Make a sample album: ``python scripts/sample_album.py FOLDER``.

The photos are those that lie in the wheels of scikit-image and scikit-learn; beside each go three
altered copies, so that a query finds the photo, its copies, and then what merely looks alike.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

DRAWINGS = {"chessboard_GRAY", "chessboard_RGB", "color", "horse", "logo", "phantom"}
COPIES = 3


def sources() -> list[Path]:
    """The photos that came with the two packages, sorted by name."""
    folders = [
        Path(str(files("skimage"))) / "data",
        Path(str(files("sklearn"))) / "datasets/images",
    ]
    photos = [p for folder in folders for p in folder.iterdir() if p.suffix in {".jpg", ".png"}]
    return sorted((p for p in photos if p.stem not in DRAWINGS), key=lambda p: p.name)


def crop(photo: Image.Image) -> Image.Image:
    """The middle 80 % of each side."""
    width, height = photo.size
    return photo.crop((width // 10, height // 10, width - width // 10, height - height // 10))


ALTERATIONS: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    # name: change, JPEG quality
    "crop": (crop, 90),
    "grey": (ImageOps.grayscale, 90),
    "mirror": (ImageOps.mirror, 90),
    "quality-30": (lambda photo: photo, 30),
    "small": (lambda photo: ImageOps.scale(photo, 0.5), 90),
    "bright": (lambda photo: ImageEnhance.Brightness(photo).enhance(1.3), 90),
}


def make(folder: Path) -> int:
    """Fill ``folder`` anew; return how many photos it then holds.

    The pictures are the same every time, so an index of the folder finds them unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    alterations = cycle(ALTERATIONS.items())
    for source in sources():
        shutil.copy2(source, folder)
        photo = Image.open(source).convert("RGB")
        for name, (change, quality) in islice(alterations, COPIES):
            change(photo).save(folder / f"{source.stem}-{name}.jpg", quality=quality)
    return sum(1 for _ in folder.iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a sample album.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"Sample album: {make(folder)} photos in {folder}")

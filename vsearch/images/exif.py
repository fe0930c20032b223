"""What EXIF says: orientation, capture time, camera.  Broken EXIF is common and never an error."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

# EXIF orientation -> what turns the stored picture upright; 5 to 8 swap width and height.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image, tags: dict[int, Any]) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing, broken or applied by Pillow (TIFF)."""
    value = tags.get(ExifTags.Base.Orientation) if image.format != "TIFF" else 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def tags_of(image: Image.Image) -> dict[int, Any]:
    """EXIF tags of the main and the Exif directory, as far as they can be read."""
    tags: dict[int, Any] = {}
    with contextlib.suppress(Exception):  # broken EXIF is common, and no reason to refuse a photo
        exif = image.getexif()
        tags.update(exif)
        tags.update(exif.get_ifd(ExifTags.IFD.Exif))
    return tags


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height of the upright picture, of those of the stored one."""
    return (size[1], size[0]) if orientation >= 5 else size


def taken_at(tags: dict[int, Any]) -> str | None:
    """When the photo was taken, ``YYYY-MM-DDTHH:MM:SS``, in the camera's time; ``None`` if no tag says so."""
    names = (
        ExifTags.Base.DateTimeOriginal,
        ExifTags.Base.DateTimeDigitized,
        ExifTags.Base.DateTime,
    )
    return next((time for name in names if (time := _iso_time(tags.get(name)))), None)


def _iso_time(value: object) -> str | None:
    try:
        return datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None


def camera(tags: dict[int, Any]) -> str | None:
    """Make and model of the camera, the make once; ``None`` if neither is told."""
    make, model = _text(tags.get(ExifTags.Base.Make)), _text(tags.get(ExifTags.Base.Model))
    brand = make.split(" ")[0].casefold()
    name = model if model.casefold().startswith(brand) else f"{make} {model}"
    return (name if model else make).strip() or None


def _text(value: object) -> str:
    """EXIF text up to its first NUL, printable characters only."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    text = text.split("\0")[0] if isinstance(text, str) else ""
    return "".join(c for c in text if c.isprintable()).strip()

"""From an opened picture to pixels and a thumbnail."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vsearch.errors import UsageError
from vsearch.images import exif
from vsearch.images.opening import MAX_MEGAPIXELS, Source, name_of, opened
from vsearch.records import PhotoFacts, ResizeMode
from vsearch.resizing import Interpolation, Resizing

Box = tuple[int, int, int, int]

THUMBNAIL = 256
# JPEG, not WebP: 0.6 ms a thumbnail against 9 ms, and this runs once for every photo.
THUMBNAIL_QUALITY = 80

WHITE = (255, 255, 255)
BILINEAR = Image.Resampling.BILINEAR
_FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": BILINEAR,
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """One photo, decoded.

    Attributes:
        pixels: ``uint8 [S, S, 3]``, RGB, upright, C-contiguous and writable.
        whole: RGB, upright, aspect kept, at least as large as was needed.
        facts: size of the whole upright photo, format, capture time and camera; no hashes.
    """

    pixels: NDArray[np.uint8]
    whole: Image.Image
    facts: PhotoFacts

    @functools.cached_property
    def picture(self) -> Image.Image:
        """``whole``, its longest side at most 256 pixels: for thumbnails and perceptual hashes."""
        return _fit(self.whole, THUMBNAIL)

    @functools.cached_property
    def thumbnail(self) -> bytes:
        """``picture`` as the JPEG bytes that are kept of it."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
        return buffer.getvalue()


def decode(
    source: Source,
    size: int,
    resize: ResizeMode | Resizing = "crop",
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    box: Box | None = None,
    name: str | None = None,
) -> Decoded:
    """Decode one photo, once for everything that is wanted of it.

    Args:
        source: path, bytes, binary file, Pillow picture, or array (see :func:`from_array`).
        size: side S of the square result, pixels.
        resize: how it becomes a square; a mode alone is bicubic, with grey bars.
        max_megapixels: refuse larger pictures before decoding them.
        box: ``(x, y, width, height)`` in pixels of the upright photo: use this region alone.
        name: what errors call the photo; by default its path, or ``<bytes>`` and the like.

    Raises:
        PhotoError: the photo cannot be used; nothing else comes out of Pillow.
        UsageError: ``size``, ``resize`` or ``box`` makes no sense.
    """
    how = resize if isinstance(resize, Resizing) else Resizing(resize)
    if size < 1 or how.mode not in ("crop", "stretch", "pad"):
        allowed = "size must be 1 or more, and resize crop, stretch or pad"
        raise UsageError(f"{allowed}; received: {size}, {how.mode}")
    with opened(source, max_megapixels, name or name_of(source)) as image:
        if image.format == "PNG":
            image.load()  # else reading its EXIF would load it, and tags_of swallow the errors
        tags = exif.tags_of(image)
        orientation = exif.orientation(image, tags)
        whole = exif.turned_size(image.size, orientation)
        region = _region(box, whole)
        working = _working(image, orientation, whole, _shrink(region, size, how.mode))
        working = _cropped(working, region, whole)
        return Decoded(
            pixels=np.array(_resized(working, size, how)),
            whole=working,
            facts=PhotoFacts(
                *whole, image.format or "", taken_at=exif.taken_at(tags), camera=exif.camera(tags)
            ),
        )


def read_pixels(source: Source, size: int, resize: ResizeMode | Resizing = "crop") -> NDArray[np.uint8]:
    """Pixels alone, ``uint8 [S, S, 3]``, RGB, upright; arguments and errors of :func:`decode`."""
    return decode(source, size, resize).pixels


def read_picture(source: Source, longest: int) -> Image.Image:
    """The upright RGB picture, its longest side at most ``longest`` pixels; errors of :func:`decode`."""
    with opened(source, MAX_MEGAPIXELS, name_of(source)) as image:
        if image.format == "PNG":
            image.load()  # see decode
        orientation = exif.orientation(image, exif.tags_of(image))
        whole = exif.turned_size(image.size, orientation)
        shrink = max(1, int(max(whole) / longest / 2))
        return _fit(_working(image, orientation, whole, shrink), longest)


def as_png(picture: Source) -> bytes:
    """A PNG file that decodes to what a Pillow picture or an array does; errors of :func:`decode`.

    It is as large as the picture, whatever this machine would refuse: others may decode it.
    """
    with opened(picture, math.inf, name_of(picture)) as image:
        turn = Image.Exif()
        turn[ExifTags.Base.Orientation] = exif.orientation(image, exif.tags_of(image))
        rgb = _rgb(image)
        rgb.info = {}  # an old EXIF, say
        file = io.BytesIO()
        rgb.save(file, "PNG", exif=turn)
        return file.getvalue()


def _region(box: Box | None, whole: tuple[int, int]) -> Box:
    """The wanted region, cut to the photo: ``(left, top, right, bottom)``."""
    if box is None:
        return (0, 0, *whole)
    x, y, width, height = box
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, whole[0]), min(y + height, whole[1])
    if left >= right or top >= bottom:
        photo = f"the photo of {whole[0]} x {whole[1]} pixels"
        raise UsageError(f"crop {x},{y},{width},{height} has nothing in common with {photo}")
    return left, top, right, bottom


def _target(width: float, height: float, size: int, resize: ResizeMode) -> tuple[float, float]:
    """Size to which a region is resized, before centre crop or padding."""
    if resize == "stretch":
        return size, size
    scale = size / (min if resize == "crop" else max)(width, height)
    return width * scale, height * scale


def _shrink(region: Box, size: int, resize: ResizeMode) -> int:
    """How many times smaller the photo may be decoded: to no less than twice what is needed."""
    width, height = region[2] - region[0], region[3] - region[1]
    target = _target(width, height, size, resize)
    spare = (width / target[0] / 2, height / target[1] / 2, max(width, height) / THUMBNAIL)
    return max(1, int(min(spare)))


def _working(image: Image.Image, orientation: int, whole: tuple[int, int], shrink: int) -> Image.Image:
    """The upright RGB picture, ``shrink`` times smaller (a little less if that is faster)."""
    if shrink > 1 and image.format in ("JPEG", "MPO"):
        image.draft(None, (-(-image.width // shrink), -(-image.height // shrink)))
    image.load()
    rgb = _rgb(image)
    left = int(shrink * max(rgb.size) / max(whole))
    rgb = rgb.reduce(left) if left > 1 else rgb
    return rgb.transpose(exif.UPRIGHT[orientation]) if orientation in exif.UPRIGHT else rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, WHITE)
    canvas.paste(rgba, mask=rgba)
    return canvas


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Deep grey (modes I;16, I and F) scaled, not clipped, to ``uint8 [H, W]``."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))[0]  # BitsPerSample: 12 in some TIFFs
        deep = np.asarray(image) >> (bits - 8)
        return cast("NDArray[np.uint8]", deep.astype(np.uint8))
    grey: NDArray[np.float32] = np.asarray(image, dtype=np.float32)
    grey = np.nan_to_num(grey, posinf=0, neginf=0)
    low, high = _grey_range(float(grey.min()), float(grey.max()), _usual_whites(image))
    with np.errstate(all="ignore"):  # floating point may span more than float32 can subtract
        scaled = np.rint((grey - low) * (255 / (high - low)))
        return cast("NDArray[np.uint8]", scaled.astype(np.uint8))


def _usual_whites(image: Image.Image) -> tuple[float, ...]:
    if image.format == "PPM" and image.mode == "I":
        return (65535.0,)  # Pillow has scaled it, so that one with low values alone is dark
    return (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)


def _grey_range(low: float, high: float, usual: tuple[float, ...]) -> tuple[float, float]:
    """The values of black and white: the first usual range that holds all, else what is there."""
    white = next((white for white in usual if low >= 0 and high <= white), None)
    return (low, max(high, low + 1)) if white is None else (0.0, white)


def _cropped(working: Image.Image, region: Box, whole: tuple[int, int]) -> Image.Image:
    if region == (0, 0, *whole):
        return working
    across, down = working.width / whole[0], working.height / whole[1]
    left, top = int(region[0] * across), int(region[1] * down)
    right, bottom = round(region[2] * across), round(region[3] * down)
    return working.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _resized(working: Image.Image, size: int, how: Resizing) -> Image.Image:
    resample = _FILTERS[how.interpolation]
    if how.mode == "pad":
        fitted = working.resize(_whole_size(working, size), resample)
        canvas = Image.new("RGB", (size, size), how.fill)
        canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
        return canvas
    box = _centre(working.size) if how.mode == "crop" else None
    return working.resize((size, size), resample, box=box)


def _centre(size: tuple[int, int]) -> tuple[float, float, float, float]:
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return left, top, left + side, top + side


def _whole_size(picture: Image.Image, longest: int) -> tuple[int, int]:
    width, height = _target(picture.width, picture.height, longest, "pad")
    return max(1, round(width)), max(1, round(height))


def _fit(picture: Image.Image, longest: int) -> Image.Image:
    """``picture``, its longest side at most ``longest``; never enlarged."""
    if max(picture.size) <= longest:
        return picture.copy()  # a plain picture, without the file it came from
    # A third of the time of BICUBIC without the gap; nobody sees the difference in a thumbnail.
    return picture.resize(_whole_size(picture, longest), BILINEAR, reducing_gap=1.0)

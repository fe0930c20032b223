"""Photos to pixels: decode, turn upright, resize (the one module that knows Pillow's decoders).

The order matters: open, check the pixel count, let libjpeg shrink while it decodes (``draft``),
load, scale deep grey to 8 bits, composite transparency on white, turn upright, and only then
resize.  All results come from one small working picture: a 12-megapixel JPEG costs a fraction of
its full decode.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError, _imaging

from vsearch.errors import PhotoError, UsageError
from vsearch.records import PhotoFacts, ResizeMode

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any]
Box = tuple[int, int, int, int]

MAX_MEGAPIXELS = 200.0
THUMBNAIL = 256
# JPEG, not WebP: 0.6 ms a thumbnail against 9 ms, and this runs once for every photo.
THUMBNAIL_QUALITY = 80

# Raster formats only.  EPS would start Ghostscript; most other decoders of Pillow (FLI, PSD, DDS)
# are written in Python, slow on hostile files, and no camera writes what they read.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "ICO", "JPEG2000", "AVIF", "PPM")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif")
# How files of the common formats begin: tells a damaged photo from something that is none.
BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
}

WHITE = (255, 255, 255)
GREY = (127, 127, 127)  # padding; 0 after the usual (x - 127) / 128
BICUBIC = Image.Resampling.BICUBIC
BILINEAR = Image.Resampling.BILINEAR
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

DAMAGED = "open it in a photo program and save it again, or restore it from a backup"
UNSUPPORTED = "use JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000, PPM or HEIC"

# Pillow warns of odd metadata and large pictures on stderr; what matters becomes a PhotoError here.
# Once, at import and for Pillow's modules alone: `catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
# libtiff writes to stderr by itself.  Its handler can be reached where libraries resolve symbols
# through their dependents (Linux, macOS); elsewhere its lines stay.
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One photo, decoded.

    Attributes:
        pixels: ``uint8 [S, S, 3]``, RGB, upright, C-contiguous and writable.
        picture: RGB, upright, longest side at most 256 pixels, aspect kept: for perceptual hashes.
        thumbnail: ``picture`` as JPEG bytes, or ``b""`` when not asked for.
        facts: size of the whole upright photo, format, capture time and camera; no hashes.
    """

    pixels: NDArray[np.uint8]
    picture: Image.Image
    thumbnail: bytes
    facts: PhotoFacts


def decode(
    source: Source,
    size: int,
    resize: ResizeMode = "crop",
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    thumbnail: bool = True,
    box: Box | None = None,
    name: str | None = None,
) -> Decoded:
    """Decode one photo, and everything that is wanted of it, in one pass.

    Args:
        source: path, bytes, binary file, Pillow picture, or array (see :func:`from_array`).
        size: side S of the square result, pixels.
        resize: ``crop`` (shortest side to S, then the centre), ``stretch`` or ``pad`` (grey bars).
        max_megapixels: refuse larger pictures before decoding them.
        thumbnail: encode a JPEG thumbnail too.
        box: ``(x, y, width, height)`` in pixels of the upright photo: use this region alone.
        name: what errors call the photo; by default its path, or ``<bytes>`` and the like.

    Raises:
        PhotoError: the photo cannot be used; nothing else comes out of Pillow.
        UsageError: ``size``, ``resize`` or ``box`` makes no sense.
    """
    if size < 1 or resize not in ("crop", "stretch", "pad"):
        allowed = "size must be 1 or more, and resize crop, stretch or pad"
        raise UsageError(f"{allowed}; received: {size}, {resize}")
    with _opened(source, max_megapixels, name or _name(source)) as image:
        if image.format == "PNG":
            image.load()  # else reading its EXIF would load it, and _exif swallow the errors
        tags = _exif(image)
        orientation = _orientation(image, tags)
        whole = _turned_size(image.size, orientation)
        region = _region(box, whole)
        working = _working(image, orientation, whole, _shrink(region, size, resize))
        working = _cropped(working, region, whole)
        picture = _fit(working, THUMBNAIL)
        return Decoded(
            pixels=np.array(_resized(working, size, resize)),
            picture=picture,
            thumbnail=_jpeg(picture) if thumbnail else b"",
            facts=PhotoFacts(*whole, image.format or "", taken_at=_taken_at(tags), camera=_camera(tags)),
        )


def read_pixels(
    source: Source,
    size: int,
    resize: ResizeMode = "crop",
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    box: Box | None = None,
) -> NDArray[np.uint8]:
    """Pixels alone, ``uint8 [S, S, 3]``, RGB, upright; arguments and errors of :func:`decode`."""
    return decode(source, size, resize, max_megapixels=max_megapixels, thumbnail=False, box=box).pixels


def from_array(array: NDArray[Any]) -> Image.Image:
    """A Pillow picture of an array.

    Args:
        array: ``[H, W]`` grey, ``[H, W, 1]``, ``[H, W, 3]`` RGB or ``[H, W, 4]`` RGBA; ``uint8``,
            ``uint16`` (full range), ``bool``, or floating point in 0..1.

    Raises:
        PhotoError: any other shape, type or range.
    """
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise _bad_array(f"shape {array.shape}")
    return Image.fromarray(np.ascontiguousarray(_array_to_bytes(array)))


def _array_to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return cast("NDArray[np.uint8]", array)
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind not in "fb":
        raise _bad_array(f"dtype {array.dtype}")
    if not (array.min() >= 0 and array.max() <= 1):  # false for NaN too
        raise _bad_array(f"values from {array.min()} to {array.max()}")
    return np.rint(array.astype(np.float32) * 255).astype(np.uint8)


def _bad_array(what: str) -> PhotoError:
    allowed = "pass [H, W], [H, W, 3] or [H, W, 4], uint8, or floating point in 0..1"
    return PhotoError("<array>", f"not a picture: {what}", allowed)


def _name(source: Source) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<picture>")
    return "<bytes>" if isinstance(source, bytes) else str(getattr(source, "name", "<file>"))


# --- opening -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(source: Source, max_megapixels: float, name: str) -> Iterator[Image.Image]:
    """The picture, opened but not decoded; every failure is a PhotoError."""
    image: Image.Image | None = None
    try:
        if isinstance(source, np.ndarray):
            image = from_array(source)
        elif isinstance(source, Image.Image):
            image = source.copy()
            image.format = source.format
        else:
            image = _open_file(source, max_megapixels, name)
        _check_size(image, max_megapixels, name)
        yield image
    except (PhotoError, UsageError):
        raise
    except Exception as error:  # Pillow's decoders raise whatever their parsers stumble over
        kind = image.format if image is not None else None
        raise _explained(error, kind, name, max_megapixels) from error


def _open_file(
    source: str | os.PathLike[str] | bytes | BinaryIO, max_megapixels: float, name: str
) -> Image.Image:
    file = _binary(source)
    head = _head(file)
    if not head:
        raise PhotoError(name, "empty file", "delete it, or restore it from a backup")
    kind = _begins_as(head)
    if kind == "HEIF":
        _register_heif(name)
    _allow(max_megapixels)
    try:
        return Image.open(file, formats=("HEIF",) if kind == "HEIF" else FORMATS)
    except Exception as error:
        raise _explained(error, kind, name, max_megapixels) from error


def _begins_as(head: bytes) -> str | None:
    """The format that a file claims to have, damaged or not; ``None`` if it looks like none."""
    if head[4:8] == b"ftyp":
        return "AVIF" if b"avi" in head else "HEIF" if head[8:12] in HEIF_BRANDS else None
    return next((kind for begin, kind in BEGINNINGS.items() if head.startswith(begin)), None)


def _binary(source: str | os.PathLike[str] | bytes | BinaryIO) -> BinaryIO:
    """A seekable binary file; paths are read whole, which is as fast and leaves nothing open."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return io.BytesIO(file.read())
    return source if source.seekable() else io.BytesIO(source.read())


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return head


def _register_heif(name: str) -> None:
    try:
        import pi_heif
    except ImportError:
        remedy = 'pip install "vsearch[heic]"'
        raise PhotoError(name, "HEIC support is not installed", remedy) from None
    pi_heif.register_heif_opener()


_allow_lock = threading.Lock()


def _allow(max_megapixels: float) -> None:
    """Raise Pillow's own bound (an error at twice its setting) to ours; never lower it.

    It stays on because decoders check inner pictures with it, such as the PNG inside an ICO.
    """
    wanted = int(max_megapixels * 500_000) + 1
    with _allow_lock:
        if (bound := Image.MAX_IMAGE_PIXELS) is not None and bound < wanted:
            Image.MAX_IMAGE_PIXELS = wanted


def _check_size(image: Image.Image, max_megapixels: float, name: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise PhotoError(name, "no pixels", DAMAGED)
    if width * height > max_megapixels * 1e6:
        raise _bomb(name, width * height, max_megapixels)


# --- explaining ----------------------------------------------------------------------------------


def _bomb(name: str, pixels: int, max_megapixels: float) -> PhotoError:
    megapixels = f"{pixels / 1e6:,.0f}".replace(",", " ")
    reason = f"decompression bomb: {megapixels} megapixels, more than {max_megapixels:g}"
    return PhotoError(name, reason, "if it is a real photo, raise --max-megapixels")


def _explained(error: Exception, kind: str | None, name: str, max_megapixels: float) -> PhotoError:
    """What went wrong with a photo of format ``kind``, in the words of people."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        found = re.search(r"\((\d+) pixels\)", str(error))
        return _bomb(name, int(found[1]) if found else 0, max_megapixels)
    if isinstance(error, MemoryError):
        return PhotoError(name, "not enough memory to decode it", "make the picture smaller")
    if isinstance(error, OSError) and error.errno is not None:
        return _unreadable(error, name)
    if isinstance(error, UnidentifiedImageError) and kind is None:
        return PhotoError(name, "not an image, or one of an unknown format", UNSUPPORTED)
    if "conversion from" in str(error):
        return PhotoError(name, "its kind of colour is not supported", "save it as RGB")
    cut = isinstance(error, OSError | EOFError) and re.search("truncated|EOF", str(error), re.I)
    return PhotoError(name, f"{'truncated' if cut else 'damaged'} {kind or 'image'}", DAMAGED)


def _unreadable(error: OSError, name: str) -> PhotoError:
    reasons: dict[type[OSError], tuple[str, str]] = {
        FileNotFoundError: ("no such file", "check the path"),
        PermissionError: ("permission denied", "make it readable for this user"),
        IsADirectoryError: ("a folder, not a photo", "name a photo"),
    }
    unknown = (f"cannot be read: {error.strerror}", "check the disk")
    return PhotoError(name, *reasons.get(type(error), unknown))


# --- facts ---------------------------------------------------------------------------------------


def _orientation(image: Image.Image, tags: dict[int, Any]) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing, broken or applied by Pillow (TIFF)."""
    value = tags.get(ExifTags.Base.Orientation) if image.format != "TIFF" else 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


def _exif(image: Image.Image) -> dict[int, Any]:
    """EXIF tags of the main and the Exif directory, as far as they can be read."""
    tags: dict[int, Any] = {}
    with contextlib.suppress(Exception):  # broken EXIF is common, and no reason to refuse a photo
        exif = image.getexif()
        tags.update(exif)
        tags.update(exif.get_ifd(ExifTags.IFD.Exif))
    return tags


def _turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation >= 5 else size


def _taken_at(tags: dict[int, Any]) -> str | None:
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


def _camera(tags: dict[int, Any]) -> str | None:
    make, model = _text(tags.get(ExifTags.Base.Make)), _text(tags.get(ExifTags.Base.Model))
    brand = make.split(" ")[0].casefold()
    camera = model if model.casefold().startswith(brand) else f"{make} {model}"
    return (camera if model else make).strip() or None


def _text(value: object) -> str:
    """EXIF text up to its first NUL, printable characters only."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    text = text.split("\0")[0] if isinstance(text, str) else ""
    return "".join(c for c in text if c.isprintable()).strip()


# --- pixels --------------------------------------------------------------------------------------


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
    return rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb


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
    low, high = _grey_range(float(grey.min()), float(grey.max()), image.mode)
    with np.errstate(all="ignore"):  # floating point may span more than float32 can subtract
        scaled = np.rint((grey - low) * (255 / (high - low)))
        return cast("NDArray[np.uint8]", scaled.astype(np.uint8))


def _grey_range(low: float, high: float, mode: str) -> tuple[float, float]:
    """The values of black and white: the first usual range that holds all, else what is there."""
    usual = (65535.0,) if mode == "I" else (1.0, 255.0, 65535.0)
    white = next((white for white in usual if low >= 0 and high <= white), None)
    return (low, max(high, low + 1)) if white is None else (0.0, white)


def _cropped(working: Image.Image, region: Box, whole: tuple[int, int]) -> Image.Image:
    if region == (0, 0, *whole):
        return working
    across, down = working.width / whole[0], working.height / whole[1]
    left, top = int(region[0] * across), int(region[1] * down)
    right, bottom = round(region[2] * across), round(region[3] * down)
    return working.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _resized(working: Image.Image, size: int, resize: ResizeMode) -> Image.Image:
    if resize == "pad":
        fitted = working.resize(_whole_size(working, size), BICUBIC)
        canvas = Image.new("RGB", (size, size), GREY)
        canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
        return canvas
    box = _centre(working.size) if resize == "crop" else None
    return working.resize((size, size), BICUBIC, box=box)


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


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()

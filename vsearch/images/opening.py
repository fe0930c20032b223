"""Opening pictures of any source, within bounds; whatever Pillow raises becomes a PhotoError."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, _imaging

from vsearch.errors import PhotoError, UsageError, install
from vsearch.images import exif

File = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
Source = File | Image.Image | NDArray[Any]

MAX_MEGAPIXELS = 200.0
# Rows cost memory and time by themselves: 74 bytes that claim to be 1 x 50,000,000 took 1.3 GB.
_LONGEST_SIDE = 500_000

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

DAMAGED = "open it in a photo program and save it again, or restore it from a backup"
UNSUPPORTED = "use JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000, PPM or HEIC"

# Pillow warns of odd metadata and large pictures on stderr; what matters becomes a PhotoError here.
# Once, at import and for Pillow's modules alone: `catch_warnings` is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Without any handler, logging would print Pillow's errors too.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# libtiff writes to stderr by itself.  Its handler can be reached where libraries resolve symbols
# through their dependents (Linux, macOS); elsewhere its lines stay.
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True, slots=True)
class Measure:
    """What a header says: Pillow's name of the format, and the upright size in pixels."""

    format: str
    width: int
    height: int


@contextlib.contextmanager
def opened(source: Source, max_megapixels: float, name: str) -> Iterator[Image.Image]:
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


def measure(source: Source, max_megapixels: float = MAX_MEGAPIXELS, *, name: str | None = None) -> Measure:
    """Format and size of a picture from its header alone.

    Raises:
        PhotoError: it is no picture, or larger than ``max_megapixels``.
    """
    with opened(source, max_megapixels, name or name_of(source)) as image:
        # Reading the EXIF of a PNG decodes the picture, unless its header had some already.
        tags = exif.tags_of(image) if image.format != "PNG" or "exif" in image.info else {}
        width, height = exif.turned_size(image.size, exif.orientation(image, tags))
        return Measure(image.format or "", width, height)


def frames(path: str | os.PathLike[str], max_megapixels: float = MAX_MEGAPIXELS) -> int:
    """How many pictures a file holds: pages of a TIFF, frames of an animation.  An MPO, of phones and cameras
    with two lenses, counts as one.

    Raises:
        PhotoError: it cannot be read, is no picture, or larger than ``max_megapixels``.
    """
    name = name_of(path)
    try:
        with open(path, "rb") as file, opened(file, max_megapixels, name) as image:
            return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except (OSError, ValueError) as error:
        raise _unreadable(error, name) from error


def _open_file(source: File, max_megapixels: float, name: str) -> Image.Image:
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


def _binary(source: File) -> BinaryIO:
    """A seekable binary file; paths are read whole, which is as fast and leaves nothing open."""
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return io.BytesIO(file.read())
    if not hasattr(source, "read"):
        raise UsageError(
            "a picture is a path, bytes, an open file, a Pillow image, an array or a Photo; "
            f"received {type(source).__name__}"
        )
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
        raise PhotoError(name, "HEIC support is not installed", install("heic")) from None
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
    if max(width, height) > _LONGEST_SIDE:
        reason = f"a picture of {width} x {height} pixels, a side longer than {_LONGEST_SIDE}"
        raise PhotoError(name, reason, "it is no photo; leave it out")
    if width * height > max_megapixels * 1e6:
        raise _bomb(name, width * height, max_megapixels)


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


def name_of(source: Source) -> str:
    """What errors call ``source``: its path, or a word such as ``<bytes>``."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<picture>")
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    return str(getattr(source, "name", "<file>"))


_BOMB_REMEDY = (
    "if it is a real photo, raise --max-megapixels: of serve for an upload, else of build-index, "
    "then `vsearch add PHOTOS --retry-failed`"
)


def _bomb(name: str, pixels: int, max_megapixels: float) -> PhotoError:
    megapixels = f"{pixels / 1e6:,.{0 if pixels >= 1e7 else 3}f}".replace(",", " ")
    reason = f"decompression bomb: {megapixels} megapixels, more than {max_megapixels:g}"
    return PhotoError(name, reason, _BOMB_REMEDY)


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


def _unreadable(error: OSError | ValueError, name: str) -> PhotoError:
    reasons: dict[type[Exception], tuple[str, str]] = {
        FileNotFoundError: ("no such file", "check the path"),
        PermissionError: ("permission denied", "make it readable for this user"),
        IsADirectoryError: ("a folder, not a photo", "name a photo"),
    }
    unknown = (f"cannot be read: {getattr(error, 'strerror', error)}", "check the path and the disk")
    return PhotoError(name, *reasons.get(type(error), unknown))

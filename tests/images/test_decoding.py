"""Photos to pixels: formats, orientation, resizing, regions, sources, facts."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import RAW, difference, encoded, photo_size, scene
from vsearch import images
from vsearch.errors import PhotoError, UsageError
from vsearch.records import ResizeMode
from vsearch.resizing import Resizing

# --- formats and modes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM", "DIB"]
)
def test_formats(format: str) -> None:
    decoded = images.decode(encoded(scene(), format), 32, "stretch")
    assert decoded.facts.format == format
    assert (decoded.facts.width, decoded.facts.height) == (96, 64)
    assert decoded.pixels.shape == (32, 32, 3) and decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous and decoded.pixels.flags.writeable
    assert difference(decoded.pixels, np.asarray(scene(32, 32))) < 12


def test_icons_are_read() -> None:
    data = encoded(scene(64, 64), "ICO", sizes=[(64, 64)])
    assert difference(images.read_pixels(data, 64), np.asarray(scene(64, 64))) < 1


def test_mpo_is_drafted_and_its_first_frame_taken() -> None:
    data = encoded(scene(1600, 1200), "MPO", save_all=True, append_images=[Image.new("RGB", (1600, 1200))])
    decoded = images.decode(data, 32, "stretch")
    assert decoded.facts.format == "MPO"
    assert difference(decoded.pixels, np.asarray(scene(32, 32))) < 12


@pytest.mark.parametrize("format", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_first_frame(format: str) -> None:
    data = encoded(scene(), format, save_all=True, append_images=[Image.new("RGB", (96, 64))])
    assert difference(images.read_pixels(data, 32, "stretch"), np.asarray(scene(32, 32))) < 12


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_modes_become_rgb(mode: str) -> None:
    picture = scene().convert("L").convert("RGB").convert(mode)
    expected = np.asarray(picture.convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))
    assert difference(images.read_pixels(picture, 16, "stretch"), expected) < 1


def test_cmyk_jpeg() -> None:
    pixels = images.read_pixels(encoded(scene().convert("CMYK"), "JPEG"), 32, "stretch")
    assert difference(pixels, np.asarray(scene(32, 32))) < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_becomes_white(mode: str) -> None:
    picture = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 10, 10))
    pixels = images.read_pixels(picture.convert(mode), 10, "stretch")
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 6:] == 255).all()


def test_half_transparent_is_half_way_to_white() -> None:
    pixels = images.read_pixels(Image.new("RGBA", (9, 9), (0, 0, 0, 128)), 9)
    assert np.abs(pixels.astype(int) - 127).max() <= 1


def test_palette_transparency() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(0, (0, 0, 4, 8))
    pixels = images.read_pixels(encoded(picture, "PNG", transparency=0), 8)
    assert (pixels[0, 0] == 255).all()
    assert (pixels[0, 7] == (0, 0, 255)).all()


def test_rgb_colour_key() -> None:
    data = encoded(scene(16, 16), "PNG", transparency=(255, 0, 0))
    pixels = images.read_pixels(data, 16)
    assert (pixels[0, 0] == 255).all()
    assert (pixels[15, 15] == (255, 255, 0)).all()


def ramp(top: float, dtype: str) -> np.ndarray:
    return np.tile(np.linspace(0, top, 64), (64, 1)).astype(dtype)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000"])
def test_16_bits_are_scaled_not_clipped(format: str) -> None:
    data = encoded(Image.fromarray(ramp(65535, "uint16")), format)
    pixels = images.read_pixels(data, 64)
    assert difference(pixels[..., 0], ramp(255, "float")) < 1


@pytest.mark.parametrize(("top", "dtype"), [(65535, ">u2"), (65535, "int32"), (255, "int32"), (1, "float32")])
def test_deep_pictures_are_scaled(top: int, dtype: str) -> None:
    picture = Image.fromarray(ramp(top, dtype))
    assert difference(images.read_pixels(picture, 64)[..., 0], ramp(255, "float")) < 1


def test_16_bit_pgm() -> None:
    data = b"P5 64 64 65535\n" + ramp(65535, ">u2").tobytes()
    assert difference(images.read_pixels(data, 64)[..., 0], ramp(255, "float")) < 1


def test_a_dark_16_bit_pgm_stays_dark() -> None:
    data = b"P5 64 64 65535\n" + ramp(200, ">u2").tobytes()
    assert images.read_pixels(data, 64).max() <= 1


def test_float_outside_usual_ranges_is_stretched_and_survives_nan() -> None:
    values = ramp(2e6, "float32") - 1e6
    values[0, 0], values[0, 1] = np.nan, np.inf
    pixels = images.read_pixels(encoded(Image.fromarray(values), "TIFF"), 64)
    assert difference(pixels[1:, :, 0], ramp(255, "float")[1:]) < 2


def test_embedded_icc_is_ignored() -> None:
    plain = encoded(scene(), "PNG")
    assert (
        images.read_pixels(encoded(scene(), "PNG", icc_profile=b"nonsense"), 32)
        == images.read_pixels(plain, 32)
    ).all()


# --- orientation ---------------------------------------------------------------------------------


def stored(picture: Image.Image, orientation: int) -> Image.Image:
    """As a camera held that way stores it."""
    turn = RAW[orientation]
    return picture if turn is None else picture.transpose(Image.Transpose(turn))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("scale", [1, 30])  # 30: large enough to be drafted
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(format: str, scale: int, orientation: int) -> None:
    if scale > 1 and format == "AVIF":
        pytest.skip("nothing is drafted in AVIF, and encoding it takes seconds")
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = scene(48 * scale, 32 * scale)
    decoded = images.decode(encoded(stored(picture, orientation), format, exif=exif), 32)
    assert (decoded.facts.width, decoded.facts.height) == picture.size
    assert decoded.picture.width > decoded.picture.height
    assert difference(decoded.pixels, np.asarray(scene(32, 32))) < 12


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_impossible_orientation_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert photo_size(encoded(scene(), "JPEG", exif=exif)) == (96, 64)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_broken_exif_is_survived(rubbish: bytes) -> None:
    for start in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0II*\0\x08\0\0\0"):
        data = encoded(scene(), "JPEG", exif=start + rubbish)
        assert images.read_pixels(data, 16).shape == (16, 16, 3)


def test_a_turned_picture_object_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(io.BytesIO(encoded(stored(scene(), 6), "JPEG", exif=exif)))
    assert difference(images.read_pixels(picture, 32), np.asarray(scene(32, 32))) < 12
    assert picture.size == (64, 96)  # the caller's own is left as it was


# --- resizing ------------------------------------------------------------------------------------


def test_crop_takes_the_centre() -> None:
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    assert (images.read_pixels(picture, 50)[:, 3:-3] == (0, 0, 255)).all()


def test_stretch_takes_all() -> None:
    assert difference(images.read_pixels(scene(300, 100), 60, "stretch"), np.asarray(scene(60, 60))) < 3


@pytest.mark.parametrize(("width", "height"), [(300, 100), (100, 300)])
def test_pad_adds_grey_bars(width: int, height: int) -> None:
    pixels = images.read_pixels(Image.new("RGB", (width, height), "red"), 60, "pad")
    upright = pixels if width > height else pixels.transpose(1, 0, 2)
    assert (upright[:20] == 127).all() and (upright[40:] == 127).all()
    assert (upright[20:40] == (255, 0, 0)).all()


def test_bars_and_filter_are_as_asked() -> None:
    picture = scene(300, 100)
    bars = images.read_pixels(picture, 60, Resizing("pad", fill=(1, 2, 3)))
    assert (bars[:20] == (1, 2, 3)).all() and (bars[40:] == (1, 2, 3)).all()
    assert (bars[20:40] == images.read_pixels(picture, 60, "pad")[20:40]).all()
    smooth = images.read_pixels(scene(60, 60), 90, Resizing("stretch", interpolation="bilinear"))
    assert (smooth == np.asarray(scene(60, 60).resize((90, 90), Image.Resampling.BILINEAR))).all()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(1, 300),
    st.sampled_from(["crop", "stretch", "pad"]),
)
def test_any_size_to_any_size(width: int, height: int, size: int, resize: ResizeMode) -> None:
    decoded = images.decode(encoded(Image.new("RGB", (width, height), "red"), "JPEG"), size, resize)
    assert decoded.pixels.shape == (size, size, 3)
    assert max(decoded.picture.size) == min(max(width, height), 256)
    centre = decoded.pixels[size // 2, size // 2].astype(int)
    assert np.abs(centre - (254, 0, 0)).max() < 5 or resize == "pad"


def test_draft_is_nearly_the_full_decode() -> None:
    from skimage import data

    photo = Image.fromarray(data.astronaut()).resize((2048, 2048), Image.Resampling.BICUBIC)
    full = np.asarray(photo.resize((160, 160), Image.Resampling.BICUBIC))
    assert difference(images.read_pixels(encoded(photo, "JPEG", quality=95), 160), full) < 1.5


def test_thumbnail_is_a_small_jpeg() -> None:
    decoded = images.decode(encoded(scene(1600, 1200), "JPEG"), 32)
    thumbnail = Image.open(io.BytesIO(decoded.thumbnail))
    assert thumbnail.format == "JPEG" and thumbnail.size == decoded.picture.size == (256, 192)
    assert difference(np.asarray(thumbnail), np.asarray(scene(256, 192))) < 6


def test_nobody_elses_pixels() -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    images.read_pixels(array, 8)[:] = 255
    assert array.max() == 0


# --- regions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("x", "y", "colour"),
    [(0, 0, (255, 0, 0)), (800, 0, (0, 255, 0)), (0, 600, (0, 0, 255)), (800, 600, (255, 255, 0))],
)
def test_box(format: str, orientation: int, x: int, y: int, colour: tuple[int, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored(scene(1600, 1200), orientation), format, exif=exif)
    decoded = images.decode(data, 32, box=(x, y, 800, 600))
    assert np.abs(decoded.pixels[2:-2, 2:-2].astype(int) - colour).max() < 8
    assert (decoded.facts.width, decoded.facts.height) == (1600, 1200)


def test_box_is_cut_to_the_photo() -> None:
    pixels = images.decode(scene(), 16, box=(-50, -50, 90, 75)).pixels
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("box", [(96, 0, 5, 5), (0, 0, 0, 5), (0, -5, 5, 5), (5, 5, -2, 2)])
def test_empty_box(box: images.Box) -> None:
    with pytest.raises(UsageError, match="96 x 64"):
        images.decode(scene(), 16, box=box)


def test_a_pixel_of_a_large_photo() -> None:
    assert (images.decode(encoded(scene(1600, 1200), "JPEG"), 4, box=(9, 9, 1, 1)).pixels > 250).any()


# --- sources -------------------------------------------------------------------------------------


def test_every_kind_of_source(tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    scene().save(path)
    sources: list[images.Source] = [
        str(path),
        path,
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        scene(),
        Image.open(path),
        np.asarray(scene()),
        np.asarray(scene()) / np.float32(255),
        np.asarray(scene()).astype(np.uint16) * 257,
    ]
    expected = images.read_pixels(scene(), 32)
    for source in sources:
        assert (images.read_pixels(source, 32) == expected).all()


@pytest.mark.skipif(os.name == "nt", reason="no /dev/fd")
def test_a_pipe() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        file.write(encoded(scene(16, 16), "PNG"))
    with open(reading, "rb") as file:
        assert (images.read_pixels(file, 16) == np.asarray(scene(16, 16))).all()


def test_grey_and_alpha_arrays() -> None:
    grey = np.full((5, 7), 9, np.uint8)
    assert (images.read_pixels(grey, 4) == 9).all()
    assert (images.read_pixels(grey[..., None], 4) == 9).all()
    assert (images.read_pixels(np.zeros((5, 7, 4), np.uint8), 4) == 255).all()
    assert (images.read_pixels(np.ones((5, 7), bool), 4) == 255).all()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.uint8),
        np.zeros((3, 3, 2), np.uint8),
        np.zeros((1, 3, 3, 3), np.uint8),
        np.zeros((0, 3, 3), np.uint8),
        np.zeros((3, 3), np.int64),
        np.full((3, 3), 255.0),
        np.full((3, 3), -0.1),
        np.full((3, 3), np.nan),
        np.array([["a"]]),
    ],
    ids=str,
)
def test_arrays_that_are_no_pictures(array: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"<array>: not a picture.*; pass"):
        images.read_pixels(array, 8)


@pytest.mark.parametrize(("size", "resize"), [(0, "crop"), (-1, "pad"), (8, "zoom")])
def test_wrong_arguments(size: int, resize: Any) -> None:
    with pytest.raises(UsageError, match="received"):
        images.read_pixels(scene(), size, resize)


# --- facts ---------------------------------------------------------------------------------------


def facts_of(**tags: Any) -> Any:
    exif = Image.Exif()
    numbers = {"make": 0x010F, "model": 0x0110, "changed": 0x0132}
    inner = {"taken": 0x9003, "digitized": 0x9004}
    exif.update({numbers[name]: value for name, value in tags.items() if name in numbers})
    directory = {inner[name]: value for name, value in tags.items() if name in inner}
    if directory:
        exif[0x8769] = directory
    return images.decode(encoded(scene(), "JPEG", exif=exif), 8).facts


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({"taken": "2019:05:04 03:02:01", "changed": "2020:01:01 00:00:00"}, "2019-05-04T03:02:01"),
        ({"taken": "0000:00:00 00:00:00", "digitized": "2018:01:02 03:04:05\0"}, "2018-01-02T03:04:05"),
        ({"taken": "    :  :     :  :  ", "changed": "2017:01:02 03:04:05"}, "2017-01-02T03:04:05"),
        ({"changed": "2017:13:02 03:04:05"}, None),
        ({"changed": "yesterday"}, None),
    ],
)  # fmt: skip
def test_taken_at(tags: dict[str, Any], expected: str | None) -> None:
    assert facts_of(**tags).taken_at == expected


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 40D", "Canon EOS 40D"),
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY\0\0", " DSC-W1 \0rubbish", "SONY DSC-W1"),
        ("Leica", "", "Leica"),
        ("", "X100", "X100"),
        ("", "", None),
    ],
)
def test_camera(make: str, model: str, expected: str | None) -> None:
    assert facts_of(make=make, model=model).camera == expected

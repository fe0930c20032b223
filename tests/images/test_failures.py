"""Photos that cannot be used: each is a PhotoError with a reason, and nothing else."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.images.pictures import difference, encoded, scene
from vsearch import images
from vsearch.errors import PhotoError

# --- failures ------------------------------------------------------------------------------------


def reason_of(source: images.Source, **options: Any) -> str:
    with pytest.raises(PhotoError) as caught:
        images.decode(source, 16, **options)
    assert caught.value.remedy
    return caught.value.reason


def test_reasons() -> None:
    assert reason_of(b"") == "empty file"
    assert reason_of(b"hello, world") == "not an image, or one of an unknown format"
    assert reason_of(b"\xff\xd8\xff\xe0 hello") == "truncated JPEG"
    assert reason_of(b"\x89PNG hello") == "damaged PNG"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").startswith("not an image")
    assert reason_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)) in (
        "HEIC support is not installed",
        "damaged HEIF",
    )


def test_reasons_for_paths(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "none.jpg") == "no such file"
    assert reason_of(tmp_path) == "a folder, not a photo"
    with pytest.raises(PhotoError, match=r"here\.jpg: empty"):
        images.decode(b"", 8, name="here.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "PPM"])
def test_truncated_is_refused(format: str) -> None:
    from skimage import data

    whole = encoded(Image.fromarray(data.astronaut()), format)
    assert reason_of(whole[: len(whole) // 2]) == f"truncated {format}"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_cut_files_are_refused(format: str) -> None:
    from skimage import data

    whole = encoded(Image.fromarray(data.astronaut()), format)
    assert format in reason_of(whole[: len(whole) // 2])


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_bombs_are_refused_before_decoding() -> None:
    assert reason_of(png_claiming(50_000, 20_000)) == ("decompression bomb: 1 000 megapixels, more than 200")


def test_bound_is_the_callers() -> None:
    bomb = "decompression bomb: 1.001 megapixels, more than 1"
    assert reason_of(scene(1000, 1001), max_megapixels=1) == bomb
    assert images.decode(scene(1000, 1000), 8, max_megapixels=1).facts.width == 1000
    assert reason_of(png_claiming(50_000, 20_000), max_megapixels=1000) == "truncated PNG"


def test_a_bomb_within_an_icon_is_refused() -> None:
    inner = png_claiming(60_000, 60_000)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    assert "bomb" in reason_of(struct.pack("<HHH", 0, 1, 1) + entry + inner)


SEEDS = [
    encoded(scene(40, 30), format, **options)
    for format, options in [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {}),
        ("WEBP", {}),
        ("AVIF", {}),
        ("BMP", {}),
        ("JPEG2000", {}),
        ("ICO", {"sizes": [(16, 16)]}),
    ]
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small photo, cut, flipped or spliced with another."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        other = draw(st.sampled_from(SEEDS))
        data[draw(st.integers(0, len(data))) :] = other[draw(st.integers(0, len(other))) :]
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_damage_raises_photo_errors_only(data: bytes) -> None:
    try:
        decoded = images.decode(data, 16, max_megapixels=1)
    except PhotoError as error:
        assert error.reason and error.remedy and error.path == "<bytes>"
    else:
        assert decoded.pixels.shape == (16, 16, 3)
        assert decoded.facts.width > 0


def test_threads_agree() -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = [images.read_pixels(seed, 16).tobytes() for seed in SEEDS]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda seed: images.read_pixels(seed, 16).tobytes(), SEEDS * 8)
        assert list(found) == expected * 8


# --- real odd files ------------------------------------------------------------------------------

PHOTOS = os.environ.get("VSEARCH_TEST_PHOTOS")
needs_photos = pytest.mark.skipif(
    not PHOTOS, reason="set VSEARCH_TEST_PHOTOS to a folder with odd/ to try broken real files"
)
ODD = Path(PHOTOS or "", "odd")
# How the names of those begin that must be refused; all others must be read.
REFUSED = """
    bad_palette_entry broken. broken_data crash-0 crash-4 crash-5 crash-63 crash-754 crash-7d crash-c
    crash-f decompression_bomb empty oom text timeout truncated ultrahdr zero_width
"""


@needs_photos
@pytest.mark.parametrize("path", sorted(ODD.iterdir()) if PHOTOS else [], ids=lambda path: path.name)
def test_odd_files(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    expected = path.name.startswith(tuple(REFUSED.split()))
    try:
        pixels = images.decode(path, 64).pixels
    except PhotoError as error:
        assert expected, error
        assert error.path == str(path)
    else:
        assert not expected
        assert pixels.shape == (64, 64, 3)
    assert capfd.readouterr() == ("", "")


@needs_photos
@pytest.mark.parametrize(
    "pattern",
    ["exif_landscape_?.jpg", "exif_portrait_?.jpg", "hopper_orientation_?.jpg", "hopper_or*.webp"],
)
def test_one_scene_in_all_orientations(pattern: str) -> None:
    found = [images.read_pixels(path, 64) for path in sorted(ODD.glob(pattern))]
    assert len(found) >= 7
    assert max(difference(found[0], other) for other in found) < 3

"""hashing: alterations that keep the picture keep the hash; other pictures do not."""

from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from skimage import data

from vsearch import hashing

CAT = Image.fromarray(data.chelsea())
FACE = Image.fromarray(data.astronaut())
CUP = Image.fromarray(data.coffee())
HASHES = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


def recompressed(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def phash_distance(a: Image.Image, b: Image.Image) -> int:
    return hashing.hamming(hashing.perceptual_hashes(a)[0], hashing.perceptual_hashes(b)[0])


@pytest.mark.parametrize("picture", [CAT, FACE, CUP])
def test_alterations_stay_within_ten_bits(picture: Image.Image) -> None:
    altered = [
        recompressed(picture),
        picture.resize((picture.width // 4, picture.height // 4)),
        picture.convert("L"),
        ImageEnhance.Brightness(picture).enhance(1.3),
        ImageEnhance.Brightness(picture).enhance(0.7),
    ]
    assert max(phash_distance(picture, other) for other in altered) <= 10


def test_other_pictures_are_far() -> None:
    assert min(phash_distance(CAT, FACE), phash_distance(CAT, CUP), phash_distance(CUP, FACE)) > 17


@pytest.mark.parametrize("picture", [CAT, FACE, CUP])
def test_near_to_imagehash_on_the_full_picture(picture: Image.Image) -> None:
    phash, dhash = hashing.perceptual_hashes(picture)
    assert hashing.hamming(phash, str(imagehash.phash(picture))) <= 4
    assert hashing.hamming(dhash, str(imagehash.dhash(picture))) <= 4


def plain_pictures() -> list[Image.Image]:
    """Most DCT coefficients of these are zero by symmetry: rounding must not decide their bits."""
    rows, columns = np.indices((96, 96))
    radius = np.hypot(rows - 47.5, columns - 47.5)
    grey = [
        np.full_like(rows, 100),
        columns // 48 * 255,
        rows // 48 * 255,
        columns,
        (rows + columns) // 12 % 2 * 255,
    ]
    grey += [(radius < 30) * 255, np.clip(255 - 2 * radius, 0, 255)]
    return [Image.fromarray(each.astype(np.uint8)) for each in grey]


@pytest.mark.parametrize("picture", [CAT, FACE, CUP, *plain_pictures()])
def test_equal_to_imagehash_on_the_small_grey_picture(picture: Image.Image) -> None:
    small = picture.convert("L").reduce(min(picture.size) // 96)
    expected = str(imagehash.phash(small)), str(imagehash.dhash(small))
    assert hashing.perceptual_hashes(picture) == expected


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (8, 8), (500, 300)])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_hashes_are_sixteen_digits(size: tuple[int, int], mode: str) -> None:
    for digits in hashing.perceptual_hashes(Image.new(mode, size)):
        assert len(digits) == 16 and int(digits, 16) >= 0


def test_orientations_start_with_the_picture_itself() -> None:
    assert hashing.orientations(CAT)[0] == hashing.perceptual_hashes(CAT)[0]


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_a_turned_copy_is_found(turn: Image.Transpose) -> None:
    all_eight = hashing.orientations(CAT)
    assert len(set(all_eight)) == 8
    turned = hashing.perceptual_hashes(CAT.transpose(turn))[0]
    assert min(hashing.hamming(turned, each) for each in all_eight) <= 4
    assert hashing.hamming(turned, all_eight[0]) > 10


@given(HASHES, HASHES)
def test_hamming_counts_bits(a: str, b: str) -> None:
    assert hashing.hamming(a, b) == f"{int(a, 16) ^ int(b, 16):b}".count("1")
    assert hashing.hamming(a, a) == 0


@given(HASHES, st.lists(HASHES))
def test_distances_are_hammings(query: str, others: list[str]) -> None:
    numbers = np.array([hashing.as_number(other) for other in others], dtype=np.uint64)
    found = hashing.distances(hashing.as_number(query), numbers)
    assert found.tolist() == [hashing.hamming(query, other) for other in others]

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


def hamming(a: str, b: str) -> int:
    return int(hashing.distances(hashing.as_numbers([a]), hashing.as_numbers([b]))[0])


def phash_distance(a: Image.Image, b: Image.Image) -> int:
    return hamming(hashing.perceptual_hashes(a)[0], hashing.perceptual_hashes(b)[0])


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
    assert hamming(phash, str(imagehash.phash(picture))) <= 4
    assert hamming(dhash, str(imagehash.dhash(picture))) <= 4


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


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (8, 8), (500, 300)])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_hashes_are_sixteen_digits(size: tuple[int, int], mode: str) -> None:
    for digits in hashing.perceptual_hashes(Image.new(mode, size)):
        assert len(digits) == 16 and int(digits, 16) >= 0


@pytest.mark.parametrize("picture", [CAT, FACE, CUP, *plain_pictures()])
def test_orientations_start_with_the_picture_itself(picture: Image.Image) -> None:
    own = hashing.as_numbers(hashing.perceptual_hashes(picture))[0]
    assert hashing.orientations(picture)[0] == own


@pytest.mark.parametrize("picture", [CAT, FACE, CUP, *plain_pictures()])
def test_orientations_are_imagehash_of_the_turned_picture(picture: Image.Image) -> None:
    grey = picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    turned = [grey, *(grey.transpose(turn) for turn in Image.Transpose)]
    expected = hashing.as_numbers([str(imagehash.phash(each)) for each in turned])
    assert sorted(hashing.orientations(grey).tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_a_turned_copy_is_found(turn: Image.Transpose) -> None:
    all_eight = hashing.orientations(CAT)
    assert len(set(all_eight.tolist())) == 8
    turned = hashing.as_numbers([hashing.perceptual_hashes(CAT.transpose(turn))[0]])
    assert hashing.distances(all_eight, turned)[0] <= 4
    assert hashing.distances(all_eight[:1], turned)[0] > 10


@given(HASHES, st.lists(HASHES))
def test_distances_count_bits(query: str, others: list[str]) -> None:
    found = hashing.distances(hashing.as_numbers([query]), hashing.as_numbers(others))
    assert found.tolist() == [f"{int(query, 16) ^ int(other, 16):b}".count("1") for other in others]

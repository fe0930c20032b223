"""A first look at small pictures: what may lie inside what."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image, ImageOps
from skimage import data

from vsearch.variants import containment

PHOTOS = {
    "cat": Image.fromarray(data.chelsea()),
    "cup": Image.fromarray(data.coffee()),
    "face": Image.fromarray(data.astronaut()),
    "rocket": Image.fromarray(data.rocket()),
}


def small(picture: Image.Image) -> containment.Small:
    picture = picture.copy()
    picture.thumbnail((256, 256))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    made = containment.small(buffer.getvalue())
    assert made is not None
    return made


def cropped(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    return picture.crop((0, round(height * (1 - share)), round(width * share), height))


def screenshot(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (picture.width, picture.width * 2), (18, 18, 20))
    canvas.paste(picture, (0, picture.width // 2))
    return canvas


@pytest.mark.parametrize("name", PHOTOS)
def test_parts_and_frames_may_be_contained(name: str) -> None:
    photo = PHOTOS[name]
    altered = [*(cropped(photo, share) for share in (0.95, 0.8, 0.7)), screenshot(photo)]
    altered.append(ImageOps.expand(photo, min(photo.size) // 12, "white"))
    for other in altered:
        assert containment.may_contain(small(photo), small(other))
        assert containment.may_contain(small(other), small(photo))


def test_other_photos_are_not() -> None:
    smalls = [small(photo) for photo in PHOTOS.values()]
    assert not any(containment.may_contain(a, b) for a, b in itertools.combinations(smalls, 2))


@pytest.mark.parametrize("size", [(1, 1), (256, 1), (3, 200)])
def test_slivers_and_plain_pictures_do_no_harm(size: tuple[int, int]) -> None:
    plain = small(Image.new("RGB", size, "grey"))
    assert not containment.may_contain(plain, small(PHOTOS["cat"]))
    assert not containment.may_contain(plain, plain)


def test_what_is_no_picture_has_no_small_one() -> None:
    assert containment.small(b"not a picture") is None

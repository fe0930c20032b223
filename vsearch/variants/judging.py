"""Whether two photos are one picture, and how altered: thumbnails decide.

Two questions in turn.  Do they coincide as a whole, in one of eight orientations?  Then one is the other
re-encoded, resized, recoloured, mirrored or turned.  If not, does one lie inside the other?  Then it was
cropped, framed or captioned; that takes OpenCV, and without it the second question stays unasked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import numpy as np
import numpy.typing as npt

from vsearch import images
from vsearch.errors import PhotoError
from vsearch.recent import Key, Recent
from vsearch.records import Region, Relation
from vsearch.variants import agreement, containment, localfeatures

# Measured on 90 photos x 24 alterations, and 3,341 pairs of near neighbours (docs/duplicates.md): whole
# pictures agree in 0.78 of their blocks or more, others in 0.69 at most; a picture and a part of it in 0.72
# or more (98 of 100), others in 0.70 at most.
_WHOLE_SHARE = 0.72
_WHOLE_CORRELATION = 0.8
_PART_SHARE = 0.75
_PART_INLIERS = 12
# One of the two lies inside the other; two crops of one picture need not, and must agree all but fully.
_CONTAINED = 0.95
_OVERLAPPING = 0.5
_OVERLAP_SHARE = 0.9
_OVERLAP_INLIERS = 30
# Two exposures hardly ever agree like two encodings of one; pictures with unlike capture times, or of another
# shape (one was stretched), must.
_STRICT_SHARE = 0.95
_STRICT_CORRELATION = 0.98
_ASPECT_TOLERANCE = 0.12
# Pictures without texture: levels by which blocks of 64 x 64 may differ in colour, and by which one may show
# what the other does not at the size of the thumbnail: at most, and in all but one in 2,000 pixels.  Pages,
# planes, moons and stars saved as JPEG 20 or resized to 12-200 % reach 13.5 and 4.2; of others pages and
# planes have 40 and more at most, stars 5.4 and more.
_FLAT_LEVELS = 10.0
_DETAIL_LEVELS = 15.0
_DETAILS_LEVELS = 4.8
_DETAILS_PERCENT = 99.95
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one picture is related to another: a relation (never ``burst`` or ``identical``), or ``None``."""

    relation: Relation | None
    region: Region | None = None


UNRELATED = Verdict(None)


class Look:
    """A picture made ready.

    Attributes:
        pixels: uint8 [64, 64, 3], stretched.
        aspect: width / height.
        grey: uint8 [64, 64].
        small: ``grey`` averaged down and standardised, float32 [16, 16].
        textured: blocks with texture.
        jpeg: the thumbnail itself, if the picture is flat: its details are looked at where colours agree.
    """

    __slots__ = ("aspect", "grey", "jpeg", "pixels", "small", "textured")

    def __init__(self, jpeg: bytes, aspect: float) -> None:
        pixels = images.read_pixels(jpeg, agreement.SIDE, "stretch")
        self.pixels = pixels
        self.aspect = aspect
        self.grey: npt.NDArray[np.uint8] = np.rint(pixels @ _GREY).astype(np.uint8)
        self.small = agreement.standardised(agreement.reduced(self.grey))
        self.textured = agreement.textured_blocks(self.grey)
        self.jpeg = jpeg if self.textured < agreement.FEW_BLOCKS else b""

    def details(self) -> npt.NDArray[np.uint8]:
        """All that the thumbnail of a flat picture shows, uint8 [256, 256], grey."""
        grey: npt.NDArray[np.uint8] = np.rint(images.read_pixels(self.jpeg, 256, "stretch") @ _GREY).astype(
            np.uint8
        )
        return grey


def look(jpeg: bytes, aspect: float) -> Look | None:
    """A thumbnail made ready; ``None`` when it cannot be decoded."""
    try:
        return Look(jpeg, aspect)
    except PhotoError:
        return None


def as_whole(a: Look, b: Look, *, same_time: bool = True) -> Verdict:
    """Whether ``a`` and ``b`` coincide, in one of eight orientations.

    Args:
        same_time: whether they may be one exposure by their capture times; else they must agree fully, and
            have texture to agree in.
    """
    best = agreement.best_orientation(b.small, a.small)
    for orientation in dict.fromkeys((0, best)):
        aspect = 1 / a.aspect if orientation & 4 else a.aspect
        stretched = abs(math.log(aspect / b.aspect)) > _ASPECT_TOLERANCE
        if _coincide(a, b, orientation, strictly=stretched or not same_time):
            return Verdict("turned" if orientation else "altered")
    return UNRELATED


def as_part(a: localfeatures.Features, b: localfeatures.Features, *, same_time: bool = True) -> Verdict:
    """Whether ``a`` lies inside ``b``, or the other way round, or both are crops of one picture."""
    fit = localfeatures.fit(a, b)
    if fit is None or fit.inliers < _PART_INLIERS or fit.share < _PART_SHARE or fit.blocks < 4:
        return UNRELATED
    if not same_time and fit.share < _STRICT_SHARE:
        return UNRELATED
    contained = fit.overlap >= _CONTAINED
    crops = fit.overlap >= _OVERLAPPING and fit.share >= _OVERLAP_SHARE and fit.inliers >= _OVERLAP_INLIERS
    return Verdict("cropped", fit.region) if contained or crops else UNRELATED


def _coincide(a: Look, b: Look, orientation: int, *, strictly: bool) -> bool:
    turned = agreement.oriented(a.grey, orientation)
    flat = max(a.textured, b.textured) < agreement.FEW_BLOCKS
    if not flat and agreement.correlation(turned, b.grey) < _WHOLE_CORRELATION:
        return False  # told in a tenth of the time that their blocks take
    found = agreement.compare(turned, b.grey)
    if found.flat:
        return not strictly and _same_colours(a, b, orientation) and _same_details(a, b, orientation)
    if strictly:
        return found.share >= _STRICT_SHARE and found.correlation >= _STRICT_CORRELATION
    return found.share >= _WHOLE_SHARE and found.correlation >= _WHOLE_CORRELATION


def _same_colours(a: Look, b: Look, orientation: int) -> bool:
    """Pictures without texture: the same colours in the same places, nearly."""
    difference = agreement.oriented(a.pixels, orientation).astype(np.float32) - b.pixels
    side = agreement.SIDE // 8
    blocks = difference.reshape(side, 8, side, 8, 3).mean(axis=(1, 3))
    return bool(np.abs(blocks).max() <= _FLAT_LEVELS)


def _same_details(a: Look, b: Look, orientation: int) -> bool:
    """Pictures without texture: the same stars, the same words on white, a plane in the same place."""
    beyond = agreement.beyond(agreement.oriented(a.details(), orientation), b.details())
    return bool(beyond.max() <= _DETAIL_LEVELS and np.percentile(beyond, _DETAILS_PERCENT) <= _DETAILS_LEVELS)


@dataclass(frozen=True, slots=True, eq=False)
class Compared(Generic[Key]):
    """One of two pictures that are compared, and how to get at what it looks like.

    Attributes:
        key: tells it from others: what is made of its thumbnail is kept under that.
        jpeg: gives the bytes of its thumbnail, or ``None``.
        aspect: width / height.
        taken: when it was taken; ``None`` where that is unknown.
        small: makes it ready for :mod:`vsearch.variants.containment`; by default its thumbnail is.
    """

    key: Key
    jpeg: Callable[[], bytes | None]
    aspect: float
    taken: int | str | None = None
    small: Callable[[], containment.Small | None] | None = None


class Judge(Generic[Key]):
    """Judges pairs of pictures, as wholes and as parts; may be used from several threads.

    Args:
        looks, smalls, features: how many of each are kept, some 15, 6 and 70 KiB each.
    """

    def __init__(self, *, looks: int = 8192, smalls: int = 8192, features: int = 1024) -> None:
        self._looks: Recent[Key, Look | None] = Recent(looks)
        self._smalls: Recent[Key, containment.Small | None] = Recent(smalls)
        self._features: Recent[Key, localfeatures.Features | None] = Recent(features)
        self._parts = localfeatures.available()

    def whole(self, a: Compared[Key], b: Compared[Key]) -> Verdict | None:
        """The verdict on two pictures as wholes; ``None`` if one of them has no thumbnail to look at."""
        look_a, look_b = self._look(a), self._look(b)
        if look_a is None or look_b is None:
            return None
        return as_whole(look_a, look_b, same_time=_may_be_one_exposure(a, b))

    def part(self, a: Compared[Key], b: Compared[Key]) -> Verdict:
        """The verdict on one picture inside the other; unrelated without OpenCV."""
        if not self._parts:
            return UNRELATED
        small_a, small_b = self._small(a), self._small(b)
        if small_a is None or small_b is None or not containment.may_contain(small_a, small_b):
            return UNRELATED
        features_a, features_b = self._feature(a), self._feature(b)
        if features_a is None or features_b is None:
            return UNRELATED
        return as_part(features_a, features_b, same_time=_may_be_one_exposure(a, b))

    def _look(self, picture: Compared[Key]) -> Look | None:
        def made(_: Key) -> Look | None:
            jpeg = picture.jpeg()
            return look(jpeg, picture.aspect) if jpeg else None

        return self._looks.get(picture.key, made)

    def _small(self, picture: Compared[Key]) -> containment.Small | None:
        def made(_: Key) -> containment.Small | None:
            if picture.small is not None:
                return picture.small()
            jpeg = picture.jpeg()
            return containment.small(jpeg) if jpeg else None

        return self._smalls.get(picture.key, made)

    def _feature(self, picture: Compared[Key]) -> localfeatures.Features | None:
        def made(_: Key) -> localfeatures.Features | None:
            jpeg = picture.jpeg()
            return localfeatures.features(jpeg) if jpeg else None

        return self._features.get(picture.key, made)


def _may_be_one_exposure(a: Compared[Key], b: Compared[Key]) -> bool:
    return a.taken is None or b.taken is None or a.taken == b.taken

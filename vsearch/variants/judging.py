"""Whether two photos are one picture, and how altered: thumbnails decide.

Two questions in turn.  Do they coincide as a whole, in one of eight orientations?  Then one is the other
re-encoded, resized, recoloured, mirrored or turned.  If not, does one lie inside the other?  Then it was
cropped, framed or captioned; that takes OpenCV, and without it the second question stays unasked.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from vsearch import images
from vsearch.errors import PhotoError
from vsearch.records import Region, Relation
from vsearch.variants import agreement, containment, localfeatures

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

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


class Judge:
    """Judges photos by number; looks and features are kept, the last few thousand.

    Args:
        thumbnail: the JPEG bytes of a photo's thumbnail, or ``None``.
        aspects: width / height, float32 [N].
        taken: capture time in seconds, int64 [N], -1 where unknown.
    """

    def __init__(
        self,
        thumbnail: Callable[[int], bytes | None],
        aspects: npt.NDArray[np.float32],
        taken: npt.NDArray[np.int64],
    ) -> None:
        self._thumbnail = thumbnail
        self._aspects = aspects
        self._taken = taken
        self._looks: Recent[int, Look | None] = Recent(8192)
        self._smalls: Recent[int, containment.Small | None] = Recent(8192)
        self._features: Recent[int, localfeatures.Features | None] = Recent(1024)
        self._parts = localfeatures.available()

    def whole(self, a: int, b: int) -> Verdict:
        """The verdict on two photos as wholes."""
        look_a, look_b = self._looks.get(a, self._look), self._looks.get(b, self._look)
        if look_a is None or look_b is None:
            return UNRELATED
        return as_whole(look_a, look_b, same_time=self._may_be_one_exposure(a, b))

    def part(self, a: int, b: int) -> Verdict:
        """The verdict on one photo inside the other; unrelated without OpenCV."""
        if not self._parts or not self._may_contain(a, b):
            return UNRELATED
        features_a, features_b = self._features.get(a, self._feature), self._features.get(b, self._feature)
        if features_a is None or features_b is None:
            return UNRELATED
        return as_part(features_a, features_b, same_time=self._may_be_one_exposure(a, b))

    def _may_contain(self, a: int, b: int) -> bool:
        small_a, small_b = self._smalls.get(a, self._small), self._smalls.get(b, self._small)
        return small_a is not None and small_b is not None and containment.may_contain(small_a, small_b)

    def _may_be_one_exposure(self, a: int, b: int) -> bool:
        times = int(self._taken[a]), int(self._taken[b])
        return -1 in times or times[0] == times[1]

    def _look(self, photo: int) -> Look | None:
        jpeg = self._thumbnail(photo)
        return look(jpeg, float(self._aspects[photo])) if jpeg else None

    def _small(self, photo: int) -> containment.Small | None:
        jpeg = self._thumbnail(photo)
        return containment.small(jpeg) if jpeg else None

    def _feature(self, photo: int) -> localfeatures.Features | None:
        jpeg = self._thumbnail(photo)
        return localfeatures.features(jpeg) if jpeg else None


class Recent(Generic[Key, Value]):
    """The ``size`` values that were asked for last, by key; may be asked from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[Key], Value]) -> Value:
        """The value for ``key``; made if it is not among them."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make(key)
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        return value

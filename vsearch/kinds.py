"""How photos relate to the pictures of a query: the same, a variant or alike; decided as duplicates are.

Hashes and scores say which photos may be variants, :mod:`vsearch.judging` looks at the thumbnails of these
and decides.  Comparing parts takes some 20 ms a photo, so only photos that score high are compared that way,
nearest first, until three in a row are no variants.  Without OpenCV crops, borders and captions stay
``similar``; without thumbnails the hashes alone decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vsearch import hashing, judging, localfeatures
from vsearch.judging import Look, Recent
from vsearch.localfeatures import Features
from vsearch.records import Kind, Location, Photo, PhotoFacts

# Re-encoded, resized, recoloured, mirrored and turned copies are within 10 bits in 99-100 % of 241 photos; of
# pairs of different photos 1 in 100 is within 22.
VARIANT_BITS = 10
_PLAUSIBLE_BITS = 22
_PLAUSIBLE_SCORE = 0.7  # docs/search.md, Kinds: what it misses and what it saves
_TRIES = 3


@dataclass(frozen=True, eq=False)
class Original:
    """A whole picture of a query.

    Attributes:
        jpeg: its thumbnail, longest side 256 pixels.
        facts: of the picture.
        hashes: pHashes of its eight orientations.
    """

    jpeg: bytes
    facts: PhotoFacts
    hashes: Sequence[str]

    @cached_property
    def look(self) -> Look | None:
        """Made ready to be compared as a whole."""
        return judging.look(self.jpeg, _aspect(self.facts))

    @cached_property
    def features(self) -> Features | None:
        """Made ready to be compared with parts."""
        return localfeatures.features(self.jpeg)

    def is_near(self, phash: str | None) -> bool:
        """Whether this hash alone makes a photo look like a variant, in one of eight orientations."""
        return phash is not None and any(hashing.hamming(phash, h) <= VARIANT_BITS for h in self.hashes)

    def distance(self, facts: PhotoFacts | None) -> int | None:
        """Bits between the hashes, in the nearest orientation; ``None`` where one is not known."""
        if facts is None or facts.phash is None or not self.hashes:
            return None
        return min(hashing.hamming(facts.phash, other) for other in self.hashes)


class Kinds:
    """Tells kinds; looks and features of photos are kept, the last few thousand.

    Args:
        thumbnail: the JPEG bytes of the thumbnail at a place.
    """

    def __init__(self, thumbnail: Callable[[Location], bytes]) -> None:
        self._pictures: Recent[Location, bytes] = Recent(thumbnail, 256)
        self._features: Recent[Location, Features | None] = Recent(self._feature, 1024)
        self._parts = localfeatures.available()

    def of(
        self,
        digests: Collection[str],
        originals: Sequence[Original],
        photos: Sequence[Photo],
        scores: Mapping[int, float],
    ) -> dict[int, Kind]:
        """The kind of each of ``photos``, by id.

        Args:
            digests: SHA-256 of the query pictures.
            originals: the query pictures that are whole pictures.
            scores: plain cosine similarities to the query, by id.
        """
        found: dict[int, Kind] = {}
        tries = _TRIES
        for photo in sorted(photos, key=lambda photo: -scores[photo.id]):
            if photo.sha256 is not None and photo.sha256 in digests:
                found[photo.id] = "identical"
                continue
            high = scores[photo.id] >= _PLAUSIBLE_SCORE and tries > 0
            variant = any(self._is_variant(original, photo, high) for original in originals)
            found[photo.id] = "variant" if variant else "similar"
            if high and originals:
                tries = _TRIES if variant else tries - 1
        return found

    def _is_variant(self, original: Original, photo: Photo, high: bool) -> bool:
        bits = original.distance(photo.facts)
        if not high and (bits is None or bits > _PLAUSIBLE_BITS):
            return False
        same_time = _may_be_one_exposure(original.facts, photo.facts)
        place = photo.thumbnail
        look = judging.look(self._pictures.get(place), _aspect(photo.facts)) if place else None
        if place is None or look is None or original.look is None:
            return bits is not None and bits <= VARIANT_BITS
        if judging.as_whole(original.look, look, same_time=same_time).relation is not None:
            return True
        if not (high and self._parts) or original.features is None:
            return False
        features = self._features.get(place)
        if features is None:
            return False
        return judging.as_part(original.features, features, same_time=same_time).relation is not None

    def _feature(self, place: Location) -> Features | None:
        return localfeatures.features(self._pictures.get(place))


def _aspect(facts: PhotoFacts | None) -> float:
    return max(facts.width, 1) / max(facts.height, 1) if facts else 1.0


def _may_be_one_exposure(a: PhotoFacts, b: PhotoFacts | None) -> bool:
    return b is None or a.taken_at is None or b.taken_at is None or a.taken_at == b.taken_at

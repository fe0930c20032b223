"""How photos relate to the pictures of a query: the same, a variant or alike; decided as duplicates are.

Hashes say which photos may be the whole picture, scores and :mod:`vsearch.variants.containment` which may
be a part of it, and :mod:`vsearch.variants.judging` looks at the thumbnails of these and decides.  Of those
that score high the nearest are compared as parts, until three in a row are no variants.  Without OpenCV
crops, borders and captions stay ``similar``; without thumbnails the hashes alone decide.

What was found out is kept for as long as there is room: pages of one answer, and questions by photos that
lie near each other, compare the same pictures.  Of 21 ms that a question by id took, 18 went into this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vsearch import hashing
from vsearch.recent import Recent
from vsearch.records import Kind, Location, Photo, PhotoFacts
from vsearch.variants.containment import Small
from vsearch.variants.judging import Compared, Judge

# Re-encoded, resized, recoloured, mirrored and turned copies are within 10 bits in 99-100 % of 241 photos; of
# 7,160 answers that showed other photos 15 were within 16 in one of eight orientations, 1,115 within 22.
VARIANT_BITS = 10
_PLAUSIBLE_BITS = 16
_PLAUSIBLE_SCORE = 0.7  # docs/search.md, Kinds: what it misses and what it saves
_TRIES = 3


@dataclass(frozen=True, eq=False)
class Original:
    """A whole picture of a query.

    Attributes:
        key: SHA-256 of its file, or of what else tells it from others.
        jpeg: gives its thumbnail, longest side 256 pixels; hardly ever asked for.
        small: makes it ready for a first look; ``None`` when it cannot be decoded.
        facts: of the picture.
        hashes: pHashes of its eight orientations, uint64 [8].
    """

    key: str
    jpeg: Callable[[], bytes]
    small: Callable[[], Small | None]
    facts: PhotoFacts
    hashes: npt.NDArray[np.uint64]

    def near(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Which of these pHashes, uint64 [N], alone make a photo look like a variant; in any orientation."""
        return hashing.distances(self.hashes, hashes) <= VARIANT_BITS

    def distances(self, photos: Sequence[Photo]) -> dict[int, int]:
        """Bits between the hashes, in the nearest orientation, by id; of photos whose hash is known."""
        known = {photo.id: photo.facts.phash for photo in photos if photo.facts and photo.facts.phash}
        found = hashing.distances(self.hashes, hashing.as_numbers([*known.values()]))
        return dict(zip(known, found.tolist(), strict=True))


class Seen:
    """The pictures compared last, and what came out; shared by the threads that answer from one index.

    By SHA-256 of the files: the same bytes always look the same, so nothing here grows old.  Some 15, 18, 6
    and 70 KiB each, and 0.3 for an outcome: 90 MiB when all is full.
    """

    def __init__(self) -> None:
        self.originals: Recent[str, Original] = Recent(512)
        self.judge: Judge[str] = Judge(looks=1024, smalls=4096, features=512)
        self.variants: Recent[tuple[str, str, bool], bool] = Recent(16_384)


class Kinds:
    """Tells kinds.

    Args:
        thumbnail: the JPEG bytes of the thumbnail at a place.
        seen: what is known already.
    """

    def __init__(self, thumbnail: Callable[[Location], bytes], seen: Seen) -> None:
        self._thumbnail = thumbnail
        self._seen = seen

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
        bits = [(original, original.distances(photos)) for original in originals]
        tries = _TRIES
        for photo in sorted(photos, key=lambda photo: -scores[photo.id]):
            if photo.sha256 is not None and photo.sha256 in digests:
                found[photo.id] = "identical"
                continue
            high = scores[photo.id] >= _PLAUSIBLE_SCORE and tries > 0
            variant = any(
                self._is_variant(original, photo, far.get(photo.id), high) for original, far in bits
            )
            found[photo.id] = "variant" if variant else "similar"
            if high and originals:
                tries = _TRIES if variant else tries - 1
        return found

    def _is_variant(self, original: Original, photo: Photo, bits: int | None, high: bool) -> bool:
        near = bits is not None and bits <= _PLAUSIBLE_BITS
        if not (near or high):
            return False
        key = original.key, _key(photo), high
        return self._seen.variants.get(
            key,
            lambda _: (
                (near and self._is_whole(original, photo, bits)) or (high and self._is_part(original, photo))
            ),
        )

    def _is_whole(self, original: Original, photo: Photo, bits: int | None) -> bool:
        verdict = self._seen.judge.whole(_as_compared(original), self._compared(photo))
        if verdict is None:  # nothing to look at: the hashes alone decide
            return bits is not None and bits <= VARIANT_BITS
        return verdict.relation is not None

    def _is_part(self, original: Original, photo: Photo) -> bool:
        return self._seen.judge.part(_as_compared(original), self._compared(photo)).relation is not None

    def _compared(self, photo: Photo) -> Compared[str]:
        def jpeg() -> bytes | None:
            return self._thumbnail(photo.thumbnail) if photo.thumbnail else None

        taken = photo.facts.taken_at if photo.facts else None
        return Compared(_key(photo), jpeg, _aspect(photo.facts), taken)


def _as_compared(original: Original) -> Compared[str]:
    facts = original.facts
    return Compared(original.key, original.jpeg, _aspect(facts), facts.taken_at, original.small)


def _key(photo: Photo) -> str:
    return photo.sha256 or str(photo.id)


def _aspect(facts: PhotoFacts | None) -> float:
    return max(facts.width, 1) / max(facts.height, 1) if facts else 1.0

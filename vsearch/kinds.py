"""How a photo relates to a query picture: one function says whether it is the same, a variant or alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vsearch import hashing
from vsearch.records import Kind, Photo

# Measured on 241 photos (docs/search.md): re-encoded, resized, recoloured, mirrored and turned copies are
# within 10 bits in 99-100 %; the nearest 0.1 % of pairs of different photos are 18 bits apart.
VARIANT_BITS = 10


def kind_of(digests: Collection[str], hashes: Sequence[str], photo: Photo) -> Kind:
    """The kind of an answer.

    Args:
        digests: SHA-256 of the query pictures.
        hashes: pHashes of the query pictures' orientations.
        photo: the answer.
    """
    if photo.sha256 is not None and photo.sha256 in digests:
        return "identical"
    phash = photo.facts.phash if photo.facts else None
    if phash and any(hashing.hamming(phash, other) <= VARIANT_BITS for other in hashes):
        return "variant"
    return "similar"

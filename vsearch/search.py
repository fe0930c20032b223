"""Answering queries: a picture to a vector, the collection's hits, the catalog's facts, a kind for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vsearch import files, hashing, images
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory, Settings
from vsearch.encoders import Encoder
from vsearch.errors import IndexDamaged, UsageError
from vsearch.nearest import Nearest
from vsearch.ranking import cosine, nearness, normalised
from vsearch.records import Kind, Match, Photo
from vsearch.segments import Segment

Vector = npt.NDArray[np.float32]
Picture = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

# pHashes of one picture re-encoded, resized or recoloured are at most this far apart, those of unrelated
# pictures 18 or more in 999 of 1,000 pairs (docs/encoders.md).
_VARIANT_BITS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A query picture, ready to be compared.

    Attributes:
        vector: float32 [D].
        sha256: of the file's bytes, when it came as bytes; finds identical photos.
        hashes: pHashes of its eight orientations; find variants.
    """

    vector: Vector
    sha256: str | None
    hashes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One stored vector against the question: its score (cosine), and what the index ranks by."""

    score: float
    nearness: float


class Searcher:
    """Answers questions from the vectors as of one sequence, and the catalog beside them.

    Args:
        directory, settings: of the index.
        catalog: open for reading.
        encoder: of the index.
        nearest: finds the candidates.
        covered: the catalog sequence that ``nearest`` covers.
    """

    def __init__(
        self,
        directory: IndexDirectory,
        settings: Settings,
        catalog: Catalog,
        encoder: Encoder,
        nearest: Nearest,
        covered: int,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._catalog = catalog
        self._encoder = encoder
        self._nearest = nearest
        self._covered = covered

    def ask(self, picture: Picture) -> Question:
        """Decode and encode a query picture.

        Raises:
            PhotoError: it cannot be read.
        """
        source, sha256 = _bytes_of(picture)
        specification = self._encoder.specification
        decoded = images.decode(
            source,
            specification.input_size,
            specification.resize,
            max_megapixels=self._settings.max_megapixels,
            thumbnail=False,
            name=_name_of(picture),
        )
        vectors = self._encoder.encode(decoded.pixels[np.newaxis])
        if self._settings.metric == "cosine":
            vectors = normalised(vectors)
        return Question(vectors[0], sha256, hashing.orientations(decoded.picture))

    def answer(self, question: Question, k: int) -> list[Match]:
        """The ``k`` best matches, best first; identical photos before all others."""
        if k < 1:
            raise UsageError(f"k must be at least 1; received {k}")
        found = self._candidates(question, k)
        twins = self._twins(question)
        exact = self._compare(question, found, twins)
        found.update((photo.id, photo) for photo in twins)
        order = sorted(exact, key=lambda i: (found[i] not in twins, -exact[i].nearness, _path(found[i])))
        return [
            Match(rank, _path(photo), exact[photo.id].score, _kind(question, photo), str(photo.id))
            for rank, photo in enumerate((found[i] for i in order[:k]), start=1)
        ]

    def _candidates(self, question: Question, k: int) -> dict[int, Photo]:
        """The nearest photos; those removed since are left out."""
        gone = sum(1 for _ in self._catalog.unready_since(self._covered))
        photos = self._catalog.get_many(self._nearest.nearest(question.vector, k + gone))
        return {i: photo for i, photo in photos.items() if photo.state == "ready"}

    def _twins(self, question: Question) -> list[Photo]:
        if question.sha256 is None:
            return []
        same = self._catalog.with_digest(question.sha256)
        return [photo for photo in same if photo.state == "ready"]

    def _compare(
        self, question: Question, found: dict[int, Photo], twins: Sequence[Photo]
    ) -> dict[int, Comparison]:
        """Exact comparisons with the stored vectors, whatever the collection approximated."""
        compared: dict[int, Comparison] = {}
        by_segment: dict[int, list[Photo]] = {}
        for photo in {**found, **{p.id: p for p in twins}}.values():
            if photo.vector is None:
                raise IndexDamaged(f"photo {photo.id} has no vector; run `vsearch check`")
            by_segment.setdefault(photo.vector.segment, []).append(photo)
        for number, photos in by_segment.items():
            with Segment(self._directory.segment("vectors", number)) as segment:
                vectors = segment.read_rows([p.vector.row for p in photos if p.vector])
            scores = cosine(question.vector, vectors)
            near = nearness(question.vector, vectors, self._settings.metric)
            for photo, score, nearer in zip(photos, scores, near, strict=True):
                compared[photo.id] = Comparison(float(score), float(nearer))
        return compared


def _bytes_of(picture: Picture) -> tuple[Picture, str | None]:
    """What to decode, and the SHA-256 where there are bytes."""
    if isinstance(picture, str | os.PathLike):
        data = files.read(os.path.expanduser(os.fspath(picture)))
        return data, files.digest(data)
    if isinstance(picture, bytes):
        return picture, files.digest(picture)
    return picture, None


def _name_of(picture: Picture) -> str | None:
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else None


def _path(photo: Photo) -> str:
    return files.absolute(photo.file.root, photo.file.path)


def _kind(question: Question, photo: Photo) -> Kind:
    if photo.sha256 is not None and photo.sha256 == question.sha256:
        return "identical"
    phash = photo.facts.phash if photo.facts else None
    if phash and min(hashing.hamming(phash, h) for h in question.hashes) <= _VARIANT_BITS:
        return "variant"
    return "similar"

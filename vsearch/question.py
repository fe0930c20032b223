"""From pictures and words to one vector: what a query asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt
from PIL import Image

from vsearch import files, hashing, images
from vsearch.catalog import Catalog
from vsearch.encoders import NO_WORD, NOT_FINITE, Encoder
from vsearch.errors import EncoderError, PhotoError, UsageError
from vsearch.ranking import mixed, normalised
from vsearch.records import Photo
from vsearch.segmentrows import StoredRows
from vsearch.settings import Settings
from vsearch.variants import containment
from vsearch.variants.kinds import Original, Seen

Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
Picture = images.Source | Photo
Crop = str | tuple[int, int, int, int]
LARGEST_WEIGHT = 1e6
_CROP = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True)
class Weighted:
    """A picture and how much it counts, above 0 and up to a million."""

    picture: Picture
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that one query asks with.

    Attributes:
        plus: pictures that answers are to be like.
        minus: pictures that they are to be unlike.
        text: words that they are to fit, and how much these count beside the pictures.
        crop: look for this region of the first picture: ``(x, y, width, height)`` in pixels of the upright
            picture, or the text ``"X,Y,W,H"``, in pixels or with ``%`` after each number.
    """

    plus: Sequence[Weighted] = ()
    minus: Sequence[Weighted] = ()
    text: str | None = None
    text_weight: float = 1.0
    crop: Crop | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A query, ready to be compared.

    Attributes:
        vector: float32 [D].
        digests: SHA-256 of the pictures' bytes, where they came as bytes; find identical photos.
        originals: those that are whole pictures; find variants.
        twins: the photos of the index that have the bytes of one of the pictures: the best answers.
        pinned: it is one whole picture, so that its variants come next.
        parts: what ``vector`` was mixed of, where it is more than one: float32 [P, D].
        shares: how much each part counts, float64 [P]; negative ones push away.
        worded: words are among them, whose cosines with photos lie elsewhere than those of pictures.
    """

    vector: Vector
    digests: frozenset[str] = frozenset()
    originals: Sequence[Original] = ()
    twins: Sequence[Photo] = ()
    pinned: bool = False
    parts: Vectors | None = None
    shares: npt.NDArray[np.float64] | None = None
    worded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """A picture that the encoder has not seen yet: uint8 [S, S, 3], and the rest of its :class:`Question`."""

    pixels: npt.NDArray[np.uint8]
    digests: frozenset[str] = frozenset()
    originals: Sequence[Original] = ()
    pinned: bool = False


class Asker:
    """Makes questions for one index.

    Args:
        rows, settings: of the index.
        catalog: open for reading; pictures whose bytes it knows are not encoded again.
        encoder: loads the encoder; called only when something must be encoded.
        seen: what pictures look like, as far as it is known.
    """

    def __init__(
        self,
        rows: StoredRows,
        settings: Settings,
        catalog: Catalog,
        encoder: Callable[[], Encoder],
        seen: Seen,
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._catalog = catalog
        self._encoder = encoder
        self._seen = seen

    def ask(self, asked: Asked) -> Question:
        """One question from all that is asked.

        Raises:
            PhotoError: a picture cannot be read.
            UsageError: the parts make no sense together, or cancel each other out.
            EncoderError: the encoder has no text half, or gives numbers that are not finite.
        """
        _check(asked)
        crops = [asked.crop, *[None] * (len(asked.plus) - 1)]
        pictures = [self._picture(w.picture, crop) for w, crop in zip(asked.plus, crops, strict=False)]
        pictures += [self._picture(w.picture, None) for w in asked.minus]
        vectors = self._vectors(pictures)
        found = [self._question(picture, vectors) for picture in pictures]
        plus, minus = found[: len(asked.plus)], found[len(asked.plus) :]
        weights = [w.weight for w in asked.plus]
        if asked.text is not None:
            plus.append(Question(self._unit(self._encoder().encode_text(asked.text)), worded=True))
            weights.append(asked.text_weight)
        if len(plus) == 1 and not minus:
            return plus[0]
        unlike = [w.weight for w in asked.minus]
        return _combined(plus, weights, minus, unlike, cosine=self._settings.metric == "cosine")

    def ask_each(self, pictures: Sequence[Picture]) -> list[Question | PhotoError]:
        """One question for each picture, encoded together; the error for one that makes none."""
        read: list[Question | _Decoded | PhotoError] = []
        for picture in pictures:
            try:
                read.append(self._picture(picture, None))
            except PhotoError as failure:
                read.append(failure.bare())
        vectors = self._vectors(read)
        asked: list[Question | PhotoError] = []
        for picture, found in zip(pictures, read, strict=True):
            try:
                asked.append(found if isinstance(found, PhotoError) else self._question(found, vectors))
            except EncoderError:
                name = picture.file.absolute if isinstance(picture, Photo) else images.name_of(picture)
                asked.append(PhotoError(name, NOT_FINITE, "use another encoder, or leave the picture out"))
        return asked

    def _picture(self, picture: Picture, crop: Crop | None) -> Question | _Decoded:
        expected = None
        if isinstance(picture, Photo):
            picture = self._of_now(picture)
            if crop is None:
                return self._recalled(picture, self._twins(picture.sha256, picture.file.absolute))
            expected, picture = picture.sha256, picture.file.absolute
        data = content(picture)
        sha256 = None if data is None else files.digest(data)
        if expected not in (None, sha256):
            raise PhotoError(
                images.name_of(picture), "it has changed since it was indexed", "run `vsearch sync`"
            )
        asked = files.expanded(os.fspath(picture)) if isinstance(picture, str | os.PathLike) else ""
        if crop is None and (twins := self._twins(sha256, os.path.abspath(asked))):
            return self._recalled(twins[0], twins)
        return self._decoded(picture if data is None else data, sha256, crop, images.name_of(picture))

    def _vectors(self, pictures: Sequence[object]) -> Iterator[Vector]:
        """A vector for each of those that are to be encoded, in order."""
        pixels = [picture.pixels for picture in pictures if isinstance(picture, _Decoded)]
        return iter(self._encoder().encode(np.stack(pixels)) if pixels else ())

    def _question(self, picture: Question | _Decoded, vectors: Iterator[Vector]) -> Question:
        """The same with a vector, the next one if it has none."""
        if isinstance(picture, Question):
            return picture
        vector = self._unit(next(vectors))
        return Question(vector, picture.digests, picture.originals, pinned=picture.pinned)

    def _twins(self, sha256: str | None, asked: str) -> list[Photo]:
        """The photos of the index that have these bytes; that at the path ``asked`` comes first."""
        found = self._catalog.with_digest(sha256) if sha256 else ()
        ready = (photo for photo in found if photo.state == "ready")
        return sorted(ready, key=lambda photo: (photo.file.absolute != asked, photo.file.absolute))

    def _of_now(self, photo: Photo) -> Photo:
        """The same photo as the index has it by now: its vector may lie elsewhere, and be another encoder's.

        Raises:
            PhotoError: it is gone, or its file has changed.
        """
        found = self._catalog.get(photo.id)
        if found is not None and found.sha256 == photo.sha256:
            return found
        if twins := self._twins(photo.sha256, photo.file.absolute):
            return twins[0]
        raise PhotoError(
            photo.file.absolute,
            "the index has this photo no more, or another in its place",
            "give its path",
        )

    def _recalled(self, photo: Photo, twins: Sequence[Photo]) -> Question:
        """A photo of the index: its vector and thumbnail lie there."""
        if photo.vector is None:
            raise PhotoError(
                photo.file.absolute, "it has no vector, for it failed", "see `vsearch status --failed`"
            )
        vector = self._rows.vectors.vector(photo.vector)
        digests = frozenset([photo.sha256]) if photo.sha256 else frozenset[str]()
        return Question(vector, digests, self._originals(photo), twins, pinned=True)

    def _originals(self, photo: Photo) -> Sequence[Original]:
        if photo.thumbnail is None or photo.facts is None:
            return []
        place, facts = photo.thumbnail, photo.facts

        def original(key: str) -> Original:
            data = self._rows.thumbnails.thumbnail(place)
            hashes = hashing.orientations(images.decode(data, 8).picture)
            return Original(key, lambda: data, lambda: containment.small(data), facts, hashes)

        return [self._seen.originals.get(photo.sha256 or str(photo.id), original)]

    def _decoded(self, source: images.Source, sha256: str | None, crop: Crop | None, name: str) -> _Decoded:
        specification = self._encoder().specification
        decoded = images.decode(
            source,
            specification.input_size,
            specification.resizing,
            max_megapixels=self._settings.max_megapixels,
            box=self._box(source, crop, name) if crop is not None else None,
            name=name,
        )
        if crop is not None:
            return _Decoded(decoded.pixels)
        digests = frozenset([sha256]) if sha256 else frozenset[str]()
        key = sha256 or files.digest(decoded.picture.tobytes() + repr(decoded.facts).encode())
        grey = hashing.small_grey(decoded.whole)
        original = Original(
            key,
            jpeg=lambda: decoded.thumbnail,
            small=lambda: containment.small_of(np.asarray(grey)),
            facts=decoded.facts,
            hashes=hashing.orientations(grey),
        )
        return _Decoded(decoded.pixels, digests, [original], pinned=True)

    def _box(self, source: images.Source, crop: Crop, name: str) -> images.Box:
        limit = self._settings.max_megapixels
        facts = images.decode(source, 8, max_megapixels=limit, name=name).facts
        return box_of(crop, (facts.width, facts.height))

    def _unit(self, vector: Vector) -> Vector:
        if not np.isfinite(vector).all():
            raise EncoderError(f"{NOT_FINITE} for the query; use another encoder or picture")
        return normalised(vector[np.newaxis])[0] if self._settings.metric == "cosine" else vector


def weighted(pictures: Sequence[Picture], weights: Sequence[float] | None, name: str) -> tuple[Weighted, ...]:
    """The pictures with their weights, equal by default; ``name`` is what messages call these."""
    weights = [1.0] * len(pictures) if weights is None else weights
    if not isinstance(weights, Sized):
        raise UsageError(f"{name} must be numbers, one for each picture; received {weights!r}")
    if len(weights) != len(pictures):
        raise UsageError(f"{name} must be one for each of {len(pictures)} pictures; received {len(weights)}")
    return tuple(Weighted(p, w) for p, w in zip(pictures, weights, strict=True))


def several(pictures: Iterable[Picture], name: str) -> list[Picture]:
    """``pictures``, which must not be one: each letter of a path, or row of an array, would be a picture.

    Raises:
        UsageError: it is one.
    """
    one = isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike | Photo | Image.Image)
    is_one = one or hasattr(pictures, "read") or not isinstance(pictures, Iterable)
    if is_one or (isinstance(pictures, np.ndarray) and pictures.ndim in (2, 3)):
        raise UsageError(f"{name} is a list of pictures; put this one in brackets: {name}=[...]")
    return list(pictures)


def box_of(crop: Crop, size: tuple[int, int]) -> images.Box:
    """A crop in pixels of a picture of ``size`` (width, height).

    Raises:
        UsageError: it is not four numbers, or not inside the picture.

    >>> box_of("25%, 0%, 50%, 100%", (400, 300))
    (100, 0, 200, 300)
    >>> box_of("0%,0%,50%,100%", (259, 194)), box_of("50%,0%,50%,100%", (259, 194))
    ((0, 0, 130, 194), (130, 0, 129, 194))
    """
    some = crop if isinstance(crop, Iterable) else ()
    parts = crop.split(",") if isinstance(crop, str) else [str(number) for number in some]
    found = [_CROP.fullmatch(part) for part in parts]
    numbers = [float(f[1]) * (size[n % 2] / 100 if f[2] else 1) for n, f in enumerate(found) if f is not None]
    if len(numbers) != 4 or len(found) != 4 or not np.isfinite(numbers).all():
        raise UsageError(
            f"a crop is X,Y,WIDTH,HEIGHT in pixels or per cent, such as 10%,10%,50%,50%; received {crop!r}"
        )
    left, top, across, down = numbers
    x, y = round(left), round(top)
    width, height = round(left + across) - x, round(top + down) - y  # the edges are rounded: halves meet
    if width < 1 or height < 1 or x + width > size[0] or y + height > size[1]:
        raise UsageError(
            f"crop {x},{y},{width},{height} is not inside the picture, which has {size[0]} x {size[1]} pixels"
        )
    return x, y, width, height


def _check(asked: Asked) -> None:
    if not asked.plus and asked.text is None:
        more = ", besides what answers are to be unlike" if asked.minus else ""
        raise UsageError(f"a query needs a picture or a text{more}")
    if asked.crop is not None and not asked.plus:
        raise UsageError("a crop needs a picture; name one")
    if asked.text is not None and not (isinstance(asked.text, str) and asked.text.strip()):
        raise UsageError(NO_WORD)
    if asked.text is not None and any("\ud800" <= letter <= "\udfff" for letter in asked.text):
        raise UsageError("the text of a query must be Unicode; this one has bytes that are not")
    weights = [*(w.weight for w in (*asked.plus, *asked.minus)), asked.text_weight]
    wrong = [w for w in weights if not (isinstance(w, Real) and 0 < w <= LARGEST_WEIGHT)]
    if wrong:
        raise UsageError(f"weights must be numbers above 0, a million at most; received {wrong[0]}")


def _combined(
    plus: Sequence[Question],
    weights: Sequence[float],
    minus: Sequence[Question],
    minus_weights: Sequence[float],
    *,
    cosine: bool,
) -> Question:
    """The weighted mean of the plus vectors, less that of the minus ones (Rocchio 1971)."""
    shares = np.array([*np.array(weights) / sum(weights), *(-np.array(minus_weights) / max(1, len(minus)))])
    parts = np.stack([q.vector for q in (*plus, *minus)])
    if cosine:
        parts = normalised(parts)
        vector = mixed(parts, shares)
    else:  # distances depend on lengths; what is unlike pushes away from where the others are
        vector = _pushed(parts, shares, len(plus))
    if cosine and not vector.any():
        raise UsageError("the pictures cancel each other out; leave one out or change a weight")
    digests = frozenset[str]().union(*(q.digests for q in plus))
    originals = [original for question in plus for original in question.originals]
    twins = {photo.id: photo for question in plus for photo in question.twins}
    worded = any(question.worded for question in plus)
    return Question(vector, digests, originals, [*twins.values()], parts=parts, shares=shares, worded=worded)


def _pushed(parts: Vectors, shares: npt.NDArray[np.float64], plus: int) -> Vector:
    """The weighted mean of the first ``plus`` vectors, moved away from each of the others by its share."""
    mean = shares[:plus] @ parts[:plus].astype(np.float64)
    away = -shares[plus:] @ (mean - parts[plus:])
    return np.asarray(mean + away, np.float32)


def content(picture: images.Source) -> bytes | None:
    """The bytes of a picture file, whichever way it is given; ``None`` for a Pillow image or an array.

    Raises:
        PhotoError: it cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        return files.read(files.expanded(os.fspath(picture)))
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, Image.Image | np.ndarray) or not hasattr(picture, "read"):
        return None
    return files.content(picture, images.name_of(picture))

"""Encoders side by side on the same photos: how well they rank, how fast, at what size."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch import files, images
from vsearch.collection import Batch, Changes, Description, batches_of, generations_at
from vsearch.encoders import Encoder, devices, resolve
from vsearch.errors import PhotoError, UsageError
from vsearch.evaluation import measures
from vsearch.evaluation.alterations import ALTERATIONS, Alteration
from vsearch.evaluation.baselines import BASELINES, SIZE
from vsearch.evaluation.measures import Quality
from vsearch.ingest import batch_of, batched, in_parallel, reading_threads
from vsearch.ranking import normalised
from vsearch.records import Device, FileStat, Skipped
from vsearch.resizing import Resizing

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]
OnPhoto = Callable[[int, int], None]
_RECALLS = (1, 5, 10)
_ALTERED_SIZE = 1200  # longest side of the photos that altered copies are made of, pixels


@dataclass(frozen=True, slots=True)
class Contestant:
    """An encoder or a baseline: pixels uint8 [N, S, S, 3] -> vectors float32 [N, D]."""

    name: str
    input_size: int
    resizing: Resizing
    dimension: int
    encode: Callable[[Pixels], Vectors]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One contestant on labelled photos, ranked in one way.

    Attributes:
        ranking: one of :data:`vsearch.ranking.RANKINGS`.
        bytes_a_vector: as float32.
        images_per_second: decoding and encoding together, on all cores.
        nearest: int64 [N, k], the rows of each photo's nearest others.
    """

    name: str
    ranking: str
    dimension: int
    bytes_a_vector: int
    images_per_second: float
    quality: Quality
    nearest: npt.NDArray[np.int64]

    @property
    def title(self) -> str:
        """What people read."""
        return self.name if self.ranking == "plain" else f"{self.name}, {self.ranking}"

    def as_json(self) -> dict[str, Any]:
        """The line that ``evaluate --json`` prints."""
        return {
            "encoder": self.name,
            "ranking": self.ranking,
            "dimension": self.dimension,
            "bytes_a_vector": self.bytes_a_vector,
            "images_per_second": round(self.images_per_second, 2),
            **asdict(self.quality),
        }


@dataclass(frozen=True, slots=True)
class SelfResult:
    """One contestant on altered copies.

    Attributes:
        recalls: for each alteration, recall@1, @5 and @10 of the original.
        approximate_recall: which part of the exact ten nearest Chroma's graph finds.
    """

    name: str
    photos: int
    recalls: dict[str, tuple[float, float, float]]
    approximate_recall: float

    def as_json(self) -> dict[str, Any]:
        """The line that ``evaluate --self --json`` prints."""
        named = {
            change: {f"recall_at_{k}": round(value, 4) for k, value in zip(_RECALLS, values, strict=True)}
            for change, values in self.recalls.items()
        }
        return {
            "encoder": self.name,
            "photos": self.photos,
            "alterations": named,
            "approximate_recall_at_10": round(self.approximate_recall, 4),
        }


def contestants(
    encoders: Iterable[str | os.PathLike[str]], baselines: Iterable[str], device: str = "auto"
) -> list[Contestant]:
    """Load what is to be compared; encoders run on ``device``.

    Raises:
        EncoderError: there is no such encoder.
        UsageError: there is no such baseline, or device.
    """
    found = [_encoder(name, devices.usable(device)) for name in encoders]
    for name in baselines:
        if name not in BASELINES:
            raise UsageError(f"baselines are {', '.join(BASELINES)}; received {name!r}")
        baseline = BASELINES[name]
        found.append(Contestant(name, SIZE, Resizing("stretch"), baseline.dimension, baseline.encode))
    return found


def readable(
    found: Sequence[FileStat], on_photo: OnPhoto = lambda done, total: None
) -> tuple[list[FileStat], list[Skipped]]:
    """The photos that can be decoded, and the others."""
    good: list[FileStat] = []
    bad: list[Skipped] = []
    checked = in_parallel(_fault, found, reading_threads())
    for done, (file, fault) in enumerate(zip(found, checked, strict=True), 1):
        if fault is None:
            good.append(file)
        else:
            bad.append(fault)
        on_photo(done, len(found))
    return good, bad


def compare(
    contestant: Contestant,
    photos: Sequence[FileStat],
    labels: Sequence[str],
    k: int,
    rankings: Sequence[str] = ("plain",),
) -> list[Result]:
    """Leave-one-out over labelled photos, a result for each of ``rankings``.

    All vectors are in memory, N * D * 4 bytes.

    Raises:
        PhotoError: a photo vanished since :func:`readable` saw it.
        UsageError: there is no such ranking.
    """
    measures.check(rankings)
    started = time.perf_counter()
    vectors = _vectors(contestant, photos)
    seconds = time.perf_counter() - started
    width = min(max(k, 10), len(photos) - 1)
    return [
        Result(
            contestant.name,
            by,
            contestant.dimension,
            4 * contestant.dimension,
            len(photos) / seconds,
            measures.quality(vectors, labels, k, by),
            np.stack(list(measures.nearest(vectors, width, by))),
        )
        for by in rankings
    ]


def compare_with_itself(contestant: Contestant, photos: Sequence[FileStat]) -> SelfResult:
    """Altered copies as queries among the originals, and Chroma's graph against an exact scan."""
    vectors = _vectors(contestant, photos)
    own = range(len(photos))
    recalls = {}
    for name, alteration in ALTERATIONS.items():
        places = measures.ranks_of(_vectors(contestant, photos, alteration), vectors, own)
        first, fifth, tenth = (measures.recall_at(places, k) for k in _RECALLS)
        recalls[name] = (first, fifth, tenth)
    return SelfResult(contestant.name, len(photos), recalls, approximate_recall(vectors))


def approximate_recall(vectors: Vectors) -> float:
    """Which part of the exact ten nearest others of each vector Chroma's graph finds as well."""
    unit = normalised(vectors)
    k = min(10, len(unit) - 1)
    with tempfile.TemporaryDirectory(prefix="vsearch-") as folder:
        Path(folder, "chroma").mkdir()
        generations = generations_at(Path(folder, "chroma"), Path(folder, "CURRENT"))
        number = generations.publish(
            lambda since: [Changes(_batches(unit), len(unit))],
            Description(sequence=1, dimension=unit.shape[1], metric="cosine", fingerprint=""),
            base=0,
        )
        with generations.open(number) as collection:
            shared = 0
            for row, exact in enumerate(measures.nearest(unit, k)):
                hits = collection.search(unit[row : row + 1], k + 1)[0]
                others = [int(hit.id) for hit in hits if int(hit.id) != row][:k]
                shared += len(set(others) & set(exact.tolist()))
    return shared / (k * len(unit))


def _batches(vectors: Vectors) -> Iterator[Batch]:
    for rows in batched(range(len(vectors)), batches_of(vectors.shape[1], len(vectors))):
        yield Batch([str(row) for row in rows], vectors[rows], [{"row": row} for row in rows])


def _encoder(name: str | os.PathLike[str], device: Device) -> Contestant:
    bundle = resolve(name)
    loaded, s = Encoder(bundle, device), bundle.specification
    return Contestant(os.fspath(name), s.input_size, s.resizing, s.dimension, loaded.encode)


def _vectors(
    contestant: Contestant, photos: Sequence[FileStat], alteration: Alteration | None = None
) -> Vectors:
    """Vectors of all photos, float32 [N, D]; of altered copies where there is an ``alteration``."""

    def encoded(some: Sequence[FileStat]) -> Vectors:
        return contestant.encode(np.stack([_pixels(contestant, file, alteration) for file in some]))

    return np.concatenate(
        list(in_parallel(encoded, batched(photos, batch_of(contestant.input_size)), reading_threads()))
    )


def _pixels(contestant: Contestant, file: FileStat, alteration: Alteration | None) -> Pixels:
    path = file.absolute
    if alteration is None:
        return images.read_pixels(path, contestant.input_size, contestant.resizing)
    altered = alteration(images.read_picture(path, _ALTERED_SIZE))
    return images.read_pixels(altered, contestant.input_size, contestant.resizing)


def _fault(file: FileStat) -> Skipped | None:
    path = file.absolute
    try:
        files.check_format(path)
        images.read_pixels(path, 8)
    except PhotoError as error:
        return Skipped(path, error.reason, error.remedy)
    return None

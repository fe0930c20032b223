"""A head on an encoder: labelled photos -> vectors -> a head (``heads``) -> a bundle with one graph."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch import __version__, durable, sources
from vsearch.catalog import Catalog, VectorRow
from vsearch.components import PrincipalComponents
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle, Encoder, catalogue, devices, graphs, resolve
from vsearch.encoders.bundles import GRAPH, SPECIFICATION
from vsearch.encoders.graphs import Projection
from vsearch.errors import EncoderError, EncoderMismatch, MissingExtraError, UsageError, install
from vsearch.evaluation import labels
from vsearch.ingest import BATCH, Job, Reader, read_here
from vsearch.nearest import read_vectors
from vsearch.ranking import normalised
from vsearch.records import Device, FileStat, Skipped
from vsearch.sampling import spread
from vsearch.settings import Settings
from vsearch.training import heads
from vsearch.training.heads import Gain, Learned

Vectors = npt.NDArray[np.float32]
OnPhoto = Callable[[int, int], None]
_MOST_BYTES = 2**30  # of vectors in memory
_MOST_DIMENSIONS = 1024  # scatter is decomposed, at D^3; longer vectors are first reduced
_REDUCED = 512


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """What to learn from, and where the bundle goes.

    Attributes:
        labels: as in ``evaluate``: ``folder``, a regular expression or a .csv file.
        output: the bundle's folder.
        photos: files and folders; those of the index when empty.
        encoder: the base; by default that of the index, or ``photo``.
        index: whose vectors are used for the photos that it knows.
        exclude: globs to leave out.
        seed: of what is held out.
        device: where the base encodes: ``auto``, ``cpu`` or ``cuda``.
    """

    labels: str
    output: Path
    photos: Sequence[str | os.PathLike[str]] = ()
    encoder: str | os.PathLike[str] | None = None
    index: Path | None = None
    exclude: Sequence[str] = ()
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class HeadTrained:
    """A head that was tried, and written if it is better.

    Attributes:
        bundle: its folder.
        base: name of the encoder below it.
        photos, labels: that it learned from.
        encoded: how many of the photos were encoded now; the index knew the others.
        method, shrinkage, stretch: what cross-validation chose (:mod:`vsearch.training.heads`).
        known: the gain on held-out photos.
        unseen: the gain on held-out labels, or ``None`` where there are too few.
        dimension: length of its vectors.
    """

    bundle: str
    base: str
    photos: int
    labels: int
    encoded: int
    skipped: Sequence[Skipped]
    method: str
    shrinkage: float
    stretch: float
    known: Gain
    unseen: Gain | None
    dimension: int

    def as_json(self) -> dict[str, Any]:
        """The object that ``train --head --json`` prints."""
        skipped = [{"path": s.path, "reason": s.reason} for s in self.skipped]
        stretch = self.stretch if np.isfinite(self.stretch) else None
        return {**asdict(self), "skipped": skipped, "stretch": stretch}


@dataclass(frozen=True, slots=True)
class HeadCallbacks:
    """Callbacks: each photo, and those that cannot be read."""

    on_photo: OnPhoto = field(default=lambda done, total: None)
    on_skipped: Callable[[Sequence[Skipped]], None] = field(default=lambda skipped: None)


def train_head(request: HeadRequest, progress: HeadCallbacks | None = None) -> HeadTrained:
    """Learn from labels; the bundle then lies at ``request.output``.

    Raises:
        UsageError: labels that nothing can be learned from, or a head that does not rank held-out photos
            better than the plain encoder: then nothing is written.
        EncoderMismatch: the index has another encoder.
        StorageError: ``output`` cannot be written.
    """
    progress = progress or HeadCallbacks()
    _check(request)
    base, known = _base(request)
    photos = _labelled(request, known)
    vectors = _Vectors(base, devices.usable(request.device), known, photos, progress.on_photo)
    progress.on_skipped(vectors.skipped)
    labels.check(vectors.labels)
    reduction = _reduction(vectors.rows)
    rows = vectors.rows if reduction is None else vectors.rows @ reduction.weights + reduction.offset
    learned = heads.learn(rows, vectors.labels, request.seed, vectors.rows)
    projection = _composed(reduction, learned)
    trained = _described(request, base, vectors, learned, len(projection.offset))
    if not learned.known.certain:
        gain = learned.known
        raise UsageError(
            f"no head was written, for it would not help: mAP on {gain.photos} held-out photos is "
            f"{gain.plain:.3f} with {base.specification.name} alone and {gain.head:.3f} with the head, and "
            f"a gain must exceed three standard errors ({3 * gain.error:.3f}); give more photos a label, or "
            "keep the plain encoder"
        )
    _write(base, projection, trained, request.output)
    return trained


def _check(request: HeadRequest) -> None:
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError(f"training needs onnx; {install('train')}")
    if not request.photos and request.index is None:
        raise UsageError("name photo folders, an --index, or both to learn from")
    if request.exclude and not request.photos:
        raise UsageError("--exclude goes with photo folders; with --index alone all its photos are used")
    if request.output.exists():
        raise UsageError(f"{request.output} is there already; choose another -o")
    labels.rule(request.labels)


# --- photos and vectors --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A photo, its label, and where its vector lies already."""

    file: FileStat
    label: str
    stored: VectorRow | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What an index knows."""

    directory: IndexDirectory
    photos: dict[str, tuple[FileStat, VectorRow, str | None]]


def _base(request: HeadRequest) -> tuple[Bundle, _Known | None]:
    if request.index is None:
        return resolve(request.encoder or catalogue.DEFAULT), None
    directory = IndexDirectory(request.index)
    settings = directory.settings()
    own = Bundle(directory.encoder)
    base = own if request.encoder is None else resolve(request.encoder)
    if base.fingerprint != own.fingerprint:
        raise EncoderMismatch(
            f"{request.index} was built with {own.specification.name}, not {base.specification.name}; leave "
            "--encoder out to learn a head for it, or leave --index out"
        )
    with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
        rows = {row.photo_id: row for row in catalog.matching("TRUE", ())}
        known = {
            photo.file.absolute: (photo.file, rows[photo.id], photo.sha256)
            for photo in catalog.photos("ready")
            if photo.id in rows
        }
    return base, _Known(directory, known)


def _labelled(request: HeadRequest, known: _Known | None) -> list[_Labelled]:
    """All photos that have a label; without ``photos`` those of the index."""
    stored = known.photos if known else {}
    if request.photos:
        found = sources.found(request.photos, request.exclude)
    else:
        found = [file for file, _, _ in stored.values()]
    made = []
    for file, label in labels.labelled(found, request.labels):
        before = stored.get(file.absolute)
        fresh = before and (before[0].size, before[0].mtime_ns) == (file.size, file.mtime_ns)
        row, sha256 = before[1:] if before and fresh else (None, None)
        made.append(_Labelled(file, label, row, sha256))
    return made


class _Vectors:
    """Unit vectors of the labelled photos, one for each content: float32 [N, D] and N labels."""

    def __init__(
        self,
        base: Bundle,
        device: Device,
        known: _Known | None,
        photos: Sequence[_Labelled],
        on_photo: OnPhoto,
    ) -> None:
        most = max(1, _MOST_BYTES // (4 * base.specification.dimension))
        some = spread(photos, most)
        self.skipped: list[Skipped] = []
        self.encoded = 0
        self._found: dict[str, tuple[Vectors, str]] = {}
        stored = [one for one in some if one.stored is not None]
        if known is not None and stored:
            self._recall(known.directory, stored)
        new = [one for one in some if one.stored is None]
        if new:
            self._encode(Encoder(base, device), new, lambda done: on_photo(done, len(new)))
        self.labels = [label for _, label in self._found.values()]
        if not self._found:
            raise UsageError("none of the photos can be read; name a folder of intact photos")
        self.rows = normalised(np.stack([vector for vector, _ in self._found.values()]))

    def _recall(self, directory: IndexDirectory, stored: Sequence[_Labelled]) -> None:
        def place(one: _Labelled) -> tuple[int, int]:
            assert one.stored is not None
            return one.stored.location.segment, one.stored.location.row

        ordered = sorted(stored, key=place)
        vectors = read_vectors(directory, [one.stored for one in ordered if one.stored])
        for one, vector in zip(ordered, vectors, strict=True):
            self._found.setdefault(one.sha256 or one.file.path, (vector, one.label))

    def _encode(self, base: Encoder, new: Sequence[_Labelled], on_photo: Callable[[int], None]) -> None:
        reader = Reader(base, Settings(base.fingerprint), lambda job, sha256: sha256 in self._found)
        names = iter(new)
        for done, reading in enumerate(read_here(reader, (Job(one.file) for one in new)), 1):
            label = next(names).label
            on_photo(done)
            if reading.failure is not None:
                failure = reading.failure
                self.skipped.append(Skipped(reading.job.path, failure.reason, failure.remedy))
            elif reading.vector is not None and np.isfinite(reading.vector).all():
                self.encoded += 1
                self._found.setdefault(reading.sha256 or reading.job.path, (reading.vector, label))


# --- projection and bundle -----------------------------------------------------------------------


def _reduction(vectors: Vectors) -> Projection | None:
    """Principal components of vectors that are too long to be decomposed."""
    if vectors.shape[1] <= _MOST_DIMENSIONS:
        return None
    running = PrincipalComponents(min(_REDUCED, len(vectors) - 1))
    for start in range(0, len(vectors), BATCH):
        running.update(vectors[start : start + BATCH])
    return running.projection()


def _composed(reduction: Projection | None, learned: Learned) -> Projection:
    """Reduction and head as one."""
    weights, offset = learned.head.weights, -learned.head.mean @ learned.head.weights
    if reduction is None:
        return Projection(weights, offset)
    return Projection(reduction.weights @ weights, reduction.offset @ weights + offset)


def _described(
    request: HeadRequest, base: Bundle, vectors: _Vectors, learned: Learned, dimension: int
) -> HeadTrained:
    return HeadTrained(
        bundle=str(request.output),
        base=base.specification.name,
        photos=len(vectors.rows),
        labels=len(set(vectors.labels)),
        encoded=vectors.encoded,
        skipped=tuple(vectors.skipped),
        method=learned.strength.method,
        shrinkage=learned.strength.shrinkage,
        stretch=learned.strength.stretch,
        known=learned.known,
        unseen=learned.unseen,
        dimension=dimension,
    )


def _write(base: Bundle, projection: Projection, trained: HeadTrained, output: Path) -> None:
    with durable.storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=durable.TEMPORARY, dir=output.parent))
    try:
        folder = scratch / "head"
        with durable.storage_errors(output):
            folder.mkdir()  # mkdtemp's own folder is closed to all others, whatever the umask
            graphs.extend(base.graph, folder / GRAPH, projection)
            (folder / SPECIFICATION).write_text(_specification(base, projection, trained))
            for name in ("LICENSE", "PROVENANCE.md"):
                if (base.folder / name).is_file():
                    shutil.copy2(base.folder / name, folder)
        _try(Bundle(folder))
        durable.publish(folder, output, "encoder")
    finally:
        durable.remove(scratch)


def _try(bundle: Bundle) -> None:
    """One picture through the graph.

    Raises:
        EncoderError: it does not run, or gives numbers that are not finite.
    """
    size = bundle.specification.input_size
    picture = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    if not np.isfinite(Encoder(bundle).encode(picture)).all():
        raise EncoderError("the head gives numbers that are not finite; train it on other photos")


def _specification(base: Bundle, projection: Projection, trained: HeadTrained) -> str:
    record = trained.as_json()
    del record["bundle"], record["skipped"]  # a bundle may move
    s = base.specification
    described = replace(
        s,
        name=f"{s.name}-head",
        dimension=len(projection.offset),
        parameters=s.parameters + projection.weights.size + projection.offset.size,
        provenance={
            **s.provenance,
            "head": f"learned by vsearch {__version__} from labels of the user's own, on {s.name} "
            f"({base.fingerprint[:12]})",
        },
        training=record,
    )
    return described.as_json()

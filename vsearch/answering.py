"""The verbs that ask: what :class:`vsearch.Index` answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self, TypeVar

from vsearch import files, filters
from vsearch.blas import one_thread
from vsearch.collection import Generations, Manifest, Unreachable
from vsearch.directory import IndexDirectory
from vsearch.errors import CollectionError, EncoderMismatch, IndexDamaged, PhotoError, UsageError
from vsearch.filters import Condition, Day
from vsearch.ingest import batch_of, batched, in_parallel, reading_threads
from vsearch.nearest import ONCE_BYTES, SCAN_BYTES, Graph, Scan, Slices, VectorSearch
from vsearch.opened import OpenIndex
from vsearch.published import generations_of
from vsearch.question import Asked, Asker, Crop, Picture, Question, several, weighted
from vsearch.records import Answer, Match, Photo, Result
from vsearch.search import AnswerOptions, Searcher
from vsearch.segmentrows import StoredRows
from vsearch.variants.kinds import Seen

PathLike = str | os.PathLike[str]
Read = TypeVar("Read")
# A query that meets the removal of what it reads starts anew; what is really damaged stays so.
_ATTEMPTS = 3
_PAUSE = 0.05


class Answering(OpenIndex):
    """The part of :class:`vsearch.Index` that answers queries."""

    def __init__(self, directory: IndexDirectory, device: str = "auto") -> None:
        super().__init__(directory, device)
        self._searcher: Searcher | None = None
        self._nearest: VectorSearch | None = None
        self._followed: object = None
        self._rows = StoredRows(directory)
        self._rows_of: int | None = None
        self._seen = Seen()

    def close(self) -> None:
        """Let go of the files; the index may be used again and opens them anew."""
        if self._is_forked():
            return  # what is open is the parent's
        with self._lock:
            if self._nearest is not None:
                self._nearest.close()
            self._nearest = self._searcher = self._followed = None
            self._rows.close()
            super().close()

    def query(
        self,
        image: Picture | None = None,
        *,
        images: Iterable[Picture] = (),
        minus: Iterable[Picture] = (),
        weights: Sequence[float] | None = None,
        minus_weights: Sequence[float] | None = None,
        text: str | None = None,
        text_weight: float = 1.0,
        crop: Crop | None = None,
        where: str | None = None,
        under: PathLike | None = None,
        since: Day | None = None,
        until: Day | None = None,
        expand: bool = True,
        min_score: float | None = None,
        min_match: float | None = None,
        k: int | None = 10,
    ) -> list[Match]:
        """The ``k`` photos most like a picture, or like several pictures and a text together, best first.

        Args:
            image: a path, the bytes of a file, a Pillow image, or an array: uint8 [H, W], [H, W, 3]
                RGB or [H, W, 4] RGBA, or floating point in 0..1; or a :class:`Photo` of the index.
                What the index has already is not encoded again.
            images: more of them.
            minus: pictures that answers are to be unlike.
            weights: one above 0 for each picture, ``image`` first; equal by default.
            minus_weights: the same for ``minus``; at 1 all of them count as much as all the pictures.
            text: words that answers are to fit; needs an encoder with a text half.
            text_weight: how much they count beside the pictures.
            crop: look for this region of the first picture: ``(x, y, width, height)`` in pixels, upright, or
                ``"10%,10%,50%,50%"``.
            where: a filter, such as ``"taken >= 2024-05 and camera ~ canon"`` (:mod:`vsearch.filters`).
            under, since, until: short forms of filters on folder and date.
            expand: rank by neighbourhoods too; ``False`` ranks by the plain cosine similarity.
            min_score: leave out matches below this score.
            min_match: leave out matches whose probability to be related is below this, 0 to 1.
            k: how many, ``None`` for all; fewer come back when the index has fewer.

        Raises:
            PhotoError: a picture cannot be read.
            UsageError: what is asked makes no sense, or the index has no photos.
            EncoderError: the encoder has no text half.
        """
        pictures = [*([] if image is None else [image]), *several(images, "images")]
        asked = Asked(
            plus=weighted(pictures, weights, "weights"),
            minus=weighted(several(minus, "minus"), minus_weights, "minus_weights"),
            text=text,
            text_weight=text_weight,
            crop=crop,
        )
        condition = self.condition(where, under=under, since=since, until=until)
        wanted = AnswerOptions(k, expand, condition, min_score, min_match)
        return list(self.answer(asked, wanted).matches)

    def answer(self, asked: Asked, wanted: AnswerOptions, *, once: bool = False) -> Answer:
        """What :meth:`query` returns, a note where little is left, and whether a larger ``k`` may give more.

        ``once``: no other question follows.
        """
        with one_thread():
            return self._patiently(lambda: self._follow(once=once).answer(self._asker().ask(asked), wanted))

    def answers(self, pictures: Iterable[tuple[str, Picture]], wanted: AnswerOptions) -> Iterator[Result]:
        """Answer many queries, in order: batches of them run side by side on all cores.

        Args:
            pictures: what each is called, and itself; one that cannot be read gives a result with a failure.
        """
        own = self.sibling()  # what it has open is closed by nobody else while threads ask
        searcher, asker = own._follow(), own._asker()

        def answer(batch: list[tuple[str, Picture]]) -> list[Result]:
            names, asked = [name for name, _ in batch], asker.ask_each([picture for _, picture in batch])
            answers = iter(searcher.answers([q for q in asked if isinstance(q, Question)], wanted))
            return [
                Result(name, (), failure=question)
                if isinstance(question, PhotoError)
                else Result(name, (found := next(answers)).matches, found.note)
                for name, question in zip(names, asked, strict=True)
            ]

        batches = batched(pictures, batch_of(own._bundle.specification.input_size))
        with own, one_thread():
            for results in in_parallel(answer, batches, reading_threads()):
                yield from results

    def sibling(self) -> Self:
        """Another one for another thread; both share the loaded encoder and what photos look like."""
        other = type(self)(self._directory, self._device)
        if other._bundle.fingerprint == self._bundle.fingerprint:
            other._loaded = self._encoder()
        other._seen = self._seen
        return other

    def named(self, path: PathLike) -> Photo | None:
        """The photo at ``path``, absolute or relative to a photo folder, whether its file is there or not."""
        catalog, given = self._reading(), os.path.normpath(os.fspath(path))
        for root in catalog.roots:
            relative = os.path.relpath(given, root) if os.path.isabs(given) else given
            if photo := catalog.find(root, relative):
                return photo
        return None

    def _patiently(self, read: Callable[[], Read]) -> Read:
        """Read; once more when a file went away under the reader, because a writer published meanwhile."""
        with self._lock:
            for _ in range(_ATTEMPTS - 1):
                try:
                    return read()
                except Unreachable:
                    raise
                except (IndexDamaged, CollectionError, EncoderMismatch):
                    self.close()
                    time.sleep(_PAUSE)
            return read()

    def _follow(self, *, once: bool = False) -> Searcher:
        """The searcher of what is published now; ``once``: that which has the first answer soonest."""
        self._reload()
        catalog = self._reading()
        count = catalog.count("ready")
        if not count:
            raise UsageError(f"{self.path} has no photos yet; add some with `vsearch add PHOTOS`")
        dimension = self._bundle.specification.dimension
        size = count * dimension * 4
        if size <= SCAN_BYTES:
            return self._scanning(catalog.sequence())
        if once and size <= ONCE_BYTES and self._settings.chroma_url is None:
            slices = Slices(self._directory, catalog, dimension, self._settings.metric)
            return self._searcher_with(slices, catalog.sequence())
        return self._searching()

    def _scanning(self, sequence: int) -> Searcher:
        """A searcher that holds all vectors as of ``sequence``."""
        if self._searcher is None or self._followed != ("scan", sequence):
            self._stop_following()
            rows = self._reading().matching("TRUE", ())
            scan = Scan.of(self._directory, rows, self._settings.metric)
            self._searcher = self._searcher_with(scan, sequence)
            self._followed = ("scan", sequence)
        return self._searcher

    def _searching(self) -> Searcher:
        """A searcher on the published generation."""
        generations = generations_of(self._directory, self._settings)
        number = generations.current()
        self._check_current(number)
        if self._searcher is None or self._followed != ("graph", number):
            self._stop_following()
            manifest = self._checked_manifest(generations, number)
            collection = generations.open(number)
            graph = Graph(collection, self._directory, manifest.dimension, manifest.metric)
            self._searcher = self._searcher_with(graph, manifest.sequence)
            self._followed = ("graph", number)
        return self._searcher

    def _stop_following(self) -> None:
        """Let go of what was published before; the catalog, if nothing was followed yet, is as of now."""
        if self._searcher is not None:
            self.close()

    def _searcher_with(self, nearest: VectorSearch, covered: int) -> Searcher:
        self._nearest = nearest
        rows, catalog = self._stored(), self._reading()
        return Searcher(self._directory, self._settings, catalog, nearest, covered, rows, self._seen)

    def _asker(self) -> Asker:
        return Asker(self._stored(), self._settings, self._reading(), self._encoder, self._seen)

    def _stored(self) -> StoredRows:
        """The stored rows; files opened before the catalog changed are closed: a number may come again."""
        sequence = self._reading().sequence()
        if sequence != self._rows_of:
            self._rows.close()
            self._rows_of = sequence
        return self._rows

    def condition(
        self,
        where: str | None = None,
        *,
        under: PathLike | None = None,
        since: Day | None = None,
        until: Day | None = None,
    ) -> Condition | None:
        """A filter for :meth:`answer`; ``None`` when nothing is left out.

        Raises:
            UsageError: it cannot be understood; the message names the place.
        """
        folders = [] if under is None else _folders(under)
        nodes = [
            *([] if where is None else [filters.parse(where)]),
            *filters.short_forms(folders, since, until),
        ]
        return filters.compiled(nodes, self._reading().roots) if nodes else None

    def _check_current(self, number: int) -> None:
        published = self._reading().published()
        if number < published:
            raise IndexDamaged(
                f"{self._directory.current_file} is damaged: it names generation {number}, but {published} "
                "was published; run `vsearch rebuild` to write it anew"
            )
        if not number:
            raise UsageError(f"{self.path} has photos, but none published yet; `vsearch sync` does that")

    def _checked_manifest(self, generations: Generations, number: int) -> Manifest:
        manifest = generations.manifest(number)
        if manifest.fingerprint != self._settings.encoder:
            raise EncoderMismatch(
                f"generation {number} was made with encoder {manifest.fingerprint[:12]}, the index uses "
                f"{self._settings.encoder[:12]}; run `vsearch rebuild`"
            )
        return manifest


def _folders(path: PathLike) -> list[str]:
    """The paths that a folder that is there may go by; else the one given, relative to the photo folders."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"under is a folder's path; received {path!r}")
    given = files.expanded(os.fspath(path))
    return files.places(given) if os.path.isdir(given) else [given]

"""The index: what the command line, the server and Python programs use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vsearch import durable, sources, updates
from vsearch.browsing import Browsable
from vsearch.catalog import Catalog
from vsearch.cluster import reading_at
from vsearch.collection import ChromaServer, server_url
from vsearch.compaction import dead_bytes
from vsearch.directory import IndexDirectory, place
from vsearch.encoders import Bundle, Encoder, catalogue, devices, resolve
from vsearch.errors import EncoderMismatch, UsageError
from vsearch.records import (
    IndexStatus,
    Metric,
    Photo,
    Planned,
    Problem,
    RebuildReport,
    Skipped,
    SyncReport,
)
from vsearch.settings import Settings, globs
from vsearch.tidy import TidyIndex
from vsearch.updates import OnProgress, Writable

if TYPE_CHECKING:  # what one verb alone needs is imported there: all took 0.1 s of every command
    from vsearch.evaluation.measures import Quality

PathLike = str | os.PathLike[str]


class Index(Browsable, TidyIndex):
    """An index of photos on disk.

    Make one with :meth:`create` or :meth:`open`.  Reading needs no lock and sees the published generation;
    methods that write hold the writer's lock while they run.  Threads that share one ask in turn; with one
    each they ask side by side.  A forked child opens its own; fork before anything is asked, or spawn, for
    the threads of numpy's and scikit-learn's libraries do not outlive a fork.  All methods may raise
    :class:`~vsearch.errors.VsearchError`.

    >>> import tempfile, vsearch
    >>> index = vsearch.Index.create(tempfile.mkdtemp(), encoder="photo")
    >>> index.status().photos
    0
    """

    # -- opening ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: PathLike,
        *,
        encoder: PathLike = catalogue.DEFAULT,
        metric: Metric = "cosine",
        max_megapixels: float = 200.0,
        keep_pixels: bool = False,
        exclude: Sequence[str] = (),
        chroma: str | None = None,
        device: str = "auto",
    ) -> Index:
        """Make an empty index.

        Args:
            path: the index directory to make.
            encoder: name of a bundled encoder, or the folder of a bundle; copied into the index.
            metric: ``cosine``, or ``euclidean`` on the vectors as the encoder gives them.
            max_megapixels: larger photos are skipped.
            keep_pixels: keep the pixels for training and re-encoding.
            exclude: globs of files and folders to leave out.
            chroma: URL of a Chroma server that holds the collection; by default it lies in the index.
            device: where the encoder runs: ``cpu``, ``cuda``, or ``auto``, a GPU if ONNX Runtime can use one.
                Not remembered.

        Raises:
            UsageError: ``cuda``, and this ONNX Runtime has none; or another argument cannot be followed.
            IndexExists: there is an index, or something else, at ``path``.
            EncoderError: there is no such encoder, or it does not work.
            CollectionError: the server does not answer.
        """
        bundle = resolve(encoder)
        loaded = Encoder(bundle, devices.usable(device))
        loaded.check()
        settings = Settings(
            encoder=bundle.fingerprint,
            metric=metric,
            max_megapixels=max_megapixels,
            keep_pixels=keep_pixels,
            exclude=globs(exclude),
            chroma_url=_answering_server(chroma),
        ).checked()

        def fill(directory: IndexDirectory) -> None:
            bundle.copy_to(directory.encoder)
            with Catalog(directory.catalog_file, (), create=True) as catalog, catalog.change() as change:
                change.note("settings", settings.as_json())

        index = cls(IndexDirectory.create(place(path), settings, fill), device)
        index._keep(loaded)
        return index

    @classmethod
    def open(cls, path: PathLike | None = None, *, device: str = "auto") -> Index:
        """Open an index: at ``path``, or the one that commands run here would use.

        ``device`` as in :meth:`create`.

        Raises:
            UsageError: ``cuda``, and this ONNX Runtime has none.
            IndexNotFound: there is none.
            IndexDamaged, VersionMismatch, EncoderMismatch: it cannot be used.
        """
        return cls(IndexDirectory(place(path)), device)

    @classmethod
    def build(
        cls,
        path: PathLike,
        photos: Sequence[PathLike],
        *,
        encoder: PathLike | None = None,
        metric: str | None = None,
        max_megapixels: float | None = None,
        keep_pixels: bool | None = None,
        exclude: Sequence[str] | None = None,
        chroma: str | None = None,
        device: str = "auto",
    ) -> Index:
        """Open the index at ``path``, or make it if there are photos to put into it.

        Options that are ``None`` keep what an existing index has, or mean the default of :meth:`create`;
        ``chroma="none"`` takes the collection back from a server.

        Raises:
            CollectionError: the Chroma server does not answer.
            UsageError: there is no photo in ``photos``, or an option cannot be changed any more.
            EncoderMismatch: the existing index was built with another encoder.
        """
        given: dict[str, Any] = {
            "metric": metric,
            "max_megapixels": max_megapixels,
            "keep_pixels": keep_pixels,
            "exclude": globs(exclude) if exclude is not None else None,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if not cls.exists(path):
            sources.count(photos, exclude or ())
            given |= {"encoder": encoder or catalogue.DEFAULT, "chroma": chroma}
            return cls.create(path, device=device, **given)
        index = cls.open(path, device=device)
        if chroma is not None:
            given["chroma_url"] = _answering_server(chroma)
        if exclude is not None:
            sources.count(photos, exclude)  # it is remembered: not where it leaves nothing
        index._configure(resolve(encoder) if encoder is not None else None, given)
        return index

    @staticmethod
    def exists(path: PathLike) -> bool:
        """Whether there is an index at ``path``."""
        return IndexDirectory(place(path)).settings_file.is_file()

    # -- writing ---------------------------------------------------------------------------------

    def add(
        self,
        *photos: PathLike,
        retry_failed: bool = False,
        on_progress: OnProgress | None = None,
        ray: str | None = None,
    ) -> SyncReport:
        """Add photos: files, and folders with everything below them.

        Photos that are in the index and unchanged are not read.  A photo that cannot be used is reported
        in ``skipped`` and remembered with its reason until its file changes.

        Args:
            photos: files and folders.
            retry_failed: read photos again that failed before.
            on_progress: called after each file.
            ray: read, decode and encode on the Ray cluster at this address (``HOST:PORT`` of its head, or
                ``auto``) in place of this process.  Each node sees photos and index under the same paths.

        Raises:
            UsageError: a path does not exist, or there is no photo in any of them.
            IndexBusy: another process is writing.
            StorageError: the disk is full, read-only or failing; what was published stays.
            ClusterError: the cluster does not answer, or gave up; what was finished is kept.
        """
        if ray is not None and self._device == "cuda":
            raise UsageError("--ray encodes on CPUs; leave --device cuda out, or --ray")
        with self._writing() as index, reading_at(ray, index.directory, index.catalog) as read_all:
            return updates.add(
                index, photos, retry_failed=retry_failed, on_progress=on_progress, read_all=read_all
            )

    def sync(
        self,
        *,
        prune: bool = False,
        retry_failed: bool = False,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Make the index equal to its folders: new, changed, moved and removed photos.

        Where more than half of the photos of a folder that was added are gone, they stay, counted as
        ``withheld``: the disk may not be mounted.  Photos in folders that cannot be read stay too.

        Args:
            prune: remove what is gone, however much it is.
            retry_failed: read photos again that failed before.
            on_progress: called after each file that is read.

        Raises:
            IndexBusy: another process is writing.
            StorageError: the disk is full, read-only or failing; what was published stays.
        """
        from vsearch.sync import Sync

        with self._writing() as index:
            return Sync(index, prune=prune, retry_failed=retry_failed).run(on_progress)

    def plan(self, *, prune: bool = False, retry_failed: bool = False) -> Iterator[Planned]:
        """What :meth:`sync` would do now; nothing is changed, and no lock is needed."""
        from vsearch.sync import Sync

        self._reload()  # another process may have added a folder since
        with self._open_catalog(read_only=True) as catalog:
            index = Writable(self._directory, self._settings, catalog, self._encoder())
            yield from Sync(index, prune=prune, retry_failed=retry_failed).plan()

    @staticmethod
    def check(path: PathLike | None = None, *, full: bool = False) -> Iterator[Problem]:
        """Everything that is wrong with an index: :func:`vsearch.health.check`."""
        from vsearch import health

        return health.check(path, full=full)

    @staticmethod
    def rebuild(path: PathLike | None = None) -> RebuildReport:
        """Make anew what can be derived from the segments: :func:`vsearch.rebuild.rebuild`."""
        from vsearch import rebuild

        return rebuild.rebuild(path)

    def reencode(self, encoder: PathLike, *, on_progress: OnProgress | None = None) -> SyncReport:
        """Exchange the encoder: all vectors anew, beside the old ones, then one atomic switch.

        Until the switch the index answers as before; a run that was stopped goes on where it was.  Kept
        pixels are used where they fit the new encoder; other photos are read from their files.  Photos whose
        files are gone stay, as failed, and are reported in ``skipped``.

        Args:
            encoder: name of a bundled encoder, or the folder of a bundle; copied into the index.
            on_progress: called after each photo.

        Returns:
            ``updated`` counts what was encoded now, ``unchanged`` what had been already.

        Raises:
            EncoderError: there is no such encoder, or it does not work.
            UsageError: more than half of the photos of a folder are gone; it may not be mounted.
            IndexBusy: another process is writing.
            StorageError: the disk is full, read-only or failing; the old vectors stay.
        """
        from vsearch import reencoding

        bundle = resolve(encoder)
        Encoder(bundle, self._device).check()
        with self._directory.writing():
            report = reencoding.reencode(self._directory, bundle, on_progress, self._device)
        self._reload()
        return report

    def remove(self, *paths: PathLike) -> SyncReport:
        """Take photos out of the index: files, or folders with everything below; no file is deleted.

        A photo that is still in a photo folder comes back with the next :meth:`sync`, unless that whole
        folder is taken out: then ``sync`` leaves it alone until it is added again.

        Raises:
            UsageError: no photo or photo folder of the index is at, or below, one of ``paths``.
            IndexBusy: another process is writing.
        """
        with self._writing() as index:
            return updates.remove(index, paths)

    # -- reading ---------------------------------------------------------------------------------

    def status(self) -> IndexStatus:
        """Counts, sizes, encoder and generation; loads neither encoder nor collection."""
        held = self.held()
        return IndexStatus(
            photos=held.photos,
            failed=held.failed,
            encoder=self._bundle.info,
            metric=self._settings.metric,
            generation=held.generation,
            pending=held.pending,
            bytes={
                name: durable.size_of(self._directory.store / name)
                for name in ("vectors", "pixels", "thumbnails", "chroma")
            },
            roots=self.roots(),
            dead=dead_bytes(self._directory, self._reading()),
            chroma_url=self._settings.chroma_url,
            exclude=list(self._directory.settings().exclude),
        )

    def roots(self) -> list[str]:
        """The photo folders, absolute, as of now: those that ``sync`` walks, and those of other photos."""
        settings, catalog = self._directory.settings(), self._reading()
        roots = enumerate(self._directory.roots(settings))
        return [root for n, root in roots if n not in settings.unwalked or catalog.holds(n)]

    def walked_roots(self) -> list[str]:
        """The photo folders that ``sync`` walks, as of now, and that uploads may be added to."""
        return [*self._directory.walked(self._directory.settings())]

    def failed(self) -> Iterator[Skipped]:
        """The photos that could not be used, with reason and remedy."""
        for photo in self._reading().photos("failed"):
            yield Skipped(self.path_of(photo), photo.reason or "", photo.remedy or "")

    def photos(self) -> Iterator[Photo]:
        """The photos that queries can find, by id, streamed from the catalog."""
        return self._reading().photos("ready")

    def evaluate(
        self, labels: str = "folder", *, k: int = 10, rankings: Sequence[str] = ("plain", "refined")
    ) -> dict[str, Quality]:
        """How well the index finds photos of one label, each photo the query once; all vectors are in memory.

        Args:
            labels: ``folder``, a .csv file of path and label, or a regular expression on the path, as
                ``vsearch evaluate --labels`` takes them; photos without a label are left out.
            k: for recall@k.
            rankings: ``plain``, ``expanded``, ``smoothed`` or ``refined``, which is what queries do.

        Returns:
            A :class:`vsearch.Quality` for each of ``rankings``.

        Raises:
            UsageError: there is no such ranking, or labels that nothing can be measured with.
        """
        from vsearch.evaluation import labels as labelling
        from vsearch.evaluation import measures
        from vsearch.nearest import read_vectors

        measures.check(rankings)
        catalog = self._reading()
        known = ((row, catalog.get(row.photo_id)) for row in catalog.matching("TRUE", ()))
        rows = {photo.file: row for row, photo in known if photo is not None}
        found = labelling.labelled([*rows], labels)
        named = [name for _, name in found]
        labelling.check(named)
        vectors = read_vectors(self._directory, [rows[file] for file, _ in found])
        return {by: measures.quality(vectors, named, k, by) for by in rankings}

    @staticmethod
    def path_of(photo: Photo) -> str:
        """The absolute path of a photo."""
        return photo.file.absolute

    # -- internal --------------------------------------------------------------------------------

    def _configure(self, bundle: Bundle | None, given: dict[str, Any]) -> None:
        if bundle is not None and bundle.fingerprint != self._settings.encoder:
            raise EncoderMismatch(
                f"{self.path} was built with encoder {self._bundle.info.name} "
                f"({self._settings.encoder[:12]}), not {bundle.info.name} ({bundle.fingerprint[:12]}); "
                "leave --encoder out, choose another --index, or exchange it with `vsearch reencode`"
            )
        replace(self._settings, **given).checked()
        if given.get("metric", self._settings.metric) != self._settings.metric:
            raise UsageError(
                f"{self.path} ranks by {self._settings.metric}, which is fixed at creation; "
                "leave --metric out, or choose another --index"
            )
        if given:
            with self._writing() as index:
                updates.write_settings(index, replace(index.settings, **given))


def _answering_server(given: str | None) -> str | None:
    """The URL of a Chroma server that answers; ``None`` for none."""
    if given is None or given == "none":
        return None
    url = server_url(given)
    ChromaServer(url).check()
    return url

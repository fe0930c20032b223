"""``rebuild``: whatever can be derived is made anew from the segments, without decoding or encoding.

The collection always; ``index.json``, the encoder and the catalog where they are damaged or missing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vsearch import durable, files
from vsearch.catalog import Catalog, SegmentKind, SegmentRow, photo_from_json
from vsearch.collection import server_of
from vsearch.committer import sweep, sweep_unfinished
from vsearch.directory import KINDS, IndexDirectory, place, stores_in
from vsearch.encoders import Bundle, catalogue
from vsearch.errors import IndexDamaged, IndexNotFound, PhotoError, StorageError, VsearchError
from vsearch.inspection import unreadable_segments
from vsearch.published import generations_of
from vsearch.publisher import Publisher
from vsearch.records import Location, Photo, RebuildReport
from vsearch.segments import Segment
from vsearch.settings import Settings


def rebuild(path: str | os.PathLike[str] | None = None) -> RebuildReport:
    """Make the index at ``path`` (by default the one that commands mean) whole again from its segments.

    Photos whose segment is damaged are dropped and counted as ``lost``: ``sync`` reads them again.  With
    the catalog gone, photos that were moved or taken out since their segment was written come back where
    they were; ``sync`` settles that too.

    Raises:
        IndexNotFound: there is neither an index nor a segment.
        IndexDamaged: the encoder is lost and is not one of the package's.
        IndexBusy, StorageError: it cannot be written now.
    """
    started = time.monotonic()
    directory = IndexDirectory(place(path))
    with directory.writing():
        mending = _Mending(directory)
        settings = mending.settings()
        sweep_unfinished(directory)
        mending.encoder(settings)
        with mending.catalog(settings) as catalog:
            if "catalog.sqlite" not in mending.restored:  # one made anew lacks what is not readable now
                sweep(directory, catalog)
            lost = mending.drop_lost(catalog, settings)
            dimension = Bundle(directory.encoder).specification.dimension
            Publisher(directory, settings, catalog, dimension).publish_anew()
            photos = catalog.count("ready")
    seconds = time.monotonic() - started
    return RebuildReport(photos, lost, tuple(mending.restored), seconds, tuple(mending.unknown))


_LOST = "its vector was lost"
_READ_ANEW = "run `vsearch sync`, which reads it anew"


class _Mending:
    """One rebuild; remembers what it restored, and the settings that it could not."""

    def __init__(self, directory: IndexDirectory) -> None:
        self._directory = directory
        self.restored: list[str] = []
        self.unknown: list[str] = []

    # -- index.json ------------------------------------------------------------------------------

    def settings(self) -> Settings:
        """Those of ``index.json``; else the catalog's copy; else what the segments tell."""
        with contextlib.suppress(IndexDamaged, IndexNotFound):
            return self._directory.settings()
        settings = self._noted_settings() or self._derived_settings()
        self._directory.write_settings(settings)
        self.restored.append("index.json")
        return settings

    def _noted_settings(self) -> Settings | None:
        stores = stores_in(self._directory.path)
        catalogs = [store / "catalog.sqlite" for store in stores if (store / "catalog.sqlite").is_file()]
        for file in sorted(catalogs, key=_age, reverse=True):
            try:
                with Catalog(file, (), read_only=True) as catalog:
                    noted = catalog.noted("settings")
                settings = Settings.from_json(str(noted))
            except (VsearchError, ValueError, TypeError):
                continue  # the next one, or the segments
            if self._directory.at_store(settings.store).catalog_file == file:
                return settings
        return None

    def _derived_settings(self) -> Settings:
        stores = stores_in(self._directory.path)
        folders = {store for store in stores if any(store.glob("vectors/[0-9]*.h5"))}
        if not folders:
            raise IndexNotFound(
                f"{self._directory.path} has no segments to rebuild from; make an index with "
                "`vsearch build-index PHOTOS`"
            )
        finished = set(filter(self._directory.is_finished, folders))
        store = max(finished or folders, key=_age)
        self._directory.store = store
        fingerprint, roots = "", dict[int, str]()
        for segment in self._segments("vectors"):
            fingerprint = segment.fingerprint
            for photo, root in map(photo_from_json, segment.facts()):
                roots[root] = photo.file.root
        settings = Settings(
            encoder=fingerprint,
            keep_pixels=any((store / "pixels").glob("*.h5")),
            store="" if store == self._directory.path else store.name,
            chroma_url=server_of(store / "chroma"),
        )
        self.unknown += ["exclude", "max_megapixels", "unwalked"]
        with contextlib.suppress(VsearchError):
            generations = generations_of(self._directory, settings)
            settings = replace(settings, metric=generations.manifest(generations.current()).metric)
        for number in range(max(roots, default=-1) + 1):
            lost = str(self._directory.path / f"root-{number}-is-not-known")
            settings = self._directory.with_root(settings, roots.get(number, lost))
        return settings

    # -- encoder ---------------------------------------------------------------------------------

    def encoder(self, settings: Settings) -> None:
        """Put a bundled encoder back if it is not what it was."""
        try:
            if Bundle(self._directory.encoder).fingerprint == settings.encoder:
                return
            why = "it is another encoder's"
        except StorageError:
            raise  # a permission is no damage
        except VsearchError as error:
            why = str(error)
        for info in catalogue.available():
            if info.fingerprint == settings.encoder:
                catalogue.resolve(info.name).copy_to(self._directory.encoder)
                self.restored.append("encoder")
                return
        raise IndexDamaged(
            f"{self._directory.encoder} is damaged ({why}) and is none of this package's; copy the bundle "
            f"with fingerprint {settings.encoder[:12]} there and run this again"
        )

    # -- catalog ---------------------------------------------------------------------------------

    def catalog(self, settings: Settings) -> Catalog:
        """The catalog; made anew from the segments if any of it is damaged."""
        file, roots = self._directory.catalog_file, self._directory.roots(settings)
        with contextlib.suppress(IndexDamaged):
            catalog = Catalog(file, roots)
            if self._is_sound(catalog):
                return catalog
        temporary = durable.temporary_beside(file)
        durable.remove(temporary)
        with Catalog(temporary, roots, create=True) as fresh:
            self._fill(fresh, settings)
        durable.remove(file.with_name(f"{file.name}-journal"))  # of the one that is replaced
        durable.publish(temporary, file, "catalog")
        self.restored.append("catalog.sqlite")
        return Catalog(file, roots)

    def _is_sound(self, catalog: Catalog) -> bool:
        for _ in catalog.photos():
            pass  # reading them checks their checksums
        listed = not catalog.flaws() and catalog.live_rows().keys() <= {
            row.number for row in catalog.segments("vectors")
        }
        if not listed:
            catalog.close()
        return listed

    def _fill(self, catalog: Catalog, settings: Settings) -> None:
        """Every readable segment, in order: what was written later about a photo wins."""
        with catalog.change() as change:
            change.note("settings", settings.as_json())
        beside: dict[SegmentKind, set[int]] = {}
        for kind in ("thumbnails", "pixels"):
            rows = [_row(segment) for segment in self._segments(kind)]
            beside[kind] = {row.number for row in rows}
            with catalog.change() as change:
                for row in rows:
                    change.add_segment(row)
        for segment in self._segments("vectors"):
            if segment.fingerprint == settings.encoder:
                with catalog.change() as change:
                    change.add_segment(_row(segment))
                    change.put(_photos(segment, catalog.roots, beside))

    def _segments(self, kind: str) -> Iterator[Segment]:
        paths = sorted((self._directory.store / kind).glob("[0-9]*.h5"))
        bad = unreadable_segments(paths) if paths else {}
        for path in paths:
            if path not in bad:
                with Segment(path) as segment:
                    yield segment

    # -- segments --------------------------------------------------------------------------------

    def drop_lost(self, catalog: Catalog, settings: Settings) -> int:
        """Take out the segments that are damaged, and the photos that counted on them.

        Where a thumbnail or pixels alone are lost, and the photo is not there to be read again, it keeps its
        vector.  A photo that was named by itself, so that no walk finds it, stays as one that ``sync`` reads.

        Raises:
            StorageError: a segment is there, but cannot be read.
        """
        damaged = {kind: self._damaged(catalog, kind) for kind in KINDS}
        if not any(damaged.values()):
            return 0
        lost: list[int] = []
        kept: list[Photo] = []
        named = 0
        for photo in catalog.photos("ready"):
            reduced = _without(photo, damaged)
            if reduced == photo:
                continue
            if reduced.vector and not os.path.lexists(photo.file.absolute):
                kept.append(reduced)
            elif _is_found(photo, catalog.roots, settings):
                lost.append(photo.id)
            else:
                named += 1
                kept.append(Photo(photo.id, photo.file, None, "failed", reason=_LOST, remedy=_READ_ANEW))
        with catalog.change() as change:
            change.remove(lost)
            change.put(kept)
            for kind, numbers in damaged.items():
                for number in numbers:
                    change.drop_segment(kind, number)
        for kind, numbers in damaged.items():
            for number in numbers:
                durable.remove(self._directory.segment(kind, number))
        return len(lost) + named

    def _damaged(self, catalog: Catalog, kind: SegmentKind) -> set[int]:
        return {row.number for row in catalog.segments(kind) if not self._is_whole(row)}

    def _is_whole(self, row: SegmentRow) -> bool:
        path = self._directory.segment(row.kind, row.number)
        if not path.exists():
            return False
        try:
            return files.sha256(str(path)) == row.sha256
        except PhotoError as error:  # a permission, or a disk that may come back: no reason to remove it
            raise StorageError(
                f"cannot read {path}: {error.reason}; make it readable, or move it away if it is lost, then "
                "run the same command again"
            ) from error


def _without(photo: Photo, damaged: dict[SegmentKind, set[int]]) -> Photo:
    """The photo less what lies in damaged segments."""

    def whole(kind: SegmentKind, place: Location | None) -> Location | None:
        return place if place is None or place.segment not in damaged[kind] else None

    return replace(
        photo,
        vector=whole("vectors", photo.vector),
        thumbnail=whole("thumbnails", photo.thumbnail),
        pixels=whole("pixels", photo.pixels),
    )


def _photos(segment: Segment, roots: list[str], beside: dict[SegmentKind, set[int]]) -> Iterator[Photo]:
    for photo, number in map(photo_from_json, segment.facts()):
        root = roots[number] if number < len(roots) else photo.file.root
        thumbnail, pixels = photo.thumbnail, photo.pixels
        yield replace(
            photo,
            file=replace(photo.file, root=root),
            thumbnail=thumbnail if thumbnail and thumbnail.segment in beside["thumbnails"] else None,
            pixels=pixels if pixels and pixels.segment in beside["pixels"] else None,
        )


def _row(segment: Segment) -> SegmentRow:
    kind = next(kind for kind in KINDS if kind == segment.kind)
    return SegmentRow(kind, int(segment.path.stem), segment.rows, files.sha256(str(segment.path)))


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def _is_found(photo: Photo, roots: Sequence[str], settings: Settings) -> bool:
    """Whether walks of the photo folders come across a photo."""
    is_walked = roots.index(photo.file.root) not in settings.unwalked
    return is_walked and files.is_walked(photo.file.path)

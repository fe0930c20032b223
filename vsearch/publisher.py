"""From the truth to a generation: what the catalog changed since the last one goes into the next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import groupby

from vsearch import durable
from vsearch.catalog import Catalog
from vsearch.collection import Batch, Changes, Description, Metadata, batches_of
from vsearch.directory import IndexDirectory
from vsearch.errors import CollectionError, EncoderMismatch, IndexDamaged, StorageError
from vsearch.ingest import batched
from vsearch.published import generations_of
from vsearch.records import Photo
from vsearch.segments import Segment
from vsearch.settings import Settings

# So many ids share a part of the collection: adding to a graph takes the longer the larger it is, but asking
# two graphs takes twice as long as asking one (docs/scale.md).
PART_IDS = 2**20
# While a long build runs it publishes the first so many photos, and from then on at the growth of the kind.
_FIRST = 1024


class Publisher:
    """Publishes generations of one index; used by the holder of the lock.

    Args:
        directory, settings: of the index.
        catalog: the truth.
        dimension: D of the encoder's vectors.
    """

    def __init__(
        self, directory: IndexDirectory, settings: Settings, catalog: Catalog, dimension: int
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._catalog = catalog
        self._dimension = dimension
        self._generations = generations_of(directory, settings)

    def publish(self) -> int:
        """Publish what is new, if anything is; returns the current generation.

        Raises:
            CollectionError: Chroma refuses, or its server cannot be reached.
            StorageError: the disk is full, read-only or failing.
        """
        with _telling_what_publishes():
            base, covered, _ = self._base()
            if not self._catalog.count_changed_since(covered) and (base or not self._catalog.published()):
                self._generations.retire()
                return base
            return self._publish(base)

    def publish_anew(self) -> int:
        """Publish everything from the segments, whatever there was."""
        return self._publish(0)

    def _publish(self, base: int) -> int:
        sequence = self._catalog.sequence()
        description = Description(
            sequence=sequence,
            dimension=self._dimension,
            metric=self._settings.metric,
            fingerprint=self._settings.encoder,
            catalog=self._catalog.identity(),
            part_ids=PART_IDS,
        )
        number = self._generations.publish(self._changes, description, base=base)
        with self._catalog.change() as change:
            change.published(number, sequence)
        return number

    def publish_if_grown(self) -> None:
        """Publish during a long build, at growing intervals."""
        _, covered, count = self._base()
        pending = self._catalog.count_changed_since(covered)
        if pending >= max(_FIRST, count * self._generations.growth):
            self.publish()

    def _base(self) -> tuple[int, int, int]:
        """The generation to start from, the sequence it covers and its count; zeros for none.

        One that is damaged, unreadable, older than the newest published, of another catalog, in another
        place, or in parts of another length is not built upon but replaced: what it covers cannot be told
        from the catalog's sequences, and an id of it might lie in two parts.
        """
        settings, generations = self._settings, self._generations
        ours = (settings.encoder, settings.metric, self._catalog.identity(), generations.url, PART_IDS)
        try:
            number = generations.current()
            if not number or number < self._catalog.published():
                return 0, 0, 0
            manifest = generations.manifest(number)
            made_for = (manifest.fingerprint, manifest.metric, manifest.catalog, manifest.server)
            if (*made_for, manifest.part_ids) != ours:
                return 0, 0, 0
            generations.verify(number)
        except (IndexDamaged, StorageError):
            return 0, 0, 0
        return number, manifest.sequence, manifest.count

    def _changes(self, covered: int) -> Iterator[Changes]:
        for part in self._catalog.id_blocks_changed_since(covered, PART_IDS):
            ids = range(part * PART_IDS, (part + 1) * PART_IDS)
            gone = map(str, self._catalog.unready_since(covered, ids)) if covered else ()
            count = self._catalog.count_ready_since(covered, ids)
            if covered or count:
                yield Changes(self._batches(covered, ids), count, gone, part)

    def _batches(self, covered: int, ids: range) -> Iterator[Batch]:
        photos = self._catalog.changed_since(covered, ids)
        for number, group in groupby(photos, key=_segment_number):
            with Segment(self._directory.segment("vectors", number)) as segment:
                if segment.fingerprint != self._settings.encoder:
                    raise EncoderMismatch(
                        f"{segment.path} holds vectors of encoder {segment.fingerprint[:12]}, the index "
                        f"uses {self._settings.encoder[:12]}; run `vsearch check`"
                    )
                yield from _segment_batches(segment, group, self._dimension)


@contextlib.contextmanager
def _telling_what_publishes() -> Iterator[None]:
    """All is committed by then, so the same command may find nothing left to do: errors name what will."""
    kept = "what was changed is kept, and `vsearch sync` publishes it"
    try:
        yield
    except CollectionError as error:
        raise type(error)(f"{error}; {kept}") from error
    except StorageError as error:
        raise StorageError(f"{str(error).removesuffix(durable.AGAIN)}; {kept}") from error


def _segment_batches(segment: Segment, photos: Iterable[Photo], dimension: int) -> Iterator[Batch]:
    for some in batched(photos, batches_of(dimension, segment.rows)):
        rows = [photo.vector.row for photo in some if photo.vector]
        yield Batch([str(p.id) for p in some], segment.read_rows(rows), [_metadata(p) for p in some])


def _segment_number(photo: Photo) -> int:
    if photo.vector is None:
        raise IndexDamaged(f"photo {photo.id} is ready but has no vector; run `vsearch check`")
    return photo.vector.segment


def _metadata(photo: Photo) -> Metadata:
    """What Chroma knows of a photo; every key each time, since upserts merge."""
    facts = photo.facts
    return {
        "path": _printable(photo.file.path),
        "root": _printable(photo.file.root),
        "sha256": photo.sha256,
        "bytes": photo.file.size,
        "width": facts.width if facts else None,
        "height": facts.height if facts else None,
        "format": facts.format if facts else None,
        "camera": _printable(facts.camera) if facts and facts.camera else None,
        "taken_at": facts.taken_at if facts else None,
    }


def _printable(path: str) -> str:
    """Chroma takes valid Unicode only; the catalog has the exact name."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

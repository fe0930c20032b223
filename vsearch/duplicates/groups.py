"""Groups of duplicates with all that is known of their photos: paths, sizes, evidence, sharpness."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from vsearch import images
from vsearch.catalog import Catalog
from vsearch.duplicates.finding import Finder, Group
from vsearch.duplicates.records import DuplicateGroup, DuplicateMember, DuplicatePhoto
from vsearch.errors import PhotoError
from vsearch.files import Below
from vsearch.records import Photo, Relation

PathLike = str | os.PathLike[str]
_SHARPNESS_SIDE = 512


class Filler:
    """Turns rows into photos and groups, leaving out files that are no longer there."""

    def __init__(
        self, finder: Finder, catalog: Catalog, within: Below | None, kinds: Sequence[Relation]
    ) -> None:
        self._finder = finder
        self._catalog = catalog
        self._within = within
        self._kinds = kinds
        self._known: dict[int, list[DuplicatePhoto]] = {}

    def photos(self, row: int) -> list[DuplicatePhoto]:
        """The photos with one content whose files exist, by path."""
        if row not in self._known:
            ids = list(self._finder.photos.photos[row])
            found = [_described(photo) for photo in self._catalog.get_many(ids).values()]
            within = self._within
            self._known[row] = [
                photo
                for photo in _without_links(sorted(found, key=lambda photo: photo.path))
                if os.path.lexists(photo.path) and (within is None or photo.path in within)
            ]
        return self._known[row]

    def fill(self, group: Group) -> Iterator[DuplicateGroup]:
        """A group, as far as it is wanted, and equal files among its members that are not."""
        representative = self.photos(group.representative)[0]
        members = [] if _is_burst(group) else self._twins(group.representative)
        for link in group.members:
            photos = self.photos(link.row)[: 1 if link.relation == "burst" else None]
            score = self._finder.score(link.row, group.representative)
            distance = self._finder.hash_distance(link.row, group.representative)
            members += [
                DuplicateMember(
                    photo, link.relation, distance, score, _seconds(photo, representative), link.region
                )
                for photo in photos
            ]
        wanted = tuple(member for member in members if member.kind in self._kinds)
        if wanted:
            yield DuplicateGroup(representative, wanted, representative.id, "")
        for link in group.members:
            if link.relation not in ("burst", *self._kinds):
                yield from self.fill(Group(link.row, ()))

    def _twins(self, row: int) -> list[DuplicateMember]:
        """The photos with the bytes of the first one."""
        first, *twins = self.photos(row)
        distance = self._finder.hash_distance(row, row)
        return [DuplicateMember(twin, "identical", distance, 1.0, _seconds(twin, first)) for twin in twins]


def _without_links(photos: Sequence[DuplicatePhoto]) -> list[DuplicatePhoto]:
    """Those of some photos of the same bytes that are no links to others of them.

    A link is no duplicate of its file: to keep the link and take the file away would lose the photo.
    """
    if len(photos) < 2:
        return list(photos)
    names = {photo.path for photo in photos}
    real = {photo.path: os.path.realpath(photo.path) for photo in photos}
    return [photo for photo in photos if real[photo.path] == photo.path or real[photo.path] not in names]


def _is_burst(group: Group) -> bool:
    return any(link.relation == "burst" for link in group.members)


def _described(photo: Photo) -> DuplicatePhoto:
    facts = photo.facts
    assert facts is not None and photo.sha256 is not None  # photoset.load has checked
    return DuplicatePhoto(
        str(photo.id),
        photo.file.absolute,
        photo.sha256,
        facts.width,
        facts.height,
        photo.file.size,
        photo.file.mtime_ns,
        facts.format,
        facts.taken_at,
    )


def _seconds(a: DuplicatePhoto, b: DuplicatePhoto) -> float | None:
    if a.taken_at is None or b.taken_at is None:
        return None
    between = np.datetime64(a.taken_at) - np.datetime64(b.taken_at)
    return abs(float(between / np.timedelta64(1, "s")))


def with_sharpness(group: DuplicateGroup) -> DuplicateGroup:
    """``group`` with the sharpness of each of its photos that can be read."""
    members = tuple(replace(member, photo=_sharpened(member.photo)) for member in group.members)
    return replace(group, representative=_sharpened(group.representative), members=members)


def _sharpened(photo: DuplicatePhoto) -> DuplicatePhoto:
    try:
        return replace(photo, sharpness=sharpness(photo.path))
    except PhotoError:
        return photo  # changed or unreadable since; the page says nothing about it then


def sharpness(path: PathLike) -> float:
    """How sharp a photo is: the variance of the Laplacian (Pech-Pacheco et al. 2000) at 512 pixels.

    Of the square in its middle, in grey levels.

    Raises:
        PhotoError: it cannot be read.
    """
    grey = images.read_pixels(os.fspath(path), _SHARPNESS_SIDE).mean(axis=2, dtype=np.float32)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())

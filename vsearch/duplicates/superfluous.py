"""Which photos of groups of duplicates may go, and why others stay."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from vsearch import images
from vsearch.duplicates.records import DuplicateGroup, DuplicatePhoto
from vsearch.errors import PhotoError
from vsearch.files import Below
from vsearch.records import Skipped

PathLike = str | os.PathLike[str]


def superfluous(
    groups: Sequence[DuplicateGroup],
    link_to: Callable[[DuplicatePhoto], str | None],
    protect: Sequence[PathLike] = (),
    aside: Path | None = None,
    *,
    decided: Mapping[str, str] = MappingProxyType({}),
    linked: bool = False,
) -> tuple[list[DuplicatePhoto], list[Skipped]]:
    """Photos that no group would keep, each once; and those that stay: protected, or names of a kept file.

    Where the photo to keep has changed since it was indexed, all others stay: one may be the last good copy.

    Args:
        groups: which photo of each to keep is chosen.
        link_to: the path of a photo of the index that is a link to this one, if there is one.
        protect: folders whose photos stay.
        aside: the folder to move to; what lies there has been moved already.
        decided: SHA-256 of photos that the user wants kept, and the path that was named.
        linked: each becomes a link to a file of the same bytes, so that none of its pages is lost.
    """
    kept = {group.keep: kept_of(group).path for group in groups}
    files_kept = {_file(path): path for path in kept.values()}
    changed = [group for group in groups if not _is_as_indexed(kept_of(group))]
    doubtful = {photo.id for group in changed for photo in group.photos}
    contents = {kept_of(group).sha256 for group in groups if group not in changed}
    protected = [Below(folder) for folder in protect]
    there = None if aside is None else Below(aside)
    kept_contents = {kept_of(group).sha256 for group in groups}
    extra = {photo.id: photo for group in groups for photo in group.photos}
    moved: list[DuplicatePhoto] = []
    skipped = [
        Skipped(
            photo.path,
            f"the photo to keep, {kept_of(group).path}, has changed since it was indexed",
            "run `vsearch sync`, then ask again",
        )
        for group in changed
        for photo in group.photos
        if photo.id not in kept
    ]
    for photo in sorted(extra.values(), key=lambda photo: photo.path):
        if photo.id in kept or photo.id in doubtful:
            continue
        if not linked and _is_decided(photo, decided, kept_contents):
            skipped.append(Skipped(photo.path, "you decided to keep it", ""))
        elif any(folder.holds(photo.path) for folder in protected):
            skipped.append(Skipped(photo.path, "protected", ""))
        elif there is not None and there.holds(photo.path):
            skipped.append(Skipped(photo.path, "lies in the folder to move to already", ""))
        elif (same := files_kept.get(_file(photo.path))) is not None:
            skipped.append(Skipped(photo.path, f"another name of the same file as {same}", ""))
        elif os.path.islink(photo.path):
            skipped.append(Skipped(photo.path, "a link, which takes no room", ""))
        elif (link := link_to(photo)) is not None:
            skipped.append(Skipped(photo.path, f"{link} is a link to it", "take the link away first"))
        elif not linked and photo.sha256 not in contents and (more := _shows_more(photo)) is not None:
            skipped.append(more)
        else:
            moved.append(photo)
    return moved, skipped


def _is_decided(photo: DuplicatePhoto, decided: Mapping[str, str], kept_contents: set[str]) -> bool:
    """Whether the user decided to keep this file.

    A decision names one path; of others with the same bytes one counts where no group keeps these bytes and
    the file that was named is gone.
    """
    named = decided.get(photo.sha256)
    if named is None or photo.path == named:
        return named is not None
    return photo.sha256 not in kept_contents and not os.path.lexists(named)


def kept_of(group: DuplicateGroup) -> DuplicatePhoto:
    """The photo to keep."""
    return next(photo for photo in group.photos if photo.id == group.keep)


def kept_for(groups: Sequence[DuplicateGroup]) -> dict[str, tuple[DuplicatePhoto, ...]]:
    """By the id of each photo, what its groups would keep."""
    kept: dict[str, tuple[DuplicatePhoto, ...]] = {}
    for group in groups:
        for photo in group.photos:
            kept[photo.id] = (*kept.get(photo.id, ()), kept_of(group))
    return kept


def _shows_more(photo: DuplicatePhoto) -> Skipped | None:
    """Why a photo must stay if it has pages or frames: the first alone was compared."""
    try:
        count = images.frames(photo.path, max(images.MAX_MEGAPIXELS, photo.width * photo.height / 1e6 + 1))
    except PhotoError as error:
        if not _is_as_indexed(photo):
            return None  # its bytes are looked at before it is moved, which tells of what has changed
        return Skipped(photo.path, error.reason, error.remedy)
    if count == 1:
        return None
    reason = f"has {count:,} pages or frames, of which only the first was compared"
    return Skipped(photo.path, reason, "look at the others, and move it by hand")


def _is_as_indexed(photo: DuplicatePhoto) -> bool:
    try:
        status = os.stat(photo.path)
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (photo.bytes, photo.mtime_ns)


def _file(path: str) -> tuple[int, int] | str:
    """What tells a file from others, whatever it is called."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino


def beside(groups: Sequence[DuplicateGroup], target: Path) -> list[Skipped]:
    """The photos outside ``target`` of groups whose photo to keep lies in it."""
    there = Below(target)
    return [
        Skipped(
            photo.path,
            f"the photo to keep is {kept_of(group).path}, in the folder to move to",
            "choose another folder, or keep this photo with --keep-this",
        )
        for group in groups
        for photo in group.photos
        if not there.holds(photo.path)
    ]

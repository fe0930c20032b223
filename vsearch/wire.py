"""What a server's JSON stands for: records from the objects that the API gives, errors from its problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vsearch import errors
from vsearch.duplicates.records import DuplicateGroup, DuplicateMember, DuplicatePhoto
from vsearch.photomap import PhotoMap
from vsearch.records import (
    EncoderInfo,
    FileStat,
    IndexStatus,
    Match,
    Photo,
    PhotoFacts,
    Region,
    Skipped,
    SyncReport,
)

#: The ``type`` of a problem is this and a word.
PROBLEM = "urn:vsearch:problem:"
#: The word for each class of errors; others have that of their base.
WORDS: Mapping[type[errors.VsearchError], str] = {
    errors.VsearchError: "vsearch",
    errors.UsageError: "usage",
    errors.MissingExtraError: "missing-extra",
    errors.PhotoError: "photo",
    errors.IndexBusy: "index-busy",
    errors.IndexNotFound: "index-not-found",
    errors.IndexDamaged: "index-damaged",
    errors.VersionMismatch: "version-mismatch",
    errors.EncoderMismatch: "encoder-mismatch",
    errors.EncoderError: "encoder",
    errors.CollectionError: "collection",
    errors.StorageError: "storage",
}


def plain(value: Any) -> Any:
    """``value`` for JSON: Python's own numbers in place of NumPy's, in lists and objects as well."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def matches(fields: dict[str, Any]) -> list[Match]:
    """The answers to a query, best first."""
    return [Match(**match) for match in fields["matches"]]


def status(fields: dict[str, Any]) -> IndexStatus:
    """Counts, sizes, encoder and generation."""
    return IndexStatus(**{**fields, "encoder": EncoderInfo(**fields["encoder"])})


def cameras(fields: dict[str, Any]) -> dict[str, int]:
    """How many photos each camera took."""
    return dict(fields["cameras"])


def name(fields: dict[str, Any]) -> str:
    """What the server calls a picture that was sent."""
    return str(fields["picture"])


def photos(fields: dict[str, Any]) -> list[Photo]:
    """A page of photos."""
    return [photo(each) for each in fields["photos"]]


def photo(fields: dict[str, Any]) -> Photo:
    """A photo; where its rows lie is not told."""
    return Photo(
        id=int(fields["id"]),
        file=FileStat(fields["root"], fields["path"], fields["size"], fields["mtime_ns"], fields["ctime_ns"]),
        sha256=fields["sha256"],
        state=fields["state"],
        facts=PhotoFacts(**fields["facts"]) if fields["facts"] else None,
        reason=fields["reason"],
        remedy=fields["remedy"],
    )


def report(fields: dict[str, Any], names: Sequence[str]) -> SyncReport:
    """What became of photos that were sent, each called by its number in ``names``."""
    skipped = [Skipped(**each) for each in fields["skipped"]]
    return SyncReport(
        added=int(fields.get("added", 0)),
        unchanged=int(fields.get("unchanged", 0)),
        skipped=[replace(s, path=names[int(s.path)]) if s.path.isdecimal() else s for s in skipped],
    )


def groups(fields: dict[str, Any]) -> tuple[list[DuplicateGroup], int]:
    """A page of groups of duplicates, and how many there are."""
    return [group(each) for each in fields["groups"]], int(fields["total"])


def group(fields: dict[str, Any]) -> DuplicateGroup:
    """A group of duplicates."""
    members = tuple(
        DuplicateMember(
            **{
                **member,
                "photo": DuplicatePhoto(**member["photo"]),
                "region": Region(**member["region"]) if member["region"] else None,
            }
        )
        for member in fields["members"]
    )
    representative = DuplicatePhoto(**fields["representative"])
    return DuplicateGroup(representative, members, fields["keep"], fields["why"])


def photo_map(fields: dict[str, Any]) -> PhotoMap:
    """A map, from its columns."""
    places = np.column_stack([fields["x"], fields["y"]])
    return PhotoMap(fields["ids"], fields["paths"], places.astype(np.float32))

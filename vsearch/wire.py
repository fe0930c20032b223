"""What a server's JSON stands for: records from the objects that the API gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from vsearch.photomap import PhotoMap
from vsearch.records import (
    DuplicateGroup,
    DuplicateMember,
    DuplicatePhoto,
    FileStat,
    Photo,
    PhotoFacts,
    Region,
)


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


def group(fields: dict[str, Any]) -> DuplicateGroup:
    """A group of duplicates."""
    members = [
        DuplicateMember(
            **{
                **member,
                "photo": DuplicatePhoto(**member["photo"]),
                "region": Region(**member["region"]) if member["region"] else None,
            }
        )
        for member in fields["members"]
    ]
    representative = DuplicatePhoto(**fields["representative"])
    return DuplicateGroup(representative, members, fields["keep"], fields["why"])


def photo_map(fields: dict[str, Any]) -> PhotoMap:
    """A map, from its columns."""
    places = np.column_stack([fields["x"], fields["y"]])
    return PhotoMap(fields["ids"], fields["paths"], places.astype(np.float32))

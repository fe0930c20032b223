"""What ``index.json`` holds: how an index ranks, what goes into it, where its parts lie."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from vsearch.errors import UsageError
from vsearch.records import Metric


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``index.json`` holds.

    Attributes:
        encoder: the bundle's fingerprint.
        metric: how photos are ranked; fixed at creation.
        max_megapixels: larger photos are skipped.
        keep_pixels: whether pixels segments are written and kept.
        exclude: globs that the walks leave out.
        roots: photo folders; ``..`` and the like are relative to the index directory, so that an
            index inside its photo folder moves with it.
        chroma_url: the Chroma server that holds the collection, or ``None`` for the embedded one.
        unwalked: numbers of roots that ``sync`` does not walk: it looks at photos alone that were named one
            by one, or the folder was taken out.  Numbers never change, since photos refer to them.
        store: the folder of the store, relative to the index directory: ``""``, then ``store-000001`` ...
    """

    encoder: str
    metric: Metric = "cosine"
    max_megapixels: float = 200.0
    keep_pixels: bool = False
    exclude: tuple[str, ...] = ()
    roots: tuple[str, ...] = field(default=())
    chroma_url: str | None = None
    unwalked: tuple[int, ...] = ()
    store: str = ""

    @property
    def store_number(self) -> int:
        """0 for the index directory itself."""
        return int(self.store.rpartition("-")[2] or 0)

    def leaving(self, numbers: Iterable[int]) -> Settings:
        """These settings, by which the roots with these numbers are walked no more."""
        return replace(self, unwalked=tuple(sorted({*self.unwalked, *numbers})))

    def checked(self) -> Settings:
        """These settings, as a person gave them.

        Raises:
            UsageError: one of them cannot be followed.
        """
        if self.metric not in get_args(Metric):
            raise UsageError(f"metric must be one of {', '.join(get_args(Metric))}; received {self.metric!r}")
        most: object = self.max_megapixels
        if isinstance(most, bool) or not isinstance(most, int | float) or not 0 < most < math.inf:
            raise UsageError(
                f"max_megapixels must be a number above 0; received {most!r}, with which every photo would "
                "be skipped"
            )
        keep: object = self.keep_pixels
        if not isinstance(keep, bool):
            raise UsageError(f"keep_pixels is True or False; received {keep!r}")
        return self

    def as_json(self) -> str:
        """For the copy of ``index.json`` that the catalog keeps."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings of :meth:`as_json`.

        Raises:
            ValueError, TypeError: it is something else.
        """
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Settings:
        """Settings with these fields; raises TypeError when there are others."""
        settings = cls(**fields)
        return replace(
            settings,
            exclude=tuple(settings.exclude),
            roots=tuple(map(str, settings.roots)),
            unwalked=tuple(map(int, settings.unwalked)),
        )


def globs(exclude: Sequence[str]) -> tuple[str, ...]:
    """What walks leave out, as they compare it: without empty globs, ``./`` before and ``/`` behind.

    >>> globs(["raw/", "./2024/raw", ""])
    ('raw', '2024/raw')

    Raises:
        UsageError: it is one text, of which each letter would be a glob; or one can never match.
    """
    if isinstance(exclude, str):
        raise UsageError(f"exclude is a list of globs, such as [{exclude!r}]; received a text")
    if absolute := [glob for glob in exclude if glob.startswith(("/", "~"))]:
        raise UsageError(
            "exclude takes names, and paths relative to the photo folder, such as raw/*; "
            f"received {absolute[0]!r}"
        )
    tidy = (glob.removeprefix("./").rstrip("/") for glob in exclude)
    return tuple(glob for glob in tidy if glob)

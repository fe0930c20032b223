"""vsearch: find photos by picture.

>>> import vsearch
>>> "Index" in dir(vsearch), sorted(vsearch.__all__) == list(vsearch.__all__)
(True, True)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.client import Client, connect
    from vsearch.duplicates.records import DuplicateGroup, DuplicateMember, DuplicatePhoto
    from vsearch.errors import (
        ClusterError,
        CollectionError,
        EncoderError,
        EncoderMismatch,
        IndexBusy,
        IndexDamaged,
        IndexExists,
        IndexNotFound,
        MissingExtraError,
        PhotoError,
        ServerError,
        StorageError,
        UsageError,
        VersionMismatch,
        VsearchError,
    )
    from vsearch.evaluation.measures import Quality
    from vsearch.index import Index
    from vsearch.photomap import PhotoMap
    from vsearch.records import (
        EncoderInfo,
        IndexStatus,
        Match,
        Photo,
        PhotoFacts,
        Planned,
        Problem,
        RebuildReport,
        Skipped,
        SyncReport,
    )
    from vsearch.updates import Progress

# Before ONNX Runtime is imported, here or in a child process: its builds send telemetry to Microsoft.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "Client",
    "ClusterError",
    "CollectionError",
    "DuplicateGroup",
    "DuplicateMember",
    "DuplicatePhoto",
    "EncoderError",
    "EncoderInfo",
    "EncoderMismatch",
    "Index",
    "IndexBusy",
    "IndexDamaged",
    "IndexExists",
    "IndexNotFound",
    "IndexStatus",
    "Match",
    "MissingExtraError",
    "Photo",
    "PhotoError",
    "PhotoFacts",
    "PhotoMap",
    "Planned",
    "Problem",
    "Progress",
    "Quality",
    "RebuildReport",
    "ServerError",
    "Skipped",
    "StorageError",
    "SyncReport",
    "UsageError",
    "VersionMismatch",
    "VsearchError",
    "connect",
]
_ERRORS = {name for name in __all__ if name.endswith(("Error", "Mismatch")) or name.startswith("Index")}
_HOMES = dict.fromkeys(_ERRORS, "errors")
_HOMES |= {"Index": "index", "Progress": "updates", "IndexStatus": "records", "PhotoMap": "photomap"}
_HOMES |= dict.fromkeys(("DuplicateGroup", "DuplicateMember", "DuplicatePhoto"), "duplicates.records")
_HOMES |= dict.fromkeys(("Client", "connect"), "client") | {"Quality": "evaluation.measures"}


def __dir__() -> list[str]:
    """The public names too, loaded or not."""
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # else every misspelt name would pass

    def __getattr__(name: str) -> Any:
        """Load public names on first use: ``import vsearch`` alone costs nothing."""
        if name not in __all__:
            raise AttributeError(f"module 'vsearch' has no attribute {name!r}")
        home = importlib.import_module(f"vsearch.{_HOMES.get(name, 'records')}")
        return getattr(home, name)

"""The collection: a Chroma directory per *generation*, published and then never modified.

Chroma's embedded store rewrites its HNSW files in place and keeps no second copy: a kill can ruin it, and two
processes on one directory lose vectors silently.  So the writer works on a private copy and publishes that:

    copy the current generation -> delete, upsert, the last of them writes the graph -> close -> fsync
    -> rename -> switch CURRENT

Readers open what CURRENT names and need no lock.  Beside Chroma's files each generation has a
``generation.json``: the catalog sequence that it covers, and size and checksum of each file, so that a torn
directory is noticed before Chroma opens it (opening one can end the process).

Above a million photos a collection lies in parts: collections of Chroma's, side by side in the directory,
asked at once and merged by nearness.  Adding to a graph takes the longer the larger it is.

On a Chroma server a generation is a collection of its own, filled from the segments; its folder has the
``generation.json`` alone, and CURRENT switches to it in the same way (:mod:`vsearch.collection.server`).
"""

from pathlib import Path

from vsearch.collection.chroma import (
    Collection,
    Hit,
    HnswParameters,
    Metadata,
    Neighbours,
    memory_estimate,
    preload,
)
from vsearch.collection.filling import Batch, Changes, batches_of
from vsearch.collection.folders import InFolders
from vsearch.collection.generations import Description, Generations, Manifest, Place
from vsearch.collection.server import (
    TOKEN_VARIABLE,
    ChromaServer,
    OnServer,
    Unreachable,
    server_of,
    server_url,
)

__all__ = [
    "TOKEN_VARIABLE",
    "Batch",
    "Changes",
    "ChromaServer",
    "Collection",
    "Description",
    "Generations",
    "Hit",
    "HnswParameters",
    "Manifest",
    "Metadata",
    "Neighbours",
    "Unreachable",
    "batches_of",
    "generations_at",
    "memory_estimate",
    "preload",
    "server_of",
    "server_url",
]


def generations_at(folder: Path, current_file: Path, server: str | None = None) -> Generations:
    """The generations of the index whose ``chroma`` folder and ``CURRENT`` file these are.

    Args:
        folder, current_file: the index's.
        server: URL of the Chroma server where new ones are published; by default they lie in ``folder``.
    """
    return Generations(folder, current_file, _place_at, server or "")


def _place_at(url: str) -> Place:
    return OnServer(url) if url else InFolders()

"""The collection: a Chroma directory per *generation*, published and then never modified.

Chroma's embedded store rewrites its HNSW files in place and keeps no second copy: a kill can ruin it, and two
processes on one directory lose vectors silently.  So the writer works on a private copy and publishes that:

    copy the current generation -> delete, upsert, with the last of them the graph -> close -> fsync -> rename
    -> switch CURRENT

Readers open what CURRENT names and need no lock.  Beside Chroma's files each generation has a
``generation.json``: the catalog sequence that it covers, and size and SHA-256 of each file, so that a torn
directory is noticed before Chroma opens it (opening one can end the process).
"""

from vsearch.collection.chroma import (
    Batch,
    Changes,
    Collection,
    Hit,
    HnswParameters,
    Metadata,
    Neighbours,
    batches_of,
    memory_estimate,
    preload,
)
from vsearch.collection.generations import Generations, Manifest

__all__ = [
    "Batch",
    "Changes",
    "Collection",
    "Generations",
    "Hit",
    "HnswParameters",
    "Manifest",
    "Metadata",
    "Neighbours",
    "batches_of",
    "memory_estimate",
    "preload",
]

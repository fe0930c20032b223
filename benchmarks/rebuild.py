"""`vsearch rebuild` against raw Chroma, and what other HNSW parameters would cost and find.

    python benchmarks/rebuild.py [--photos 20000] [--parameters 200,32 100,16]

For each pair of `ef_construction` and `max_neighbors`, in one run on the same clustered vectors (as
synthetic.py makes them): seconds to insert all into a fresh Chroma collection, which writes its graph every
1,000 records as it does by default, and recall@10 of its approximate search after exact re-ranking of 30
candidates.  With the first pair, which must be the product's, `vsearch rebuild` is timed too.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import measured
import numpy as np
from synthetic import clustered, dimension, make

from vsearch import Index
from vsearch.collection import HnswParameters
from vsearch.collection.chroma import memory_estimate

DIMENSION = dimension()
BATCH = 1024  # as many as ours
CANDIDATES, K, QUERIES = 30, 10, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--parameters", nargs="*", default=["200,32"], metavar="EF,M")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    vectors = clustered(given.photos, DIMENSION, seed=1)
    print(f"{given.photos:,} vectors of {DIMENSION}, {memory_estimate(given.photos, DIMENSION) >> 20} MiB")
    figures = []
    for number, pair in enumerate(given.parameters):
        ef, neighbours = map(int, pair.split(","))
        with tempfile.TemporaryDirectory() as scratch:
            seconds, milliseconds, recall = raw(Path(scratch), vectors, HnswParameters(ef, neighbours))
        print(
            f"  raw Chroma, ef_construction {ef}, max_neighbors {neighbours}: "
            f"{len(vectors) / seconds:6.0f}/s, query {milliseconds:.2f} ms, "
            f"recall@{K} after exact re-ranking {recall:.4f}"
        )
        if number == 0:
            ours = rebuild(given.photos)
            print(
                f"  vsearch rebuild: {given.photos / ours:6.0f}/s, {seconds / ours:.2f}x   (to reach: 0.8x)"
            )
            figures.append(
                measured.Figure(
                    f"`rebuild` of {given.photos:,} photos",
                    f"{given.photos / ours:.0f} photos/s",
                    f"raw Chroma inserts {given.photos / seconds:.0f}/s",
                    f"{seconds / ours:.2f}",
                    "`rebuild.py`",
                )
            )
    measured.write(given.json, figures)


def raw(folder: Path, vectors: np.ndarray, hnsw: HnswParameters) -> tuple[float, float, float]:
    """Seconds to insert, milliseconds of a query and recall; plain Chroma, with metadata like ours."""
    import chromadb

    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client: Any = chromadb.PersistentClient(str(folder), settings=settings)
    started = time.perf_counter()
    photos = insert(client, vectors, hnsw)
    seconds = time.perf_counter() - started
    recalls, times = zip(*_asked(photos, vectors), strict=True)
    client.close()
    return seconds, float(np.median(times) * 1e3), float(np.mean(recalls))


def insert(client: Any, vectors: np.ndarray, hnsw: HnswParameters) -> Any:
    """All vectors, with metadata like ours, into a collection of plain Chroma."""
    photos = client.create_collection(
        "photos",
        embedding_function=None,
        configuration={"hnsw": {"space": "cosine", **asdict(hnsw)}},
    )
    for start in range(0, len(vectors), BATCH):
        rows = range(start, min(start + BATCH, len(vectors)))
        photos.add(
            ids=[str(row) for row in rows],
            embeddings=vectors[start : start + BATCH],
            metadatas=[
                {
                    "path": f"trip{row % 1000:03d}/photo{row:07d}.jpg",
                    "root": "/photos",
                    "sha256": f"{row:064x}",
                    "bytes": 4_000_000 + row,
                    "width": 2000 + row % 3000,
                    "height": 1500 + row % 1000,
                    "format": "JPEG",
                    "camera": "Canon EOS R6",
                    "taken_at": "2024-05-01T10:00:00",
                }
                for row in rows
            ],
        )
    return photos


def _asked(photos: Any, vectors: np.ndarray) -> Iterator[tuple[float, float]]:
    random = np.random.default_rng(5)
    for row in random.choice(len(vectors), QUERIES, replace=False):
        query = vectors[row] + random.standard_normal(DIMENSION).astype(np.float32) * 0.03
        exact = set(np.argsort(-(vectors @ query))[:K].tolist())
        started = time.perf_counter()
        found = photos.query(query_embeddings=query[np.newaxis], n_results=CANDIDATES, include=[])
        passed = time.perf_counter() - started
        candidates = np.array([int(i) for i in found["ids"][0]])
        best = candidates[np.argsort(-(vectors[candidates] @ query))[:K]]
        yield len(exact & set(best.tolist())) / K, passed


def rebuild(photos: int) -> float:
    """Seconds of `vsearch rebuild` of an index of that many synthetic photos."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch, "made.vsearch")
        make(place, photos)
        started = time.perf_counter()
        Index.rebuild(place)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""`vsearch rebuild` against raw Chroma, and what other HNSW parameters would cost and find.

    python benchmarks/rebuild.py [--photos 20000] [--parameters 200,32 100,16,300] [--vectors FILE.npy]

For each `ef_construction`, `max_neighbors` and, where it is given, `ef_search`, in one run on the same
vectors: seconds to insert all into a fresh Chroma collection, which writes its graph every 1,000 records as
it does by default, and recall@10 of its approximate search after exact re-ranking of 30 candidates, and
recall@200 of 200, which the default ranking starts from.  The vectors lie in clusters, as synthetic.py makes
them, and with the first parameters, which must be the product's, `vsearch rebuild` is timed too; or they are
those of crops of real photos, as crops.py makes them, and the last of them ask.
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
K, CANDIDATES, POOL, QUERIES = 10, 30, 200, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--parameters", nargs="*", default=["200,32"], metavar="EF,M[,SEARCH]")
    parser.add_argument("--vectors", type=Path, help="a file of crops.py; else made-up ones")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    vectors, queries = real(given.vectors) if given.vectors else made_up(given.photos)
    print(f"{len(vectors):,} vectors of {DIMENSION}, {memory_estimate(len(vectors), DIMENSION) >> 20} MiB")
    figures = []
    for number, numbers in enumerate(given.parameters):
        hnsw = HnswParameters(*map(int, numbers.split(",")))
        with tempfile.TemporaryDirectory() as scratch:
            seconds, milliseconds, recall, of_pool = raw(Path(scratch), vectors, queries, hnsw)
        print(
            f"  raw Chroma, {hnsw}: "
            f"{len(vectors) / seconds:6.0f}/s, query {milliseconds:.2f} ms, "
            f"recall@{K} after exact re-ranking {recall:.4f}, recall@{POOL} {of_pool:.4f}"
        )
        if number == 0 and not given.vectors:
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


def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in clusters, and queries near some of them."""
    vectors = clustered(count, DIMENSION, seed=1)
    random = np.random.default_rng(5)
    near = vectors[random.choice(count, QUERIES, replace=False)]
    return vectors, near + random.standard_normal(near.shape, np.float32) * 0.03


def real(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The vectors in a file of crops.py, and its last ones as queries."""
    vectors = np.load(file)
    return vectors[:-QUERIES], vectors[-QUERIES:]


def raw(
    folder: Path, vectors: np.ndarray, queries: np.ndarray, hnsw: HnswParameters
) -> tuple[float, float, float, float]:
    """Seconds to insert, milliseconds of a query, both recalls; plain Chroma, with metadata like ours."""
    import chromadb

    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client: Any = chromadb.PersistentClient(str(folder), settings=settings)
    started = time.perf_counter()
    photos = insert(client, vectors, hnsw)
    seconds = time.perf_counter() - started
    recalls, pools, times = zip(*_asked(photos, vectors, queries), strict=True)
    client.close()
    return seconds, float(np.median(times) * 1e3), float(np.mean(recalls)), float(np.mean(pools))


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


def _asked(photos: Any, vectors: np.ndarray, queries: np.ndarray) -> Iterator[tuple[float, float, float]]:
    """For each query recall@K after exact re-ranking, recall@POOL, and the seconds of the first search.

    By scores: of crops that show nothing but sky there are hundreds of the same vector.
    """

    def nearest(query: np.ndarray, k: int) -> np.ndarray:
        found = photos.query(query_embeddings=query[np.newaxis], n_results=k, include=[])
        return np.array([int(i) for i in found["ids"][0]])

    for query in queries:
        near = vectors @ query
        exact = np.sort(near)[::-1] - 1e-6
        started = time.perf_counter()
        candidates = nearest(query, CANDIDATES)
        passed = time.perf_counter() - started
        best = np.sort(near[candidates])[-K:]
        pool = near[nearest(query, POOL)]
        yield np.sum(best >= exact[K - 1]) / K, np.sum(pool >= exact[POOL - 1]) / POOL, passed


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

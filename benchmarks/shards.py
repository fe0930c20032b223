"""Ten shards on one machine, asked side by side and merged by score, against one collection of everything.

    python benchmarks/shards.py [--photos 20000] [--shards 10] [--server http://127.0.0.1:8000]

Every shard is what one index of many would have: a generation of its own on a Chroma server.  Without
--server, one is started on this machine for the run.  Vectors are clustered as synthetic.py makes them, and
fall on shards at random.  A query asks every shard for its 30 nearest, scores all those exactly from their
vectors, and keeps the best ten.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import measured
import numpy as np
from synthetic import clustered

from vsearch.collection import (
    Batch,
    Changes,
    ChromaServer,
    Collection,
    Description,
    Neighbours,
    batches_of,
    generations_at,
)
from vsearch.errors import CollectionError
from vsearch.ranking import cosine, normalised

DIMENSION = 256
CANDIDATES, K = 30, 10
Vectors = np.ndarray


@contextlib.contextmanager
def chroma_run(folder: Path) -> Iterator[str]:
    """A Chroma server on a free port; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = Path(sysconfig.get_path("scripts"), "chroma")
    line = [str(program), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", port]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _when_up(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def _when_up(url: str) -> str:
    for _ in range(300):
        with contextlib.suppress(CollectionError):
            ChromaServer(url).check()
            return url
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def publish(folder: Path, server: str, vectors: Vectors, ids: Vectors) -> tuple[Collection, float]:
    """A published generation of these vectors, opened, and the seconds it took."""
    (folder / "chroma").mkdir(parents=True)
    generations = generations_at(folder / "chroma", folder / "CURRENT", server)
    size = batches_of(DIMENSION, len(vectors))

    def batches() -> Iterator[Batch]:
        for start in range(0, len(vectors), size):
            some = [str(i) for i in ids[start : start + size]]
            yield Batch(some, vectors[start : start + size], [{"path": f"{i}.jpg"} for i in some])

    started = time.perf_counter()
    description = Description(1, DIMENSION, "cosine", "synthetic", folder.parent.name + folder.name)
    number = generations.publish(lambda since: [Changes(batches(), len(vectors))], description, base=0)
    seconds = time.perf_counter() - started
    return generations.open(number), seconds


def merged(query: Vectors, answers: Sequence[Neighbours]) -> list[int]:
    """The best ten of all answers, by exact score."""
    ids = np.concatenate([answer.ids for answer in answers])
    scores = cosine(query, np.concatenate([answer.vectors for answer in answers]))
    return [int(i) for i in ids[np.argsort(-scores, kind="stable")[:K]]]


def ask(query: Vectors, shards: Sequence[Collection], pool: ThreadPoolExecutor) -> list[int]:
    """Ask every shard at once, and merge."""
    found = pool.map(lambda shard: shard.near_each(query[np.newaxis], CANDIDATES)[0], shards)
    return merged(query, list(chain.from_iterable(found)))


def measure(answer: Callable[[Vectors], list[int]], queries: Vectors) -> tuple[list[list[int]], float]:
    """The answers, and the median milliseconds, after one query to warm up."""
    answer(queries[0])
    found, times = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(answer(query))
        times.append(time.perf_counter() - started)
    return found, statistics.median(times) * 1e3


def recall(found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> float:
    """Which part of the wanted ten was found."""
    return float(np.mean([len(set(f) & set(w)) / K for f, w in zip(found, wanted, strict=True)]))


def compare(server: str, scratch: Path, photos: int, shards: int, asked: int) -> dict[str, float]:
    """All figures of one run."""
    vectors = clustered(photos, DIMENSION, seed=1)
    random = np.random.default_rng(2)
    noise = random.standard_normal((asked, DIMENSION), np.float32) * 0.03
    queries = normalised(vectors[random.choice(photos, asked, replace=False)] + noise)
    exact = [np.argsort(-cosine(query, vectors), kind="stable")[:K].tolist() for query in queries]
    one, one_seconds = publish(scratch / "one", server, vectors, np.arange(photos))
    parts = np.array_split(random.permutation(photos), shards)
    made = [publish(scratch / f"shard{n}", server, vectors[ids], ids) for n, ids in enumerate(parts)]
    with ThreadPoolExecutor(shards) as pool:
        from_one, one_ms = measure(lambda query: ask(query, [one], pool), queries)
        from_shards, shards_ms = measure(lambda q: ask(q, [shard for shard, _ in made], pool), queries)
    for collection in (one, *(shard for shard, _ in made)):
        collection.close()
    for name in ("one", *(f"shard{n}" for n in range(shards))):
        generations_at(scratch / name / "chroma", scratch / name / "CURRENT", server).discard()
    return {
        "photos": photos,
        "shards": shards,
        "recall_of_one": recall(from_one, exact),
        "recall_of_shards": recall(from_shards, exact),
        "same_ten": float(np.mean([set(a) == set(b) for a, b in zip(from_one, from_shards, strict=True)])),
        "one_ms": one_ms,
        "shards_ms": shards_ms,
        "ratio_of_queries": shards_ms / one_ms,
        "one_s": one_seconds,
        "shards_s": sum(seconds for _, seconds in made),
        "slowest_shard_s": max(seconds for _, seconds in made),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--server", help="URL of a Chroma server; by default one is started")
    parser.add_argument("--json", type=Path, help="write the row of the README there too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as resources:
        server = given.server or resources.enter_context(chroma_run(Path(folder, "server")))
        figures = compare(server, Path(folder), given.photos, given.shards, given.queries)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1))
    measured.write(given.json, [row(figures)])


def row(found: dict[str, float]) -> measured.Figure:
    """What goes into the README's table."""
    return measured.Figure(
        f"ask {found['shards']:.0f} shards of {found['photos']:,.0f} vectors in all, on one machine",
        f"{found['shards_ms']:.1f} ms, recall@10 {found['recall_of_shards']:.3f}",
        f"one collection {found['one_ms']:.1f} ms, {found['recall_of_one']:.3f}",
        f"{found['ratio_of_queries']:.1f}x the time",
        "`shards.py`",
    )


if __name__ == "__main__":
    main()

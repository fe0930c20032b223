"""What size costs: photos from end to end, and vectors alone, at each size; as a table and a plot.

    python benchmarks/scale.py photos 1000 3000 10000         # generated JPEGs, through vsearch's commands
    python benchmarks/scale.py vectors 10000 30000 [--json FILE]   # made-up; Chroma and hnswlib beside
    python benchmarks/scale.py vectors 10000 --crops FILE          # as photos lie (below)
    python benchmarks/scale.py report [--plot docs/pictures/scale.png]

Every step is a process of its own, whose wall time and peak memory count.  Figures are kept in
benchmarks/scale.json (--results FILE), each size replacing what was there, so that long runs can be done one
by one; `report` prints them all.  hnswlib has no wheels for Python 3.13; without it its column is empty.

`step publish FOLDER 1000000` does one step alone, which may take an hour; `add`, `nearest`, `raw`, `hnswlib`,
`rebuild` and `cold` go on from what it left, and --keep puts what they print into the results.  Where FOLDER
has a file crops.npy, as crops.py makes it, the vectors are mixed of those, and kept as such: made-up clusters
are far harder for a graph, the more so the more there are of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import measured
import numpy as np
from crops import mixed
from curves import RESULTS, Point, figures, keep, plot, results, tables
from PIL import Image
from synthetic import append, clustered, create, dimension, publish

from vsearch.collection import Collection
from vsearch.collection.chroma import import_chromadb

ADDED, QUERIES, K = 100, 100, 10
POOL = 200  # what the default ranking starts from
CROPS = "crops.npy"
VSEARCH = (sys.executable, "-m", "vsearch")


# -- photos ------------------------------------------------------------------------------------------


def measure_photos(count: int, scratch: Path) -> Iterator[Point]:
    """One index of so many generated photos, by the command line."""
    photos, more, place = scratch / "photos", scratch / "more", ("--index", str(scratch / "index"))
    make_photos(photos, 0, count)
    make_photos(more, count, ADDED)
    build = measured.run([*VSEARCH, "build-index", str(photos), *place, "--json"])
    size = measured.folder_bytes(scratch / "index")
    add = measured.run([*VSEARCH, "add", str(more), *place, "--json"])
    query = str(photos / "000" / "0000000.jpg")
    cold = measured.run([*VSEARCH, "query", query, *place, "--json"])
    asked = [sys.executable, __file__, "step", "ask", str(scratch), str(count)]
    yield {
        "build_s": build.seconds,
        "build_mib": build.peak_mib,
        "disk_mib": size / 2**20,
        "add_s": add.seconds,
        "add_mib": add.peak_mib,
        "cold_s": cold.seconds,
        "cold_mib": cold.peak_mib,
        "warm_ms": measured.run(asked).json()["ms"],
    }


def make_photos(folder: Path, first: int, count: int) -> None:
    """Different JPEGs of 320 x 240, a thousand a folder."""
    for number in range(first, first + count):
        place = folder / f"{number // 1000:03d}" / f"{number:07d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(blocks).resize((320, 240), Image.Resampling.BICUBIC).save(place, quality=85)


def ask(scratch: Path, count: int) -> Point:
    """Median of a query by picture in an open index."""
    import vsearch

    names = sorted((scratch / "more").rglob("*.jpg"))[:21]
    with vsearch.Index.open(scratch / "index") as index:
        times = timed(lambda path: index.query(str(path), k=K), names)
    return {"ms": times}


# -- vectors -----------------------------------------------------------------------------------------


def measure_vectors(count: int, scratch: Path) -> Iterator[Point]:
    """One index of so many vectors, and raw Chroma and hnswlib with them; more figures after each step."""
    point: Point = {}
    for name in ("publish", "add", "nearest", "raw", "hnswlib", "rebuild"):
        wanted = [str(point.get("nearest_recall", 1.0))] if name == "hnswlib" else []
        try:
            ran = step(name, scratch, count, *wanted)
        except measured.Failed as reason:
            print(f"{name} of {count} not measured: {reason}", file=sys.stderr)
            continue
        point |= {f"{name}_{key}": value for key, value in ran.json().items()}
        point[f"{name}_mib"] = ran.peak_mib  # that of a child, if it had one that was larger
        yield point


def step(name: str, scratch: Path, count: int, *more: str) -> measured.Ran:
    return measured.run([sys.executable, __file__, "step", name, str(scratch), str(count), *more])


def vectors_of(scratch: Path, count: int) -> np.ndarray:
    """So many, and those that are added later; mixed of crops of photos, where there are any."""
    if (scratch / CROPS).exists():
        return mixed(np.load(scratch / CROPS), count + ADDED)
    return clustered(count + ADDED, dimension(), seed=1)


def seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def step_publish(scratch: Path, count: int) -> Point:
    place = scratch / "index"
    create(place)
    append(place, 0, vectors_of(scratch, count)[:count])
    import_chromadb()  # a second, which raw Chroma's inserts below do not count either
    taken = seconds(lambda: publish(place))
    return {"s": taken, "disk_mib": measured.folder_bytes(place) / 2**20}


def step_add(scratch: Path, count: int) -> Point:
    append(scratch / "index", count, vectors_of(scratch, count)[count:])
    return {"s": seconds(lambda: publish(scratch / "index"))}


def step_cold(scratch: Path, count: int) -> Point:
    """A command's single question, five times: it scans the segments, published or not."""
    if not (scratch / "index").exists():
        create(scratch / "index")
        append(scratch / "index", 0, vectors_of(scratch, count)[:count])
    make_photos(scratch / "asked", 0, 1)
    query = [*VSEARCH, "query", str(scratch / "asked" / "000" / "0000000.jpg")]
    runs = [measured.run([*query, "--index", str(scratch / "index"), "--json"]) for _ in range(5)]
    return {"s": float(np.median([run.seconds for run in runs])), "mib": max(run.peak_mib for run in runs)}


def step_nearest(scratch: Path, count: int) -> Point:
    """The search that queries use, an exact scan of few vectors and the graph of many, and both alone."""
    from vsearch import Index
    from vsearch.nearest import SCAN_BYTES, Graph, Scan
    from vsearch.published import generations_of

    with Index.open(scratch / "index") as index:
        directory, settings = index._directory, index._directory.settings()
        rows = index._reading().matching("TRUE", ())
        vectors = vectors_of(scratch, count)[: len(rows)]  # with those that were added, if they were
        generations = generations_of(directory, settings)
        collection = generations.open(generations.current())
        graph = Graph(collection, directory, dimension(), settings.metric)
        scan = Scan.of(directory, rows, settings.metric)

        def through(search: Scan | Graph) -> Callable[[np.ndarray], list[int]]:
            def nearest(query: np.ndarray) -> list[int]:
                (found,) = search.nearest_each(query[np.newaxis], K)
                best = np.argsort(-(found.vectors @ query), kind="stable")[:K]
                return [int(i) - 1 for i in found.ids[best]]  # photo 1 is row 0

            return nearest

        graph_ms, recall = judged(through(graph), vectors)
        scan_ms, _ = judged(through(scan), vectors)
        few = vectors.nbytes <= SCAN_BYTES
        queries = near(vectors)
        pool_ms = timed(lambda query: graph.nearest_each(query[np.newaxis], K, pool=POOL), queries)
        theirs = chroma_alone(collection, queries)
        graph.close()
    return {
        "graph_ms": graph_ms,
        "scan_ms": scan_ms,
        "pool_ms": pool_ms,
        "ms": scan_ms if few else graph_ms,
        "recall": recall,
        **theirs,
    }


def chroma_alone(collection: Collection, queries: np.ndarray) -> Point:
    """Chroma's own query for ten of the same graph: for ids alone, and for all that it gives by default."""
    if len(collection._parts) != 1:
        return {}
    (part,) = collection._parts

    def asking(**more: Any) -> float:
        return timed(lambda q: part.query(query_embeddings=q[np.newaxis], n_results=K, **more), queries)

    return {"chroma_ms": asking(include=[]), "chroma_default_ms": asking()}


def step_rebuild(scratch: Path, count: int) -> Point:
    from vsearch import Index

    return {"s": seconds(lambda: Index.rebuild(scratch / "index"))}


def step_raw(scratch: Path, count: int) -> Point:
    """Chroma alone with the same parameters and metadata: inserting, then its own query for ten."""
    import chromadb
    from rebuild import insert

    from vsearch.collection import HnswParameters

    vectors = vectors_of(scratch, count)
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(scratch / "raw"), settings=settings)
    started = time.perf_counter()
    photos = insert(client, vectors[:count], HnswParameters())
    taken = time.perf_counter() - started

    def nearest(query: np.ndarray) -> list[int]:
        found = photos.query(query_embeddings=query[np.newaxis], n_results=K, include=[])
        return [int(i) for i in found["ids"][0]]

    ms, recall = judged(nearest, vectors[:count])
    return {"s": taken, "ms": ms, "recall": recall}


def step_hnswlib(scratch: Path, count: int, wanted: float = 1.0) -> Point:
    """hnswlib with the same graph parameters; the narrowest search that finds as much as ``wanted``."""
    import hnswlib

    from vsearch.collection import HnswParameters

    vectors, graph = vectors_of(scratch, count)[:count], HnswParameters()
    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    index.init_index(count, ef_construction=graph.ef_construction, M=graph.max_neighbors)
    taken = seconds(lambda: index.add_items(vectors))
    for breadth in (10, 20, 40, 80, 120, 160, 200, 400, 800):
        index.set_ef(breadth)
        ms, recall = judged(lambda query: index.knn_query(query, K, num_threads=1)[0][0].tolist(), vectors)
        if recall >= wanted:
            break
    return {"s": taken, "ms": ms, "recall": recall, "ef": breadth}


def near(vectors: np.ndarray) -> np.ndarray:
    """Queries, each near one of ``vectors``."""
    random = np.random.default_rng(5)
    rows = random.choice(len(vectors) - ADDED, QUERIES, replace=False)
    noise = random.standard_normal((QUERIES, vectors.shape[1]), np.float32) * np.float32(0.03)
    return np.asarray(vectors[rows] + noise)


def judged(nearest: Callable[[np.ndarray], list[int]], vectors: np.ndarray) -> tuple[float, float]:
    """Median milliseconds and recall@10, by scores, of a search that answers with rows of ``vectors``."""
    queries, recalls = near(vectors), []
    for query in queries:
        scores = vectors @ query
        # What scores as the last does is as good: of crops of the sky hundreds have the same vector.
        worst = np.partition(scores, -K)[-K] - 1e-6
        recalls.append(np.sum(scores[nearest(query)] >= worst) / K)
    return timed(nearest, queries), float(np.mean(recalls))


def timed(call: Callable[[Any], object], arguments: Any) -> float:
    """Median milliseconds of a call; the first, which may load something, does not count."""
    times = [seconds(partial(call, one)) for one in arguments]
    return float(np.median(times[1:]) * 1e3)


STEPS: dict[str, Callable[..., Point]] = {
    "ask": ask,
    "publish": step_publish,
    "add": step_add,
    "cold": step_cold,
    "nearest": step_nearest,
    "rebuild": step_rebuild,
    "raw": step_raw,
    "hnswlib": step_hnswlib,
}


def main() -> None:
    lines = __doc__.splitlines()
    parser = argparse.ArgumentParser(
        description=lines[0],
        epilog="\n".join(lines[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where figures are kept")
    parsers = parser.add_subparsers(dest="what", required=True)
    photos = parsers.add_parser("photos", help="all steps, with so many photos")
    photos.add_argument("sizes", type=int, nargs="*", default=[1_000, 3_000, 10_000])
    vectors = parsers.add_parser("vectors", help="all steps, with so many vectors")
    vectors.add_argument("sizes", type=int, nargs="*", default=[100_000])
    vectors.add_argument("--json", type=Path, help="write the rows of the README there too")
    vectors.add_argument("--crops", type=Path, help="mix the vectors of this file of crops.py")
    parser.set_defaults(json=None, crops=None)
    reporting = parsers.add_parser("report", help="print what is kept")
    reporting.add_argument("--plot", type=Path, help="write the plot there")
    one = parsers.add_parser("step", help="one step with vectors")
    one.add_argument("name", choices=STEPS)
    one.add_argument("scratch", type=Path, help="folder for its index; may have a crops.npy of crops.py")
    one.add_argument("count", type=int, help="how many vectors")
    one.add_argument("wanted", type=float, nargs="*", help="the recall that hnswlib must reach (1.0)")
    one.add_argument("--keep", action="store_true", help="put its figures into the results")
    given = parser.parse_args()
    if given.what == "step":
        found = STEPS[given.name](given.scratch, given.count, *given.wanted)
        found = {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **found}  # KiB on Linux
        print(json.dumps(found))
        if given.keep:
            kind = "mixed" if (given.scratch / CROPS).exists() else "vectors"
            known = next((p for p in results(given.results)[kind] if p[kind] == given.count), {})
            named = {f"{given.name}_{key}": value for key, value in found.items()}
            keep(kind, {kind: given.count, **known, **named}, given.results)
    elif given.what == "report":
        print("\n\n".join(tables(results(given.results))))
        if given.plot:
            plot(results(given.results), given.plot)
    else:
        measure = {"photos": measure_photos, "vectors": measure_vectors}[given.what]
        kind = "mixed" if given.crops else given.what
        points = []
        for size in given.sizes:
            with tempfile.TemporaryDirectory() as scratch:
                if given.crops:
                    shutil.copyfile(given.crops, Path(scratch, CROPS))
                for measured_so_far in measure(size, Path(scratch)):
                    point = {kind: size, **measured_so_far}
                    keep(kind, point, given.results)
            points.append(point)
            print(json.dumps(point), flush=True)
        rows = [row for point in points if kind == "vectors" for row in figures(point)]
        measured.write(given.json, rows)


if __name__ == "__main__":
    main()

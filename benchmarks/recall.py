"""Exact re-ranking: recall@10 against a scan of all vectors, and what it costs beside the collection's query.

python benchmarks/synthetic.py /tmp/synthetic.vsearch --photos 100000
python benchmarks/recall.py /tmp/synthetic.vsearch
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vsearch import Index, ranking
from vsearch.filters import compiled, parse
from vsearch.nearest import Graph, Only, Scan, read_vectors
from vsearch.published import generations_of

K = 10


def median_ms(function: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """The median time of a call, after one to warm up."""
    function(queries[0])
    times = []
    for query in queries:
        start = time.perf_counter()
        function(query)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args()
    with Index.open(given.index) as index:
        catalog, directory = index._reading(), index._directory
        rows = catalog.matching("TRUE", ())
        stored, scan = read_vectors(directory, rows), Scan.of(directory, rows, "cosine")
        generations = generations_of(directory, directory.settings())
        collection = generations.open(generations.current())
        graph = Graph(collection, directory, stored.shape[1], "cosine")
        random = np.random.default_rng(5)
        picked = stored[random.choice(len(stored), given.queries, replace=False)]
        noise = random.standard_normal(picked.shape).astype(np.float32) * 0.03
        queries = ranking.normalised(picked + noise)

        def exact(query: np.ndarray) -> np.ndarray:
            (found,) = graph.nearest_each(query[np.newaxis], K)
            return found.ids[np.argsort(-ranking.cosine(query, found.vectors), kind="stable")[:K]]

        def refined(query: np.ndarray) -> np.ndarray:
            (found,) = graph.nearest_each(query[np.newaxis], 67)  # 200 candidates
            return found.ids[np.argsort(-ranking.refined(query, found.vectors))[:K]]

        def alone(query: np.ndarray) -> object:
            return collection.search(query[np.newaxis], K)

        condition = compiled([parse("folder = trip007")], index._reading().roots)
        only = Only(catalog.matching(condition.sql, condition.parameters))
        wanted = [set(near.ids.tolist()) for near in scan.nearest_each(queries, K)]
        recall = np.mean([len(w & set(exact(q).tolist())) / K for q, w in zip(queries, wanted, strict=True)])
        raw = [{int(hit.id) for hit in collection.search(q[np.newaxis], K)[0]} for q in queries]
        few = queries[:10]
        filtered = zip(graph.nearest_each(few, K, only), scan.nearest_each(few, K, only), strict=True)
        same = [one.ids.tolist() == other.ids.tolist() for one, other in filtered]
        base, ours = median_ms(alone, queries), median_ms(exact, queries)
        figures = {
            "photos": len(stored),
            "recall_of_the_collection": np.mean([len(w & r) / K for w, r in zip(wanted, raw, strict=True)]),
            "recall_after_exact_reranking": recall,
            "collection_ms": base,
            "exact_reranking_ms": ours,
            "ratio": ours / base,
            "refined_ms": median_ms(refined, queries),
            "filter_keeps": len(only.rows) / len(stored),
            "filter_is_exact": np.mean(same),
            "filtered_ms": median_ms(lambda q: graph.nearest_each(q[np.newaxis], K, only), few),
        }
        print(json.dumps({name: round(float(value), 4) for name, value in figures.items()}, indent=1))
        graph.close()


if __name__ == "__main__":
    main()

"""What each step of ranking is worth: leave-one-out, on indexes whose folders are labels.

    python benchmarks/accuracy.py landmarks.vsearch pets3.vsearch

The query photo is no part of the pool: not as an answer, and not as anybody's neighbour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsearch import Index, ranking
from vsearch.nearest import read_vectors

Vectors = npt.NDArray[np.float32]
Score = Callable[[Vectors, Vectors], npt.NDArray[np.floating]]


def smoothing_alone(query: Vectors, pool: Vectors) -> npt.NDArray[np.floating]:
    """The plain query against smoothed vectors."""
    return ranking.cosine(query, ranking.smoothed(pool))


def expansion_alone(query: Vectors, pool: Vectors) -> npt.NDArray[np.floating]:
    """The expanded query against the vectors as they are."""
    return ranking.cosine(ranking.expanded(query, pool), pool)


def reciprocal(query: Vectors, pool: Vectors) -> npt.NDArray[np.floating]:
    """Smoothing with those neighbours alone that have each other among their nearest."""
    near = pool @ pool.T
    np.fill_diagonal(near, -1)
    best = np.argpartition(near, -ranking.NEIGHBOURS, axis=1)[:, -ranking.NEIGHBOURS :]
    among = np.zeros(near.shape, bool)
    np.put_along_axis(among, best, True, axis=1)
    weights = np.where(among & among.T, np.clip(near, 0, None) ** ranking.POWER, 0)
    smooth = ranking.normalised(pool + weights.astype(np.float32) @ pool)
    return ranking.cosine(ranking.expanded(query, smooth), smooth)


STEPS: dict[str, Score] = {
    "plain cosine": ranking.cosine,
    "query expansion alone": expansion_alone,
    "smoothing alone": smoothing_alone,
    "both, reciprocal neighbours": reciprocal,
    "**both (the default)**": ranking.refined,
}


def quality(vectors: Vectors, labels: npt.NDArray[np.str_], score: Score) -> tuple[float, float]:
    """P@5 and mAP, each photo the query once."""
    precisions, averages = [], []
    for number in range(len(vectors)):
        others = np.delete(np.arange(len(vectors)), number)
        order = others[np.argsort(-score(vectors[number], vectors[others]), kind="stable")]
        relevant = labels[order] == labels[number]
        precisions.append(relevant[:5].mean())
        ranks = np.flatnonzero(relevant) + 1
        averages.append((np.arange(1, len(ranks) + 1) / ranks).mean() if len(ranks) else 0.0)
    return float(np.mean(precisions)), float(np.mean(averages))


def labelled(place: Path) -> tuple[Vectors, npt.NDArray[np.str_]]:
    """The vectors of an index, and the folder of each photo."""
    with Index.open(place) as index:
        rows = index._reading().matching("TRUE", ())
        photos = [index.photo(str(row.photo_id)) for row in rows]
        vectors = read_vectors(index._directory, rows)
    return ranking.normalised(vectors), np.array([str(Path(p.file.path).parent) for p in photos if p])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("indexes", type=Path, nargs="+")
    places = parser.parse_args().indexes
    sets = [labelled(place) for place in places]
    print("| P@5 / mAP | " + " | ".join(place.stem for place in places) + " |")
    print("|---" * (len(places) + 1) + "|")
    for name, score in STEPS.items():
        found = [quality(vectors, labels, score) for vectors, labels in sets]
        print(f"| {name} | " + " | ".join(f"{p:.3f} / {m:.3f}" for p, m in found) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Ranking by Euclidean distance: the same five photos, in the same order, as scikit-learn's exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import vsearch
from tests import album
from vsearch.encoders import Encoder, resolve
from vsearch.images import read_pixels


def latents(encoder: Path, paths: list[Path]) -> np.ndarray:
    loaded = Encoder(resolve(encoder))
    s = loaded.specification
    return loaded.encode(np.stack([read_pixels(p, s.input_size, s.resize) for p in paths]))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_queries_rank_as_scikit_learn_does(tmp_path: Path, toy_encoder: Path, metric: str) -> None:
    paths = album.write_album(tmp_path / "photos", 40)
    queries = [album.write(tmp_path / "queries" / f"{n}.png", 1000 + n) for n in range(8)]
    index = vsearch.Index.build(
        tmp_path / "i.vsearch", [tmp_path / "photos"], encoder=toy_encoder, metric=metric
    )
    index.add(tmp_path / "photos")
    exact = NearestNeighbors(n_neighbors=5, metric=metric).fit(latents(toy_encoder, paths))
    for query in queries:
        _, rows = exact.kneighbors(latents(toy_encoder, [query]))
        assert [match.path for match in index.query(query, expand=False, k=5)] == [
            str(paths[row]) for row in rows[0]
        ]


def test_the_score_is_cosine_under_either_metric(tmp_path: Path, toy_encoder: Path) -> None:
    paths = album.write_album(tmp_path / "photos", 6)
    query = album.write(tmp_path / "query.png", 1000)
    vectors, (vector,) = latents(toy_encoder, paths), latents(toy_encoder, [query])
    expected = vectors @ vector / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vector)
    for metric in ("cosine", "euclidean"):
        index = vsearch.Index.build(
            tmp_path / metric, [tmp_path / "photos"], encoder=toy_encoder, metric=metric
        )
        index.add(tmp_path / "photos")
        scores = {match.path: match.score for match in index.query(query, expand=False, k=6)}
        assert [scores[str(path)] for path in paths] == pytest.approx(expected, abs=1e-5)

"""Batches from segments and running principal components, without Keras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

import vsearch
from tests import album
from vsearch import sources
from vsearch.components import PrincipalComponents
from vsearch.encoders.architectures import Architecture
from vsearch.errors import UsageError
from vsearch.ingest import LOOK_AHEAD
from vsearch.training import batches
from vsearch.training.staging import Pixels, Staged, kept_pixels, stage

TINY = Architecture("tiny", 8, "4 P", "4 U", batch_size=4)


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    album.write_album(tmp_path / "photos", 90)
    return stage(sources.found([tmp_path / "photos"], ()), tmp_path / "staging", TINY)


def test_an_epoch_has_every_photo_once_in_an_order_of_its_own(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_POOL_BYTES", 0)
    numbers = list(range(3, 90))
    plain = staged.read(numbers)
    epochs = [np.concatenate(list(batches.shuffled(staged, numbers, 4, (0, n)))) for n in (1, 1, 2)]
    assert np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[0], plain)
    ordered = [sorted(row.tobytes() for row in rows) for rows in (plain, epochs[0], epochs[2])]
    assert ordered[0] == ordered[1] == ordered[2]


def test_the_pool_is_bounded(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_POOL_BYTES", 0)  # the smallest pool: two blocks
    read, drawn, most = 0, 0, 0

    class Counted(Staged):
        def read(self, wanted: Sequence[int]) -> Pixels:
            nonlocal read
            read += len(wanted)
            return super().read(wanted)

    counted = Counted(staged.rows, staged.size, staged.resizing)
    for batch in batches.shuffled(counted, list(range(len(staged.rows))) * 20, 4, (0, 1)):
        most = max(most, read - drawn)
        drawn += len(batch)
    assert drawn == 20 * len(staged.rows)
    assert most <= (2 + LOOK_AHEAD + 1) * batches.BLOCK  # the pool, and blocks that are read ahead


def test_an_index_is_first_asked_for_pixels_then_for_their_size(
    tmp_path: Path, photos: Path, toy_encoder: Path
) -> None:
    for keep, message in ((False, "keeps no pixels; name the photo folders"), (True, "pixels of 16 x 16")):
        index = vsearch.Index.create(tmp_path / f"{keep}", encoder=toy_encoder, keep_pixels=keep)
        index.add(photos)
        with pytest.raises(UsageError, match=message) as refused:
            kept_pixels(index.path, TINY)
        assert "--keep-pixels" not in str(refused.value)


def test_components_equal_those_of_all_rows_at_once() -> None:
    random = np.random.default_rng(0)
    basis = random.normal(size=(20, 300)) * np.linspace(9, 1, 20)[:, np.newaxis]
    rows = (random.normal(size=(500, 20)) @ basis + 3).astype(np.float32)
    running = PrincipalComponents(6)
    for start in range(0, 500, 7):
        running.update(rows[start : start + 7])
    exact = PCA(6).fit(rows)
    projection = running.projection()
    cosines = np.abs(np.sum(projection.weights.T * exact.components_, axis=1))
    assert cosines.min() > 0.999
    mine, theirs = rows @ projection.weights + projection.offset, exact.transform(rows)
    assert np.abs(np.abs(mine) - np.abs(theirs)).max() < 0.01 * np.abs(theirs).max()


def test_fewer_rows_than_components_are_refused() -> None:
    running = PrincipalComponents(9)
    running.update(np.eye(9, 30, dtype=np.float32))
    with pytest.raises(UsageError, match="pca:9 needs more than 9"):
        running.projection()

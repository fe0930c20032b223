"""Killed between every two steps of the write path, and at random instants: nothing acknowledged is lost."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

import vsearch
from tests import album, safety

# Each step of the write path that `durable.step` and `durable.publish` mark, in the order of a build: a
# run that was killed at one comes, the next time, to those behind it.
BUILD_STEPS = [
    *(f"encoder-{step}" for step in ("written", "fsynced", "renamed")),
    "catalog-before-commit",
    "catalog-committed",
    *(f"settings-{step}" for step in ("written", "fsynced", "renamed")),
    "holder-renamed",
    *(f"{name}-{step}" for name in ("vectors", "thumbnails") for step in ("written", "fsynced", "renamed")),
    "catalog-before-commit",
    "catalog-committed",
    "generation-copied",
    "generation-upserted",
    "generation-persisted",
    *(f"generation-{step}" for step in ("written", "fsynced", "renamed")),
    *(f"current-{step}" for step in ("written", "fsynced", "renamed")),
]
UPDATE_STEPS = ["segment-removed", "generation-removed"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return safety.make_album(tmp_path_factory.mktemp("album") / "photos")


@pytest.fixture(scope="module")
def undisturbed(photos: Path, toy_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with vsearch.Index.create(tmp_path_factory.mktemp("undisturbed") / "index", encoder=toy_encoder) as index:
        index.add(photos)
    return index.path


def test_a_build_killed_at_every_step_goes_on(
    photos: Path, undisturbed: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    build = ("build-index", photos, "--index", index, "--encoder", toy_encoder)
    acknowledged = 0
    for step in BUILD_STEPS:
        done = safety.run_forked(*build, variables={"VSEARCH_TEST_FAULT": step})
        assert safety.killed(done), f"{step}: {done.stderr}"
        if (index / "index.json").exists():
            found = safety.assert_answers(index)
            assert found >= acknowledged, step
            acknowledged = found
    done = safety.run_forked(*build)
    assert done.returncode == 0, done.stderr
    safety.assert_sound(index)
    safety.assert_equal(index, undisturbed)


@pytest.mark.parametrize("step", UPDATE_STEPS)
def test_a_sync_killed_at_a_step_goes_on(
    step: str, undisturbed: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    photos = safety.make_album(tmp_path / "photos")
    index, fresh = tmp_path / "index", tmp_path / "fresh"
    build = ("build-index", photos, "--encoder", toy_encoder, "--index")
    assert safety.run_forked(*build, index).returncode == 0
    for n in range(3):  # so that there is an old generation to remove
        album.write(photos / f"more{n}.png", 100 + n)
        assert safety.run_forked("sync", "--index", index).returncode == 0
    for n in range(0, 12, 2):
        (photos / f"day0/photo{n:03d}.png").unlink()
    for n in range(1, 12, 2):
        album.write(photos / f"day1/photo{n:03d}.jpg", 200 + n)
    assert safety.killed(safety.run_forked("sync", "--index", index, variables={"VSEARCH_TEST_FAULT": step}))
    done = safety.run_forked("sync", "--index", index)
    assert done.returncode == 0, done.stderr
    safety.assert_sound(index)
    assert safety.run_forked(*build, fresh).returncode == 0
    safety.assert_equal(index, fresh)


def test_a_build_killed_at_random_goes_on(
    photos: Path, undisturbed: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    build = ("build-index", photos, "--index", index, "--encoder", toy_encoder)
    dice = random.Random(7)
    for _ in range(3):
        process = safety.start(*build)
        time.sleep(dice.uniform(0.3, 4))
        process.kill()
        process.communicate()
    done = safety.run_forked(*build)
    assert done.returncode == 0, done.stderr
    safety.assert_sound(index)
    safety.assert_equal(index, undisturbed)
    shutil.rmtree(index)

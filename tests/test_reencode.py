"""``reencode``: another encoder, beside the old one until all is there, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vsearch
from tests import album, safety, toy
from vsearch.updates import Progress

STEPS = [
    *(f"encoder-{step}" for step in ("written", "renamed")),
    "catalog-before-commit",
    *(f"{name}-{step}" for name in ("vectors", "thumbnails") for step in ("written", "renamed")),
    "catalog-committed",
    "generation-persisted",
    "current-renamed",
    "settings-written",
    "settings-renamed",
    "store-removed:3",
]


@pytest.fixture(scope="session")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the toy encoder, but its vectors have other numbers in them."""
    return toy.write_toy_encoder(tmp_path_factory.mktemp("other") / "other", name="other", scale=3.0)


def build(path: Path, photos: Path, encoder: Path, *, keep_pixels: bool = False) -> vsearch.Index:
    index = vsearch.Index.create(path, encoder=encoder, metric="euclidean", keep_pixels=keep_pixels)
    index.add(photos)
    return index


def ids(index: vsearch.Index) -> dict[str, int]:
    return {index.path_of(photo): photo.id for photo in index.photos()}


def assert_switched(index: Path, fresh: Path) -> None:
    """It is what a fresh build with the new encoder is, and nothing of the old one is left."""
    safety.assert_sound(index)
    safety.assert_equal(index, fresh)
    names = set(os.listdir(index))
    assert names <= {"index.json", "lock", "store-000001", "duplicates"}
    assert not (index / "store-000001/unfinished").exists()


@pytest.mark.parametrize("keep_pixels", [False, True])
def test_it_equals_a_fresh_build(
    keep_pixels: bool, toy_encoder: Path, other_encoder: Path, tmp_path: Path
) -> None:
    photos = safety.make_album(tmp_path / "photos", 12)
    index = build(tmp_path / "index", photos, toy_encoder, keep_pixels=keep_pixels)
    fresh = build(tmp_path / "fresh", photos, other_encoder)
    before = ids(index)
    report = index.reencode(other_encoder)
    assert (report.updated, report.unchanged, report.added) == (13, 0, 0)
    assert [Path(skipped.path).name for skipped in report.skipped] == ["broken.jpg"]
    assert index.status().encoder.name == "other"
    assert ids(index) == before
    assert_switched(index.path, fresh.path)
    assert index.sync().unchanged == 13
    again = index.reencode(other_encoder)
    assert (again.updated, again.unchanged) == (0, 13)


def test_kept_pixels_stand_in_for_files(
    toy_encoder: Path, other_encoder: Path, photos: Path, tmp_path: Path
) -> None:
    index = build(tmp_path / "index", photos, toy_encoder, keep_pixels=True)
    fresh = build(tmp_path / "fresh", photos, other_encoder)
    photos.rename(tmp_path / "elsewhere")
    assert (index.reencode(other_encoder).updated, list(index.failed())) == (12, [])
    (tmp_path / "elsewhere").rename(photos)
    assert_switched(index.path, fresh.path)


def test_the_old_index_answers_meanwhile(
    index: vsearch.Index, other_encoder: Path, photos: Path, tmp_path: Path
) -> None:
    path = photos / "day0/photo004.png"
    reader, counting = vsearch.Index.open(index.path), vsearch.Index.open(index.path)
    before = reader.query(path, k=5)
    assert counting.status().encoder.name == "toy"
    answered: list[bool] = []

    def ask(_: Progress) -> None:
        with vsearch.Index.open(index.path) as new_reader:
            assert new_reader.status().encoder.name == "toy"
            answered.append(new_reader.query(path, k=5) == reader.query(path, k=5) == before)

    index.reencode(other_encoder, on_progress=ask)
    assert answered == [True] * 12
    # Those that were open all the time follow.
    status = counting.status()
    assert (status.encoder.name, status.photos, status.generation, status.pending) == ("other", 12, 1, 0)
    assert reader.query(path, k=5)[0].path == str(path)
    assert reader.status().encoder.name == "other"
    assert reader.query(album.picture(4), k=1)[0].path == str(path)


@pytest.mark.parametrize("first", [0, 1])
def test_killed_at_every_step_it_goes_on(
    first: int, toy_encoder: Path, other_encoder: Path, tmp_path: Path
) -> None:
    photos = safety.make_album(tmp_path / "photos", 12)
    index = build(tmp_path / "index", photos, toy_encoder, keep_pixels=bool(first)).path
    fresh = build(tmp_path / "fresh", photos, other_encoder).path
    command = ("reencode", "--encoder", other_encoder, "--index", index)
    for step in STEPS[first::2]:
        done = safety.run_forked(*command, variables={"VSEARCH_TEST_FAULT": step})
        assert safety.killed(done), f"{step}: {done.stderr}"
        assert safety.assert_answers(index) == 13, step
    done = safety.run_forked(*command, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unchanged"] == 13
    assert_switched(index, fresh)


def test_what_changed_between_two_runs_counts(toy_encoder: Path, other_encoder: Path, tmp_path: Path) -> None:
    photos = safety.make_album(tmp_path / "photos", 12)
    index = build(tmp_path / "index", photos, toy_encoder)
    command = ("reencode", "--encoder", other_encoder, "--index", index.path)
    assert safety.killed(safety.run_forked(*command, variables={"VSEARCH_TEST_FAULT": "settings-written"}))
    first, second, spare = (photos / f"day0/photo{n:03d}.png" for n in (0, 2, 99))
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    album.write(photos / "day0/photo004.png", 60)
    album.write(photos / "new.png", 61)
    (photos / "day0/photo006.png").unlink()
    index.sync()
    safety.assert_sound(index.path)
    before = ids(index)
    assert index.reencode(other_encoder).unchanged > 0
    assert ids(index) == before
    assert_switched(index.path, build(tmp_path / "fresh", photos, other_encoder).path)
    newest = max(before.values())
    album.write(photos / "newer.png", 62)
    index.sync()
    assert max(ids(index).values()) > newest


def test_another_encoder_than_that_of_the_killed_run(
    index: vsearch.Index, photos: Path, other_encoder: Path, tmp_path: Path
) -> None:
    third = toy.write_toy_encoder(tmp_path / "third", name="third", scale=5.0)
    command = ("reencode", "--encoder", third, "--index", index.path)
    assert safety.killed(safety.run_forked(*command, variables={"VSEARCH_TEST_FAULT": "current-renamed"}))
    assert index.reencode(other_encoder).updated == 12
    fresh = vsearch.Index.create(tmp_path / "fresh", encoder=other_encoder)
    fresh.add(photos)
    assert_switched(index.path, fresh.path)
    assert index.reencode(third).updated == 12
    assert {name for name in os.listdir(index.path) if name.startswith("store")} == {"store-000002"}
    safety.assert_sound(index.path)


def test_the_present_encoder_gives_the_killed_run_up(
    toy_encoder: Path, other_encoder: Path, tmp_path: Path
) -> None:
    index, photos = tmp_path / "index", safety.make_album(tmp_path / "photos", 12)
    build(index, photos, toy_encoder).close()
    command = ("reencode", "--index", index, "--encoder")
    fault = {"VSEARCH_TEST_FAULT": "generation-persisted"}
    assert safety.killed(safety.run_forked(*command, other_encoder, variables=fault))
    assert (index / "store-000001").exists()
    done = safety.run_forked(*command, toy_encoder)
    assert done.returncode == 0, done.stderr
    assert not (index / "store-000001").exists()
    safety.assert_sound(index)


def test_a_photo_that_vanished_is_reported_and_comes_back(
    index: vsearch.Index, photos: Path, other_encoder: Path
) -> None:
    path = photos / "day0/photo004.png"
    data, known = path.read_bytes(), ids(index)[str(path)]
    path.unlink()
    report = index.reencode(other_encoder)
    assert (report.updated, [s.path for s in report.skipped]) == (11, [str(path)])
    assert [(s.path, s.reason) for s in index.failed()] == [
        (str(path), "its file was gone when the index was encoded anew")
    ]
    path.write_bytes(data)
    assert index.sync().updated == 1
    assert ids(index)[str(path)] == known
    safety.assert_sound(index.path)


def test_an_absent_folder_changes_nothing(
    index: vsearch.Index, photos: Path, other_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos.rename(photos.with_name("unmounted"))
    refused = pytest.raises(vsearch.UsageError, match=r"12 of 12 photos in .* not there, or cannot be read")
    with refused:
        index.reencode(other_encoder)
    assert index.status().encoder.name == "toy"
    photos.with_name("unmounted").rename(photos)
    with monkeypatch.context() as patch, refused:
        readable = os.access  # root may read everything
        patch.setattr(os, "access", lambda path, mode: str(photos) not in str(path) and readable(path, mode))
        index.reencode(other_encoder)
    assert index.status().encoder.name == "toy"
    safety.assert_sound(index.path)


def test_a_photo_that_changed_is_taken_as_it_is(
    index: vsearch.Index, photos: Path, other_encoder: Path
) -> None:
    album.write(photos / "day0/photo004.png", 70)
    assert index.reencode(other_encoder).updated == 12
    assert index.query(photos / "day0/photo004.png", k=1)[0].kind == "identical"
    assert index.sync().unchanged == 12


def test_without_index_json_a_half_filled_store_is_not_taken(
    index: vsearch.Index, other_encoder: Path
) -> None:
    command = ("reencode", "--encoder", other_encoder, "--index", index.path)
    assert safety.killed(safety.run_forked(*command, variables={"VSEARCH_TEST_FAULT": "vectors-renamed"}))
    assert (index.path / "store-000001/unfinished").exists()
    (index.path / "index.json").unlink()
    (index.path / "catalog.sqlite").unlink()
    assert vsearch.Index.rebuild(index.path).photos == 12
    mended = vsearch.Index.open(index.path)
    assert mended.status().encoder.name == "toy"
    mended.reencode(other_encoder)
    assert mended.status().encoder.name == "other"
    safety.assert_sound(index.path)


def test_the_new_encoder_may_have_another_size(index: vsearch.Index, photos: Path) -> None:
    assert index.reencode("photo-small").updated == 12
    assert np.shape(next(iter(safety.content(index.path).values()))) == (index.status().encoder.dimension,)
    with Image.open(photos / "day0/photo004.png") as picture:
        assert index.query(picture.convert("RGB"), k=1)[0].path == str(photos / "day0/photo004.png")
    safety.assert_sound(index.path)

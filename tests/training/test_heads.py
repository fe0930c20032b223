"""Heads on encoders: against scikit-learn, in the graph, from photos and from an index, and refusals."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import vsearch
from tests import album
from tests.conftest import Run
from vsearch.encoders import Encoder, resolve
from vsearch.errors import EncoderMismatch, UsageError
from vsearch.images import read_pixels
from vsearch.ranking import normalised
from vsearch.training import heads
from vsearch.training.heads import Scatter, Strength
from vsearch.training.labelled import HeadRequest, train_head


def things(labels: int, photos: int, dimension: int = 24) -> tuple[np.ndarray, list[str]]:
    """Labels that differ in a few directions, below a loud noise in others."""
    random = np.random.default_rng(0)
    centres = np.zeros((labels, dimension))
    centres[:, :6] = random.normal(size=(labels, 6))
    noise = random.normal(size=(labels * photos, dimension)) * np.linspace(0.3, 2.0, dimension)
    vectors = normalised((np.repeat(centres, photos, axis=0) + noise).astype(np.float32))
    return vectors, [f"label{n // photos}" for n in range(labels * photos)]


def test_without_anything_else_it_is_scikit_learn_s_discriminant_analysis() -> None:
    vectors, names = things(5, 40)
    classes = np.unique(names, return_inverse=True)[1]
    theirs = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.0).fit(vectors.astype(np.float64), names)
    ours = Scatter(vectors, classes).head(Strength(0.0, math.inf))
    assert ours.weights.shape == (24, 4)
    # The same plane: each of our directions is a mixture of theirs.
    rest = np.linalg.lstsq(theirs.scalings_[:, :4], ours.weights, rcond=None)[1]
    assert np.all(rest < 1e-6 * (ours.weights**2).sum(axis=0))


def test_whitening_makes_labels_round() -> None:
    vectors, names = things(5, 40)
    classes = np.unique(names, return_inverse=True)[1]
    head = Scatter(vectors, classes).head(Strength(0.0, 0.0))
    projected = (vectors - head.mean) @ head.weights
    means = np.stack([projected[classes == c].mean(axis=0) for c in range(5)])
    within = np.cov((projected - means[classes]).T)
    np.testing.assert_allclose(within / within[0, 0], np.eye(24), atol=1e-3)


def test_a_head_helps_known_and_does_no_harm_to_unseen_labels() -> None:
    learned = heads.learn(*things(12, 20))
    assert learned.known.certain and learned.known.head > learned.known.plain + 0.1
    assert learned.unseen is not None and learned.unseen.head >= learned.unseen.plain
    assert (learned.known.photos, learned.known.labels, learned.unseen.labels) == (12 * 5, 12, 12)


def test_labels_that_mean_nothing_give_no_certain_gain() -> None:
    vectors, names = things(6, 20)
    for seed in range(1, 6):
        shuffled = np.random.default_rng(seed).permutation(names).tolist()
        assert not heads.learn(vectors, shuffled, seed).known.certain


def test_fewer_photos_than_numbers_and_too_few_labels() -> None:
    vectors, names = things(2, 6, dimension=60)
    learned = heads.learn(vectors, names)
    assert np.isfinite(learned.head.weights).all() and learned.unseen is None
    with pytest.raises(UsageError, match="of 6 labels 0 have 4 photos"):
        heads.learn(vectors, [f"label{n // 2}" for n in range(12)])


def labelled_album(folder: Path) -> Path:
    """Two labels that differ in one corner's brightness; colours elsewhere are loud and mean nothing."""
    random = np.random.default_rng(3)
    for label, level in (("dark", 70), ("light", 150)):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            pixels = random.integers(0, 256, (2, 2, 3))
            pixels[0, 0] = level + random.integers(-12, 13, 3)
            picture = Image.fromarray(pixels.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
            picture.save(folder / label / f"{number:02d}.png")
    return folder


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    return labelled_album(tmp_path / "corners")


def test_the_graph_holds_the_head(command: Run, corners: Path, toy_encoder: Path, tmp_path: Path) -> None:
    (corners / "dark" / "broken.png").write_bytes(b"no picture")
    shutil.copy(corners / "dark" / "00.png", corners / "dark" / "copy.png")
    options = ("--labels", "folder", "--head", "--encoder", str(toy_encoder), "-o", "corners.encoder")
    done = command("train", str(corners), *options, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["photos"], found["labels"], found["encoded"], found["dimension"]) == (48, 2, 48, 12)
    assert [Path(s["path"]).name for s in found["skipped"]] == ["broken.png"] and b"broken.png" in done.stderr
    assert found["known"]["head"] > found["known"]["plain"] and found["unseen"] is None
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "corners.encoder").stat().st_mode == (tmp_path / "plain").stat().st_mode
    bundle = resolve(tmp_path / "corners.encoder")
    assert (bundle.specification.name, bundle.specification.training["labels"]) == ("toy-head", 2)
    pixels = np.stack([read_pixels(p, 16, "stretch") for p in sorted((corners / "light").iterdir())])
    vectors = Encoder(bundle).encode(pixels)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=tmp_path / "corners.encoder")
    index.add(corners)
    right = sum(
        Path(match.path).parent.name == label
        for label in ("dark", "light")
        for match in index.query(corners / label / "05.png", k=6)
    )
    assert right >= 11
    again = command("train", str(corners), *options)
    assert again.returncode == 2 and b"there already" in again.stderr
    for option in (("--patience", "3"), ("--precision", "int8"), ("--validation-split", "0.1")):
        refused = command("train", str(corners), *options[:-1], "other.encoder", *option)
        assert refused.returncode == 2 and b"leave the options of autoencoders out" in refused.stderr


def test_an_index_spares_the_encoding(corners: Path, toy_encoder: Path, tmp_path: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    index.add(corners / "dark")
    request = HeadRequest("folder", tmp_path / "a.encoder", (corners,), index=index.path)
    both = train_head(request)
    assert (both.photos, both.encoded) == (48, 24)
    index.add(corners / "light")
    alone = train_head(HeadRequest("folder", tmp_path / "b.encoder", index=index.path))
    assert (alone.photos, alone.encoded) == (48, 0)
    with pytest.raises(UsageError, match="--exclude goes with photo folders"):
        train_head(HeadRequest("folder", tmp_path / "c.encoder", index=index.path, exclude=["dark"]))
    with pytest.raises(EncoderMismatch, match="leave --encoder out"):
        train_head(HeadRequest("folder", tmp_path / "c.encoder", encoder="photo-small", index=index.path))


def test_a_head_on_a_head(corners: Path, toy_encoder: Path, tmp_path: Path) -> None:
    train_head(HeadRequest("folder", tmp_path / "a.encoder", (corners,), encoder=toy_encoder))
    try:
        train_head(HeadRequest("folder", tmp_path / "b.encoder", (corners,), encoder=tmp_path / "a.encoder"))
    except UsageError as refused:  # nothing left to gain is an answer, too
        assert "would not help" in str(refused)
    else:
        assert resolve(tmp_path / "b.encoder").specification.name == "toy-head-head"


def test_what_cannot_help_is_not_written(command: Run, toy_encoder: Path, tmp_path: Path) -> None:
    album.write_album(tmp_path / "random", 24)
    options = ("--head", "--encoder", str(toy_encoder), "-o", "x.encoder")
    done = command("train", "random", "--labels", "folder", *options)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done.stderr
    assert b"mAP on" in done.stderr and b"with the head" in done.stderr
    assert not (tmp_path / "x.encoder").exists() and not list(tmp_path.glob(".*"))
    single = command("train", "random", "--labels", r"photo(\d+)", *options)
    assert single.returncode == 2 and b"24 photos have 24 different labels" in single.stderr
    alone = command("train", "random", "--labels", "(photo)", *options)
    assert alone.returncode == 2 and b"1 different labels" in alone.stderr
    lonely = command("train", "random", "--head")
    assert lonely.returncode == 2 and b"--head and --labels go together" in lonely.stderr
    mixed = command("train", "random", "--labels", "folder", *options, "--epochs", "3")
    assert mixed.returncode == 2 and b"without epochs" in mixed.stderr

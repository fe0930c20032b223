"""Training with Keras, end to end, on tiny architectures (one file, since importing Keras takes seconds)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

import vsearch
from tests import album
from vsearch.cli import app, building
from vsearch.cli.training import _shown
from vsearch.encoders import Encoder, resolve
from vsearch.encoders.architectures import ARCHITECTURES, Architecture, build, load_weights
from vsearch.errors import EncoderError, UsageError, VersionMismatch
from vsearch.images import read_pixels
from vsearch.training import Callbacks, Epoch, Options, Outcome, Request, Trained, VectorKind, programs, train
from vsearch.training.batches import split
from vsearch.training.checkpoints import Checkpoint
from vsearch.training.devices import import_keras
from vsearch.training.forward import forward
from vsearch.training.loop import Listener, Step, Trainer
from vsearch.training.programs import Program, worth_compiling

TINY = Architecture("tiny", 16, "8 P S8", "8 U 8 U", batch_size=4)
OPTIONS = Options(epochs=2, batch_size=4, learning_rate=1e-3, precision="float32")


@pytest.fixture(scope="module", autouse=True)
def keras() -> None:
    import_keras("auto")


@pytest.fixture(autouse=True)
def eagerly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without XLA, whose compiling takes most of a tiny training, but where a test is marked ``compiled``."""
    import tensorflow as tf

    tf.config.run_functions_eagerly("compiled" not in request.keywords)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    # 24 and 8 are whole batches: XLA compiles every other size anew.
    album.write_album(folder, 32)
    return folder


def request(source: Path, folder: Path, **changes: Any) -> Request:
    made = Request(TINY, OPTIONS, folder / "tiny.encoder", (source,), staging=folder / "staging")
    return replace(made, **changes)


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(request(photos, tmp_path_factory.mktemp("trained")))


@pytest.mark.parametrize(
    ("name", "parameters", "latent"),
    [("pet160", 11_361_027, (10, 10, 512)), ("travel600", 72_883, (75, 75, 16))],
)
def test_the_study_s_architectures_are_exact(name: str, parameters: int, latent: tuple[int, ...]) -> None:
    models = build(ARCHITECTURES[name])
    assert models.autoencoder.count_params() == parameters == ARCHITECTURES[name].parameters
    assert models.encoder.output_shape[1:] == latent == ARCHITECTURES[name].latent_shape
    assert models.autoencoder.output_shape == models.autoencoder.input_shape


def test_compact_is_ten_times_cheaper_than_pet160() -> None:
    compact, pet160 = ARCHITECTURES["compact"], ARCHITECTURES["pet160"]
    assert build(compact).autoencoder.count_params() == compact.parameters
    assert compact.multiplications * 10 <= pet160.multiplications


@pytest.mark.compiled
def test_the_fast_forward_pass_is_the_model() -> None:
    models = build(TINY)
    pictures = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    plain, fast = models.autoencoder(pictures), forward(models.autoencoder, pictures)
    assert np.abs(np.asarray(plain) - np.asarray(fast)).max() < 1e-5


@pytest.mark.compiled
@pytest.mark.parametrize("sizes", [{1, 3}, {3}, set()], ids=["xla", "xla but for the remainder", "plain"])
def test_steps_equal_those_of_keras_fit(sizes: set[int]) -> None:
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    keras.utils.set_random_seed(1)
    ours = build(TINY)
    keras.utils.set_random_seed(1)
    theirs = build(TINY)
    trainer = Trainer(TINY, ours, OPTIONS)
    trainer._at_once = 3  # several parts a batch
    trainer._gradients.compile(sizes, trainer._zeros)
    losses = [trainer.step(pixels[start : start + 4]) for start in (0, 4, 8)]
    theirs.autoencoder.compile(keras.optimizers.Adam(OPTIONS.learning_rate), "mse")
    pictures = pixels.astype(np.float32) / 255
    expected = [
        float(theirs.autoencoder.train_on_batch(pictures[s : s + 4], pictures[s : s + 4])) for s in (0,)
    ]
    for start in (4, 8):
        theirs.autoencoder.train_on_batch(pictures[start : start + 4], pictures[start : start + 4])
    assert losses[0] == pytest.approx(expected[0], rel=1e-4)
    for mine, other in zip(ours.autoencoder.get_weights(), theirs.autoencoder.get_weights(), strict=True):
        assert np.abs(mine - other).max() < 2e-4


def test_a_bundle_is_complete_and_encodes_as_keras_does(trained: Trained, photos: Path) -> None:
    folder = Path(trained.bundle)
    names = {"encoder.onnx", "encoder.json", "model.weights.h5", "history.json"}
    assert {path.name for path in folder.iterdir()} == names | {"loss.png", "reconstructions.png"}
    models = build(TINY)
    load_weights(models, TINY, folder / "model.weights.h5")
    pixels = np.stack([read_pixels(path, 16, "stretch") for path in sorted(photos.rglob("*.png"))])
    expected = np.asarray(models.encoder(pixels.astype(np.float32) / 255)).reshape(len(pixels), -1)
    assert np.abs(Encoder(resolve(folder)).encode(pixels) - expected).max() < 1e-5
    graph = onnx.load(folder / "encoder.onnx").graph
    assert (len(graph.input), len(graph.output)) == (1, 1)
    record = json.loads((folder / "encoder.json").read_text())["training"]
    assert (record["training_photos"], record["validation_photos"]) == (24, 8)
    assert [epoch["number"] for epoch in record["history"]] == [1, 2]
    for name in ("loss.png", "reconstructions.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100


def test_an_index_uses_the_bundle_and_leaves_the_weights_behind(
    trained: Trained, photos: Path, tmp_path: Path
) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=trained.bundle)
    index.add(photos)
    query = next(photos.rglob("*.png"))
    assert index.query(query, k=1)[0].path == str(query)
    assert {path.name for path in (index.path / "encoder").iterdir()} == {"encoder.onnx", "encoder.json"}


@pytest.mark.parametrize(("vector", "dimension"), [("mean", 8), ("pca:5", 5), ("flat", 128)])
def test_vectors_come_out_as_asked(photos: Path, tmp_path: Path, vector: str, dimension: int) -> None:
    options = replace(OPTIONS, epochs=1, vector=VectorKind.parse(vector), precision="int8")
    made = train(request(photos, tmp_path, options=options))
    assert made.trial is not None
    assert made.dimension == dimension == Encoder(resolve(made.bundle)).dimension
    assert made.precision == resolve(made.bundle).specification.precision == "int8"


def test_staged_photos_are_read_once(photos: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    progress = Callbacks(on_photo=lambda done, total: seen.append(done))
    train(request(photos, tmp_path, options=replace(OPTIONS, epochs=1)), progress)
    assert len(seen) == 32
    again = request(photos, tmp_path, options=replace(OPTIONS, epochs=1), output=tmp_path / "other.encoder")
    train(again, progress)
    assert len(seen) == 32


def test_kept_pixels_of_an_index_are_trained_on(trained: Trained, photos: Path, tmp_path: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=trained.bundle, keep_pixels=True)
    index.add(photos)
    made = train(request(photos, tmp_path, photos=(), index=index.path))
    assert made.photos == 32


def test_build_index_trains_first_where_asked(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", replace(TINY, epochs=1))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "_MUCH_MEMORY", 1)
    monkeypatch.setattr(building, "_SHORT", 64)
    place = tmp_path / "trained.vsearch"
    line = ["build-index", str(photos), "--index", str(place), "--encoder", "tiny", "--train"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert vsearch.Index.open(place).status().encoder.name == "tiny"
    assert "Chroma will hold about" in done.stderr and "--vector pca:64" in done.stderr
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 0 and "was trained before" in again.stderr


def test_an_index_without_pixels_says_so(trained: Trained, photos: Path, tmp_path: Path) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=trained.bundle)
    index.add(photos)
    with pytest.raises(UsageError, match=r"keeps no pixels.*--keep-pixels"):
        train(request(photos, tmp_path, photos=(), index=index.path))
    with pytest.raises(UsageError, match="--exclude goes with photo folders"):
        train(request(photos, tmp_path, photos=(), index=index.path, exclude=["day0"]))


def interrupted_after(number: int) -> Callbacks:
    def stop(step: Step) -> None:
        if step.epoch > number:
            raise KeyboardInterrupt

    return Callbacks(listener=Listener(on_step=stop))


def test_ctrl_c_keeps_the_best_and_resume_equals_a_run_in_one_go(photos: Path, tmp_path: Path) -> None:
    whole = train(request(photos, tmp_path, output=tmp_path / "whole.encoder"))
    stopped = train(request(photos, tmp_path), interrupted_after(1))
    assert (stopped.outcome.stopped, len(stopped.outcome.epochs)) == ("interrupted", 1)
    resolve(stopped.bundle)
    resumed = train(request(photos, tmp_path, resume=True))
    assert resumed.outcome.stopped == "finished"
    losses = [[e.validation_loss for e in t.outcome.epochs] for t in (whole, resumed)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_only_sizes_that_much_work_is_ahead_of_are_compiled() -> None:
    compact, travel600 = ARCHITECTURES["compact"], ARCHITECTURES["travel600"]
    assert worth_compiling(compact, 18, epochs=2, batch_size=4, at_once=31) == set()
    assert worth_compiling(compact, 318, epochs=10, batch_size=10, at_once=31) == {10}
    assert worth_compiling(travel600, 317, epochs=10, batch_size=5, at_once=2) == {1, 2}
    assert worth_compiling(travel600, 317, epochs=0, batch_size=5, at_once=2) == set()


def test_compiling_is_told_and_comes_before_the_epochs(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    compile_now = Program.compile

    def compile_too(program: Program, sizes: set[int], *rest: Any) -> None:
        told.append(f"compiles {sizes}")
        compile_now(program, sizes, *rest)

    monkeypatch.setattr(Program, "compile", compile_too)
    monkeypatch.setattr(programs, "_PAYS", 1)
    progress = Callbacks(listener=Listener(lambda: told.append("told"), lambda step: told.append("step")))
    train(request(photos, tmp_path, options=replace(OPTIONS, epochs=1)), progress)
    assert told == ["told", "compiles {4}", "compiles {4}", *6 * ["step"]]


def test_ctrl_c_before_the_first_epoch_ended_keeps_nothing(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(request(photos, tmp_path), interrupted_after(0))
    assert not (tmp_path / "tiny.encoder").exists()


def test_nan_stops_and_says_what_to_do(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"NaN in the first epoch.*lower --learning-rate"):
        train(request(photos, tmp_path, options=replace(OPTIONS, learning_rate=1e38)))


def test_resuming_with_other_options_or_another_architecture_is_refused(photos: Path, tmp_path: Path) -> None:
    train(request(photos, tmp_path))
    with pytest.raises(UsageError, match="trained with batch size 4, not 6"):
        train(request(photos, tmp_path, options=replace(OPTIONS, batch_size=6), resume=True))
    with pytest.raises(UsageError, match="trained with architecture tiny, not other"):
        train(request(photos, tmp_path, architecture=replace(TINY, name="other"), resume=True))
    with pytest.raises(UsageError, match="add --resume"):
        train(request(photos, tmp_path))
    weights = Checkpoint(tmp_path / "tiny.encoder").weights(2)
    other = replace(TINY, encoder="4 P S4")
    with pytest.raises(EncoderError, match="does not hold the weights of tiny"):
        load_weights(build(other), other, weights)


def test_resuming_with_as_many_other_photos_is_refused(photos: Path, tmp_path: Path) -> None:
    train(request(photos, tmp_path, options=replace(OPTIONS, epochs=1)))
    album.write_album(tmp_path / "others", 32, first=100)
    with pytest.raises(UsageError, match="trained on other photos than these 32; resume with the same"):
        train(request(tmp_path / "others", tmp_path, resume=True))
    moved = shutil.copytree(photos, tmp_path / "moved")
    assert len(train(request(moved, tmp_path, resume=True)).outcome.epochs) == 2
    state = Checkpoint(tmp_path / "tiny.encoder").folder / "state.json"
    before = json.loads(state.read_text())
    del before["subject"]["contents"]  # as earlier versions wrote it
    state.write_text(json.dumps(before))
    assert train(request(photos, tmp_path, resume=True)).outcome.stopped == "finished"


def test_epochs_that_are_done_already_are_told(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    line = ["train", str(photos), "--encoder", "tiny", "--precision", "float32", "-o", str(tmp_path / "t")]
    line += ["--staging", str(tmp_path / "staging"), "--epochs"]
    first = CliRunner().invoke(app, [*line, "2"])
    assert first.exit_code == 0 and "done already" not in first.stderr, first.output
    again = CliRunner().invoke(app, [*line, "1", "--resume"])
    assert again.exit_code == 0 and "2 epochs are done already" in again.stderr, again.output


def test_time_left_is_of_epochs_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _shown(request(photos, tmp_path, options=replace(OPTIONS, epochs=12))) as progress:
        time.sleep(1)  # staging
        for number, seconds in enumerate((40.0, 1.0, 3.0), 1):
            progress.listener.on_epoch(Epoch(number, 0.1, 0.1, seconds))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(", ", 1)[1] for line in lines] == ["7 min left", "10 s left", "18 s left"]


def test_patience_ends_a_training_that_gains_nothing(photos: Path, tmp_path: Path) -> None:
    # Steps this small change no float32 weight, so no epoch is better than the first.
    options = replace(OPTIONS, epochs=9, learning_rate=1e-30, patience=2)
    outcome: Outcome = train(request(photos, tmp_path, options=options)).outcome
    assert (outcome.stopped, len(outcome.epochs)) == ("patience", 3)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (4, OPTIONS, "too few for a batch of 4"),
        (8, replace(OPTIONS, vector=VectorKind("flat", 50)), "pca:50"),
    ],
)
def test_too_few_photos(tmp_path: Path, count: int, options: Options, message: str) -> None:
    album.write_album(tmp_path / "few", count)
    with pytest.raises(UsageError, match=message):
        train(request(tmp_path / "few", tmp_path, options=options))


def test_photos_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"not a photo")
    with pytest.raises(UsageError, match=r"none of 1 photos can be read.*a\.jpg"):
        train(request(tmp_path / "bad", tmp_path))


def test_bundles_that_disagree_or_are_of_another_version(trained: Trained, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    resolve(trained.bundle).copy_to(bundle)
    content = json.loads((bundle / "encoder.json").read_text())
    (bundle / "encoder.json").write_text(json.dumps(content | {"dimension": 7}))
    with pytest.raises(EncoderError, match=r"promises dimension 7, encoder\.onnx has"):
        Encoder(resolve(bundle)).encode(np.zeros((1, 16, 16, 3), np.uint8))
    (bundle / "encoder.json").write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(VersionMismatch):
        resolve(bundle)


def test_the_split_is_scikit_learn_s_size() -> None:
    from sklearn.model_selection import train_test_split

    for count in (7390, 308, 5, 10, 423):
        mine = split(count, 0.25, 3)
        theirs = train_test_split(range(count), test_size=0.25)
        assert (len(mine.training), len(mine.validation)) == (len(theirs[0]), len(theirs[1]))
        assert sorted([*mine.training, *mine.validation]) == list(range(count))

"""CLIP folders in the layout in which Immich publishes them, with models made here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

import vsearch
from vsearch.encoders import Bundle, Encoder
from vsearch.encoders.clip import TextHalf
from vsearch.errors import EncoderError
from vsearch.images import read_pixels
from vsearch.resizing import Resizing

WORDS = {"<pad>": 0, "<unk>": 1, "red": 2, "green": 3, "blue": 4}
SIZE, CONTEXT = 8, 6


def save(path: Path, nodes: list, inputs: list, outputs: list, constants: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(nodes, "clip", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture is its mean colour, a text the sum of its words' colours; one row at a time, as published."""
    folder = tmp_path_factory.mktemp("encoders") / "colours"
    save(
        folder / "visual" / "model.onnx",
        [helper.make_node("ReduceMean", ["image"], ["vector"], axes=[2, 3], keepdims=0)],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3])],
        [],
    )
    table = np.array([[0, 0, 0], [0, 0, 0], [2, -1, -1], [-1, 2, -1], [-1, -1, 2]], np.float32)
    save(
        folder / "textual" / "model.onnx",
        [
            helper.make_node("Gather", ["table", "text"], ["words"], axis=0),
            helper.make_node("ReduceSum", ["words", "one"], ["vector"], keepdims=0),
        ],
        [helper.make_tensor_value_info("text", TensorProto.INT32, [1, CONTEXT])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "one")],
    )
    tokenizer = Tokenizer(models.WordLevel(WORDS, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "textual" / "tokenizer.json"))
    (folder / "textual" / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    text = {"context_length": CONTEXT, "tokenizer_kwargs": {"clean": "canonicalize"}}
    (folder / "config.json").write_text(json.dumps({"embed_dim": 3, "text_cfg": text}))
    preprocessing = {"size": [SIZE, SIZE], "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps(preprocessing))
    return folder


@pytest.fixture
def colours(tmp_path: Path, clip_folder: Path) -> vsearch.Index:
    folder = tmp_path / "colours"
    folder.mkdir()
    for name in ("red", "lime", "blue"):
        Image.new("RGB", (20, 10), name).save(folder / f"{name}.png")
    made = vsearch.Index.create(tmp_path / "colours.vsearch", encoder=clip_folder)
    made.add(folder)
    return vsearch.Index.open(made.path)


@pytest.mark.parametrize(("text", "name"), [("red", "red"), ("a GREEN, field!", "lime"), ("blue", "blue")])
def test_words_find_pictures(colours: vsearch.Index, text: str, name: str) -> None:
    assert Path(colours.query(text=text, k=1)[0].path).stem == name


def test_words_must_be_left_when_the_text_is_cleaned(colours: vsearch.Index) -> None:
    for text in ("...", " ?! "):
        with pytest.raises(vsearch.UsageError, match="must have a word"):
            colours.query(text=text)


def test_words_and_pictures_mix_by_weight(colours: vsearch.Index) -> None:
    picture = Image.new("RGB", (8, 8), "red")
    assert Path(colours.query(picture, text="blue", text_weight=3, k=1)[0].path).stem == "blue"
    assert Path(colours.query(picture, text="blue", text_weight=0.3, k=1)[0].path).stem == "red"


@pytest.fixture
def gap_folder(tmp_path: Path, clip_folder: Path) -> Path:
    """The same with a number beside the colours that words and pictures never share, as in real models."""
    folder = shutil.copytree(clip_folder, tmp_path / "gap")
    save(
        folder / "visual" / "model.onnx",
        [
            helper.make_node("ReduceMean", ["image"], ["colour"], axes=[2, 3], keepdims=0),
            helper.make_node("Concat", ["colour", "kind"], ["vector"], axis=1),
        ],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(np.array([[0.8, 0]], np.float32), "kind")],
    )
    graph = onnx.load(folder / "textual" / "model.onnx")
    table = np.pad(numpy_helper.to_array(graph.graph.initializer[0]), [(0, 0), (0, 2)])
    table[2:, 4] = 3
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(graph, folder / "textual" / "model.onnx")
    (folder / "config.json").write_text(json.dumps({"embed_dim": 5, "text_cfg": {"context_length": CONTEXT}}))
    return folder


def test_words_are_judged_by_what_photos_score_with_them(tmp_path: Path, gap_folder: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n, shade in enumerate(np.random.default_rng(3).integers(0, 60, (60, 3)).tolist()):
        shade[n % 3] = 255 - shade[n % 3]
        Image.new("RGB", (8, 8), tuple(shade)).save(folder / f"{('red', 'lime', 'blue')[n % 3]}{n}.png")
    with vsearch.Index.create(tmp_path / "many.vsearch", encoder=gap_folder) as index:
        index.add(folder)
        words = index.query(text="red", k=None, min_match=0.9)
        pictures = index.query(folder / "red0.png", k=None, min_match=0.9)
        both = index.query(folder / "red0.png", text="red", k=None, min_match=0.9)
    for found in (words, pictures, both):
        assert {Path(match.path).name.startswith("red") for match in found} == {True}
        assert len(found) == 20


def test_pictures_come_in_as_rgb_planes_scaled_by_mean_and_std(clip_folder: Path) -> None:
    pixels = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    pixels[1, ..., 0] = 255
    vectors = Encoder(Bundle(clip_folder)).encode(pixels)
    np.testing.assert_allclose(vectors, [[-1, -1, -1], [1, -1, -1]], atol=1e-6)


def test_long_texts_are_cut_at_the_context(clip_folder: Path) -> None:
    half = TextHalf(clip_folder)
    np.testing.assert_array_equal(half.encode("red " * 50), half.encode("red " * CONTEXT))


def test_a_copied_folder_keeps_name_and_fingerprint(clip_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(clip_folder)
    bundle.copy_to(tmp_path / "encoder")
    copied = Bundle(tmp_path / "encoder")
    assert (copied.info.name, copied.fingerprint) == ("colours", bundle.fingerprint)
    (tmp_path / "encoder" / "textual" / "tokenizer.json").write_text("{}")
    assert Bundle(tmp_path / "encoder").fingerprint != bundle.fingerprint
    with pytest.raises(EncoderError, match=r"tokenizer\.json cannot be loaded"):
        Encoder(Bundle(tmp_path / "encoder")).encode_text("red")


def test_without_a_tokenizer_config_the_tokenizer_says_how_to_pad(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "four")
    (folder / "textual" / "tokenizer_config.json").unlink()
    np.testing.assert_array_equal(TextHalf(folder).encode("red"), TextHalf(clip_folder).encode("red"))
    tokenizer = Tokenizer.from_file(str(folder / "textual" / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=2, pad_token="red")
    tokenizer.save(str(folder / "textual" / "tokenizer.json"))
    half = TextHalf(folder)
    np.testing.assert_array_equal(half.encode("blue"), half.encode("blue" + " red" * (CONTEXT - 1)))


def four_files(source: Path, target: Path) -> Path:
    """The least a folder can have."""
    shutil.copytree(source, target)
    (target / "config.json").unlink()
    (target / "textual" / "tokenizer_config.json").unlink()
    return target


def let_any_length_in(folder: Path) -> None:
    graph = onnx.load(folder / "textual" / "model.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "context"
    onnx.save(graph, folder / "textual" / "model.onnx")


def test_without_a_config_the_text_graph_says_how_many_tokens_it_takes(
    clip_folder: Path, tmp_path: Path
) -> None:
    folder = four_files(clip_folder, tmp_path / "four")
    np.testing.assert_array_equal(
        Encoder(Bundle(folder)).encode_text("red " * 50), [2 * CONTEXT, *[-CONTEXT] * 2]
    )
    (folder / "config.json").write_text(json.dumps({"embed_dim": 3, "text_cfg": {}}))
    assert TextHalf(folder).encode("red " * 50)[0] == 2 * CONTEXT


@pytest.mark.parametrize(("set_up", "tokens"), [("enable_truncation", 9), ("enable_padding", 11), ("", 77)])
def test_else_the_tokenizer_says_how_many(
    clip_folder: Path, tmp_path: Path, set_up: str, tokens: int
) -> None:
    folder = four_files(clip_folder, tmp_path / "four")
    let_any_length_in(folder)
    saved = folder / "textual" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(saved))
    if set_up == "enable_truncation":
        tokenizer.enable_truncation(tokens)
    elif set_up:
        tokenizer.enable_padding(length=tokens, pad_token="<pad>")
    tokenizer.save(str(saved))
    assert TextHalf(folder).encode("red " * 100)[0] == 2 * tokens


def say(file: Path, **what: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **what}))


@pytest.mark.parametrize(
    ("file", "field", "value", "allowed"),
    [
        ("visual/preprocess_cfg.json", "size", [[8]], "one whole number above 0"),
        ("visual/preprocess_cfg.json", "size", [{}, {}], "one whole number above 0"),
        ("visual/preprocess_cfg.json", "size", [8, 9], "one whole number above 0"),
        ("visual/preprocess_cfg.json", "resize_mode", ["a"], "one of shortest, squash, longest"),
        ("visual/preprocess_cfg.json", "interpolation", {}, "one of bicubic, bilinear"),
        ("visual/preprocess_cfg.json", "mean", [[1], 2, 3], "three numbers"),
        ("visual/preprocess_cfg.json", "std", [1, 0, 1], "numbers other than 0"),
        ("textual/tokenizer_config.json", "pad_token", {"x": 1}, "a word that tokenizer.json has"),
        ("textual/tokenizer_config.json", "pad_token", {"content": ["a"]}, "a word that tokenizer.json has"),
        ("config.json", "text_cfg", {"context_length": [6]}, "a number above 0"),
    ],
)
def test_what_cannot_be_followed_is_told_in_a_line(
    clip_folder: Path, tmp_path: Path, file: str, field: str, value: object, allowed: str
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "odd")
    say(folder / file, **{field: value})
    with pytest.raises(EncoderError) as told:
        Encoder(Bundle(folder)).check()
    (line,) = str(told.value).splitlines()
    assert all(part in line for part in (str(folder / file), field, allowed, "; restore the encoder"))


@pytest.mark.parametrize(
    ("said", "level"),
    [({}, [0, 0, 0]), ({"fill_color": 200}, [200] * 3), ({"fill_color": [1, 2, 3]}, [1, 2, 3])],
)
def test_the_bars_of_longest_have_the_fill_colour(
    clip_folder: Path, tmp_path: Path, said: dict[str, object], level: list[int]
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "longest")
    say(folder / "visual" / "preprocess_cfg.json", resize_mode="longest", **said)
    bundle = Bundle(folder)
    bundle.copy_to(tmp_path / "encoder")
    copied = Bundle(tmp_path / "encoder")
    assert copied.fingerprint == bundle.fingerprint
    pixels = read_pixels(Image.new("RGB", (200, 100), "red"), SIZE, copied.specification.resizing)
    assert pixels[0, 0].tolist() == level and pixels[SIZE // 2, 0].tolist() == [255, 0, 0]


def test_fill_colour_is_a_colour(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "odd")
    say(folder / "visual" / "preprocess_cfg.json", fill_color=[0, 256])
    assert Bundle(folder).fingerprint  # no bars, no matter
    say(folder / "visual" / "preprocess_cfg.json", resize_mode="longest")
    with pytest.raises(EncoderError, match=r"fill_color must be a whole number from 0 to 255, or three"):
        Bundle(folder)


def test_interpolation_is_followed(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "smooth")
    for name, filtered in (("random", "bicubic"), ("bilinear", "bilinear")):
        say(folder / "visual" / "preprocess_cfg.json", interpolation=name)
        assert Bundle(folder).specification.resizing.interpolation == filtered


def test_encoders_written_before_fill_and_interpolation_stay_what_they_were(
    clip_folder: Path, tmp_path: Path
) -> None:
    Bundle(clip_folder).copy_to(tmp_path / "encoder")
    described = tmp_path / "encoder" / "encoder.json"
    assert not {"fill", "interpolation"} & json.loads(described.read_text()).keys()
    say(described, resize="pad")
    assert Bundle(described.parent).specification.resizing == Resizing("pad", (127, 127, 127), "bicubic")
    for field, value in (("fill", [0, 0, 256]), ("fill", 0), ("interpolation", ["bicubic"])):
        say(described, **{"fill": [0, 0, 0], field: value})
        with pytest.raises(EncoderError, match=f"encoder.json: {field} must be"):
            Bundle(described.parent)


def test_a_text_half_that_does_not_work_makes_no_index(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "broken")
    (folder / "textual" / "tokenizer_config.json").write_text(json.dumps({"pad_token": "nowhere"}))
    with pytest.raises(EncoderError, match="must name as pad_token a word that"):
        vsearch.Index.create(tmp_path / "i.vsearch", encoder=folder)
    assert not (tmp_path / "i.vsearch").exists()


def test_what_is_wrong_is_told_with_names_of_files_that_are_there(clip_folder: Path, tmp_path: Path) -> None:
    halved = shutil.copytree(clip_folder, tmp_path / "halved")
    (halved / "visual" / "model.onnx").unlink()
    with pytest.raises(EncoderError, match=r"halved is not an encoder: it has no visual/model\.onnx"):
        Bundle(halved)
    other = shutil.copytree(clip_folder, tmp_path / "other")
    said = other / "visual" / "preprocess_cfg.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "size": 99}))
    with pytest.raises(EncoderError, match=r"preprocess_cfg\.json promises input .* visual/model\.onnx has"):
        Encoder(Bundle(other))

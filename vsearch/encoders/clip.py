"""CLIP and SigLIP folders in the layout in which Immich publishes them: pictures and words, one space.

config.json                      optional: embed_dim, text_cfg.context_length, text_cfg.tokenizer_kwargs.clean
visual/model.onnx                input float32 [1, 3, S, S]; first output [1, D]
visual/preprocess_cfg.json       size, mean, std (RGB, 0-1); optional: resize_mode, fill_color, interpolation
textual/model.onnx               input int32 [1, context] of token ids; first output [1, D]
textual/tokenizer.json           of the ``tokenizers`` library
textual/tokenizer_config.json    optional: pad_token
"""

from __future__ import annotations

import contextlib
import json
import re
import string
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.encoders import devices
from vsearch.encoders.specification import Specification
from vsearch.errors import EncoderError, UsageError
from vsearch.quiet import quiet_stderr
from vsearch.records import Device, ResizeMode
from vsearch.resizing import Fill, Interpolation, Resizing, is_fill

VISUAL = Path("visual", "model.onnx")
TEXTUAL = Path("textual", "model.onnx")
TOKENIZER = Path("textual", "tokenizer.json")
TOKENIZER_CONFIG = Path("textual", "tokenizer_config.json")
PREPROCESSING = Path("visual", "preprocess_cfg.json")
CONFIG = Path("config.json")
NO_WORD = "the text of a query must have a word in it"
_CONTEXT = 77
_PAD_TOKENS = ("<pad>", "[PAD]", "<|endoftext|>")
_RESIZE: dict[str, ResizeMode] = {"shortest": "crop", "squash": "stretch", "longest": "pad"}
_INTERPOLATION: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
_Choice = TypeVar("_Choice", ResizeMode, Interpolation)


def is_clip(folder: Path) -> bool:
    """Whether ``folder`` has this layout."""
    return (folder / VISUAL).is_file()


def is_half(folder: Path) -> bool:
    """Whether ``folder`` would have this layout, were its visual half there."""
    return not is_clip(folder) and any(
        (folder / part).exists() for part in (PREPROCESSING, TEXTUAL, TOKENIZER)
    )


def describe(folder: Path, name: str) -> Specification:
    """What ``encoder.json`` would say of the picture half.

    Raises:
        EncoderError: a file is missing or says something that cannot be followed.
    """
    path = folder / PREPROCESSING
    said = _json(path)
    mode = _chosen(path, said, "resize_mode", _RESIZE, "shortest")
    mean, std = _colour(path, said, "mean"), _colour(path, said, "std")
    if 0 in std:
        raise _wrong(path, "std", "numbers other than 0", said["std"])
    return Specification(
        name=name,
        input_size=_side(path, said),
        resize=mode,
        mean=mean,
        std=std,
        layout="NCHW",
        input_dtype="float32",
        dimension=_dimension(folder),
        parameters=sum(f.stat().st_size for f in (folder / "visual").glob("*model*")) // 4,
        trained=True,
        precision="float32",
        licence="see where the folder comes from",
        provenance={
            "layout": "CLIP folder as Immich publishes them",
            "parameters": "from the size of the file",
        },
        fill=_fill(path, said) if mode == "pad" else Resizing().fill,
        interpolation=_chosen(path, said, "interpolation", _INTERPOLATION, "bicubic"),
    )


def files(folder: Path) -> list[Path]:
    """Every file that decides what a vector is, in order: for the fingerprint."""
    halves = (folder / "visual", folder / "textual")
    found = sorted(path for half in halves for path in half.rglob("*") if path.is_file())
    return [*found, *([folder / CONFIG] if (folder / CONFIG).is_file() else [])]


class TextHalf:
    """Turns words into vectors of the same space as the pictures', on ``device``.

    Raises:
        EncoderError: a file is missing or unusable.
    """

    def __init__(self, folder: Path, device: Device = "auto") -> None:
        self._folder = folder
        context, self._canonical = _text_settings(folder)
        self._session = session(folder / TEXTUAL, device)
        self._tokenizer = _tokenizer(folder, context or _fixed_length(self._session))

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        """The vector of ``text``, float32 [D], as the graph gives it.

        Raises:
            UsageError: cleaning leaves nothing of it.
        """
        words = cleaned(text, canonical=self._canonical)
        if not words:
            raise UsageError(NO_WORD)
        encoding = self._tokenizer.encode(words)
        ids = np.array([encoding.ids], np.int32)
        values = {"attention_mask": np.array([encoding.attention_mask], np.int32)}
        inputs = self._session.get_inputs()
        feed = {i.name: values.get(i.name, ids).astype(_dtype(i.type)) for i in inputs}
        try:
            first = self._session.run(None, feed)[0]
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes of its own
            raise EncoderError(f"{self._folder / TEXTUAL}: ONNX Runtime failed: {error}") from error
        return np.asarray(first, np.float32).reshape(-1)


def cleaned(text: str, *, canonical: bool) -> str:
    """Runs of white space as one blank; ``canonical``: lower case without punctuation too, as SigLIP wants.

    >>> cleaned(" A  dog,\\non a beach! ", canonical=True)
    'a dog on a beach'
    """
    if canonical:
        text = text.translate(str.maketrans("", "", string.punctuation)).lower()
    return re.sub(r"\s+", " ", text).strip()


def session(graph: Path, device: Device = "auto") -> Any:
    """An ONNX Runtime session on one thread, or on a GPU.

    Raises:
        EncoderError: the graph is missing or cannot be loaded, or not on ``cuda`` when that was asked for.
        UsageError: this ONNX Runtime has no CUDA, and that was asked for.
    """
    with durable.uninterrupted():  # a Ctrl-C within would leave half of it, which cannot be imported again
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = devices.providers(device, onnxruntime.get_available_providers())
    # Where CUDA cannot be used after all, ONNX Runtime says so at length and takes the CPU.
    quiet = quiet_stderr() if devices.CUDA in providers else contextlib.nullcontext()
    try:
        with quiet:
            if devices.CUDA in providers:
                devices.load_libraries()
            made = onnxruntime.InferenceSession(_model(graph), options, providers=providers)
    except Exception as error:  # see TextHalf.encode
        raise EncoderError(
            f"{graph} cannot be loaded: {str(error).splitlines()[0]}; restore or recreate the encoder"
        ) from error
    devices.taken(device, made.get_providers())
    return made


def _model(graph: Path) -> str | bytes:
    """The path, or, where it is not UTF-8, which ONNX Runtime does not take, the bytes."""
    try:
        str(graph).encode()
    except UnicodeEncodeError:
        return graph.read_bytes()
    return str(graph)


def _tokenizer(folder: Path, context: int | None) -> Any:
    """What turns a text into ``context`` tokens, or, if that is not known, into as many as it says itself."""
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # its own class is not exported
        raise EncoderError(f"{folder / TOKENIZER} cannot be loaded: {error}; restore the encoder") from error
    known = [token for token in _pad_tokens(folder, tokenizer) if tokenizer.token_to_id(token) is not None]
    if not known:
        raise EncoderError(
            f"{folder / TOKENIZER_CONFIG} must name as pad_token a word that {TOKENIZER.name} has; "
            "restore the encoder"
        )
    context = context or _own_length(tokenizer) or _CONTEXT
    tokenizer.enable_truncation(max_length=context)
    tokenizer.enable_padding(length=context, pad_token=known[0], pad_id=tokenizer.token_to_id(known[0]))
    return tokenizer


def _text_settings(folder: Path) -> tuple[int | None, bool]:
    """How many tokens a text has, and whether it is to be canonical; as ``config.json``, if any, says."""
    text = _json(folder / CONFIG).get("text_cfg", {}) if (folder / CONFIG).is_file() else {}
    context = text.get("context_length") if isinstance(text, dict) else 0
    cleaning = text.get("tokenizer_kwargs", {}) if isinstance(text, dict) else None
    if not (context is None or _is_size(context)) or not isinstance(cleaning, dict):
        raise EncoderError(
            f"{folder / CONFIG}: text_cfg must be an object, its context_length a number above 0, its "
            f"tokenizer_kwargs an object; received {text}; restore the encoder"
        )
    return context, cleaning.get("clean") == "canonicalize"


def _fixed_length(graph: Any) -> int | None:
    """How many tokens the text graph takes, unless it takes any number."""
    shapes = [port.shape for port in graph.get_inputs()]
    return next((shape[1] for shape in shapes if len(shape) == 2 and _is_size(shape[1])), None)


def _own_length(tokenizer: Any) -> int | None:
    """To how many tokens the tokenizer, as it was saved, cuts or fills up a text."""
    return (tokenizer.truncation or {}).get("max_length") or (tokenizer.padding or {}).get("length")


def _pad_tokens(folder: Path, tokenizer: Any) -> list[str]:
    """What may fill up short texts: as the folder says, else what tokenizers of such models usually have."""
    if (folder / TOKENIZER_CONFIG).is_file():
        named = _json(folder / TOKENIZER_CONFIG).get("pad_token", "<pad>")
        word = named.get("content") if isinstance(named, dict) else named
        return [word] if isinstance(word, str) else []
    if tokenizer.padding:
        return [tokenizer.padding["pad_token"]]
    return list(_PAD_TOKENS)


def _dtype(kind: str) -> type[np.signedinteger[Any]]:
    return np.int64 if kind == "tensor(int64)" else np.int32


def _dimension(folder: Path) -> int:
    if (folder / CONFIG).is_file():
        dimension = _json(folder / CONFIG).get("embed_dim")
        if _is_size(dimension):
            return dimension
    last = session(folder / VISUAL, "cpu").get_outputs()[0].shape[-1]
    if not isinstance(last, int):
        raise EncoderError(
            f"{folder / VISUAL} does not say how long its vectors are; add embed_dim to {CONFIG}"
        )
    return last


def _side(path: Path, said: dict[str, Any]) -> int:
    sides = said.get("size")
    side, *others = sides if isinstance(sides, list) and len(sides) in (1, 2) else [sides]
    if not _is_size(side) or others not in ([], [side]):
        raise _wrong(path, "size", "one whole number above 0, or two that are equal", sides)
    return side


def _colour(path: Path, said: dict[str, Any], name: str) -> tuple[float, float, float]:
    """Three numbers, from the scale 0-1 to 0-255."""
    colour = said.get(name)
    numbers = colour if isinstance(colour, list) else []
    if len(numbers) != 3 or not all(isinstance(number, int | float) for number in numbers):
        raise _wrong(path, name, "three numbers", colour)
    red, green, blue = (255.0 * float(number) for number in numbers)
    return red, green, blue


def _fill(path: Path, said: dict[str, Any]) -> Fill:
    level = said.get("fill_color", 0)
    fill = tuple(level) if isinstance(level, list) else (level, level, level)
    if not is_fill(fill):
        raise _wrong(path, "fill_color", "a whole number from 0 to 255, or three", level)
    return fill


def _chosen(
    path: Path, said: dict[str, Any], name: str, choices: dict[str, _Choice], default: str
) -> _Choice:
    choice = said.get(name, default)
    if not isinstance(choice, str) or choice not in choices:
        raise _wrong(path, name, f"one of {', '.join(choices)}", choice)
    return choices[choice]


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _wrong(path: Path, name: str, expected: str, received: object) -> EncoderError:
    return EncoderError(f"{path}: {name} must be {expected}; received {received!r}; restore the encoder")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}; restore the encoder") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} must hold one object; restore the encoder")
    return content

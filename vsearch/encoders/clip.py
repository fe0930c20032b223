"""CLIP and SigLIP folders in the layout in which Immich publishes them: pictures and words, one space.

config.json                      optional: embed_dim, text_cfg.context_length, text_cfg.tokenizer_kwargs.clean
visual/model.onnx                input float32 [1, 3, S, S]; first output [1, D]
visual/preprocess_cfg.json       size, mean and std (RGB, 0-1), resize_mode
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
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.encoders import devices
from vsearch.encoders.specification import Specification
from vsearch.errors import EncoderError
from vsearch.quiet import quiet_stderr
from vsearch.records import Device, ResizeMode

VISUAL = Path("visual", "model.onnx")
TEXTUAL = Path("textual", "model.onnx")
TOKENIZER = Path("textual", "tokenizer.json")
TOKENIZER_CONFIG = Path("textual", "tokenizer_config.json")
PREPROCESSING = Path("visual", "preprocess_cfg.json")
CONFIG = Path("config.json")
_CONTEXT = 77
_PAD_TOKENS = ("<pad>", "[PAD]", "<|endoftext|>")
_RESIZE: dict[str, ResizeMode] = {"shortest": "crop", "squash": "stretch", "longest": "pad"}


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
    preprocessing = _json(folder / PREPROCESSING)
    size = preprocessing.get("size")
    side = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
    mode = preprocessing.get("resize_mode", "shortest")
    mean, std = preprocessing.get("mean"), preprocessing.get("std")
    colours_fit = _is_colour(mean) and _is_colour(std) and 0 not in cast("list[float]", std)
    if not isinstance(side, int) or side < 1 or mode not in _RESIZE or not colours_fit:
        modes = ", ".join(_RESIZE)
        allowed = f"a square size, mean and std of three numbers (std not 0), resize_mode one of {modes}"
        raise EncoderError(f"{folder / PREPROCESSING} must have {allowed}; received {preprocessing}")
    colours = cast("tuple[list[float], list[float]]", (mean, std))
    scaled = [tuple(255.0 * float(number) for number in colour) for colour in colours]
    return Specification(
        name=name,
        input_size=side,
        resize=_RESIZE[mode],
        mean=cast("tuple[float, float, float]", scaled[0]),
        std=cast("tuple[float, float, float]", scaled[1]),
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
        self._tokenizer = _tokenizer(folder, context)
        self._session = session(folder / TEXTUAL, device)

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        """The vector of ``text``, float32 [D], as the graph gives it."""
        encoding = self._tokenizer.encode(cleaned(text, canonical=self._canonical))
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


def _tokenizer(folder: Path, context: int) -> Any:
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
    tokenizer.enable_truncation(max_length=context)
    tokenizer.enable_padding(length=context, pad_token=known[0], pad_id=tokenizer.token_to_id(known[0]))
    return tokenizer


def _text_settings(folder: Path) -> tuple[int, bool]:
    """How many tokens a text has, and whether it is to be canonical; as ``config.json``, if any, says."""
    text = _json(folder / CONFIG).get("text_cfg", {}) if (folder / CONFIG).is_file() else {}
    context = text.get("context_length", _CONTEXT) if isinstance(text, dict) else None
    cleaning = text.get("tokenizer_kwargs", {}) if isinstance(text, dict) else None
    if not isinstance(context, int) or context < 1 or not isinstance(cleaning, dict):
        raise EncoderError(
            f"{folder / CONFIG}: text_cfg must be an object, its context_length a number above 0, its "
            f"tokenizer_kwargs an object; received {text}"
        )
    return context, cleaning.get("clean") == "canonicalize"


def _pad_tokens(folder: Path, tokenizer: Any) -> list[str]:
    """What may fill up short texts: as the folder says, else what tokenizers of such models usually have."""
    if (folder / TOKENIZER_CONFIG).is_file():
        named = _json(folder / TOKENIZER_CONFIG).get("pad_token", "<pad>")
        return [named["content"] if isinstance(named, dict) else str(named)]
    if tokenizer.padding:
        return [tokenizer.padding["pad_token"]]
    return list(_PAD_TOKENS)


def _dtype(kind: str) -> type[np.signedinteger[Any]]:
    return np.int64 if kind == "tensor(int64)" else np.int32


def _dimension(folder: Path) -> int:
    if (folder / CONFIG).is_file():
        dimension = _json(folder / CONFIG).get("embed_dim")
        if isinstance(dimension, int) and dimension > 0:
            return dimension
    last = session(folder / VISUAL, "cpu").get_outputs()[0].shape[-1]
    if not isinstance(last, int):
        raise EncoderError(
            f"{folder / VISUAL} does not say how long its vectors are; add embed_dim to {CONFIG}"
        )
    return last


def _is_colour(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(n, int | float) for n in value)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}; restore the encoder") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} must hold one object; restore the encoder")
    return content

"""Encoder bundles on disk: ``encoder.json`` and ``encoder.onnx`` in one folder.

``encoder.json`` says how photos become the graph's input; everything after that, the projection included, is
inside the graph, so a bundle has one input and one output.  Its fingerprint is the SHA-256 of both files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from vsearch import durable
from vsearch.encoders import clip
from vsearch.encoders.specification import FORMAT_VERSION, InputType, Layout, Specification
from vsearch.errors import EncoderError, VersionMismatch
from vsearch.records import EncoderInfo, ResizeMode
from vsearch.resizing import Interpolation, is_fill

SPECIFICATION = "encoder.json"
GRAPH = "encoder.onnx"
_TRAINING_FILES = ("*.weights.h5", "history.json", "*.png")


class Bundle:
    """One encoder bundle, read and checked; the graph is not loaded.

    Args:
        folder: the bundle.

    Raises:
        EncoderError: something is missing or wrong; the message says what and how to mend it.
        VersionMismatch: another format version wrote it.
        StorageError: this user may not read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise durable.not_readable(folder)
        self.has_text = clip.is_clip(folder) and (folder / clip.TEXTUAL).is_file()
        self.graph = folder / (clip.VISUAL if clip.is_clip(folder) else GRAPH)
        text = self._text()
        self.specification = _parse(folder / SPECIFICATION, text)
        graphs = clip.files(folder) if clip.is_clip(folder) else [self.graph]
        self.fingerprint = _fingerprint(text, *(_read(graph) for graph in graphs))

    @property
    def described_by(self) -> Path:
        """The file that says what the graph's input is."""
        own = self.folder / SPECIFICATION
        if clip.is_clip(self.folder) and not own.is_file():
            return self.folder / clip.PREPROCESSING
        return own

    @property
    def info(self) -> EncoderInfo:
        """What ``encoders`` lists."""
        s = self.specification
        return EncoderInfo(
            s.name, s.input_size, s.dimension, s.parameters, s.trained, s.licence, self.fingerprint
        )

    def copy_to(self, target: Path) -> None:
        """Copy what encoding needs to ``target``, all or nothing: not weights and pictures of a training."""
        temporary = durable.temporary_beside(target)
        durable.remove(temporary)
        try:
            with durable.storage_errors(target):
                _copy(self.folder, temporary)
                (temporary / SPECIFICATION).write_bytes(self._text())
        except BaseException:
            durable.remove(temporary)  # on a full disk it would take the room that is to be made
            raise
        durable.remove(target)
        durable.publish(temporary, target, "encoder")

    def _text(self) -> bytes:
        """``encoder.json``; a CLIP folder gets one when it is copied, which keeps its name."""
        if self.described_by.name != SPECIFICATION:
            return clip.describe(self.folder, self.folder.resolve().name).as_json().encode()
        return _read(self.folder / SPECIFICATION)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder; unlike shutil.copytree, the first error ends it, as what it is."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            _copy(path, target / path.name)
        elif not any(path.match(pattern) for pattern in _TRAINING_FILES):
            shutil.copyfile(path, target / path.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        missing = clip.VISUAL if clip.is_half(path.parent) else path.name
        raise EncoderError(
            f"{path.parent} is not an encoder: it has no {missing}; "
            "name a bundled encoder (`vsearch encoders`), a folder with "
            f"{SPECIFICATION} and {GRAPH}, or a CLIP folder as Immich publishes them"
        ) from error
    except PermissionError as error:
        raise durable.not_readable(path) from error
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error.strerror}; check the disk") from error


def _parse(path: Path, text: bytes) -> Specification:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise EncoderError(f"{path} is not valid JSON: {error}; restore the bundle") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} must hold one object; received {type(content).__name__}")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise VersionMismatch(
            f"{path}: bundle format {version}, this vsearch reads {FORMAT_VERSION}; "
            "convert or train the encoder again with this version"
        )
    return _checked(path, _specification(path, content))


def _specification(path: Path, content: dict[str, Any]) -> Specification:
    known = {f.name for f in fields(Specification)}
    required = {f.name for f in fields(Specification) if f.default is MISSING}
    if missing := sorted(required - content.keys()):
        raise EncoderError(f"{path} lacks {', '.join(missing)}; restore or recreate the bundle")
    values = {name: value for name, value in content.items() if name in known}
    for name in ("mean", "std", "fill"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    return Specification(**values)


def _checked(path: Path, s: Specification) -> Specification:
    allowed: dict[str, tuple[object, ...]] = {
        "resize": get_args(ResizeMode),
        "layout": get_args(Layout),
        "input_dtype": get_args(InputType),
        "interpolation": get_args(Interpolation),
    }
    for name, choices in allowed.items():
        if getattr(s, name) not in choices:
            raise _wrong(path, name, f"one of {', '.join(map(str, choices))}", getattr(s, name))
    for name in ("name", "precision", "licence"):
        if not isinstance(getattr(s, name), str):
            raise _wrong(path, name, "a text", getattr(s, name))
    for name in ("input_size", "dimension"):
        value = getattr(s, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _wrong(path, name, "a positive whole number", value)
    for name in ("mean", "std"):
        value = getattr(s, name)
        if not (isinstance(value, tuple) and len(value) == 3):
            raise _wrong(path, name, "three numbers", value)
        if not all(isinstance(number, int | float) for number in value):
            raise _wrong(path, name, "three numbers", value)
    if 0 in s.std:
        raise _wrong(path, "std", "numbers other than 0", s.std)
    if not is_fill(s.fill):
        raise _wrong(path, "fill", "three whole numbers, 0 to 255", s.fill)
    return s


def _wrong(path: Path, name: str, expected: str, received: object) -> EncoderError:
    return EncoderError(f"{path}: {name} must be {expected}; received {received!r}")


def _fingerprint(*contents: bytes) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()

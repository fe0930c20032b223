"""The encoders that can be named: those in the package, and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vsearch.encoders.architectures import ARCHITECTURES
from vsearch.encoders.bundles import Bundle
from vsearch.errors import EncoderError
from vsearch.records import EncoderInfo

DEFAULT = "photo"
_BUNDLED = Path(__file__).parent / "bundled"
_NAMES = ("photo", "photo-small")


def available() -> Iterator[EncoderInfo]:
    """The encoders that come with the package, then those that are to be trained first."""
    for name in _NAMES:
        yield Bundle(_BUNDLED / name).info
    for architecture in ARCHITECTURES.values():
        yield architecture.info


def resolve(name: str | os.PathLike[str]) -> Bundle:
    """The bundle that ``name`` means: one of the package's, or a folder.

    Raises:
        EncoderError: there is no such encoder, or it has yet to be trained; the message says how to go on.
    """
    name = os.fspath(name)
    if name in _NAMES:
        return Bundle(_BUNDLED / name)
    if name in ARCHITECTURES:
        raise EncoderError(
            f"{name} learns from your own photos first: run `vsearch train PHOTOS --encoder {name} "
            f"-o {name}.encoder`, then use --encoder {name}.encoder; `build-index --train` does both"
        )
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        return Bundle(folder)
    raise EncoderError(
        f"there is no encoder {name!r}; use one of {', '.join(_NAMES)}, "
        "or the folder of a bundle (encoder.json and encoder.onnx)"
    )

"""What ``encoder.json`` holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vsearch.records import ResizeMode
from vsearch.resizing import Fill, Interpolation, Resizing

FORMAT_VERSION = 1
Layout = Literal["NHWC", "NCHW"]
InputType = Literal["uint8", "float32"]
_USUAL = Resizing()


@dataclass(frozen=True, slots=True)
class Specification:
    """The fields of ``encoder.json``.

    Attributes:
        name: shown to people.
        input_size: side S of the square input, pixels.
        resize: how a photo becomes a square: ``crop`` the centre, ``stretch``, or ``pad``.
        mean, std: per channel on the 0-255 scale; the graph is fed ``(pixels - mean) / std``.
        layout: ``NHWC`` or ``NCHW``.
        input_dtype: ``uint8`` graphs scale by themselves and must have mean 0 and std 1.
        dimension: length D of a vector.
        parameters: weights of the network.
        trained: always true of a usable bundle.
        precision: of the weights.
        licence: SPDX identifier of the weights.
        provenance: where the weights come from and what was done to them.
        training: the training record, for encoders trained by ``vsearch train``.
        fill, interpolation: see :class:`vsearch.resizing.Resizing`.
    """

    name: str
    input_size: int
    resize: ResizeMode
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: Layout
    input_dtype: InputType
    dimension: int
    parameters: int
    trained: bool
    precision: str
    licence: str
    provenance: dict[str, Any]
    training: dict[str, Any] | None = None
    fill: Fill = _USUAL.fill
    interpolation: Interpolation = _USUAL.interpolation
    format_version: int = FORMAT_VERSION

    @property
    def resizing(self) -> Resizing:
        """How a photo becomes the square input."""
        return Resizing(self.resize, self.fill, self.interpolation)

    def as_json(self) -> str:
        """The text of ``encoder.json``; fill and interpolation, which came later, only where unusual."""
        content = asdict(self)
        for name in ("fill", "interpolation"):  # so that texts, and with them fingerprints, stay as they were
            if content[name] == getattr(_USUAL, name):
                del content[name]
        return json.dumps(content, indent=2) + "\n"

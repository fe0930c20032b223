"""Running an encoder bundle with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.encoders import clip, devices
from vsearch.encoders.bundles import Bundle
from vsearch.errors import EncoderError, UsageError
from vsearch.records import Device

NOT_FINITE = "the encoder gave numbers that are not finite"  # of one picture; others may be fine

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


class Encoder:
    """A loaded encoder; :meth:`encode` may be called from several threads at once.

    Each call runs on one thread: two concurrent runs on small batches, which stay in the cache, were a
    quarter faster than one run with two threads.

    Args:
        bundle: what to load.
        device: where it runs; ``auto`` takes a GPU that ONNX Runtime can use.

    Attributes:
        device: where it does run, ``cpu`` or ``cuda``.

    Raises:
        EncoderError: the graph cannot be loaded, or disagrees with ``encoder.json``.
        UsageError: ``cuda`` was asked for, and this ONNX Runtime has none.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        self.bundle = bundle
        self.specification = bundle.specification
        self._session = clip.session(bundle.graph, device)
        self._wanted = device
        self.device = devices.taken(device, self._session.get_providers())
        self._text: clip.TextHalf | None = None
        self._input = _single(bundle, "input", self._session.get_inputs())
        self._check_input()

    @property
    def dimension(self) -> int:
        """Length D of a vector."""
        return self.specification.dimension

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the bundle."""
        return self.bundle.fingerprint

    def encode(self, pixels: Pixels) -> Vectors:
        """The graph's output for ``pixels``.

        Args:
            pixels: uint8 [N, S, S, 3], RGB, upright.

        Returns:
            float32 [N, D], as the graph gives them.

        Raises:
            EncoderError: ONNX Runtime failed, or the output has another shape than promised.
        """
        feed = self._feed(pixels)
        batches = [feed] if self._input.shape[0] != 1 else [feed[n : n + 1] for n in range(len(feed))]
        try:
            outputs = [self._session.run(None, {self._input.name: batch})[0] for batch in batches]
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes of its own
            raise EncoderError(f"{self.bundle.graph}: ONNX Runtime failed: {error}") from error
        rows = np.concatenate(outputs) if outputs else np.empty((0, self.dimension))
        vectors: Vectors = np.asarray(rows, dtype=np.float32).reshape(len(pixels), -1)
        if vectors.shape[1] != self.dimension:
            raise self._disagree(f"dimension {self.dimension}", f"{vectors.shape[1]}")
        return vectors

    def encode_text(self, text: str) -> Vectors:
        """The vector of words, float32 [D], in the same space as the pictures'.

        Raises:
            UsageError: this encoder has no text half.
            EncoderError: its text half is unusable.
        """
        if not self.bundle.has_text:
            raise UsageError(
                f"the encoder {self.specification.name} knows pictures only; for text queries build the "
                "index with a CLIP or SigLIP folder in the layout that Immich publishes "
                "(`vsearch build-index PHOTOS --index DIR --encoder FOLDER`)"
            )
        if self._text is None:
            self._text = clip.TextHalf(self.bundle.folder, self._wanted)
        vector = self._text.encode(text)
        if len(vector) != self.dimension:
            raise EncoderError(
                f"{self.bundle.folder}: the text half gives {len(vector)} numbers, the visual half "
                f"{self.dimension}; the two do not belong together: restore the folder"
            )
        return vector

    def check(self) -> None:
        """Encode a grey picture, and a word if there is a text half, so that faults show before work begins.

        Raises:
            EncoderError: it does not work.
        """
        side = self.specification.input_size
        if not np.isfinite(self.encode(np.full((1, side, side, 3), 128, np.uint8))).all():
            raise EncoderError(
                f"{self.bundle.folder} gives numbers that are not finite, of grey pictures too; restore the "
                "encoder"
            )
        if self.bundle.has_text:
            self.encode_text("photo")

    def _feed(self, pixels: Pixels) -> npt.NDArray[Any]:
        s = self.specification
        if s.input_dtype == "uint8":
            scaled: npt.NDArray[Any] = pixels
        else:
            scaled = (pixels - np.array(s.mean, np.float32)) / np.array(s.std, np.float32)
        if s.layout == "NCHW":
            scaled = scaled.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(scaled)

    def _check_input(self) -> None:
        s = self.specification
        expected = "tensor(uint8)" if s.input_dtype == "uint8" else "tensor(float)"
        if self._input.type != expected:
            raise self._disagree(f"input {s.input_dtype}", str(self._input.type))
        square = (s.input_size, s.input_size)
        promised = (3, *square) if s.layout == "NCHW" else (*square, 3)
        found = tuple(self._input.shape[1:])
        fixed = [n for n, side in enumerate(found) if isinstance(side, int)]  # a name stands for any number
        if len(found) != len(promised) or any(found[n] != promised[n] for n in fixed):
            raise self._disagree(f"input {s.layout} of {promised}", f"{found}")

    def _disagree(self, promised: str, found: str) -> EncoderError:
        folder = self.bundle.folder
        described_by = self.bundle.described_by.relative_to(folder)
        graph = self.bundle.graph.relative_to(folder)
        return EncoderError(
            f"{folder}: {described_by} promises {promised}, {graph} has {found}; "
            "the two do not belong together: restore or recreate the bundle"
        )


def _single(bundle: Bundle, what: str, ports: list[Any]) -> Any:
    if len(ports) != 1:
        raise EncoderError(f"{bundle.graph} has {len(ports)} {what}s; a bundle's graph has one")
    return ports[0]

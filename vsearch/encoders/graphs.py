"""ONNX graphs of trained encoders: from Keras' export to a bundle's graph, in float32 or int8.

A bundle's graph is

    pixels uint8 [N, S, S, 3] ─ x / 255 ─ network ─ vectors float32 [N, D] ─ projection, if there is one

so that Python hands over the decoded bytes as they are.  In int8 ``x / 255`` is exactly how a uint8 tensor
with scale 1/255 is read, and the first convolution takes the pixels themselves.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OPSET = 17
PICTURES = "pictures"  # the input of the exported network: float32 [N, S, S, 3] in 0..1
_PIXEL_SCALE = np.array(1 / 255, np.float32)
_PIXEL_ZERO = np.array(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """``y = x @ weights + offset``: float32 [D, C] and float32 [C]."""

    weights: Floats
    offset: Floats


def export(encoder: Any, path: Path) -> None:
    """Write a Keras model from pictures to vectors as an ONNX graph, by way of Keras' own export."""
    with _quiet():
        encoder.export(str(path), format="onnx", opset_version=OPSET, verbose=False)


def quantise(network: Path, target: Path, calibration: Iterable[Pixels]) -> None:
    """Static int8 of an exported network: uint8 activations, int8 weights per output channel.

    Ranges are those seen (MinMax) while ``calibration`` runs through.  Weights take 7 bits
    (``reduce_range``): with 8 the 16-bit accumulation of AVX2 saturates.

    Args:
        network: what :func:`export` wrote.
        target: where the int8 graph goes.
        calibration: batches of pixels, uint8 [b, S, S, 3].
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    exact = {"scale": _PIXEL_SCALE, "zero_point": _PIXEL_ZERO, "quant_type": QuantType.QUInt8}
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, _quiet():
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"TensorQuantOverrides": {PICTURES: [exact]}},
        )


def assemble(network: Path, target: Path, size: int, dimension: int, projection: Projection | None) -> None:
    """Write a bundle's graph: the network with the pixels' scale before it and the projection behind.

    Args:
        network: what :func:`export` or :func:`quantise` wrote.
        target: the bundle's ``encoder.onnx``.
        size: side S of the pictures.
        dimension: D of the network's own vectors.
        projection: from D to the C numbers of a vector, or ``None``.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(network))
    graph = model.graph
    body = list(graph.node)
    head = _head(body)
    tail, constants = _tail(graph.output[0].name, projection)
    output = "vectors" if projection else graph.output[0].name
    length = len(projection.offset) if projection else dimension
    whole = helper.make_graph(
        head + body + tail,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", length])],
        [
            *graph.initializer,
            numpy_helper.from_array(_PIXEL_SCALE, "pixel_scale"),
            numpy_helper.from_array(_PIXEL_ZERO, "pixel_zero"),
            *(numpy_helper.from_array(array, name) for name, array in constants.items()),
        ],
    )
    opsets = [helper.make_opsetid(o.domain, o.version) for o in model.opset_import if not o.domain]
    onnx.save(
        helper.make_model(whole, opset_imports=opsets, ir_version=8, producer_name="vsearch"), str(target)
    )


def extend(graph: Path, target: Path, projection: Projection) -> None:
    """Write a bundle's graph anew, with a projection behind it, between two norms: unit vectors in and out.

    Args:
        graph: from pixels to vectors (its first output), float32 [N, D].
        target: where the whole graph goes, with one output: float32 [N, C].
        projection: from unit vectors of D numbers to C.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(graph))
    body = model.graph
    taken = {name for node in body.node for name in node.output}
    head = next(name for n in range(len(taken) + 1) if f"{(name := f'head{n}')}_vectors" not in taken)
    constants: dict[str, npt.NDArray[Any]] = {
        f"{head}_half": projection.weights.astype(np.float16),
        f"{head}_offset": projection.offset.astype(np.float32),
    }
    body.node.extend(
        [
            helper.make_node("LpNormalization", [body.output[0].name], [f"{head}_unit"], axis=-1, p=2),
            helper.make_node("Cast", [f"{head}_half"], [f"{head}_weights"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", [f"{head}_unit", f"{head}_weights"], [f"{head}_product"]),
            helper.make_node("Add", [f"{head}_product", f"{head}_offset"], [f"{head}_sum"]),
            helper.make_node("LpNormalization", [f"{head}_sum"], [f"{head}_vectors"], axis=-1, p=2),
        ]
    )
    body.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    rows = body.input[0].type.tensor_type.shape.dim[0]
    del body.output[:]
    shape = [rows.dim_value or "N", len(projection.offset)]
    body.output.append(helper.make_tensor_value_info(f"{head}_vectors", TensorProto.FLOAT, shape))
    onnx.save(model, str(target))


def _head(body: list[Any]) -> list[Any]:
    """What leads from ``pixels`` to the network; takes the int8 network's own quantiser out of ``body``."""
    from onnx import helper

    quantiser = next((n for n in body if n.op_type == "QuantizeLinear" and n.input[0] == PICTURES), None)
    if quantiser is None:
        scale = ["pixels", "pixel_scale", "pixel_zero"]
        return [helper.make_node("DequantizeLinear", scale, [PICTURES])]
    body.remove(quantiser)
    for node in body:
        node.input[:] = ["pixels" if name == quantiser.output[0] else name for name in node.input]
    return []


def _tail(output: str, projection: Projection | None) -> tuple[list[Any], dict[str, npt.NDArray[Any]]]:
    """The projection's nodes and constants; the weights lie there in float16, at half the size."""
    from onnx import TensorProto, helper

    if projection is None:
        return [], {}
    nodes = [
        helper.make_node("Cast", ["projection_half"], ["projection"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", [output, "projection", "projection_offset"], ["vectors"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "projection_half": projection.weights.astype(np.float16),
        "projection_offset": projection.offset,
    }
    return nodes, constants


def _reader(batches: Iterable[Pixels]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Pixels] = iter(batches)

        def get_next(self) -> dict[str, Floats] | None:
            pixels = next(self.batches, None)
            return None if pixels is None else {PICTURES: pixels.astype(np.float32) * _PIXEL_SCALE}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime's quantiser and tf2onnx log advice to the root logger, and warn of numpy's future."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)

"""A deterministic encoder for fast tests: the mean colour on a 2 x 2 grid, 12 numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vsearch.encoders.bundles import GRAPH, SPECIFICATION, Specification

SIZE = 16
DIMENSION = 12


def write_toy_encoder(folder: Path, *, name: str = "toy", scale: float = 1.0) -> Path:
    """Write the bundle to ``folder``; another ``scale`` is another encoder with the same ranking."""
    folder.mkdir(parents=True)
    onnx.save(_graph(scale), str(folder / GRAPH))
    (folder / SPECIFICATION).write_text(_specification(name).as_json())
    return folder


def _specification(name: str) -> Specification:
    return Specification(
        name=name,
        input_size=SIZE,
        resize="stretch",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        layout="NHWC",
        input_dtype="uint8",
        dimension=DIMENSION,
        parameters=0,
        trained=True,
        precision="float32",
        licence="Apache-2.0",
        provenance={"what": "mean colour on a 2 x 2 grid"},
    )


def _graph(scale: float) -> onnx.ModelProto:
    # Centred on mid-grey, so that unlike colours point in unlike directions.
    centre = numpy_helper.from_array(np.array(127.5, np.float32), "centre")
    factor = numpy_helper.from_array(np.array(scale / 127.5, np.float32), "factor")
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "centre"], ["centred"]),
        helper.make_node("Mul", ["centred", "factor"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["channels"], ["means"], kernel_shape=[SIZE // 2] * 2, strides=[SIZE // 2] * 2
        ),
        helper.make_node("Flatten", ["means"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", DIMENSION])],
        [centre, factor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

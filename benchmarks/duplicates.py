"""Duplicates: precision and recall by kind of change, and what proposing costs by size.

    python benchmarks/duplicates.py accuracy LANDMARKS PETS [--photos 60]
    python benchmarks/duplicates.py scale [10000 30000 100000]

Accuracy: copies of a sample of the photos are made in every way, indexed together with all the photos, and
the groups compared with the truth: a copy is found when it and its original are in one group.  Beside it:
pHash at 10 bits alone, and the vectors' nearest neighbour at .9 alone.  Scale: made-up hashes and vectors.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

import vsearch
from vsearch import files
from vsearch.duplicates import neighbours, proposals
from vsearch.hashing import as_numbers, distances
from vsearch.segmentrows import SegmentRows

Change = Callable[[Image.Image, random.Random], Image.Image]
TURNS = {"turn 90": 2, "turn 180": 3, "turn 270": 4}  # Image.Transpose
SETTLED = ("jpeg", "resize", "grey", "brightness", "mirror", "turn")


def crop(percent: int) -> Change:
    def change(picture: Image.Image, rng: random.Random) -> Image.Image:
        width, height = (side * percent // 100 for side in picture.size)
        x, y = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
        return picture.crop((x, y, x + width, y + height))

    return change


def resized(percent: int) -> Change:
    return lambda p, _: p.resize(
        (p.width * percent // 100, p.height * percent // 100), Image.Resampling.LANCZOS
    )


def turned(turn: Image.Transpose) -> Change:
    return lambda p, _: p.transpose(turn)


def caption(picture: Image.Image, _: random.Random) -> Image.Image:
    bar = round(picture.height * 0.12)
    canvas = Image.new("RGB", (picture.width, picture.height + bar), "white")
    canvas.paste(picture, (0, 0))
    font = ImageFont.load_default(max(10, bar // 2))
    at = (picture.width * 0.04, picture.height + bar * 0.2)
    ImageDraw.Draw(canvas).text(at, "A photo with a caption", fill="black", font=font)
    return canvas


def text_over(picture: Image.Image, _: random.Random) -> Image.Image:
    changed = picture.copy()
    font = ImageFont.load_default(max(12, picture.height // 10))
    at = (picture.width * 0.05, picture.height * 0.78)
    draw = ImageDraw.Draw(changed)
    draw.text(at, "Summer holidays", fill="white", font=font, stroke_width=2, stroke_fill="black")
    return changed


def screenshot(picture: Image.Image, _: random.Random) -> Image.Image:
    shown = picture.resize((720, round(picture.height * 720 / picture.width)))
    canvas = Image.new("RGB", (720, max(1280, shown.height + 240)), (18, 18, 20))
    draw = ImageDraw.Draw(canvas)
    draw.text((24, 20), "12:41", fill="white", font=ImageFont.load_default(32))
    canvas.paste(shown, (0, (canvas.height - shown.height) // 2))
    for left in range(40, 720, 140):
        draw.ellipse((left, canvas.height - 90, left + 56, canvas.height - 34), outline="white", width=4)
    return canvas


def changes() -> dict[str, Change]:
    """Every way in which copies are made; ``jpeg N`` is saved at that quality, all others at 85."""
    made: dict[str, Change] = {f"jpeg {q}": lambda p, _: p for q in (30, 60, 95)}
    made |= {f"resize {percent}": resized(percent) for percent in (25, 50, 200)}
    made["grey"] = lambda p, _: ImageOps.grayscale(p)
    made["brightness +30"] = lambda p, _: ImageEnhance.Brightness(p).enhance(1.3)
    made["brightness -30"] = lambda p, _: ImageEnhance.Brightness(p).enhance(0.7)
    made["mirror"] = lambda p, _: ImageOps.mirror(p)
    made |= {name: turned(Image.Transpose(turn)) for name, turn in TURNS.items()}
    made |= {f"crop {percent}": crop(percent) for percent in (95, 90, 80, 70)}
    made["border"] = lambda p, _: ImageOps.expand(p, round(min(p.size) * 0.08), "white")
    return made | {"caption": caption, "text": text_over, "screenshot": screenshot}


def write_copies(originals: list[str], folder: Path) -> None:
    """The photos at 800 pixels, and the copies of a sample beside them, one folder for each change."""
    rng = random.Random(1)
    for change, make in changes().items():
        (folder / change).mkdir(parents=True)
        quality = int(change.split()[1]) if change.startswith("jpeg") else 85
        for path in originals:
            picture = shrunk(path)
            make(picture, rng).save(folder / change / f"{name_of(path)}.jpg", quality=quality)


def shrunk(path: str) -> Image.Image:
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((800, 800))
    return picture


def name_of(path: str) -> str:
    return Path(path).stem


def measure_accuracy(folders: list[str], count: int) -> None:
    photos = [
        files.absolute(f.root, f.path)
        for folder in folders
        for f in files.walk(folder, (), lambda skipped: None)
    ]
    sample = random.Random(1).sample(photos, count)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "original").mkdir()
        for path in photos:
            shrunk(path).save(root / "original" / f"{name_of(path)}.jpg", quality=92)
        write_copies(sample, root)
        with vsearch.Index.create(root / "index", encoder="photo") as index:
            index.add(root)
            start = time.perf_counter()
            groups = index.duplicates(kinds=["identical", "altered", "turned", "cropped"])
            seconds = time.perf_counter() - start
            report(index, root, groups)
            again = time.perf_counter()
            index.duplicates()
            total = index.status().photos
            repeated = time.perf_counter() - again
            print(f"\n{total} photos: {seconds:.1f} s the first time, {repeated:.1f} s the second")


def report(index: vsearch.Index, root: Path, groups: list[vsearch.DuplicateGroup]) -> None:
    together: dict[str, set[str]] = defaultdict(set)
    false: dict[tuple[str, str], int] = defaultdict(int)
    for group in groups:
        paths = [group.representative.path, *(m.photo.path for m in group.members)]
        for path in paths:
            together[path].update(paths)
        for member in group.members:
            a, b = Path(member.photo.path), Path(group.representative.path)
            if a.stem != b.stem:
                false[min(a.stem, b.stem), max(a.stem, b.stem)] += 1
    vectors = measured_vectors(index)
    print(f"{'change':16s} {'found':>6s} {'pHash<=10':>10s} {'nearest>.9':>11s}")
    shares: dict[str, list[bool]] = {}
    for change in changes():
        copies = sorted((root / change).iterdir())
        found = [str(root / "original" / copy.name) in together[str(copy)] for copy in copies]
        shares[change] = found
        hashed = [vectors.distance(copy, root / "original" / copy.name) <= 10 for copy in copies]
        near = [vectors.is_nearest(copy, root / "original" / copy.name) for copy in copies]
        print(f"{change:16s} {np.mean(found):6.3f} {np.mean(hashed):10.3f} {np.mean(near):11.3f}")
    settled = [hit for change, hits in shares.items() if change.startswith(SETTLED) for hit in hits]
    right = sum(len(g.members) for g in groups) - sum(false.values())
    print(f"\nre-encode, resize, grey, brightness, mirror, turns together: recall {np.mean(settled):.4f}")
    print(f"links between copies of one photo: {right}; of different photos: {sum(false.values())}")
    originals = len(list((root / "original").iterdir()))
    print(f"pairs of different photos linked: {len(false)} of {originals} photos, to be looked at:")
    for (one, other), links in sorted(false.items()):
        print(f"  {one}  {other}  ({links} links)")


class measured_vectors:
    """Hashes and vectors of an index, by path: what either method alone would say."""

    def __init__(self, index: vsearch.Index) -> None:
        catalog = index._reading()
        self._photos = {index.path_of(photo): photo for photo in catalog.photos("ready")}
        rows = SegmentRows(index._directory, "vectors")
        self._originals = [p for p in self._photos if Path(p).parent.name == "original"]
        self._vectors = {p: rows.vector(photo.vector) for p, photo in self._photos.items() if photo.vector}
        self._matrix = np.stack([self._vectors[p] for p in self._originals])
        rows.close()

    def distance(self, a: Path, b: Path) -> int:
        one, other = self._photos[str(a)].facts, self._photos[str(b)].facts
        if not (one and one.phash and other and other.phash):
            return 64
        return int(distances(as_numbers([one.phash]), as_numbers([other.phash]))[0])

    def is_nearest(self, copy: Path, original: Path) -> bool:
        scores = self._matrix @ self._vectors[str(copy)]
        best = int(scores.argmax())
        return self._originals[best] == str(original) and bool(scores[best] > 0.9)


def measure_scale(sizes: list[int]) -> None:
    print("  photos   hashes  vectors  grouping  together  1,000 new  peak MiB")
    for size in sizes:
        measure_size(size)


def measure_size(size: int) -> None:
    hashed, vectors = made_up(size)
    rows, every = np.arange(size), np.ones(size, np.bool_)
    start = time.perf_counter()
    with ThreadPoolExecutor(1) as side:
        edges = side.submit(timed, lambda: proposals.hash_edges(hashed, every))
        _, near = timed(lambda: neighbours.nearest(vectors, rows, rows, 6, 0.6))
    pairs, hashing = edges.result()
    adjacent = proposals.Adjacency(pairs.a, pairs.b, -pairs.distance.astype(np.int16), size)
    way = (adjacent.of, lambda a, b: abs(a - b) == size // 2, 32)
    groups, grouping = timed(lambda: proposals.stars(range(size), [way]))
    together = time.perf_counter() - start
    _, added = timed(lambda: add_thousand(hashed, vectors))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{size:8d} {hashing:7.1f}s {near:7.1f}s {grouping:8.1f}s {together:8.1f}s {added:9.1f}s {peak:9.0f}"
    )
    assert len(groups.members) == size // 10


def add_thousand(hashed: proposals.Hashed, vectors: neighbours.Vectors) -> None:
    """What `duplicates` does after an `add` of 1,000 photos."""
    rows = np.arange(len(vectors))
    proposals.hash_edges(hashed, rows >= len(rows) - 1000)
    neighbours.nearest(vectors, rows[-1000:], rows, 6, 0.6)
    neighbours.nearest(vectors, rows[:-1000], rows[-1000:], 6, 0.6)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What ``function`` returned, and the seconds it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def made_up(size: int) -> tuple[proposals.Hashed, neighbours.Vectors]:
    """A tenth are altered copies, up to 6 bits off; vectors lie in clusters of about 20."""
    random_ = np.random.default_rng(1)
    hashes = random_.integers(0, 2**64, (2, size), dtype=np.uint64)
    copies = np.arange(size // 10) + size // 2
    hashes[:, copies] = hashes[:, copies - size // 2]
    for _ in range(6):
        hashes[0, copies] ^= np.uint64(1) << random_.integers(0, 64, len(copies), dtype=np.uint64)
    aspect = random_.choice(np.array([4 / 3, 3 / 4, 3 / 2, 1], np.float32), size, p=[0.5, 0.2, 0.2, 0.1])
    centres = random_.standard_normal((max(1, size // 20), neighbours.DIMENSIONS)).astype(np.float32)
    vectors = centres[random_.integers(0, len(centres), size)]
    vectors = vectors + 0.6 * random_.standard_normal(vectors.shape).astype(np.float32)
    return proposals.Hashed(hashes[0], hashes[1], aspect), vectors / np.linalg.norm(
        vectors, axis=1, keepdims=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    accuracy = commands.add_parser("accuracy")
    accuracy.add_argument("folders", nargs="+")
    accuracy.add_argument("--photos", type=int, default=60)
    scale = commands.add_parser("scale")
    scale.add_argument("sizes", nargs="*", type=int, default=[10_000, 30_000, 100_000])
    given = parser.parse_args()
    if given.what == "accuracy":
        measure_accuracy(given.folders, given.photos)
    else:
        measure_scale(given.sizes)

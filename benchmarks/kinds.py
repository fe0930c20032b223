"""Kinds of answers: how often `identical`, `variant` and `similar` are right, through the product.

    python benchmarks/kinds.py LANDMARKS PETS [--photos 60] [--encoder photo]

All photos are indexed at 800 pixels.  Copies of an even sample, altered in every way, ask for five answers
each; so do the photos of the sample themselves, as unaltered files.  A false negative is a copy whose
original is not labelled as it should be, among the answers or not; a false positive is an answer labelled
`variant` or `identical` that shows another photo.  Answers of the query's own folder show the same landmark
or breed, and are counted apart.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from duplicates import changes, shrunk

import vsearch
from vsearch import sources
from vsearch.files import absolute


@dataclass
class Row:
    """What one way of altering gave."""

    queries: int = 0
    right: int = 0
    found: int = 0
    scores: list[float] = field(default_factory=list)
    same: int = 0
    same_wrong: int = 0
    other: int = 0
    other_wrong: int = 0
    mistaken: list[str] = field(default_factory=list)

    def take(self, matches: list[vsearch.Match], original: Path, wanted: str) -> None:
        self.queries += 1
        for match in matches:
            path = Path(match.path)
            if path == original:
                self.found += 1
                self.right += match.kind == wanted
                self.scores.append(match.cosine)
            elif path.parent == original.parent:
                self.same += 1
                self.same_wrong += match.kind != "similar"
            else:
                self.other += 1
                self.other_wrong += match.kind != "similar"
            if path != original and match.kind != "similar":
                self.mistaken.append(f"{original.stem} for {path.stem}")


def laid_out(folders: list[Path], target: Path) -> list[Path]:
    """The photos at 800 pixels, one folder a label."""
    made = []
    for file in sources.found(folders, ()):
        source = Path(absolute(file.root, file.path))
        copy = target / source.parent.name / f"{source.stem}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shrunk(str(source)).save(copy, compress_level=1)
        made.append(copy)
    return sorted(made)


def measure(index: vsearch.Index, originals: list[Path], scratch: Path) -> tuple[dict[str, Row], float]:
    rng, seconds = random.Random(1), 0.0
    rows: dict[str, Row] = defaultdict(Row)
    for original in originals:
        for change, make in {"none": None, **changes()}.items():
            copy = scratch / "copy.jpg"
            if make is None:
                copy = Path(shutil.copy(original, scratch / "copy.png"))
            else:
                quality = int(change.split()[1]) if change.startswith("jpeg") else 85
                make(shrunk(str(original)), rng).save(copy, quality=quality)
            start = time.perf_counter()
            matches = index.query(copy, k=5)
            seconds += time.perf_counter() - start
            rows[change].take(matches, original, "identical" if make is None else "variant")
    return rows, seconds / max(1, sum(row.queries for row in rows.values()))


def print_table(rows: dict[str, Row]) -> None:
    print("| change | wanted | original among five | labelled so | false negatives | score, median / 5 % |")
    print("|---|---|---|---|---|---|")
    for change, row in rows.items():
        wanted = "identical" if change == "none" else "variant"
        low = f"{np.median(row.scores):.3f} / {np.quantile(row.scores, 0.05):.3f}" if row.scores else ""
        shares = f"{row.found / row.queries:.3f} | {row.right / row.queries:.3f}"
        print(f"| {change} | {wanted} | {shares} | {1 - row.right / row.queries:.3f} | {low} |")
    for name, of in (("the same landmark or breed", "same"), ("another", "other")):
        total = sum(getattr(row, of) for row in rows.values())
        wrong = sum(getattr(row, f"{of}_wrong") for row in rows.values())
        share = wrong / max(1, total)
        print(f"false positives, photos of {name}: {wrong} of {total} answers ({share:.4f})")
    print("to be looked at, whether they are copies that the sets hold:")
    for pair, count in Counter(pair for row in rows.values() for pair in row.mistaken).most_common():
        print(f"  {pair} ({count} times)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--encoder", default="photo")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = laid_out(given.folders, Path(folder, "photos"))
        index = vsearch.Index.create(Path(folder, "i.vsearch"), encoder=given.encoder)
        index.add(Path(folder, "photos"))
        originals = photos[:: max(1, len(photos) // given.photos)][: given.photos]
        rows, seconds = measure(index, originals, Path(folder))
        print(f"{len(photos)} photos, {len(originals)} asked for, encoder {given.encoder}")
        print_table(rows)
        print(f"{1000 * seconds:.0f} ms a query")


if __name__ == "__main__":
    main()

"""Make an index of synthetic photos: clustered vectors, made-up facts, no picture files.

Everything but decoding and encoding is the product's own: segments, catalog, generation.

    python benchmarks/synthetic.py /tmp/synthetic.vsearch --photos 100000
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsearch import Index, files
from vsearch.catalog import Catalog, SegmentRow, photo_json
from vsearch.directory import IndexDirectory
from vsearch.encoders import resolve
from vsearch.publisher import Publisher
from vsearch.ranking import normalised
from vsearch.records import FileStat, Location, Photo, PhotoFacts
from vsearch.segments import SegmentWriter

ROWS = 1024
CAMERAS = ("Canon EOS R6", "NIKON Z 6", "Apple iPhone 15", "FUJIFILM X-T5", "SONY ILCE-7M4")


def clustered(count: int, dimension: int, seed: int, per_cluster: int = 50) -> npt.NDArray[np.float32]:
    """Unit vectors in clusters, whose members lie at a cosine of about 0.6 to each other."""
    random = np.random.default_rng(seed)
    centres = normalised(random.standard_normal((max(1, count // per_cluster), dimension), np.float32))
    noise = random.standard_normal((count, dimension), np.float32) / np.sqrt(dimension, dtype=np.float32)
    return normalised(centres[random.integers(0, len(centres), count)] + 0.8 * noise)


def make(place: Path, count: int) -> None:
    """An index of ``count`` photos at ``place``, published."""
    create(place)
    append(place, 0, clustered(count, dimension(), seed=1))
    publish(place)


def dimension() -> int:
    """D of the default encoder, whose index these photos pretend to be in."""
    return resolve("photo").specification.dimension


def create(place: Path) -> None:
    """An index with a folder that does not exist and no photos."""
    Index.create(place)
    directory = IndexDirectory(place)
    directory.write_settings(replace(directory.settings(), roots=("/photos",)))


def append(place: Path, first: int, vectors: npt.NDArray[np.float32]) -> None:
    """Photos number ``first`` and on, with these vectors, float32 [N, D]; not published."""
    directory = IndexDirectory(place)
    with Catalog(directory.catalog_file, ["/photos"]) as catalog:
        number = 1 + max((row.number for row in catalog.segments("vectors")), default=0)
        for start in range(0, len(vectors), ROWS):
            _segment(directory, catalog, number, first + start, vectors[start : start + ROWS])
            number += 1


def publish(place: Path) -> None:
    """Make what is new answer."""
    directory = IndexDirectory(place)
    with Catalog(directory.catalog_file, ["/photos"]) as catalog:
        Publisher(directory, directory.settings(), catalog, dimension()).publish()


def _segment(
    directory: IndexDirectory, catalog: Catalog, number: int, start: int, vectors: npt.NDArray[np.float32]
) -> None:
    photos = [_photo(start + row, Location(number, row)) for row in range(len(vectors))]
    writer = SegmentWriter(directory.segment("vectors", number), "vectors", directory.settings().encoder)
    ids, digests = [p.id for p in photos], [p.sha256 or "" for p in photos]
    writer.append(vectors, ids, digests, [photo_json(p) for p in photos])
    writer.commit()
    with catalog.change() as change:
        change.add_segment(SegmentRow("vectors", number, len(vectors), files.sha256(str(writer.path))))
        change.put(photos)


def _photo(number: int, place: Location) -> Photo:
    taken = datetime(2010, 1, 1) + timedelta(hours=number)
    facts = PhotoFacts(
        width=2000 + number % 3000,
        height=1500 + number % 1000,
        format="JPEG",
        taken_at=taken.isoformat(),
        camera=CAMERAS[number % len(CAMERAS)],
        phash=f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}",
        dhash=f"{(number * 0xC2B2AE3D27D4EB4F) % 2**64:016x}",
    )
    path = f"trip{number % 1000:03d}/photo{number:07d}.jpg"
    file = FileStat("/photos", path, 4_000_000 + number, 10**18 + number)
    return Photo(number + 1, file, f"{number:064x}", "ready", facts, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--photos", type=int, default=100_000)
    given = parser.parse_args()
    started = time.monotonic()
    make(given.place, given.photos)
    print(json.dumps({"photos": given.photos, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()

"""What ``sync`` costs when nothing changed: python benchmarks/sync.py [COUNT] [FOLDER] [--json FILE]

Writes COUNT tiny photos (100,000 by default), puts them into a catalog as if they had been indexed, and
measures one scan of them all in a process of its own: seconds and peak memory; beside what walking through
the folders and asking each file's size and time takes, which any scan must.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import measured

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import toy
from vsearch import files
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle, Encoder
from vsearch.index import Index
from vsearch.records import Location, Photo
from vsearch.sync import Sync
from vsearch.updates import Writable


def make(folder: Path, count: int) -> IndexDirectory:
    photos = folder / "photos"
    for number in range(count):
        path = photos / f"day{number // 500:04d}/photo{number:06d}.jpg"
        if number % 500 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)
    index = Index.create(folder / "index", encoder=toy.write_toy_encoder(folder / "toy"))
    directory = IndexDirectory(index.path)
    directory.write_settings(directory.with_root(directory.settings(), str(photos)))
    with Catalog(directory.catalog_file, [str(photos)]) as catalog, catalog.change() as change:
        change.put(
            Photo(number, file, f"{number:064x}", "ready", vector=Location(1, number))
            for number, file in enumerate(files.walk(str(photos), (), lambda skipped: None), 1)
        )
    return directory


def scan(count: int, folder: Path) -> measured.Figure:
    directory = make(folder, count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    settings = directory.settings()
    with Catalog(directory.catalog_file, directory.roots(settings)) as catalog:
        started, busy = time.monotonic(), time.process_time()
        sync = Sync(Writable(directory, settings, catalog, Encoder(Bundle(directory.encoder))))
        changes = sum(1 for _ in sync.plan())
        seconds, busy = time.monotonic() - started, time.process_time() - busy
    walked = walk(directory.path.parent / "photos")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{count:,} unchanged photos, {changes} changes: {seconds:.1f} s, {busy:.1f} s of them busy")
    print(f"walking and asking each file's size and time alone: {walked:.1f} s")
    print(f"peak memory {peak / 1024:.0f} MiB, {(peak - before) / 1024:.0f} MiB of it for the scan")
    return measured.Figure(
        f"`sync` of {count:,} unchanged photos",
        f"{seconds:.1f} s, {peak / 1024:.0f} MiB",
        f"`os.walk` and `os.stat` of the same files {walked:.1f} s",
        f"{seconds / walked:.1f}x the time",
        command="`sync.py`",
    )


def walk(folder: Path) -> float:
    """Seconds to find all files below a folder and ask for the status of each."""
    started = time.monotonic()
    for place, _, names in os.walk(folder):
        for name in names:
            os.stat(os.path.join(place, name))
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        measured.write(given.json, [scan(given.count, Path(temporary))])


if __name__ == "__main__":
    main()

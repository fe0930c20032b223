"""How near a bulk query comes to the speed at which its pictures can be encoded, in one run.

    python benchmarks/bulk.py ALBUM [QUERIES] [--encoder photo] [--repeats 3] [--copies 4]

ALBUM is indexed, then every photo below QUERIES asks for ten answers, through `vsearch query --from LIST
--json` as a whole process; without QUERIES every second photo of ALBUM is indexed, and the others ask.  Held
against two floors, without anything to start: the photos decoded in two threads and then encoded in ready
batches (*encode-limited*, the floor of `build.py`); and read, decoded and encoded on all threads at once, as
`build-index` does it, with nothing else.  `--copies` asks for each so many times, with other bytes, so that
the start of the process counts as little as with a long list.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import build
import measured

from vsearch import encoders, files, images, ingest

VSEARCH = (sys.executable, "-m", "vsearch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("album", type=Path)
    parser.add_argument("queries", type=Path, nargs="?")
    parser.add_argument("--encoder", default="photo")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        index, listed = Path(scratch, "bulk.vsearch"), Path(scratch, "list.txt")
        album, queries = options.album, photos_below(options.queries or options.album)
        if options.queries is None:
            album, queries = Path(scratch, "album"), queries[1::2]
            copied(photos_below(options.album)[::2], 1, album)
        paths = copied(queries, options.copies, Path(scratch, "queries"))
        build.build(album, options.encoder, index)
        listed.write_text("\n".join(paths) + "\n")
        asked, parts, together = [], [], []
        for _ in range(options.repeats):  # in turn, so that a drifting machine slows all
            asked.append(bulk(index, listed))
            parts.append(sum(build.floor(paths, options.encoder)))
            together.append(read_and_encoded(paths, options.encoder))
    wall, limit, overlapped = (statistics.median(times) for times in (asked, parts, together))
    print(f"{len(paths)} queries, encoder {options.encoder}, medians of {options.repeats}")
    print(f"  query --from, whole process   {wall:7.2f} s  {len(paths) / wall:6.1f}/s")
    print(f"  decoded, then encoded         {limit:7.2f} s  {len(paths) / limit:6.1f}/s")
    print(f"  decoded and encoded at once   {overlapped:7.2f} s  {len(paths) / overlapped:6.1f}/s")
    print(f"  of encode-limited speed: {limit / wall:.2f}   (to reach: at least 0.9)")
    print(f"  of that of decoding and encoding at once: {overlapped / wall:.2f}")
    figure = measured.Figure(
        f"{len(paths):,} queries in bulk",
        f"{len(paths) / wall:.0f}/s",
        f"decoding them in two threads, then encoding ready batches, {len(paths) / limit:.0f}/s",
        f"{limit / wall:.2f}x as fast",
        "`bulk.py`",
    )
    measured.write(options.json, [figure])


def photos_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def copied(paths: list[Path], copies: int, folder: Path) -> list[str]:
    """Copies of photos, each with bytes of its own."""
    folder.mkdir()
    made = []
    for copy in range(copies):
        for n, path in enumerate(paths):
            target = folder / f"{copy}-{n:05d}{path.suffix}"
            target.write_bytes(path.read_bytes() + str(copy).encode())
            made.append(str(target))
    return made


def bulk(index: Path, listed: Path) -> float:
    """Wall seconds of one process that answers the list."""
    command = [*VSEARCH, "query", "--from", str(listed), "--json", "--index", str(index)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def read_and_encoded(paths: list[str], name: str) -> float:
    """Seconds to read, decode and encode all photos in batches, on as many threads as `build-index` has."""
    encoder = encoders.Encoder(encoders.resolve(name))
    specification = encoder.specification

    def encode(batch: list[str]) -> None:
        import numpy as np

        pixels = [
            images.read_pixels(files.read(path), specification.input_size, specification.resize)
            for path in batch
        ]
        encoder.encode(np.stack(pixels))

    threads = ingest.reading_threads()
    started = time.perf_counter()
    batches = ingest.batched(paths, ingest.batch_of(specification.input_size))
    for _ in ingest.in_parallel(encode, batches, threads):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

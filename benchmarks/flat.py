"""Flattened latents of 51,200 numbers: seconds, memory and disk of an index of them, end to end.

    python benchmarks/flat.py [--photos 7390]

Generated photos, as in scale.py; a `pet160` trained for one epoch on 64 of them, since what it has learnt
does not change what its latents cost.  Then `build-index`, `add` of one photo and a query by a new picture,
each a process of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import measured
from scale import VSEARCH, make_photos

TRAINED_ON = 64
LIMIT = 3 * 1024  # MiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=7390)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        ran = measure(Path(scratch), given.photos)
        disk = measured.folder_bytes(Path(scratch, "index")) / 2**20
    for name, one in ran.items():
        print(f"{name:12} {one.seconds:8.1f} s  {one.peak_mib:7.0f} MiB")
    print(f"disk {disk:,.0f} MiB; to reach: at most {LIMIT:,} MiB of memory")
    peak = max(one.peak_mib for one in ran.values())
    figure = measured.Figure(
        f"memory for {given.photos:,} flattened latents of 51,200 numbers",
        f"{peak:,.0f} MiB",
        f"at most {LIMIT:,} MiB",
        f"{peak / LIMIT:.2f}",
        "`flat.py`",
    )
    measured.write(given.json, [figure])


def measure(scratch: Path, count: int) -> dict[str, measured.Ran]:
    """Each step's process."""
    few, photos, more = scratch / "few", scratch / "photos", scratch / "more"
    encoder, place = scratch / "pet160", ("--index", str(scratch / "index"))
    make_photos(few, 0, TRAINED_ON)
    make_photos(photos, 0, count)
    make_photos(more, count, 1)
    new = str(next(more.rglob("*.jpg")))
    trained = ("--encoder", "pet160", "--epochs", "1", "-o", str(encoder))
    measured.run([*VSEARCH, "train", str(few), *trained])
    built = ("build-index", str(photos), "--encoder", str(encoder), *place)
    return {
        "build-index": measured.run([*VSEARCH, *built]),
        "query": measured.run([*VSEARCH, "query", new, *place]),
        "add of one": measured.run([*VSEARCH, "add", str(more), *place]),
    }


if __name__ == "__main__":
    main()

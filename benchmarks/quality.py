"""How often the five nearest are right: the default encoder against another one, by the folders' names.

    python benchmarks/quality.py PHOTOS travel600.encoder [--json FILE]

PHOTOS holds a folder for each thing; `vsearch evaluate` does the measuring, leave-one-out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    encoders = ["--encoder", "photo", "--encoder", str(given.bundle)]
    command = [
        sys.executable,
        "-m",
        "vsearch",
        "evaluate",
        str(given.photos),
        "--labels",
        "folder",
        *encoders,
    ]
    done = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    ours, other = (json.loads(line) for line in done.stdout.splitlines())
    places = len({path.parent for path in given.photos.rglob("*") if path.is_file()})
    figure = measured.Figure(
        f"right among the first five, {ours['queries']:,} photos of {places} things",
        f"`photo` {ours['precision_at_5']:.3f}",
        f"the study's `{given.bundle.name.removesuffix('.encoder')}` {other['precision_at_5']:.3f}",
        f"{ours['precision_at_5'] / other['precision_at_5']:.1f}",
        "`vsearch evaluate` ([docs](docs/training.md#measured))",
    )
    print(measured.table([figure]))
    measured.write(given.json, [figure])


if __name__ == "__main__":
    main()

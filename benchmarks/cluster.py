"""What a Ray cluster costs and gains on this machine: the same photos, indexed here and there, in one run.

    python benchmarks/cluster.py PHOTOS [--encoder photo] [--repeats 2] [--address HOST:PORT]

Without --address it starts a cluster of one node on this machine, with one worker a core.  There is then
nothing to be gained: both ways have the same cores, and the ratio is what Ray, its processes and the stages
cost.  Builds are whole processes, in turn, each into a new index.  The first on Ray finds no worker process
running and is shown apart.  "steady" are the photos a second after the first quarter: without the start of
processes, and nearly without the tasks that run ahead of the first photo that comes back.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measured

ONE_BUILD = """
import json, sys, time
import vsearch

class Clock:
    def __call__(self, progress):
        self.last, self.done = time.monotonic(), progress.done
        if progress.done * 4 <= progress.total:
            self.quarter, self.skipped = self.last, progress.done

photos, path, encoder, address = sys.argv[1:]
clock = Clock()
index = vsearch.Index.create(path, encoder=encoder)
report = index.add(photos, ray=address or None, on_progress=clock)
rate = (clock.done - clock.skipped) / (clock.last - clock.quarter)
print(json.dumps([report.added, rate]))
"""


@dataclass(frozen=True)
class Built:
    """One build: photos, seconds of the whole process, photos a second after the first quarter."""

    photos: int
    wall: float
    steady: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", default="photo")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--address", help="of a running cluster that sees the photos and /tmp")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, cluster(options.address) as address:
        warming = build(options.photos, options.encoder, Path(scratch, "first"), address)
        here, there = [], []
        for n in range(options.repeats):
            here.append(build(options.photos, options.encoder, Path(scratch, f"here{n}"), ""))
            there.append(build(options.photos, options.encoder, Path(scratch, f"there{n}"), address))
    measured.write(options.json, [report(options.encoder, warming, here, there)])


def report(encoder: str, warming: Built, here: list[Built], there: list[Built]) -> measured.Figure:
    print(f"{here[0].photos} photos, encoder {encoder}, medians of {len(here)}, {os.cpu_count()} cores")
    local, ray = (statistics.median(b.wall for b in built) for built in (here, there))
    print(f"  build here                    {local:7.2f} s  {here[0].photos / local:6.1f} photos/s")
    print(f"  build on Ray                  {ray:7.2f} s  {there[0].photos / ray:6.1f} photos/s")
    print(f"  the first on a new cluster    {warming.wall:7.2f} s")
    print(f"  whole process, Ray / here     {ray / local:7.2f}")
    rates = [statistics.median(b.steady for b in built) for built in (here, there)]
    both = f"({rates[0]:.1f} / {rates[1]:.1f} photos/s)"
    print(f"  steady, here / Ray            {rates[0] / rates[1]:7.2f}  {both}")
    return measured.Figure(
        f"index {here[0].photos:,} photos on a Ray cluster of the same {os.cpu_count()} cores",
        f"{ray:.1f} s",
        f"without Ray {local:.1f} s",
        f"{ray / local:.2f}x the time",
        "`cluster.py`",
    )


def build(photos: Path, encoder: str, index: Path, address: str) -> Built:
    started = time.perf_counter()
    command = [sys.executable, "-c", ONE_BUILD, str(photos), str(index), encoder, address]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    added, steady = json.loads(done.stdout.splitlines()[-1])
    return Built(added, time.perf_counter() - started, steady)


@contextmanager
def cluster(address: str | None) -> Iterator[str]:
    """The cluster that was named, or one of this machine's cores, for the time being."""
    if address:
        yield address
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {
        "num_cpus": os.cpu_count(),
        "object_store_memory": 100 * 2**20,
        "node_ip_address": "127.0.0.2",
        "include_dashboard": False,
    }
    running = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield str(running.address)
    finally:
        running.shutdown()


if __name__ == "__main__":
    main()

"""vsearch against other ways to search photos by picture: the same photos, the same machine, one run.

    python benchmarks/peers.py PHOTOS [--limit 200] [--only rclip ...]

How each is set up is in ways.py.  Peers are installed from the package index into environments of their
own below build/peers, minutes and some gigabytes the first time.  Their networks get random weights of the
right size, which cost the same time, memory and disk; --download-weights takes their own.  What cannot be
installed or fails is listed with the reason.

Each step is a process of its own: indexing; a cold query (from the start of the process to the five
nearest of one photo; median); warm queries (of other photos in one open process; median).  The photos asked
by are not indexed: vsearch would recognise them, and not encode them again.  Peak memory is the
larger of indexing and query, index bytes what the way leaves on the disk, its weights not included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import measured

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent / "build" / "peers"
WARM = 20


@dataclass(frozen=True)
class Peer:
    """A way of ways.py: how it is called, its environment ("": this one) and what is installed there."""

    way: str
    name: str
    environment: str = ""
    requirement: str = ""
    weights: str = ""


PEERS = (
    Peer("vsearch", "vsearch, `photo`"),
    Peer("study", "the study's way, `pet160`", weights="random"),
    Peer("phash", "imagededup, `PHash`", "torch", "imagededup"),
    Peer("cnn", "imagededup, `CNN`", "torch", "imagededup", "random"),
    Peer("deepimagesearch", "DeepImageSearch, `clip-vit-b-32`", "torch", "DeepImageSearch", "random"),
    Peer("rclip", "rclip", "rclip", "rclip", "random"),
    Peer("chroma", "Chroma + Keras `predict`, MobileNetV2", weights="random"),
)


@dataclass(frozen=True)
class Result:
    """One peer's figures; rates in photos/s, of the whole process and after its start."""

    rate: float
    working_rate: float
    peak_mib: float
    index_kib: float
    cold_s: float
    warm_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="take the first N photos (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="of the cold query")
    parser.add_argument("--only", nargs="+", choices=[p.way for p in PEERS[1:]], help="leave the others out")
    parser.add_argument("--download-weights", action="store_true", help="use the peers' own weights")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    paths = photos_of(given.photos)
    if len(paths) < WARM + 2:
        parser.error(
            f"{given.photos} has {len(paths)} files; {WARM + 1} are asked by, and one at least is indexed"
        )
    peers = [p for p in PEERS if not given.only or p.way in ("vsearch", *given.only)]
    with tempfile.TemporaryDirectory() as scratch:
        indexed, rest = paths[: -WARM - 1][: given.limit], paths[-WARM - 1 :]
        photos, asked = copied(indexed, Path(scratch, "photos")), copied(rest, Path(scratch, "asked"))
        count = len(indexed)
        results, failures = {}, {}
        for peer in peers:
            try:
                models = installed(peer, given.download_weights)
                results[peer] = measure(peer, photos, asked, Path(scratch, peer.way), models, given.repeats)
            except measured.Failed as failure:
                failures[peer] = str(failure)
    print(f"{count} photos, {os.cpu_count()} cores; in brackets: times vsearch's\n")
    print(table(results, given.download_weights))
    measured.write(given.json, figures(results, failures, count))
    for peer, reason in failures.items():
        print(f"\nNot measured: {peer.name}: {reason}")
    sys.exit(PEERS[0] in failures)


def photos_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def copied(paths: list[Path], target: Path) -> Path:
    """Copies of photos in one flat folder, which every peer can read."""
    target.mkdir()
    for number, path in enumerate(paths):
        shutil.copyfile(path, target / f"{number:05d}{path.suffix.lower()}")
    return target


def installed(peer: Peer, download: bool) -> Path:
    """Make what the peer needs, unless it is there; returns the folder of its weights.

    Raises:
        measured.Failed: it cannot be had.
    """
    models = ENVIRONMENTS / "weights" / (peer.way if not download else f"{peer.way}-own")
    models.mkdir(parents=True, exist_ok=True)
    if not peer.environment:
        return models
    install(peer.environment, peer.requirement)
    if peer.weights and not download and not any(models.iterdir()):
        install("torch", "open_clip_torch")
        install("torch", "onnx")
        nowhere = str(models)
        command = [interpreter("torch"), str(HERE / "ways.py"), peer.way, "prepare", nowhere, nowhere]
        try:
            measured.run([*command, str(models)])
        except measured.Failed:
            shutil.rmtree(models)
            raise
    return models


def interpreter(environment: str) -> str:
    return str(ENVIRONMENTS / environment / "bin" / "python") if environment else sys.executable


def install(environment: str, requirement: str) -> None:
    """Install a requirement, once; pip's last word is the reason if it cannot."""
    stamp = ENVIRONMENTS / environment / f"installed-{requirement}"
    if stamp.exists():
        return
    print(f"Installing {requirement} into {stamp.parent} ...", file=sys.stderr)
    if not stamp.parent.exists():
        subprocess.run([sys.executable, "-m", "venv", str(stamp.parent)], check=True)
    measured.run([interpreter(environment), "-m", "pip", "install", "-q", requirement])
    stamp.touch()


def measure(peer: Peer, photos: Path, asked: Path, store: Path, models: Path, repeats: int) -> Result:
    """All figures of one peer, asked by photos that it has not indexed."""
    store.mkdir()
    command = [interpreter(peer.environment), str(HERE / "ways.py"), peer.way]
    queries = sorted(asked.iterdir())

    def step(name: str, *by: Path) -> measured.Ran:
        more = ["--query", *map(str, by)] if by else []
        return measured.run([*command, name, str(photos), str(store), str(models), *more], environment())

    indexed = step("index")
    size = measured.folder_bytes(store)
    cold = [step("ask", queries[0]) for _ in range(1 if peer.way == "study" else repeats)]
    warm = step("ask", *queries)
    count = len(list(photos.iterdir()))
    result = Result(
        rate=count / indexed.seconds,
        working_rate=count / indexed.json()["work_s"],
        peak_mib=max(ran.peak_mib for ran in (indexed, warm, *cold)),
        index_kib=size / 2**10,
        cold_s=statistics.median(ran.seconds for ran in cold),
        warm_ms=warm.json()["warm_ms"],
    )
    print(peer.name, result, file=sys.stderr)
    return result


def environment() -> dict[str, str]:
    """Offline and quiet."""
    return {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "ANONYMIZED_TELEMETRY": "False"}


def table(results: dict[Peer, Result], downloaded: bool = False) -> str:
    """The Markdown table, each figure with its ratio to vsearch's.

    >>> ours, theirs = Result(20, 30, 400, 99, 1.0, 20), Result(10, 15, 800, 0, 4.0, 10)
    >>> table({PEERS[0]: ours, PEERS[1]: theirs}).splitlines()[-1].split(" | ")[2:6]
    ['10.0 (0.50)', '15.0 (0.50)', '800 (2.00)', 'nothing kept']
    """
    headings = (
        "",
        "weights",
        "photos/s",
        "after start",
        "peak MiB",
        "index KiB",
        "cold query s",
        "warm query ms",
    )
    ours = next((result for peer, result in results.items() if peer.way == "vsearch"), None)
    return measured.markdown(headings, [cells(p, r, ours, downloaded) for p, r in results.items()])


def figures(results: dict[Peer, Result], failures: dict[Peer, str], count: int) -> list[measured.Figure]:
    """The rows of the README's table, one a peer; none without vsearch's own figures.

    >>> ours, theirs = Result(20, 30, 400, 99, 1.0, 20), Result(10, 15, 800, 9, 4.0, 50)
    >>> rows = figures({PEERS[0]: ours, PEERS[5]: theirs}, {PEERS[1]: "no"}, 7)
    >>> [(row.baseline, row.ratio) for row in rows][0]
    ('rclip 10 photos/s; 50 ms', '2.0x as fast; 0.40x the time')
    >>> [(row.what, row.baseline, row.ratio) for row in rows][1]
    ('index 7 photos; query, warm', "the study's way, `pet160` was not measured", '')
    >>> figures({PEERS[5]: theirs}, {PEERS[0]: "no"}, 7)
    []
    """
    ours = results.get(PEERS[0])
    if ours is None:
        return []

    def row(baseline: str, ratio: str = "") -> measured.Figure:
        value = f"{ours.rate:.0f} photos/s; {ours.warm_ms:.0f} ms"
        command = "`peers.py` ([docs](docs/peers.md))"
        return measured.Figure(f"index {count:,} photos; query, warm", value, baseline, ratio, command)

    compared = [
        row(
            f"{peer.name} {theirs.rate:.0f} photos/s; {theirs.warm_ms:.0f} ms",
            f"{ours.rate / theirs.rate:.1f}x as fast; {ours.warm_ms / theirs.warm_ms:.2f}x the time",
        )
        for peer, theirs in results.items()
        if peer != PEERS[0]
    ]
    return [*compared, *(row(f"{peer.name} was not measured") for peer in failures)]


def cells(peer: Peer, result: Result, ours: Result | None, downloaded: bool) -> list[str]:
    def cell(name: str, form: str) -> str:
        value = getattr(result, name)
        if not value:
            return "nothing kept"
        ratio = f" ({value / getattr(ours, name):.2f})" if ours and ours is not result else ""
        return format(value, form) + ratio

    return [
        peer.name,
        "its own" if not peer.weights or (downloaded and peer.environment) else peer.weights,
        cell("rate", ".1f"),
        cell("working_rate", ".1f"),
        cell("peak_mib", ",.0f"),
        cell("index_kib", ",.0f"),
        cell("cold_s", ".2f"),
        cell("warm_ms", ".1f"),
    ]


if __name__ == "__main__":
    main()

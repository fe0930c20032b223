"""The server under load: ``python benchmarks/serve.py PHOTOS [--seconds N] [--clients N]``.

Indexes a copy of up to 400 of PHOTOS, serves it with --allow-add on 127.0.0.1, and measures

1. questions by id over HTTP against the same questions in a loop of ``Index.query``, in this process: asked
   first, worked out again (--keep-answers 0), and answered with the answer that was kept;
2. many clients at once, asking by id and by upload while one adds photos: failures, p50 and p99;
3. the server's memory before and after 10,000 questions.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
from PIL import Image

import vsearch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.serving import Server

K = 10
TURNS = 5
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def copied(photos: Path, folder: Path, most: int) -> list[Path]:
    """Copies of ``most`` photos: the benchmark adds to their folder."""
    found = sorted(p for p in photos.rglob("*") if p.suffix.lower() in SUFFIXES)[:most]
    folder.mkdir()
    return [Path(shutil.copy(p, folder / f"{n:04d}{p.suffix.lower()}")) for n, p in enumerate(found)]


def variants(path: Path) -> list[bytes]:
    """New photos, endlessly different: one photo with one pixel changed each time."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    made = []
    for n in range(400):
        picture.putpixel((n % picture.width, n // picture.width), (n % 256, 0, 255))
        data = io.BytesIO()
        picture.save(data, "PNG")
        made.append(data.getvalue())
    return made


def rate(ask: Callable[[str], object], ids: list[str], seconds: float, threads: int) -> float:
    """Questions a second."""
    until = time.perf_counter() + seconds

    def loop(turn: int) -> int:
        done = 0
        for photo_id in itertools.islice(itertools.cycle(ids), turn, None):
            if time.perf_counter() > until:
                return done
            ask(photo_id)
            done += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(loop, range(threads))) / seconds


def throughput(index: vsearch.Index, ids: list[str], seconds: float) -> None:
    """By id, over HTTP against in process: first questions of a photo, then again and again.

    Asked again of two servers: one that works every answer out anew, as the loop does, one that keeps them.
    """
    known = {photo_id: index.photo(photo_id) for photo_id in ids}

    def ours(photo_id: str) -> object:
        return index.query(known[photo_id], k=K)

    with (
        Server(index.path, "--keep-answers", "0") as forgetful,
        Server(index.path) as keeping,
        forgetful.http() as forgetful_http,
        keeping.http() as keeping_http,
    ):
        anew, kept = asking(forgetful_http), asking(keeping_http)
        first = [len(ids) / timed(ask, ids, threads) for ask, threads in ((ours, 1), (anew, 4))]
        timed(kept, ids, 4)
        print(f"by id, first: Index.query in a loop {first[0]:.0f}/s, {compared(first[1], first[0])}")
        loop, again = [], {"worked out again": Spent(forgetful, anew), "kept": Spent(keeping, kept)}
        for _ in range(TURNS):
            loop.append(rate(ours, ids, seconds / TURNS, 1))
            for spent in again.values():
                spent.measure(ids, seconds / TURNS)
    here = statistics.median(loop)
    for what, spent in again.items():
        over_http, cpu = compared(statistics.median(spent.rates), here), statistics.median(spent.cpu)
        print(f"by id, {what}: Index.query in a loop {here:.0f}/s, {over_http}, {cpu * 1000:.2f} ms of CPU")


class Spent:
    """Questions a second of a server, and seconds of CPU that its process spends on one, all threads."""

    def __init__(self, server: Server, ask: Callable[[str], object]) -> None:
        self._process = psutil.Process(server.process.pid)
        self._ask = ask
        self.rates: list[float] = []
        self.cpu: list[float] = []

    def measure(self, ids: list[str], seconds: float) -> None:
        before = self._process.cpu_times()
        self.rates.append(rate(self._ask, ids, seconds, 4))
        after = self._process.cpu_times()
        used = after.user + after.system - before.user - before.system
        self.cpu.append(used / (self.rates[-1] * seconds))


def asking(client: httpx.Client) -> Callable[[str], object]:
    """Asks by id; all threads share the client's connections."""
    return lambda photo_id: client.get(f"/api/v1/photos/{photo_id}/similar?k={K}").raise_for_status()


def compared(over_http: float, loop: float) -> str:
    """A rate over HTTP, and how it compares."""
    return f"over HTTP {over_http:.0f}/s, ratio {over_http / loop:.2f}"


def timed(ask: Callable[[str], object], ids: list[str], threads: int) -> float:
    """Seconds for one question of each."""
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, ids))
    return time.perf_counter() - started


class Load:
    """Counts and times answers of many clients."""

    def __init__(self, server: Server, ids: list[str], photos: list[Path], new: list[bytes]) -> None:
        self.url = server.url
        self.ids = ids
        self.photos = [path.read_bytes() for path in photos[:20]]
        self.new = iter(new)
        self.lock = threading.Lock()
        self.times: dict[str, list[float]] = {"by id": [], "by upload": [], "add": []}
        self.failed: list[str] = []

    def ask(self, kind: str, until: float, turn: int) -> None:
        with httpx.Client(base_url=self.url, timeout=120, trust_env=False) as client:
            while time.perf_counter() < until:
                turn += 1
                started = time.perf_counter()
                try:
                    answer = self._send(client, kind, turn)
                except httpx.HTTPError as error:
                    self.failed.append(f"{kind}: {error!r}")
                    continue
                if answer.is_error:
                    self.failed.append(f"{kind}: {answer.status_code} {answer.text}")
                self.times[kind].append(time.perf_counter() - started)

    def _send(self, client: httpx.Client, kind: str, turn: int) -> httpx.Response:
        if kind == "by id":
            return client.get(f"/api/v1/photos/{self.ids[turn % len(self.ids)]}/similar?k={K}")
        if kind == "by upload":
            return client.post("/api/v1/query/upload", files={"image": self.photos[turn % len(self.photos)]})
        with self.lock:
            return client.post("/api/v1/photos", files={"file": next(self.new)})

    def run(self, clients: int, seconds: float) -> None:
        until = time.perf_counter() + seconds
        kinds = ["add", *("by upload" if n % 5 == 0 else "by id" for n in range(clients))]
        with ThreadPoolExecutor(len(kinds)) as pool:
            list(pool.map(lambda pair: self.ask(pair[1], until, pair[0]), enumerate(kinds)))

    def report(self, seconds: float) -> None:
        for kind, times in self.times.items():
            cut = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
            print(
                f"{kind:10}{len(times):7} answers {len(times) / seconds:6.0f}/s   "
                f"p50 {cut[49] * 1000:6.0f} ms   p99 {cut[98] * 1000:6.0f} ms"
            )
        print(f"failed: {len(self.failed)}", *self.failed[:5], sep="\n  ")


def memory(server: Server, ids: list[str], questions: int) -> None:
    """Resident memory after a tenth of the questions, and after all."""
    process = psutil.Process(server.process.pid)
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        sizes = []
        for part in range(10):
            for n in range(questions // 10):
                client.get(f"/api/v1/photos/{ids[(part + n) % len(ids)]}/similar?k={K}").raise_for_status()
            sizes.append(process.memory_info().rss / 2**20)
    shown = " ".join(f"{size:.0f}" for size in sizes)
    print(f"memory over {questions} questions, MiB: {shown}; last to first {sizes[-1] / sizes[0]:.3f}")


def main() -> None:
    """Measure as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--most", type=int, default=400, help="photos to index")
    parser.add_argument("--questions", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = copied(options.photos, Path(folder, "photos"), options.most)
        index = vsearch.Index.create(Path(folder, "made.vsearch"))
        index.add(Path(folder, "photos"))
        ids = [str(photo.id) for photo in index.photos()]
        throughput(index, ids[:100], options.seconds)
        with Server(index.path, "--allow-add") as server:
            load = Load(server, ids, photos, variants(photos[0]))
            load.run(options.clients, options.seconds)
            load.report(options.seconds)
            memory(server, ids, options.questions)


if __name__ == "__main__":
    main()

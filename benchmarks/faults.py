"""The fault table: kinds of fault, times tried, times anything was lost; vsearch, and raw Chroma beside it.

    python benchmarks/faults.py [KILLS] [FOLDER]

Builds a small album with the toy encoder by the real command line, kills it -9 at random instants (200 by
default) and at every named step, resumes, and compares with a build that was left alone.  Raw Chroma gets
the same number of kills while it upserts.  FOLDER is where all this happens; a tmpfs saves hours.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import safety, toy
from tests.test_faults import BUILD_STEPS

KILLS_A_ROUND = 5
ROWS, DIMENSION, BATCH = 3000, 64, 50
RAW_CHROMA = f"""
import sys, numpy, chromadb
from chromadb.config import Settings
client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
photos = client.get_or_create_collection("photos", embedding_function=None)
vectors = numpy.random.default_rng(1).standard_normal(({ROWS}, {DIMENSION}), dtype=numpy.float32)
acknowledged = open(sys.argv[2], "a")
done = int((open(sys.argv[2]).read().split() or ["0"])[-1])
if sys.argv[3] == "verify":
    held = set(photos.get(include=[])["ids"])
    asked = range(0, done, 7)
    found = [photos.query(query_embeddings=vectors[i : i + 1], n_results=1)["ids"][0] for i in asked]
    right = all(hit == [str(i)] for hit, i in zip(found, asked))
    sys.exit(0 if right and held >= set(map(str, range(done))) else 3)
for start in range(done, {ROWS}, {BATCH}):
    ids = [str(i) for i in range(start, start + {BATCH})]
    photos.upsert(ids=ids, embeddings=vectors[start : start + {BATCH}])
    print(start + {BATCH}, file=acknowledged, flush=True)
"""


def kill_after(command: list[str], environment: dict[str, str] | None, seconds: float) -> None:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


def holds(check: Callable[[], object]) -> bool:
    """Whether ``check`` passes; what it says otherwise goes to stderr."""
    try:
        check()
    except Exception as error:
        print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


class Album:
    """One album, its undisturbed index, and how to build another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.photos = safety.make_album(folder / "photos", 40)
        self.encoder = toy.write_toy_encoder(folder / "toy")
        self.undisturbed = folder / "undisturbed"
        started = time.monotonic()
        done = safety.run(*self.build(self.undisturbed))
        assert done.returncode == 0, done.stderr
        self.seconds = time.monotonic() - started

    def build(self, index: Path) -> tuple[str | Path, ...]:
        return ("build-index", self.photos, "--index", index, "--encoder", self.encoder)

    def finish(self, index: Path) -> None:
        """The next run ends well, and nothing differs from the undisturbed index."""
        done = safety.run(*self.build(index))
        assert done.returncode == 0, done.stderr
        safety.assert_sound(index)
        safety.assert_equal(index, self.undisturbed)


def named_steps(album: Album) -> tuple[int, int]:
    index, lost = album.folder / "steps", 0
    for step in BUILD_STEPS:
        done = safety.run(*album.build(index), variables={"VSEARCH_TEST_FAULT": step})
        lost += not safety.killed(done)
        if (index / "index.json").exists():
            lost += not holds(partial(safety.assert_answers, index))
    return len(BUILD_STEPS), lost + (not holds(partial(album.finish, index)))


def random_kills(album: Album, kills: int) -> tuple[int, int]:
    dice, lost = random.Random(1), 0
    for number in range(kills):
        if number % KILLS_A_ROUND == 0:
            index = album.folder / f"random{number}"
        command, environment = safety.command(*album.build(index))
        kill_after(command, environment, dice.uniform(0.2, 1.1 * album.seconds))
        if (index / "index.json").exists():
            lost += not holds(partial(safety.assert_answers, index))
        if number % KILLS_A_ROUND == KILLS_A_ROUND - 1 or number == kills - 1:
            lost += not holds(partial(album.finish, index))
            shutil.rmtree(index)
    return kills, lost


def raw_chroma(folder: Path, kills: int) -> tuple[int, int]:
    dice, lost = random.Random(1), 0
    rounds = max(1, kills // KILLS_A_ROUND)
    for number in range(rounds):
        place, log = folder / f"chroma{number}", folder / f"chroma{number}.log"
        run = [sys.executable, "-c", RAW_CHROMA, str(place), str(log)]
        for _ in range(KILLS_A_ROUND):
            kill_after([*run, "load"], None, dice.uniform(1.5, 5))
        done = subprocess.run([*run, "verify"], capture_output=True)
        lost += done.returncode != 0
        shutil.rmtree(place, ignore_errors=True)
    return rounds, lost


def main(kills: int, folder: Path) -> None:
    album = Album(folder)
    rows = [
        ("vsearch: kill -9 at each named step", *named_steps(album)),
        ("vsearch: kill -9 at a random instant", *random_kills(album, kills)),
        (f"raw Chroma: {KILLS_A_ROUND} random kills each", *raw_chroma(folder, kills)),
    ]
    print("| fault | times tried | times anything was lost |")
    print("|---|---|---|")
    for row in rows:
        print(f"| {row[0]} | {row[1]} | {row[2]} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("folder", type=Path, nargs="?", help="where to make albums; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        main(options.kills, Path(temporary))

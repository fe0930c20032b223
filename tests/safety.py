"""What the safety tests share: an album on a fast disk, an index of it, and what must hold after a fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import vsearch
from tests import album, forked
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.records import Photo
from vsearch.segments import Segment

ROOT = Path(__file__).parents[1]
Row = tuple[str, str, str]
Done = subprocess.CompletedProcess[str]


def command(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of one run of the real command line."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("VSEARCH_")}
    environment |= {"PYTHONPATH": str(ROOT), **(variables or {})}
    return [sys.executable, "-m", "vsearch", *map(str, arguments)], environment


def run(
    *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One run of the real command line, to its end."""
    line, environment = command(*arguments, variables=variables)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)


def run_forked(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> Done:
    """The same sooner, with all libraries loaded already: where many runs are killed."""
    _, environment = command(variables=variables)
    return forked.run([*map(str, arguments)], environment)


def start(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """One run of the real command line, not waited for."""
    line, environment = command(*arguments, variables=variables)
    return subprocess.Popen(line, env=environment, stdout=-1, stderr=-1, text=True)


def content(index: Path) -> dict[Row, np.ndarray]:
    """Root, path and digest of each photo with its vector; failed photos have an empty one."""
    directory = IndexDirectory(index)
    settings = directory.settings()
    found: dict[Row, np.ndarray] = {}
    with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
        for photo in catalog.photos():
            row = (photo.file.root, photo.file.path, photo.sha256 or "")
            found[row] = np.empty(0)
            if photo.vector is not None:
                with Segment(directory.segment("vectors", photo.vector.segment)) as segment:
                    found[row] = segment.read_rows([photo.vector.row])[0]
    return found


def assert_equal(index: Path, other: Path) -> None:
    """Both hold the same photos, failures and vectors."""
    mine, theirs = content(index), content(other)
    assert mine.keys() == theirs.keys()
    for row, vector in mine.items():
        np.testing.assert_allclose(vector, theirs[row], atol=1e-6)


def rows(index: vsearch.Index) -> list[Photo]:
    """The whole catalog, ids and places of the vectors included."""
    directory = IndexDirectory(index.path)
    with Catalog(directory.catalog_file, directory.roots(directory.settings()), read_only=True) as catalog:
        return list(catalog.photos())


def assert_same(index: vsearch.Index, local: vsearch.Index) -> None:
    assert rows(index) == rows(local)
    mine, theirs = content(index.path), content(local.path)
    assert {row: vector.tobytes() for row, vector in mine.items()} == {
        row: vector.tobytes() for row, vector in theirs.items()
    }
    for photo in list(local.photos())[::50]:
        assert index.thumbnail(str(photo.id)) == local.thumbnail(str(photo.id))
    assert list(index.failed()) == list(local.failed())
    assert list(vsearch.Index.check(index.path, full=True)) == []
    assert strays(index.path) == []


def strays(index: Path) -> list[Path]:
    """Temporary files, and files that no finished run leaves."""
    names = (".writing-", "catalog.sqlite-journal", "lock.holder")
    return [path for path in index.rglob("*") if path.name.startswith(names)]


def assert_answers(index: Path) -> int:
    """Every acknowledged photo is there once, and found by its own picture; returns how many there are."""
    with vsearch.Index.open(index) as opened:
        paths = [opened.path_of(photo) for photo in opened.photos()]
        assert len(set(paths)) == len(paths)
        for path in paths:
            # Copies of the same bytes come first together, in whatever order.
            assert path in [match.path for match in opened.query(path, k=3) if match.kind == "identical"]
    return len(paths)


def assert_sound(index: Path) -> None:
    """``check --full`` finds nothing, the index answers, nothing is left over."""
    problems = [f"{p.what}; {p.remedy}" for p in vsearch.Index.check(index, full=True)]
    assert problems == []
    assert_answers(index)
    assert strays(index) == []


def killed(done: Done) -> bool:
    """Whether the process ended by SIGKILL."""
    return done.returncode == -signal.SIGKILL


def make_album(folder: Path, count: int = 24) -> Path:
    """Photos, one of them twice and one broken."""
    album.write_album(folder, count)
    (folder / "day0/twin.png").write_bytes((folder / "day0/photo000.png").read_bytes())
    (folder / "day1/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder

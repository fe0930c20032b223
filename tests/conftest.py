"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import vsearch
from tests import album, toy
from tests.chroma import ChromaProcess
from tests.family import write_family

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives() -> Iterator[None]:
    """A shell's background jobs ignore Ctrl-C, and so would what tests start there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def toy_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy encoder."""
    return toy.write_toy_encoder(tmp_path_factory.mktemp("encoders") / "toy")


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaProcess]:
    """A Chroma server that tests share, each with collections of its own."""
    with ChromaProcess(tmp_path_factory.mktemp("chroma-server") / "data") as server:
        yield server


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a dozen pictures in two subfolders."""
    folder = tmp_path / "photos"
    album.write_album(folder, 12)
    return folder


@pytest.fixture
def index(tmp_path: Path, photos: Path, toy_encoder: Path) -> vsearch.Index:
    """An index of ``photos`` with the toy encoder."""
    made = vsearch.Index.create(tmp_path / "made.vsearch", encoder=toy_encoder)
    made.add(photos)
    return made


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Runs the real command line in ``tmp_path``, without the caller's VSEARCH_INDEX."""
    environment = {n: v for n, v in os.environ.items() if n != "VSEARCH_INDEX"}
    environment["PYTHONPATH"] = str(ROOT)

    def run(
        *arguments: str | os.PathLike[str],
        cwd: Path = tmp_path,
        variables: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "vsearch", *arguments],
            cwd=cwd,
            env=environment | dict(variables or {}),
            input=stdin,
            capture_output=True,
            timeout=120,
        )

    return run


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """A folder with one photo, altered copies of it, and others."""
    write_family(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def family_index(tmp_path: Path, family: Path, toy_encoder: Path) -> Iterator[vsearch.Index]:
    """An index of it with the toy encoder."""
    with vsearch.Index.create(tmp_path / "family.vsearch", encoder=toy_encoder) as index:
        index.add(family)
        yield index

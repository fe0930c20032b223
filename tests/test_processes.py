"""Reading photos in processes: the same index as threads make, whatever dies on the way."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import vsearch
from tests import safety
from tests.conftest import Run
from vsearch import files, processes
from vsearch.catalog import Catalog
from vsearch.encoders import Encoder, resolve
from vsearch.errors import EncoderError, UsageError, VsearchError
from vsearch.ingest import Job, Reader
from vsearch.records import FileStat
from vsearch.settings import Settings

MANY = processes.FEW_PHOTOS + 40
LONGEST = 60.0
TWO = {processes.VARIABLE: "2"}
CRASH = """
import os
from vsearch import files
read = files.read
def deadly(path):
    if path.endswith("photo007.jpg"):
        os._exit(11)
    return read(path)
files.read = deadly
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough photos for processes, with one twice and one broken."""
    return safety.make_album(tmp_path_factory.mktemp("many") / "photos", MANY)


@pytest.fixture(scope="module")
def threaded(many: Path, toy_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    """The index that threads make of them."""
    index = vsearch.Index.create(tmp_path_factory.mktemp("threaded") / "index", encoder=toy_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(processes.VARIABLE, "1")
        index.add(many)
    return index


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, however few the photos and the cores."""
    monkeypatch.setenv(processes.VARIABLE, "2")
    monkeypatch.setattr(processes, "FEW_PHOTOS", 0)


@pytest.fixture
def building(many: Path, toy_encoder: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """``build-index`` in two processes that have begun."""
    place = tmp_path / "index"
    process = safety.start("build-index", many, "--index", place, "--encoder", toy_encoder, variables=TWO)
    yield process
    process.kill()
    process.communicate()


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its two workers, once they are there."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        children = psutil.Process(process.pid).children()
        if len(children) == 2:
            return children
        time.sleep(0.01)
    raise AssertionError("no workers")


def test_processes_make_the_index_that_threads_make(
    threaded: vsearch.Index, many: Path, toy_encoder: Path, tmp_path: Path, command: Run
) -> None:
    done = command(
        "build-index", many, "--index", tmp_path / "index", "--encoder", toy_encoder, variables=TWO
    )
    assert done.returncode == 0, done.stderr
    safety.assert_same(vsearch.Index.open(tmp_path / "index"), threaded)


def test_kept_pixels_come_through(two: None, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder, keep_pixels=True)
    index.add(photos)
    assert list(vsearch.Index.check(index.path, full=True)) == []
    assert len(list((index.path / "pixels").glob("*.h5"))) == 1


def test_sync_finds_what_was_renamed_and_what_is_new(two: None, index: vsearch.Index, photos: Path) -> None:
    (photos / "day0/photo000.png").rename(photos / "day1/renamed.png")
    (photos / "day0/new.png").write_bytes((photos / "day0/photo002.png").read_bytes())
    report = index.sync()
    assert (report.moved, report.added, report.unchanged, report.removed) == (1, 1, 11, 0)
    safety.assert_sound(index.path)


def test_a_photo_that_its_process_does_not_survive_is_skipped_alone(
    two: None, photos: Path, toy_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(CRASH)
    monkeypatch.syspath_prepend(tmp_path / "site")
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    report = index.add(photos)
    assert report.added == 11
    (skipped,) = report.skipped
    assert skipped.path.endswith("photo007.jpg") and "crashed" in skipped.reason
    assert [photo.sha256 for photo in index.page("failed")] == [files.sha256(skipped.path)]
    monkeypatch.undo()  # the decoder has been mended
    assert index.add(photos, retry_failed=True).updated == 1
    safety.assert_sound(index.path)


def test_a_process_that_is_killed_ends_the_run_and_no_photo_is_blamed(
    two: None, photos: Path, toy_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(CRASH.replace("os._exit(11)", "os.kill(os.getpid(), 9)"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    with pytest.raises(VsearchError, match="was killed, perhaps because memory ran out"):
        index.add(photos)
    assert list(index.failed()) == []
    monkeypatch.undo()
    assert index.add(photos).skipped == ()
    safety.assert_sound(index.path)


def test_processes_that_cannot_start_end_the_run(
    two: None, photos: Path, toy_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    for executable, reason in (
        ("/bin/false", "exit code 1 as it started"),
        ("/nowhere", "No such file or directory"),
    ):
        monkeypatch.setattr("sys.executable", executable)
        with pytest.raises(VsearchError, match=f"{reason}; set VSEARCH_PROCESSES=1"):
            index.add(photos)
    assert list(index.failed()) == []


def test_workers_end_with_the_process_that_started_them(building: subprocess.Popen[str]) -> None:
    started = workers(building)
    building.kill()
    gone, alive = psutil.wait_procs(started, LONGEST)
    assert (len(gone), alive) == (2, [])


def test_ctrl_c_is_for_the_process_that_was_started(
    building: subprocess.Popen[str], many: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    started = workers(building)
    building.send_signal(signal.SIGINT)
    _, errors = building.communicate(timeout=LONGEST)
    assert building.returncode == 130, errors
    assert "Traceback" not in errors and "what was finished is kept" in errors
    assert psutil.wait_procs(started, LONGEST)[1] == []
    done = safety.run("build-index", many, "--index", tmp_path / "index", "--encoder", toy_encoder)
    assert done.returncode == 0, done.stderr
    safety.assert_sound(tmp_path / "index")


def test_an_unusable_encoder_ends_the_run(two: None, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    reader = Reader(Encoder(resolve(toy_encoder)), Settings(encoder="x"), lambda job, sha256: False)
    graph = reader.encoder.bundle.graph
    kept = graph.read_bytes()
    graph.write_bytes(b"no graph")
    job = Job(FileStat(str(photos), "day0/photo000.png", 1, 1))
    try:
        with (
            Catalog(tmp_path / "c.sqlite", [str(photos)], create=True) as catalog,
            pytest.raises(EncoderError, match="cannot be loaded"),
        ):
            list(processes.ProcessReaders(catalog)(reader, [job]))
    finally:
        graph.write_bytes(kept)


@pytest.mark.parametrize(
    ("given", "cores", "expected"), [(None, 4, 1), (None, 8, 8), (None, 64, 16), ("3", 2, 3)]
)
def test_how_many(given: str | None, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(processes.VARIABLE, raising=False)
    if given:
        monkeypatch.setenv(processes.VARIABLE, given)
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    assert processes.process_count() == expected


@pytest.mark.parametrize("given", ["0", "-1", "two", "", "1.5"])
def test_a_number_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.VARIABLE, given)
    with pytest.raises(UsageError, match="VSEARCH_PROCESSES must be a whole number"):
        processes.process_count()


def test_a_number_that_is_none_makes_no_index(photos: Path, tmp_path: Path) -> None:
    place = tmp_path / "index"
    done = safety.run("build-index", photos, "--index", place, variables={processes.VARIABLE: "two"})
    assert done.returncode == 2 and "VSEARCH_PROCESSES must be a whole number" in done.stderr
    assert not place.exists()

"""Two writers, many readers, full and read-only disks, odd names and odd files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsearch
from tests import album, safety
from tests.images.test_failures import damaged
from vsearch.directory import IndexDirectory

NAMES = [
    b"with space.png",
    b"quote'\".png",
    b"new\nline.png",
    b"raw-\xff\xfe.png",
    "emoji-😀.png".encode(),
    b"-dash.png",
    "nfc-\u00e9.png".encode(),
    "nfd-e\u0301.png".encode(),
    b"l" * 251 + b".png",
]
READER = """
import sys, pathlib, vsearch
index = vsearch.Index.open(sys.argv[1])
photos = sorted(pathlib.Path(sys.argv[2]).glob("*.png"))
print("ready", flush=True)
asked = 0
while not pathlib.Path(sys.argv[3]).exists() or asked < 10:
    photo = photos[asked % len(photos)]
    assert index.query(photo, k=1)[0].path == str(photo), photo
    asked += 1
"""


def test_a_second_writer_is_told_who_holds_the_lock(index: vsearch.Index) -> None:
    with IndexDirectory(index.path).writing():
        done = safety.run("sync", "--index", index.path)
    assert done.returncode == 2
    assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_lock_of_a_dead_process_is_free(index: vsearch.Index, photos: Path) -> None:
    album.write(photos / "new.png", 40)
    fault = {"VSEARCH_TEST_FAULT": "holder-renamed"}
    assert safety.killed(safety.run("sync", "--index", index.path, variables=fault))
    assert (index.path / "lock.holder").exists()
    assert index.sync().added == 1
    safety.assert_sound(index.path)


@pytest.mark.parametrize(("graph", "count"), [(False, 3), (True, 10)])
def test_readers_beside_a_writer_are_always_right(
    index: vsearch.Index, tmp_path: Path, graph: bool, count: int
) -> None:
    folder, finished = tmp_path / "steady", tmp_path / "finished"
    for n in range(8):
        album.write(folder / f"{n}.png", 400 + n)
    index.add(folder)
    prelude = "import vsearch.index; vsearch.answering.SCAN_BYTES = 0\n" if graph else ""
    line = [sys.executable, "-c", prelude + READER, str(index.path), str(folder), str(finished)]
    readers = [
        subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(safety.ROOT)}, stdout=-1, stderr=-1)
        for _ in range(count)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
    for n in range(6):
        album.write(tmp_path / f"photos/more{n}.png", 500 + n)
        index.sync()
    finished.touch()
    for reader in readers:
        _, errors = reader.communicate(timeout=120)
        assert reader.returncode == 0, errors.decode()
    safety.assert_sound(index.path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_nothing(small_disk: Path, photos: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(small_disk / "index", encoder=toy_encoder)
    index.add(photos)
    album.write_album(photos, 200, first=50)
    nearly = shutil.disk_usage(small_disk).used + 300 * 1024
    subprocess.run(["mount", "-o", f"remount,size={nearly}", small_disk], check=True)
    done = safety.run("sync", "--index", index.path)
    assert done.returncode == 2
    assert "disk is full" in done.stderr or "not full" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert safety.assert_answers(index.path) >= 12
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert safety.run("sync", "--index", index.path).returncode == 0
    safety.assert_sound(index.path)


def test_a_disk_that_is_full_while_chroma_writes_is_called_so(
    small_disk: Path, photos: Path, toy_encoder: Path
) -> None:
    index = vsearch.Index.create(small_disk / "index", encoder=toy_encoder)
    index.add(photos)
    album.write_album(photos, 60, first=50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.updates.finish", lambda index: None)
        index.add(photos)  # all is committed, nothing published
    errors = set()
    for room in range(50, 1200, 150):
        size = shutil.disk_usage(small_disk).used + room * 1024
        subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)
        done = safety.run("sync", "--index", index.path)
        errors.add(done.stderr.partition(":")[2])
        if done.returncode == 0:
            break
        assert "is full; free some space" in done.stderr, done.stderr
        assert safety.assert_answers(index.path) >= 12
    assert any("chroma/" in error for error in errors)


@pytest.mark.parametrize("graph", [False, True])
def test_a_read_only_index_answers_and_refuses_changes(
    index: vsearch.Index, photos: Path, graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.close()
    bound = subprocess.run(["mount", "--bind", index.path, index.path], capture_output=True)
    if bound.returncode:
        pytest.skip(f"cannot mount: {bound.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", index.path], check=True)
        if graph:
            monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
        photo = photos / "day0/photo000.png"
        with vsearch.Index.open(index.path) as opened:
            assert opened.query(photo, k=1)[0].path == str(photo)
        assert list(vsearch.Index.check(index.path, full=True)) == []
        with pytest.raises(vsearch.StorageError, match=r"(?i)read-only|writable"):
            vsearch.Index.open(index.path).sync()
    finally:
        subprocess.run(["umount", "-l", index.path], check=True)


def test_every_file_name_is_found_and_printed_as_it_is(tmp_path: Path, toy_encoder: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    for n, name in enumerate(NAMES):
        album.picture(600 + n).save(tmp_path / "one.png")
        os.rename(tmp_path / "one.png", os.path.join(os.fsencode(folder), name))
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    assert index.add(folder).added == len(NAMES)
    for name in NAMES:
        path = os.path.join(os.fsencode(folder), name)
        line, environment = safety.command("query", "-0", "-k", "1", "--index", index.path)
        line = [*map(os.fsencode, line), b"--", path]
        done = subprocess.run(line, env=environment, capture_output=True)
        assert done.stdout == path + b"\0", done.stderr


def test_odd_files_are_read_or_listed(tmp_path: Path, toy_encoder: Path) -> None:
    sets = os.environ.get("VSEARCH_TEST_PHOTOS")
    if not sets:
        pytest.skip("VSEARCH_TEST_PHOTOS names no photo sets")
    odd = Path(sets) / "odd"
    done = safety.run("build-index", odd, "--index", tmp_path / "index", "--encoder", toy_encoder)
    assert done.returncode == 0, done.stderr
    status = vsearch.Index.open(tmp_path / "index").status()
    assert status.photos > 60
    assert 0 < status.failed < 30
    safety.assert_sound(tmp_path / "index")


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(damaged(), min_size=20, max_size=20))
def test_damaged_files_end_no_run(toy_encoder: Path, files: list[bytes]) -> None:
    """Each is in the index or listed with a reason, and a second run finds nothing to do."""
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch, "photos")
        whole = album.write(photos / "whole.png", 1)
        for number, data in enumerate(files):
            (photos / f"{number:02d}.jpg").write_bytes(data)
        index = vsearch.Index.create(Path(scratch, "index"), encoder=toy_encoder)
        report = index.add(photos)
        assert report.added + len(report.skipped) == len(files) + 1
        assert all(skipped.reason and skipped.remedy for skipped in report.skipped)
        assert {skipped.path for skipped in index.failed()} == {s.path for s in report.skipped}
        assert index.query(whole, k=1)[0].path == str(whole)
        again = index.sync()
        assert (again.added, again.updated, again.unchanged) == (0, 0, report.added)
        index.close()

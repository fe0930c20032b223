"""files: the walk finds every photo once, survives what folders hold, and never hangs."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch import files
from vsearch.errors import PhotoError
from vsearch.records import Skipped

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file systems only")


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def fail(skipped: Skipped) -> None:
    raise AssertionError(skipped)


def walked(root: Path, *exclude: str) -> list[str]:
    return [file.path for file in files.walk(str(root), exclude, fail)]


def test_photos_in_order_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.JPG", "notes.txt", "jpg", "z/b.png", "z/a.heic", "c/d/e.tif", "m.gif")
    assert walked(tmp_path) == ["a.JPG", "b.jpg", "m.gif", "c/d/e.tif", "z/a.heic", "z/b.png"]


def test_stat(tmp_path: Path) -> None:
    make(tmp_path, "sub/a.jpg")
    [file] = files.walk(str(tmp_path), (), fail)
    status = (tmp_path / "sub/a.jpg").stat()
    assert (file.root, file.size, file.mtime_ns) == (str(tmp_path), 9, status.st_mtime_ns)
    assert files.absolute(file.root, file.path) == str(tmp_path / "sub/a.jpg")


def test_hidden_and_nas_folders_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, ".vsearch/a.jpg", ".git/a.jpg", "@eaDir/a.jpg", "x/@eaDir/a.jpg", "._a.jpg", "a.jpg")
    assert walked(tmp_path) == ["a.jpg"]


def test_a_hidden_root_is_walked(tmp_path: Path) -> None:
    make(tmp_path, ".photos/a.jpg")
    assert walked(tmp_path / ".photos") == ["a.jpg"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("*.gif", ["a.jpg", "raw/a.jpg", "raw/deep/b.jpg", "x/raw/a.jpg"]),
        ("raw/*", ["a.jpg", "b.gif", "x/raw/a.jpg"]),
        ("raw", ["a.jpg", "b.gif"]),
        ("*/raw/*", ["a.jpg", "b.gif", "raw/a.jpg", "raw/deep/b.jpg"]),
        ("[ab].jpg", ["b.gif"]),
        ("A.jpg", ["a.jpg", "b.gif", "raw/a.jpg", "raw/deep/b.jpg", "x/raw/a.jpg"]),
    ],
)
def test_exclude(tmp_path: Path, exclude: str, left: list[str]) -> None:
    make(tmp_path, "a.jpg", "b.gif", "raw/a.jpg", "raw/deep/b.jpg", "x/raw/a.jpg")
    assert walked(tmp_path, exclude) == left


@posix
def test_links_are_followed_and_loops_survived(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg", "photos/sub/b.jpg", "elsewhere/c.jpg")
    photos = tmp_path / "photos"
    (photos / "loop").symlink_to(photos)
    (photos / "sub/up").symlink_to("..")
    (photos / "other").symlink_to(tmp_path / "elsewhere")
    (photos / "again").symlink_to(tmp_path / "elsewhere")
    (photos / "latest").symlink_to("sub")
    (photos / "d.jpg").symlink_to(tmp_path / "elsewhere/c.jpg")
    (photos / "dangling.jpg").symlink_to("nowhere.jpg")
    (photos / "self.jpg").symlink_to("self.jpg")
    found: list[Skipped] = []
    paths = [file.path for file in files.walk(str(photos), (), found.append)]
    assert paths == ["a.jpg", "d.jpg", "sub/b.jpg", "again/c.jpg"]  # sub by its own path, not as latest
    assert all(skipped.path.endswith("self.jpg") for skipped in found)


@posix
def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    make(tmp_path, "folder.jpg/a.jpg")
    assert walked(tmp_path) == ["folder.jpg/a.jpg"]


@posix
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg"
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    [path] = walked(tmp_path)
    assert os.fsencode(path) == name
    assert files.read(files.absolute(str(tmp_path), path)) == b"x"


def test_files_and_folders_that_vanish_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c/d.jpg")
    walk = files.walk(str(tmp_path), (), fail)
    assert next(walk).path == "a.jpg"
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c/d.jpg").unlink()
    (tmp_path / "c").rmdir()
    assert list(walk) == []


def test_a_folder_that_cannot_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "bad/a.jpg", "good/b.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:  # root may read everything, so permissions cannot be used
        if path.endswith("bad"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found: list[Skipped] = []
    assert [file.path for file in files.walk(str(tmp_path), (), found.append)] == ["good/b.jpg"]
    assert found == [
        Skipped(
            str(tmp_path / "bad"),
            "folder cannot be read: permission denied",
            "make it readable for this user",
        )
    ]


def test_a_root_that_is_missing_has_no_photos(tmp_path: Path) -> None:
    assert walked(tmp_path / "none") == []


@settings(max_examples=30, deadline=None)
@given(st.sets(st.from_regex(r"\A[a-c]{1,2}(/[a-c]{1,2}){0,2}\.jpg\Z")))
def test_every_photo_once_and_always_in_one_order(
    tmp_path_factory: pytest.TempPathFactory, paths: set[str]
) -> None:
    root = tmp_path_factory.mktemp("photos")
    make(root, *paths)
    found = walked(root)
    assert len(found) == len(paths) and set(found) == paths
    assert walked(root) == found


# --- one file ------------------------------------------------------------------------------------


def test_stat_file_is_what_the_walk_sees(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert [files.stat_file(str(tmp_path / "a.jpg"))] == list(files.walk(str(tmp_path), (), fail))


@posix
def test_stat_file_refuses_what_would_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path):
        with pytest.raises(PhotoError, match="not a regular file"):
            files.stat_file(str(path))


@posix
def test_read_refuses_what_may_never_end_but_takes_what_a_shell_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # addresses of sockets are short
        listening.bind("socket.jpg")
        for path in (str(tmp_path / "pipe.jpg"), "pipe.jpg", "socket.jpg", "/dev/zero"):
            with pytest.raises(PhotoError, match="not a regular file"):
                files.read(path)
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as end:
        end.write(b"photo")
        end.close()
        assert files.read(f"/dev/fd/{reading}") == b"photo"


@pytest.mark.parametrize("name", ["none.jpg", "nul\0.jpg", "x" * 300])
def test_missing_files(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    for function in (files.stat_file, files.read, files.sha256):
        with pytest.raises(PhotoError) as caught:
            function(path)
        assert caught.value.path == path and caught.value.remedy


@given(st.binary())
def test_digest_of_bytes(data: bytes) -> None:
    assert files.digest(data) == hashlib.sha256(data).hexdigest()


def test_digest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(range(256)) * 5000)
    data = files.read(str(path))
    assert data == path.read_bytes()
    assert files.sha256(str(path)) == files.digest(data)


def test_read_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(2**20 + 1))
    assert len(files.read(str(path), 2**20 + 1)) == 2**20 + 1
    with pytest.raises(PhotoError, match="larger than 1 MiB"):
        files.read(str(path), 2**20)


@posix
def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.jpg", "wb") as file:
        file.truncate(2**33)
    tracemalloc.start()
    try:
        with pytest.raises(PhotoError, match="larger than 1,024 MiB") as caught:
            files.read(file.name)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    kept = caught.value.bare()
    assert (str(kept), kept.__traceback__, kept.__context__) == (str(caught.value), None, None)


@pytest.mark.parametrize("size", [0, 1, 2**16, 2**18])
def test_open_files_are_read_from_their_start(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a.jpg").write_bytes(data)
    with open(tmp_path / "a.jpg", "rb", buffering=0) as file:
        file.read(3)
        assert files.content(file, "a") == files.content(io.BytesIO(data), "a") == data
    with pytest.raises(PhotoError, match="closed file"):
        files.content(file, "a")
    with open(tmp_path / "a.jpg") as text, pytest.raises(PhotoError, match="opened as text"):
        files.content(text, "a")


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_pipe_is_read_to_its_end(buffering: int) -> None:
    for limit in (2**18, 2**18 - 1):
        reading, writing = os.pipe()
        end = os.fdopen(writing, "wb")
        writer = threading.Thread(target=lambda end=end: (end.write(bytes(2**18)), end.close()))
        writer.start()
        with os.fdopen(reading, "rb", buffering=buffering) as file:
            if limit == 2**18:
                assert files.content(file, "pipe", limit) == bytes(2**18)
            else:
                with pytest.raises(PhotoError, match="larger than"):
                    files.content(file, "pipe", limit)
        writer.join()

"""``sync --watch``: the real command line, watching a real folder."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

import vsearch
from tests import album, safety
from vsearch.cli import syncing

pytest.importorskip("watchfiles", reason='needs watchfiles: pip install "vsearch[watch]"')
LONGEST = 90.0  # seconds until a watch that does not answer has failed


@pytest.fixture
def watching(index: vsearch.Index) -> Iterator[Popen[str]]:
    """``sync --watch --json``, ended when the test is, and at the latest when it hangs."""
    process = safety.start(
        "sync", "--watch", "--json", "--index", index.path, variables={"PYTHONUNBUFFERED": "1"}
    )
    limit = threading.Timer(LONGEST, process.kill)
    limit.start()
    yield process
    limit.cancel()
    process.kill()
    process.communicate()


def is_settled(index: Path) -> bool:
    """Whether the new photo is in, the old one out, and both published."""
    with vsearch.Index.open(index) as reader:
        names = {Path(photo.file.path).name for photo in reader.photos()}
        return "new.png" in names and "photo001.jpg" not in names and reader.status().pending == 0


def test_a_photo_that_appears_is_found(index: vsearch.Index, photos: Path, watching: Popen[str]) -> None:
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["unchanged"] == 12  # it watches by now
    path = album.write(photos / "day0/new.png", 90)
    (photos / "day1/photo001.jpg").unlink()

    until = time.monotonic() + LONGEST
    while time.monotonic() < until and not is_settled(index.path):
        time.sleep(0.2)
    assert index.query(path, k=1)[0].path == str(path)
    assert is_settled(index.path)

    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=LONGEST)
    assert watching.returncode == 130, errors
    assert "watching for changes" in errors
    assert "Traceback" not in errors
    safety.assert_sound(index.path)


def reports(watching: Popen[str]) -> Iterator[dict[str, int]]:
    """What it reports of each sync, from when it watches."""
    assert watching.stdout is not None
    watching.stdout.readline()  # the first sync
    return map(json.loads, watching.stdout)


def test_folders_that_come_and_go_are_watched(
    index: vsearch.Index, photos: Path, watching: Popen[str]
) -> None:
    """One that is added by another process, and one whose disk is taken out and put back."""
    synced = reports(watching)
    later = photos.parent / "later"
    album.write(later / "first.png", 91)
    vsearch.Index.open(index.path).add(later)
    assert next(synced)["unchanged"] == 13
    path = album.write(later / "second.png", 92)
    assert next(synced)["added"] == 1

    later.rename(photos.parent / "away")
    assert next(synced)["withheld"] == 2
    album.write(photos.parent / "away" / "third.png", 93)
    (photos.parent / "away").rename(later)
    assert next(synced)["added"] == 1
    assert index.query(path, k=1)[0].path == str(path)


def test_a_folder_that_is_linked_meanwhile_is_watched(
    index: vsearch.Index, photos: Path, watching: Popen[str]
) -> None:
    synced = reports(watching)
    elsewhere = photos.parent / "elsewhere"
    album.write(elsewhere / "first.png", 91)
    (photos / "link").symlink_to(elsewhere)
    assert next(synced)["added"] == 1
    assert next(synced)["unchanged"] == 13  # it watches anew
    album.write(elsewhere / "second.png", 92)
    assert next(synced)["added"] == 1


def test_a_watch_outlives_what_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(syncing, "_PAUSE_S", 0.0)
    coming = iter([vsearch.CollectionError("down; start it"), *[vsearch.StorageError("full; clear it")] * 2])

    def run() -> None:
        for error in coming:
            raise error

    syncing._persistently(run)
    assert [line.partition(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "vsearch: down",
        "vsearch: full",
    ]

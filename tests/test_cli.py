"""The command line, as a process, the way people and scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import typer

import vsearch
from tests import album
from tests.conftest import ROOT, Run
from vsearch.cli import app, querying


@pytest.fixture
def built(photos: Path, toy_encoder: Path) -> Path:
    """An album with an index in it, where the command line puts it."""
    with vsearch.Index.create(photos / ".vsearch", encoder=toy_encoder) as index:
        index.add(photos)
    return photos


def objects(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_build_and_query_without_a_flag(command: Run, photos: Path, toy_encoder: Path) -> None:
    done = command("build-index", photos, "--encoder", toy_encoder)
    assert done.returncode == 0, done.stderr
    done = command("query", "day0/photo004.png", cwd=photos)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["rank", "score", "kind", "path"]
    assert lines[1].split() == ["1", "1.0000", "identical", "day0/photo004.png"]
    assert len(lines) == 11


def test_no_photo_keeps_a_command_from_starting() -> None:
    """Typer's own words for a path that cannot be read end the run, whatever else was named."""
    group: Any = typer.main.get_command(app)
    paths = [
        each
        for name in group.list_commands(None)
        for parameter in group.get_command(None, name).params
        for each in getattr(parameter.type, "types", [parameter.type])
        if hasattr(each, "readable")
    ]
    assert len(paths) > 30 and not any(path.readable for path in paths)


def test_commands_find_the_index_upwards_and_by_variable(command: Run, built: Path, tmp_path: Path) -> None:
    assert command("status", cwd=built / "day0").returncode == 0
    missing = command("status")
    assert missing.returncode == 2
    assert b"no index in" in missing.stderr and b"build-index" in missing.stderr
    assert command("status", variables={"VSEARCH_INDEX": str(built / ".vsearch")}).returncode == 0


def test_query_json_keeps_its_promise(command: Run, built: Path) -> None:
    done = command("query", "day0/photo004.png", "--json", "-k", "3", cwd=built)
    found = objects(done.stdout)
    assert [list(one) for one in found] == [["query", "rank", "path", "score", "kind", "id"]] * 3
    assert found[0]["query"] == "day0/photo004.png"
    assert found[0]["path"] == str(built / "day0" / "photo004.png")
    assert (found[0]["rank"], found[0]["score"], found[0]["kind"]) == (1, 1.0, "identical")
    assert isinstance(found[0]["id"], str)


def test_build_json_keeps_its_promise(command: Run, photos: Path, toy_encoder: Path) -> None:
    (photos / "bad.jpg").write_text("no picture")
    done = command("build-index", photos, "--encoder", toy_encoder, "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert list(report) == ["added", "updated", "moved", "removed", "unchanged", "skipped", "seconds"]
    assert report["added"] == 12
    assert report["skipped"][0].keys() == {"path", "reason"}
    assert b"bad.jpg" in done.stderr


def test_status_and_encoders_json_keep_their_promises(command: Run, built: Path) -> None:
    status = json.loads(command("status", "--json", cwd=built).stdout)
    assert {"photos", "failed", "encoder", "generation", "bytes", "roots"} <= status.keys()
    assert status["encoder"].keys() == {"name", "dimension", "fingerprint"}
    assert {"vectors", "pixels", "thumbnails", "chroma"} <= status["bytes"].keys()
    for encoder in objects(command("encoders", "--json").stdout):
        assert {"name", "input_size", "dimension", "parameters", "trained", "licence"} <= encoder.keys()


def test_paths_and_nul(command: Run, built: Path) -> None:
    odd = album.write(built / "new\nline.png", 50)
    assert command("add", odd, cwd=built).returncode == 0
    done = command("query", odd, "-0", "-k", "2", cwd=built)
    assert done.stdout.split(b"\0")[0] == os.fsencode(odd)
    done = command("query", "day0/photo004.png", "--paths", "-k", "1", cwd=built)
    assert done.stdout == os.fsencode(built / "day0" / "photo004.png") + b"\n"


def test_a_name_that_is_no_text_goes_round(command: Run, built: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(built) + b"/caf\xe9.png"))
    album.write(odd, 51)
    assert command("add", odd, cwd=built).returncode == 0
    assert command("query", odd, "-0", "-k", "1", cwd=built).stdout == os.fsencode(odd) + b"\0"
    found = objects(command("query", odd, "--json", "-k", "1", cwd=built).stdout)
    assert os.fsencode(str(found[0]["path"])) == os.fsencode(odd)
    assert command("query", odd, "-k", "1", cwd=built).returncode == 0


def test_building_again_continues(command: Run, built: Path) -> None:
    album.write(built / "new.png", 50)
    done = command("build-index", built)
    assert done.returncode == 0
    assert b"is an index already; going on with it" in done.stderr
    assert b"1 added, 12 unchanged" in done.stdout


def test_pixels_are_kept_from_now_on(command: Run, built: Path) -> None:
    done = command("build-index", ".", "--keep-pixels", cwd=built)
    assert done.returncode == 0 and b"pixels are kept of photos that are read from now on" in done.stderr


def test_strict_exits_with_3(command: Run, photos: Path, toy_encoder: Path) -> None:
    (photos / "bad.jpg").write_text("no picture")
    arguments = ("build-index", photos, "--encoder", toy_encoder, "--strict")
    assert command(*arguments).returncode == 3
    (photos / "bad.jpg").unlink()
    assert command("remove", photos / "bad.jpg").returncode == 2  # no index here
    assert command("remove", photos / "bad.jpg", cwd=photos).returncode == 0
    assert command(*arguments).returncode == 0


def test_remove_and_add(command: Run, built: Path) -> None:
    report = json.loads(command("remove", "day0", "--json", cwd=built).stdout)
    assert report["removed"] == 6
    report = json.loads(command("add", "day0", "--json", cwd=built).stdout)
    assert report["added"] == 6


def test_a_folder_that_is_taken_out_is_named(command: Run, built: Path) -> None:
    done = command("remove", built, "--index", built / ".vsearch")
    said = f"{built} is no longer synced, until `vsearch add` names it again"
    assert (done.returncode, said in done.stderr.decode()) == (0, True), done.stderr
    assert b"nothing to do" in command("sync", cwd=built).stdout


class _Sheet(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert tag not in ("script", "link", "iframe")
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.sources.append(str(values["src"]))


def test_the_sheet_is_whole_and_escapes_names(command: Run, built: Path, tmp_path: Path) -> None:
    odd = album.write(built / "<b>&'\" é.png", 50)
    assert command("add", odd, cwd=built).returncode == 0
    done = command("query", odd, "-k", "5", "--html", tmp_path / "sheet.html", cwd=built)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sheet.html").read_text()
    sheet = _Sheet(text)
    assert len(sheet.sources) == 6
    assert all(source.startswith("data:image/jpeg;base64,") for source in sheet.sources)
    assert "<b>&'" not in text
    assert unquote(urlparse(sheet.links[0]).path) == str(odd)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("query", "none.jpg"), "none.jpg: no such file"),
        (("query", "day0/photo004.png", "-k", "0"), "k must be at least 1"),
        (("query", "day0/photo004.png", "--json", "--paths"), "exclude each other"),
        (("query",), "a query needs a picture or a text"),
        (("add", "nowhere"), "nowhere"),
        (("remove", "/etc"), "the index has no photo there"),
        (("build-index", ".", "--encoder", "nonsense"), "there is no encoder 'nonsense'"),
        (("build-index", ".", "--metric", "manhattan"), "metric must be one of"),
        (("status", "--index", "day0"), "is not an index"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    command: Run, built: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = command(*arguments, cwd=built)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    "arguments",
    [("remove", ""), ("build-index", ""), ("status", "--index="), ("query", "a.png", "--copy-to", "")],
)
def test_an_unset_variable_is_not_this_folder(command: Run, built: Path, arguments: tuple[str, ...]) -> None:
    done = command(*arguments, cwd=built)
    assert done.returncode == 2 and b" is empty; is a variable not set?" in done.stderr
    with vsearch.Index.open(built / ".vsearch") as index:
        assert index.status().photos == 12


def test_a_folder_without_photos(command: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("build-index", "empty")
    assert done.returncode == 2
    assert b"no photos in empty" in done.stderr
    assert not (tmp_path / "empty" / ".vsearch").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_to_a_full_disk_is_an_error(built: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vsearch", "status"], cwd=built, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    assert b"full" in done.stderr and b"bug" not in done.stderr


def test_no_library_keeps_or_sends_anything_about_the_user(photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("ORT_", "XDG_", "VSEARCH_"))}
    environment = inherited | {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    for arguments in (["build-index", photos], ["query", photos / "day0" / "photo000.png", "-k", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "vsearch", *arguments], cwd=photos, env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr
    assert not list(home.rglob("*"))


def test_closed_standard_streams_end_nothing(index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    query = f"{sys.executable} -m vsearch query {photos}/day0/photo000.png --index {index.path} --json"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for redirected in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
        done = subprocess.run(
            ["sh", "-c", f"{query} {redirected}"], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr


@pytest.mark.parametrize("weighted", [".5:a.jpg", "2.:a.jpg", "0.5:a.jpg", "2:a.jpg"])
def test_weights_are_written_as_numbers_are(weighted: str) -> None:
    assert querying._weight(weighted) == ("a.jpg", float(weighted.removesuffix(":a.jpg")))
    assert querying._weight("x5:a.jpg") == ("x5:a.jpg", 1.0)

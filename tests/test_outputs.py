"""What becomes of answers: sheets, montages, copies; wherever a person may point them."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFont

import vsearch
from tests.conftest import ROOT, Run
from vsearch.render import montage
from vsearch.render.parts import Part


def test_the_command_line_writes_sheets_and_copies(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    picture = str(photos / "day0" / "photo000.png")
    done = command(
        "query",
        picture,
        "-k",
        "3",
        "--sheet",
        "m.png",
        "--html",
        "s.html",
        "--where",
        "width > 1",
        "--min-score",
        "-0.5",
        "--copy-to",
        "best",
        "--preview",
        "--index",
        str(index.path),
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "s.html").read_text()
    assert "<code>width &gt; 1</code> and <code>min-score -0.5</code>" in page
    with Image.open(tmp_path / "m.png") as shown:
        assert shown.width > shown.height
    assert (tmp_path / "best" / "1-photo000.png").read_bytes() == Path(picture).read_bytes()
    assert "▀".encode() in done.stdout
    where = ("--where", "width > 9999", "--html", "none.html")
    nothing = command("query", picture, *where, "--index", str(index.path))
    assert (nothing.returncode, nothing.stdout) == (1, b"") and b"meets the filter" in nothing.stderr
    page = (tmp_path / "none.html").read_text()
    assert "no photo of the index meets the filter" in page and "click one" not in page


def test_outputs_go_through_links_and_never_replace_what_is_no_file(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    asked = ("query", str(photos / "day0" / "photo000.png"), "--index", str(index.path), "--html")
    (tmp_path / "link.html").symlink_to("real.html")
    assert command(*asked, "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "real.html").stat().st_size
    os.mkfifo(tmp_path / "pipe")
    writer = [sys.executable, "-m", "vsearch", *asked, "pipe"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(writer, cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment):
        assert "<html" in (tmp_path / "pipe").read_text()
    long = "x" * 250 + ".html"
    assert command(*asked, long).returncode == 0 and (tmp_path / long).is_file()
    faults = {
        ".": "is a folder",
        "": "--html is empty",
        "no/a.html": "there is no such folder",
        "y" * 300: "too long",
    }
    for place, said in faults.items():
        failed = command(*asked, place)
        assert failed.returncode == 2 and said in failed.stderr.decode() and b"bug" not in failed.stderr


def test_outputs_replace_their_like_alone(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    photo, settings = photos / "day0/photo002.png", index.path / "index.json"
    kept = {place: place.read_bytes() for place in (photo, settings)}
    asked = ("query", photos / "day0/photo000.png", "--index", index.path)
    for options in (("--sheet", photo), ("--html", photo), ("--html", settings)):
        done = command(*asked, *options)
        assert (done.returncode, done.stdout) == (2, b"") and b"choose another name" in done.stderr
    for options in (("map", "--html", photo), ("duplicates", "--html", photo)):
        assert b"choose another name" in command(*options, "--index", index.path).stderr
    assert {place: place.read_bytes() for place in kept} == kept
    for name in ("m.png", "m.jpg"):
        for _ in range(2):  # the second time it takes the place of the first
            assert command(*asked, "--sheet", name, "--html", "s.html").returncode == 0
    piped = [sys.executable, "-m", "vsearch", *map(str, asked), "-0", "--html", "/dev/stdout"]
    done = subprocess.run(
        piped, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and b"<html" in done.stdout


def test_long_names_are_copied(command: Run, index: vsearch.Index, photos: Path, tmp_path: Path) -> None:
    long = photos / ("\u00e9" * 125 + ".png")
    (photos / "day0/photo002.png").rename(long)
    index.sync()
    done = command("query", long, "-k", "12", "--copy-to", "best", "--index", index.path)
    assert done.returncode == 0, done.stderr
    first = min((tmp_path / "best").iterdir())
    assert first.name.startswith("01-\u00e9\u00e9") and first.name.endswith("\u00e9.png")
    refused = command("query", long, "--copy-to", first, "--index", index.path)
    assert refused.returncode == 2 and b"is a file; name a folder" in refused.stderr


def test_a_picture_that_the_index_takes_can_be_drawn(
    command: Run, photos: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder, max_megapixels=300) as index:
        index.add(photos)
    Image.new("1", (20_000, 10_100)).save(tmp_path / "large.png")
    done = command("query", "large.png", "-k", "1", "--html", "s.html", "--index", "i")
    assert done.returncode == 0, done.stderr


def test_home_is_found_behind_an_equals_sign(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    command = functools.partial(command, variables={"HOME": str(tmp_path / "home")})
    for option in ("--copy-to", "--link-to"):
        query = photos / "day0/photo000.png"
        done = command("query", query, "-k", "1", f"{option}=~/{option}", "--index", index.path)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "home" / option).iterdir())) == 1
    assert not (tmp_path / "~").exists()


def test_copies_pass_over_photos_that_are_gone(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    first = photos / "day0" / "photo000.png"
    asked = ("query", str(first), "-k", "3", "--index", str(index.path))
    gone = Path(index.query(first, k=2)[1].path)
    gone.unlink()
    done = command(*asked, "--copy-to", "best")
    assert done.returncode == 0 and f"skipped {gone}" in done.stderr.decode()
    assert len(list((tmp_path / "best").iterdir())) == 2
    both = command(*asked, "--copy-to", "both", "--link-to", "both")
    assert both.returncode == 2 and not (tmp_path / "both").exists()
    stdin = command("query", "2:-", "3:-", "--index", str(index.path), stdin=first.read_bytes())
    assert stdin.returncode == 2 and b"only one picture can come from stdin" in stdin.stderr


def test_copies_go_on_where_a_run_stopped(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    asked = ("query", photos / "day0/photo000.png", "-k", "4", "--index", index.path)
    pipe = Path(index.query(photos / "day0/photo000.png", k=2)[1].path)
    pipe.unlink()
    os.mkfifo(pipe)
    stopping = (
        "import os, shutil, signal; from vsearch import cli\n"
        "whole, left = shutil.copyfileobj, [2]\n"
        "def half(source, target, *rest):\n"
        "    left[0] -= 1\n"
        "    if left[0]: return whole(source, target, *rest)\n"
        "    target.write(source.read(9)); target.flush(); os.kill(os.getpid(), signal.SIGINT)\n"
        "shutil.copyfileobj, shutil._USE_CP_SENDFILE, shutil._HAS_FCOPYFILE = half, False, False\n"
        "cli.main()"
    )
    line = [sys.executable, "-c", stopping, *map(str, asked), "--copy-to", "best"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    stopped = subprocess.run(line, cwd=tmp_path, capture_output=True, env=environment)
    assert stopped.returncode == 130, stopped.stderr
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["1-photo000.png"]
    for options, said in (("--copy-to", b"copied 2 photos"), ("--link-to", b"linked 3 photos")):
        folder = {"--copy-to": "best", "--link-to": "links"}[options]
        done = command(*asked, options, folder)
        assert done.returncode == 0 and said in done.stderr and b"skipped " in done.stderr
        again = command(*asked, options, folder)
        assert again.returncode == 0 and b"3 there already" in again.stderr
    assert command(*asked, "--copy-to", "links").returncode == 2  # a link is no copy
    (tmp_path / "best/1-photo000.png").write_bytes(b"another")
    refused = command(*asked, "--copy-to", "best")
    assert refused.returncode == 2 and b"choose an empty folder" in refused.stderr
    same = command(*asked, "--sheet", "./x.png", "--html", "x.png")
    assert same.returncode == 2 and b"need a file each" in same.stderr
    assert not (tmp_path / "x.png").exists()
    (photos / "day0/photo000.png").unlink()
    gone = command("query", "1", "-k", "1", "--open", "--index", index.path)
    assert gone.returncode == 2 and b"the file is gone; `vsearch sync`" in gone.stderr


def test_pages_and_lines_say_all_that_was_asked(
    command: Run, index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    a, b, c = (str(photos / "day0" / f"photo{n:03d}.png") for n in (0, 2, 4))
    asked = ("query", a, b, "--minus", c, "--crop", "0%,0%,50%,100%", "--index", str(index.path), "-k", "2")
    one = json.loads(command(*asked, "--json").stdout.splitlines()[0])
    assert one["query"] == f"{a} + {b}, region 0%,0%,50%,100% of the first, unlike {c}"
    assert command(*asked, "--html", "s.html", "--sheet", "m.png").returncode == 0
    page = (tmp_path / "s.html").read_text()
    captions = [role for role in ("region", "query", "unlike") if f"<figcaption>{role}</figcaption>" in page]
    assert captions == ["region", "query", "unlike"]
    region = page.split('<figure><img src="data:image/jpeg;base64,')[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(region))) as shown, Image.open(a) as whole:
        assert shown.size == (whole.width // 2, whole.height)
    with Image.open(tmp_path / "m.png") as montage:
        assert montage.width == 5 * (240 + 12) + 12  # three of the query, two answers


def test_a_montage_says_how_many_it_shows(tmp_path: Path) -> None:
    match = vsearch.Match(1, "a.jpg", 0.5, "similar", "1")
    assert montage.write_montage(tmp_path / "m.jpg", [], [match] * 300, lambda id: None) == 240


def test_a_montage_has_a_label_for_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Part("query", '"black/white red"', None)
    assert (montage._title(words), montage._title(Part("query", "a/b.jpg", b""))) == (words.name, "b.jpg")
    bare = ImageFont.load_default(15)
    assert montage._spelt("Stra\u00dfe \u00e9t\u00e9", bare) == "Stra?e ete"
    for fonts in (("no such font.ttf",), montage._FONTS):
        montage._system_fonts.cache_clear()
        monkeypatch.setattr(montage, "_FONTS", fonts)
        found = montage._system_fonts()
        assert found and all(montage._has(font, "a") and not montage._has(font, "\ufffe") for font in found)


def test_a_deleted_working_directory_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    run = f"cd {tmp_path}/gone && rmdir ../gone && PYTHONPATH={ROOT} {sys.executable} -m vsearch status"
    done = subprocess.run(["sh", "-c", run], capture_output=True, text=True)
    assert done.returncode == 2 and "working directory was deleted" in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_names_come_out_in_any_encoding_of_the_terminal(
    index: vsearch.Index, photos: Path, encoding: str
) -> None:
    shown = Path(os.fsdecode(os.fsencode(photos) + "/e\u0301-日本.png".encode()))
    raw = Path(os.fsdecode(os.fsencode(photos) + b"/raw-\xff.png"))
    for path in (shown, raw):
        path.write_bytes((photos / "day0/photo000.png").read_bytes())
    index.sync()
    variables = {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}

    def asked(*options: str) -> subprocess.CompletedProcess[bytes]:
        line = [sys.executable, "-m", "vsearch", "query", str(shown), "--index", str(index.path), *options]
        return subprocess.run(line, env={**os.environ, **variables}, capture_output=True, check=False)

    table, listed = asked("-k", "3"), asked("-k", "3", "-0")
    assert (table.returncode, table.stderr) == (0, b"")
    assert {os.fsencode(path) for path in (shown, raw)} < set(listed.stdout.split(b"\0"))
    duplicates = [sys.executable, "-m", "vsearch", "duplicates", "--index", str(index.path), "--paths"]
    done = subprocess.run(duplicates, env={**os.environ, **variables}, capture_output=True, check=False)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    if encoding == "ascii":  # of the file system too
        variables |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        page = photos.parent / "s.html"
        assert asked("--html", str(page)).returncode == 0
        for path in (shown, raw):
            assert f'href="{path.as_uri()}"' in page.read_text("utf-8")

"""`vsearch duplicates` as a command: decisions, moves, links, undo."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

import vsearch
from tests.conftest import Run
from tests.family import kinds_of, photo


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_json_and_page(run_family: Run, tmp_path: Path) -> None:
    done = run_family("--json", "--html", tmp_path / "page.html")
    (line,) = done.stdout.splitlines()
    group = json.loads(line)
    assert group["representative"].endswith("cat.png") or group["representative"].endswith("copy.png")
    assert {"path", "kind", "hash_distance", "score"} <= set(group["members"][0])
    page = (tmp_path / "page.html").read_text()
    assert page.count("<li") == 1 + len(group["members"])
    assert group["why"] in page


def test_move_needs_yes_spares_protected_and_is_undone(run_family: Run, family: Path, tmp_path: Path) -> None:
    before, aside = names(family), tmp_path / "aside"
    plan = run_family("--move-to", aside)
    assert plan.returncode == 0 and plan.stdout.count(b"move  ") == 4
    assert names(family) == before
    assert run_family("--move-to", aside, "--protect", family, "--yes").returncode == 0
    assert names(family) == before
    (family / "dark.jpg").write_bytes(b"changed since")
    done = run_family("--move-to", aside, "--yes")
    assert b"changed since then" in done.stderr
    assert names(aside) == {"copy.png", "small.jpg", "grey.jpg"}
    assert run_family("--undo").returncode == 0
    assert names(family) == before and not names(aside)


def test_members_that_are_gone_or_unreadable_end_nothing(
    run_family: Run, family: Path, tmp_path: Path
) -> None:
    (family / "copy.png").unlink()
    (family / "grey.jpg").write_bytes(b"no picture any more")
    found = run_family("--keep", "sharpest", "--html", tmp_path / "page.html")
    assert found.returncode == 0, found.stderr
    assert b"copy.png" not in found.stdout and b"small.jpg" in found.stdout
    moved = run_family("--move-to", tmp_path / "aside", "--yes")
    assert moved.returncode == 0 and b"grey.jpg" in moved.stderr
    assert names(tmp_path / "aside") == {"small.jpg", "dark.jpg"}
    assert (family / "grey.jpg").read_bytes() == b"no picture any more"


@pytest.mark.parametrize("ending", ["--finish", "--undo"])
@pytest.mark.parametrize("fault", ["duplicate-two-names:2", "duplicate-step:1"])
def test_a_kill_midway_loses_no_name(
    run_family: Run, family: Path, tmp_path: Path, fault: str, ending: str
) -> None:
    before, aside = names(family), tmp_path / "aside"
    killed = run_family("--move-to", aside, "--yes", variables={"VSEARCH_TEST_FAULT": fault})
    assert killed.returncode == -9
    assert names(family) | names(aside) == before
    assert run_family("--move-to", aside, "--yes").returncode == 2
    assert run_family(ending).returncode == 0
    left = before if ending == "--undo" else before - {"copy.png", "small.jpg", "grey.jpg", "dark.jpg"}
    assert names(family) == left and names(aside) == before - left


def test_hard_links_are_made_and_undone(run_family: Run, family: Path) -> None:
    pair = family / "cat.png", family / "copy.png"
    assert run_family("--hardlink", "--kind", "identical", "--yes").returncode == 0
    assert os.path.samefile(*pair)
    assert run_family("--undo").returncode == 0
    assert not os.path.samefile(*pair)
    assert pair[0].read_bytes() == pair[1].read_bytes()


def test_names_of_one_file_are_not_moved_apart(command: Run, tmp_path: Path, toy_encoder: Path) -> None:
    album = tmp_path / "album"
    for folder in ("a", "b", "c"):
        (album / folder).mkdir(parents=True)
    photo("chelsea").save(album / "b" / "real.jpg")
    (album / "a" / "link.jpg").symlink_to(album / "b" / "real.jpg")
    os.link(album / "b" / "real.jpg", album / "c" / "hard.jpg")
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
    done = command("duplicates", "--index", tmp_path / "i.vsearch", "--move-to", tmp_path / "aside", "--yes")
    assert done.returncode == 0 and done.stderr.count(b"another name of the same file") == 1
    assert names(album) == {"a/link.jpg", "b/real.jpg", "c/hard.jpg"}


def test_what_was_moved_aside_within_the_album_is_not_kept_instead(
    command: Run, tmp_path: Path, toy_encoder: Path
) -> None:
    album = tmp_path / "album"
    (album / "z").mkdir(parents=True)
    photo("chelsea").save(album / "z" / "orig.jpg")
    (album / "z" / "zcopy.jpg").write_bytes((album / "z" / "orig.jpg").read_bytes())
    for name, age in (("orig.jpg", 0), ("zcopy.jpg", 0)):
        os.utime(album / "z" / name, (age, age))
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
        for _ in range(2):
            done = command("duplicates", "--index", index.path, "--move-to", album / "aside", "--yes")
            assert done.returncode == 0, done.stderr
            index.sync()
    assert names(album) == {"z/orig.jpg", "aside/z/zcopy.jpg"}
    refused = command("duplicates", "--index", index.path, "--move-to", index.path / "x", "--yes")
    assert refused.returncode == 2 and b"lies in the index" in refused.stderr


def test_equal_bytes_are_linked_where_a_larger_version_is_kept(
    command: Run, tmp_path: Path, toy_encoder: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    photo("chelsea").save(album / "big.png")
    photo("chelsea").resize((226, 150)).save(album / "s1.jpg")
    (album / "s2.jpg").write_bytes((album / "s1.jpg").read_bytes())
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
    done = command("duplicates", "--index", tmp_path / "i.vsearch", "--hardlink", "--yes")
    assert done.returncode == 0, done.stderr
    assert os.path.samefile(album / "s1.jpg", album / "s2.jpg")
    assert not os.path.samefile(album / "s1.jpg", album / "big.png")
    with vsearch.Index.open(tmp_path / "i.vsearch") as index:
        (group,) = index.duplicates(kinds=["identical"])
        assert [Path(photo.path).name for photo in group.photos] == ["s1.jpg", "s2.jpg"]
        assert kinds_of(index.duplicates()) == {"s1.jpg": "altered", "s2.jpg": "altered"}


def test_what_cannot_be_reverted_does_not_stand_in_the_way(
    run_family: Run, family: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    assert run_family("--move-to", aside, "--kind", "identical", "--yes").returncode == 0
    assert run_family("--move-to", aside, "--kind", "altered", "--yes").returncode == 0
    (aside / "dark.jpg").write_bytes(b"changed since")
    (aside / "small.jpg").unlink()
    undone = run_family("--undo", "--json")
    report = json.loads(undone.stdout)
    assert undone.returncode == 0 and report["done"] == 1
    assert {Path(skipped["path"]).name for skipped in report["skipped"]} == {"dark.jpg", "small.jpg"}
    assert json.loads(run_family("--undo", "--json").stdout) == {"done": 1, "skipped": []}
    assert names(aside) == {"dark.jpg"} and run_family("--undo").returncode == 2


def test_a_fault_of_the_disk_can_be_mended_and_undone_again(
    run_family: Run, family: Path, tmp_path: Path
) -> None:
    assert run_family("--move-to", tmp_path / "aside", "--kind", "identical", "--yes").returncode == 0
    away = family.rename(tmp_path / "away")
    family.write_bytes(b"no folder")
    failed = run_family("--undo")
    assert failed.returncode == 2 and b"mend that" in failed.stderr
    family.unlink()
    away.rename(family)
    assert run_family("--undo").returncode == 0 and {"cat.png", "copy.png"} <= names(family)


def test_a_move_that_fails_altogether_leaves_nothing_to_undo(
    run_family: Run, family: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert run_family("--move-to", tmp_path / "file" / "aside", "--yes").returncode == 2
    undone = run_family("--undo")
    assert undone.returncode == 2 and b"nothing was moved or linked" in undone.stderr


def test_copies_of_a_photo_that_has_changed_stay(run_family: Run, family: Path, tmp_path: Path) -> None:
    before, kept = names(family), run_family("--kind", "identical", "--json")
    Path(json.loads(kept.stdout)["keep"]).write_bytes(b"changed since")
    done = run_family("--kind", "identical", "--move-to", tmp_path / "aside", "--yes")
    assert names(family) == before and b"has changed since it was indexed" in done.stderr


def test_folders_within_may_be_relative_to_the_photo_folders(
    family: Path, family_index: vsearch.Index
) -> None:
    (family / "sub").mkdir()
    for name in ("one.png", "two.png"):
        shutil.copy(family / "cat.png", family / "sub" / name)
    family_index.add(family)
    (group,) = family_index.duplicates(kinds=["identical"], within="sub")
    assert [Path(photo.path).name for photo in group.photos] == ["one.png", "two.png"]


def test_plans_and_decisions_come_as_json(run_family: Run, family: Path, tmp_path: Path) -> None:
    plan = run_family("--move-to", tmp_path / "aside", "--json")
    assert {json.loads(line)["what"] for line in plan.stdout.splitlines()} == {"move"}
    made = json.loads(run_family("--keep-this", family / "grey.jpg", "--json").stdout)
    assert made["what"] == "keep"
    assert json.loads(run_family("--forget", made["id"], "--json").stdout) == {"forgotten": made["id"]}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--move-to", "aside", "--protect", "nowhere"), "nowhere is to be protected and is not there"),
        (("--forget", "nothing"), "there is no decision 'nothing'"),
        (("--decisions", "--html", "x.html"), "cannot be combined with a decision"),
        (("--undo", "--kind", "altered"), "cannot be combined with a decision"),
        (("--move-to", "aside", "--paths"), "do not go with a move"),
        (("--yes",), "are for --move-to and --hardlink"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    run_family: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = run_family(*options)
    assert done.returncode == 2 and said in done.stderr.decode() and not done.stdout
    assert not (tmp_path / "x.html").exists()


@pytest.fixture
def run_family(command: Run, family_index: vsearch.Index) -> Run:
    """Runs ``vsearch duplicates`` on the family."""
    return partial(command, "duplicates", "--index", family_index.path)


def test_a_link_is_no_duplicate_of_its_file(command: Run, toy_encoder: Path, tmp_path: Path) -> None:
    """The paths that are listed may be taken away by hand."""
    album, originals = tmp_path / "album" / "a", tmp_path / "album" / "originals"
    for folder in (album, originals):
        folder.mkdir(parents=True)
    photo("chelsea").save(originals / "cat.png")
    (album / "cat.png").symlink_to(originals / "cat.png")
    index = str(tmp_path / "i.vsearch")
    assert (
        command("build-index", tmp_path / "album", "--index", index, "--encoder", toy_encoder).returncode == 0
    )
    nothing = command("duplicates", "--index", index, "-0")
    assert (nothing.returncode, nothing.stdout) == (1, b"")
    (originals / "copy.png").write_bytes((originals / "cat.png").read_bytes())
    assert command("sync", "--index", index).returncode == 0
    listed = command("duplicates", "--index", index, "--paths").stdout.decode().splitlines()
    assert listed == [str(originals / "copy.png")]


def test_a_file_that_a_link_leads_to_is_not_moved(command: Run, toy_encoder: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    photo("chelsea").save(album / "b.png")
    (album / "a.png").write_bytes((album / "b.png").read_bytes())
    (album / "c.png").symlink_to("b.png")
    index = str(tmp_path / "i.vsearch")
    assert command("build-index", album, "--index", index, "--encoder", toy_encoder).returncode == 0
    asked = ("duplicates", "--index", index, "--keep", "path:a.png")
    done = command(*asked, "--move-to", tmp_path / "aside", "--yes")
    assert f"{album / 'c.png'} is a link to it" in done.stderr.decode()
    assert (album / "c.png").read_bytes() == (album / "b.png").read_bytes()
    assert command(*asked, "--paths").stdout == b""
    (album / "c.png").unlink()
    assert command("sync", "--index", index).returncode == 0
    assert command(*asked, "--move-to", tmp_path / "aside", "--yes").returncode == 0
    assert (tmp_path / "aside" / "b.png").exists()


def test_what_has_no_place_to_go_back_to_can_be_undone_later(
    run_family: Run, family: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    assert run_family("--move-to", aside, "--kind", "altered", "--yes").returncode == 0
    (family / "dark.jpg").write_bytes(b"another photo")
    undone = run_family("--undo")
    assert undone.returncode == 0
    assert f"it lies in {aside / 'dark.jpg'}" in undone.stderr.decode()
    (family / "dark.jpg").unlink()
    assert run_family("--undo").returncode == 0
    assert (family / "dark.jpg").exists() and not names(aside)
    assert run_family("--undo").returncode == 2


def test_photos_below_the_folder_to_move_to_are_not_called_protected(run_family: Run, family: Path) -> None:
    (family / "sub").mkdir()
    (family / "copy.png").rename(family / "sub" / "copy.png")
    assert run_family("--move-to", family / "other").returncode == 0
    plan = run_family("--move-to", family / "sub", "--keep", "path:cat.png")
    assert b"protected" not in plan.stderr


def test_a_link_to_a_folder_leads_to_what_is_protected_and_moved_aside(
    command: Run, toy_encoder: Path, tmp_path: Path
) -> None:
    """The walk comes across the files by way of ``a_link`` alone, and the index knows them by that name."""
    album, masters = tmp_path / "album", tmp_path / "masters"
    album.mkdir()
    masters.mkdir()
    (album / "a_link").symlink_to(masters)
    photo("chelsea").resize((226, 150)).save(masters / "small.jpg")
    photo("chelsea").save(album / "large.png")
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
    asked = ("duplicates", "--index", tmp_path / "i.vsearch", "--yes", "--move-to")
    for options in ((tmp_path / "aside", "--protect", masters), (masters,)):
        assert f"{album / 'a_link' / 'small.jpg'}: " in command(*asked, *options).stderr.decode()
    kept_there = command(*asked, masters, "--keep", "path:small.jpg")
    assert b"in the folder to move to" in kept_there.stderr
    assert (masters / "small.jpg").exists() and (album / "large.png").exists()


def test_pages_and_frames_that_were_not_compared_stay(toy_encoder: Path, tmp_path: Path) -> None:
    album, others = tmp_path / "album", [photo("coffee"), photo("rocket")]
    album.mkdir()
    first = photo("chelsea")
    first.save(album / "kept.png")
    small = first.resize((300, 200))
    for name in ("pages.tif", "frames.webp", "frames.png", "frames.gif", "frames.avif"):
        more = [other.resize(small.size) for other in others]
        small.save(album / name, save_all=True, append_images=more)
    small.save(album / "phone.mpo", "MPO", save_all=True, append_images=[small])
    small.save(album / "single.jpg")
    (album / "twin.tif").write_bytes((album / "pages.tif").read_bytes())
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
        groups = index.duplicates()
        plan = index.tidying().plan_moves(groups, tmp_path / "aside")
        assert {Path(step.source).name for step in plan.steps} == {"single.jpg", "phone.mpo"}
        stay = {Path(each.path).name for each in plan.skipped if "3 pages or frames" in each.reason}
        assert stay == {"pages.tif", "twin.tif", "frames.webp", "frames.png", "frames.gif", "frames.avif"}
        (link,) = index.tidying().plan_links(groups).steps  # which costs no page, whatever is kept
        assert {Path(link.source).name, Path(link.target).name} == {"pages.tif", "twin.tif"}
        plan = index.tidying().plan_moves(index.duplicates(kinds=["identical"]), tmp_path / "aside")
        assert [Path(step.source).name for step in plan.steps] == ["twin.tif"]

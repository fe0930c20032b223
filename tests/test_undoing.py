"""What is looked at before photos are moved; finishing and reverting moves, whatever happened since."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import vsearch
from tests.conftest import Run
from tests.family import photo
from vsearch.duplicates.moving import Outcome


def moved(index: vsearch.Index, folder: Path) -> Outcome:
    """Moves identical photos aside."""
    tidying = index.tidying()
    return tidying.carry_out(tidying.plan_moves(index.duplicates(kinds=["identical"]), folder))


def spoil(path: Path) -> None:
    """Other bytes; size and time of the file stay."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.png"))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """An album of two photos, each twice: a.png and b.png, c.png and d.png."""
    album = tmp_path / "album"
    album.mkdir()
    for scene, twins in (("chelsea", "ab"), ("rocket", "cd")):
        for name in twins:
            photo(scene).resize((90, 60)).save(album / f"{name}.png")
    return album


@pytest.fixture
def index(pairs: Path, toy_encoder: Path) -> Iterator[vsearch.Index]:
    """Its index, in it."""
    with vsearch.Index.create(pairs / ".vsearch", encoder=toy_encoder) as made:
        made.add(pairs)
        yield made


@pytest.fixture
def run(command: Run, pairs: Path, index: vsearch.Index) -> Run:
    """Runs ``vsearch duplicates`` on it."""
    return partial(command, "duplicates", "--index", index.path)


def test_copies_of_a_photo_that_was_spoilt_unnoticed_stay(
    pairs: Path, index: vsearch.Index, tmp_path: Path
) -> None:
    spoil(pairs / "a.png")
    outcome = moved(index, tmp_path / "aside")
    assert outcome.done == 1 and names(tmp_path / "aside") == ["d.png"]
    assert [Path(skipped.path).name for skipped in outcome.skipped] == ["b.png"]
    assert "a.png, has changed since it was indexed" in outcome.skipped[0].reason


def test_check_looks_at_decisions_and_journals(index: vsearch.Index, tmp_path: Path) -> None:
    moved(index, tmp_path / "aside")
    index.sync(prune=True)
    assert not list(vsearch.Index.check(index.path))
    (journal,) = (index.path / "duplicates" / "journals").iterdir()
    journal.rename(journal.with_name("000001.doing.jsonl"))
    assert [p.remedy[:29] for p in vsearch.Index.check(index.path)] == ["`vsearch duplicates --finish`"]
    journal.with_name("000001.doing.jsonl").rename(journal)
    journal.write_text("{}\n")
    decisions = index.path / "duplicates" / "decisions.jsonl"
    decisions.write_text("no JSON\n")
    found = list(vsearch.Index.check(index.path))
    assert [problem.what for problem in found] == [
        f"{decisions} is damaged in line 1",
        f"{journal} is damaged: it is not the journal that vsearch writes",
    ]
    assert not [problem for problem in found if "rebuild" in problem.remedy]


def test_finishing_looks_at_what_is_to_be_kept_too(run: Run, pairs: Path, tmp_path: Path) -> None:
    fault = {"VSEARCH_TEST_FAULT": "duplicate-step:1"}
    assert run("--move-to", tmp_path / "aside", "--yes", variables=fault).returncode == -9
    spoil(pairs / "c.png")
    finished = run("--finish")
    assert b"c.png, has changed" in finished.stderr
    assert b"0 done\n" in finished.stdout and b"--undo" not in finished.stdout
    assert names(pairs) == ["a.png", "c.png", "d.png"]
    assert run("--undo").returncode == 0 and names(pairs) == ["a.png", "b.png", "c.png", "d.png"]


def test_a_folder_that_is_away_for_a_moment_can_be_undone_later(
    run: Run, pairs: Path, tmp_path: Path
) -> None:
    aside, away = tmp_path / "usb", tmp_path / "unplugged"
    assert run("--move-to", aside, "--yes").returncode == 0
    aside.rename(away)
    undone = run("--undo")
    assert undone.returncode == 2 and b"missing files can be reverted by --undo" in undone.stderr
    assert run("--undo").returncode == 2
    away.rename(aside)
    assert run("--undo").returncode == 0
    assert names(pairs) == ["a.png", "b.png", "c.png", "d.png"]
    assert b"nothing to undo" in run("--undo").stderr


def test_what_is_away_holds_up_no_other_move(index: vsearch.Index, pairs: Path, tmp_path: Path) -> None:
    first, last, away = tmp_path / "first", tmp_path / "last", tmp_path / "away"
    tidying = index.tidying()
    for folder, path in ((first, "b.png"), (last, "d.png")):
        groups = [group for group in index.duplicates() if any(p.path.endswith(path) for p in group.photos)]
        assert tidying.carry_out(tidying.plan_moves(groups, folder)).done == 1
    last.rename(away)
    assert (tidying.undo().done, names(first)) == (0, ["b.png"])
    assert (tidying.undo().done, names(first)) == (1, [])
    assert names(pairs) == ["a.png", "b.png", "c.png"]
    away.rename(last)
    assert tidying.undo().done == 1 and names(pairs) == ["a.png", "b.png", "c.png", "d.png"]


def test_all_that_were_to_be_kept_stay(family: Path, family_index: vsearch.Index, tmp_path: Path) -> None:
    tidying = family_index.tidying()
    for name in ("grey.jpg", "dark.jpg"):
        tidying.decide_keep(family / name)
    groups = family_index.duplicates(kinds=["altered"])
    extra, skipped = tidying.superfluous(groups)
    (keep,) = {Path(str(group.as_json()["keep"])).name for group in groups} & {"grey.jpg", "dark.jpg"}
    (other,) = {"grey.jpg", "dark.jpg"} - {keep}
    assert not {"grey.jpg", "dark.jpg"} & {Path(photo.path).name for photo in extra}
    assert (other, "you decided to keep it") in {(Path(s.path).name, s.reason) for s in skipped}
    plan = tidying.plan_moves(groups, tmp_path / "aside")
    assert plan.steps and not {str(family / other)} & {step.source for step in plan.steps}


def test_moves_and_decisions_follow_an_album_that_is_renamed(
    index: vsearch.Index, pairs: Path, tmp_path: Path
) -> None:
    index.tidying().decide_keep(pairs / "b.png")
    assert moved(index, tmp_path / "aside").done == 2
    index.close()
    renamed = pairs.rename(tmp_path / "renamed")
    with vsearch.Index.open(renamed / ".vsearch") as opened:
        assert opened.tidying().undo().done == 2
        (kept, _) = [group.as_json()["keep"] for group in opened.duplicates()]
    assert kept == str(renamed / "b.png")
    assert names(renamed) == ["a.png", "b.png", "c.png", "d.png"] and not pairs.exists()


def test_no_folder_is_made_for_an_album_that_is_away(pairs: Path, toy_encoder: Path, tmp_path: Path) -> None:
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(pairs)
        assert moved(index, tmp_path / "aside").done == 2
        renamed = pairs.rename(tmp_path / "renamed")
        outcome = index.tidying().undo()
        assert outcome.done == 0 and not pairs.exists()
        assert {skipped.reason for skipped in outcome.skipped} == {
            "the photo folder that it was in is not there"
        }
        renamed.rename(pairs)
        assert index.tidying().undo().done == 2


def test_journals_without_what_is_kept_and_with_absolute_paths_are_read(
    index: vsearch.Index, pairs: Path, tmp_path: Path
) -> None:
    assert moved(index, tmp_path / "aside").done == 2
    (journal,) = (index.path / "duplicates" / "journals").iterdir()
    steps = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [step["source"] for step in steps] == ["../b.png", "../d.png"]
    for step in steps:
        step["source"] = os.path.normpath(index.path / step["source"])
        del step["kept"]
    journal.write_text("".join(json.dumps(step) + "\n" for step in steps))
    assert index.tidying().undo().done == 2 and len(names(pairs)) == 4


def test_finishing_can_be_repeated_while_something_is_in_the_way(
    run: Run, pairs: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    fault = {"VSEARCH_TEST_FAULT": "duplicate-step:1"}
    assert run("--move-to", aside, "--yes", variables=fault).returncode == -9
    (aside / "d.png").write_bytes(b"another file")
    for _ in range(2):
        assert b"take that file away and run this again" in run("--finish").stderr
    (aside / "d.png").unlink()
    assert run("--finish").returncode == 0 and names(aside) == ["b.png", "d.png"]
    assert b"nothing to finish" in run("--finish").stderr


def test_a_file_is_no_folder_to_move_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused = run("--move-to", tmp_path / "file", "--yes")
    assert refused.returncode == 2 and b"file is no folder" in refused.stderr
    assert refused.stderr.count(b"\n") <= 2 and not refused.stdout


@pytest.mark.parametrize("name", ["a.png", "b.png"])
def test_the_file_that_was_named_is_kept_of_equal_ones(
    index: vsearch.Index, pairs: Path, tmp_path: Path, name: str
) -> None:
    tidying = index.tidying()
    for each in ("a.png", "b.png", name):  # the last word counts
        tidying.decide_keep(pairs / each)
    (group, _) = index.duplicates()
    assert group.as_json()["keep"] == str(pairs / name) and group.why == "you decided so"
    assert len(tidying.decisions()) == 1
    moved(index, tmp_path / "aside")
    assert name in names(pairs) and len(names(pairs)) == 2


def test_a_folder_that_lost_most_of_its_photos_is_synced_with_prune(
    command: Run, toy_encoder: Path, tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in range(4):
        photo("rocket").resize((90, 60)).save(album / f"{number}.png")
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(album)
    options = ("--index", tmp_path / "i.vsearch")
    done = command("duplicates", *options, "--move-to", tmp_path / "aside", "--yes")
    assert b"`vsearch sync --prune` tells the index" in done.stdout
    command("sync", *options, "--prune")
    assert command("duplicates", *options).returncode == 1
    assert command("duplicates", *options, "--undo").returncode == 0 and len(names(album)) == 4


def test_few_photos_that_went_need_no_prune(index: vsearch.Index, pairs: Path, tmp_path: Path) -> None:
    assert not moved(index, tmp_path / "aside").needs_prune
    assert index.tidying().undo().done == 2
    for name in ("e.png", "f.png", "g.png"):
        (pairs / name).write_bytes((pairs / "a.png").read_bytes())
    index.sync()
    assert not moved(index, pairs / "aside").needs_prune  # 5 of 7, and none out of the album

"""Duplicates: proposals, verdicts, groups, decisions, moves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from skimage import data

import vsearch
from tests.conftest import Run
from vsearch import agreement, duplicates, hashing, keeping, nearhashes, neighbours
from vsearch.records import DuplicateGroup, DuplicatePhoto

Kinds = dict[str, str]


def photo(name: str) -> Image.Image:
    """A real photo that scikit-image ships."""
    return Image.fromarray(getattr(data, name)())


def write_family(folder: Path) -> None:
    """One photo, altered in the ways that are told apart, and others that are not the same."""
    folder.mkdir(parents=True)
    cat = photo("chelsea")
    cat.save(folder / "cat.png")
    (folder / "copy.png").write_bytes((folder / "cat.png").read_bytes())
    cat.save(folder / "small.jpg", quality=60)
    ImageOps.grayscale(cat).resize((226, 150)).save(folder / "grey.jpg")
    ImageEnhance.Brightness(cat).enhance(0.7).save(folder / "dark.jpg")
    ImageOps.mirror(cat).save(folder / "mirrored.jpg")
    cat.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg")
    cat.crop((40, 30, 420, 280)).save(folder / "cropped.jpg")
    ImageOps.expand(cat, 14, (150, 110, 90)).resize((400, 273)).save(folder / "framed.jpg")
    photo("astronaut").save(folder / "astronaut.jpg")
    photo("coffee").save(folder / "coffee.jpg")
    photo("rocket").save(folder / "rocket.jpg")


@pytest.fixture
def family(tmp_path: Path) -> Path:
    write_family(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def family_index(tmp_path: Path, family: Path, toy_encoder: Path) -> Iterator[vsearch.Index]:
    with vsearch.Index.create(tmp_path / "family.vsearch", encoder=toy_encoder) as index:
        index.add(family)
        yield index


def kinds_of(groups: list[DuplicateGroup]) -> Kinds:
    return {Path(m.photo.path).name: m.kind for group in groups for m in group.members}


# --- pure parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(8))
def test_hashes_turn_like_their_pictures(orientation: int) -> None:
    grey = np.asarray(photo("chelsea").convert("L"))
    phash, dhash = (
        np.array([int(h, 16)], np.uint64) for h in hashing.perceptual_hashes(Image.fromarray(grey))
    )
    turned = Image.fromarray(np.ascontiguousarray(agreement.oriented(grey, orientation)))
    expected = [int(h, 16) for h in hashing.perceptual_hashes(turned)]
    assert (int(hashing.turned_phashes(phash, orientation)[0]) ^ expected[0]).bit_count() <= 8
    if orientation < 4:
        assert (int(hashing.turned_dhashes(dhash, orientation)[0]) ^ expected[1]).bit_count() <= 8


def test_multi_index_hashing_finds_what_comparing_all_finds() -> None:
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**63, 400, dtype=np.uint64)
    for row in range(200):  # the second half: the first, with up to 14 bits flipped
        flips = sum(1 << int(bit) for bit in random.choice(63, random.integers(0, 15), replace=False))
        hashes[200 + row] = hashes[row] ^ np.uint64(flips)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    found = {
        (int(q), int(o))
        for pairs in nearhashes.HashTable(hashes).within(hashes, nearhashes.MAX_RADIUS)
        for q, o in zip(pairs.query, pairs.other, strict=True)
    }
    assert found == set(
        zip(*(x.tolist() for x in np.nonzero(distances <= nearhashes.MAX_RADIUS)), strict=True)
    )


def test_nearest_in_blocks_is_nearest_of_all() -> None:
    vectors = np.random.default_rng(2).standard_normal((6000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, queries = np.arange(len(vectors)), np.arange(0, 6000, 37)
    found = neighbours.nearest(vectors, queries, rows, 4, 0.0)
    scores = vectors[queries] @ vectors.T
    scores[np.arange(len(queries)), queries] = -1
    assert np.allclose(found.scores, -np.sort(-scores, axis=1)[:, :4], atol=1e-5)


def test_thousands_of_equal_hashes_are_one_class_and_few_proposals() -> None:
    count = 5000
    hashed = duplicates.Hashed(
        np.full(count, 1 << 63, np.uint64), np.zeros(count, np.uint64), np.ones(count, np.float32)
    )
    classes = duplicates.hash_classes(hashed)
    assert len(classes.first) == 1
    edges = duplicates.hash_edges(hashed.take(classes.first), np.ones(1, np.bool_))
    propose = duplicates.HashProposals(classes, edges)
    assert max(len(propose(row)) for row in range(count)) <= 64


def test_a_chain_is_no_group() -> None:
    related = {(1, 0), (2, 1), (3, 2)}
    ways = [(lambda row: range(row - 1, -1, -1), lambda a, b: (a, b) in related, 9)]
    assert duplicates.stars(range(4), ways).members == {0: [1], 1: [2], 2: [3]}


def test_what_came_before_its_neighbours_is_asked_again() -> None:
    proposals = {0: [2], 1: [], 2: [1]}  # 0 knows only a copy of 1, which comes later
    related = {(2, 1), (0, 1)}
    ways = [(lambda row: proposals[row], lambda a, b: (a, b) in related, 9)]
    assert duplicates.stars(range(3), ways).members == {1: [2, 0]}


def test_a_small_group_joins_a_large_one_member_by_member() -> None:
    proposals = {0: [3], 1: [0], 2: [], 3: [2], 4: [2]}  # 0 and 1: framed copies of 2, which comes later
    related = {(1, 0), (0, 2), (1, 2), (3, 2), (4, 2)}
    ways = [(lambda row: proposals[row], lambda a, b: (a, b) in related, 9)]
    assert duplicates.stars(range(5), ways).members == {2: [3, 4, 0, 1]}


def test_a_frame_joins_the_picture_whose_group_it_led() -> None:
    proposals = {0: [1], 1: [0], 2: [1], 3: [1]}  # 0: a screenshot of 1, larger, and like no copy of it
    related = {(1, 0), (0, 1), (2, 1), (3, 1)}
    ways = [(lambda row: proposals[row], lambda a, b: (a, b) in related, 9)]
    assert duplicates.stars(range(4), ways).members == {1: [2, 3, 0]}


def test_rules_are_applied_in_order() -> None:
    small = DuplicatePhoto("1", "/o/a.png", "a", 10, 10, 5, 2, "PNG", "2020-01-01T00:00:00")
    large = DuplicatePhoto("2", "/p/b.jpg", "b", 20, 20, 9, 1, "JPEG", "2021-01-01T00:00:00")

    def kept(rules: str, decided: set[str] | None = None) -> str:
        return keeping.choose([small, large], keeping.parse(rules), decided or set()).photo.id

    assert [kept(r) for r in ("largest", "oldest", "format,largest", "path:/p/*,oldest", "path:p/*")] == [
        "2",
        "1",
        "1",
        "2",
        "2",
    ]
    assert kept("largest", {"a"}) == "1"
    with pytest.raises(vsearch.UsageError, match="--keep takes"):
        keeping.parse("prettiest")


# --- an index ------------------------------------------------------------------------------------


def test_relations_are_told_apart(family_index: vsearch.Index) -> None:
    assert kinds_of(family_index.duplicates()) == {
        "copy.png": "identical",
        "small.jpg": "altered",
        "grey.jpg": "altered",
        "dark.jpg": "altered",
        "mirrored.jpg": "turned",
        "turned.jpg": "turned",
        "cropped.jpg": "cropped",
        "framed.jpg": "cropped",
    }


def test_order_and_increments_change_nothing(
    tmp_path: Path, family: Path, toy_encoder: Path, family_index: vsearch.Index
) -> None:
    expected = [group.as_json() for group in family_index.duplicates()]
    with vsearch.Index.create(tmp_path / "other.vsearch", encoder=toy_encoder) as other:
        for path in sorted(family.iterdir(), reverse=True):
            other.add(path)
            found = other.duplicates()
    assert [group.as_json() for group in found] == expected


def test_a_second_run_judges_nothing(family_index: vsearch.Index) -> None:
    first = family_index.duplicates()
    for segment in (family_index.path / "thumbnails").iterdir():
        segment.unlink()  # whoever judges a pair needs these
    assert family_index.duplicates() == first


def test_bursts_need_time_and_content(tmp_path: Path, toy_encoder: Path) -> None:
    folder = tmp_path / "burst"
    folder.mkdir()
    shots = (
        ("a", "coffee", 0, 1),
        ("b", "coffee", 30, 4),
        ("other", "astronaut", 0, 5),
        ("later", "rocket", 0, 50),
    )
    for name, scene, left, second in shots:
        exif = Image.Exif()
        exif[306] = f"2020:05:01 10:00:{second:02d}"
        photo(scene).crop((left, 0, left + 500, 400)).save(folder / f"{name}.jpg", exif=exif, quality=95)
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder) as index:
        index.add(folder)
        (group,) = index.duplicates(kinds=["burst"])
        assert [Path(p.path).name for p in group.photos] == ["a.jpg", "b.jpg"]
        assert group.members[0].seconds == 3


def test_single_colours_tiny_pictures_and_many_copies(tmp_path: Path, toy_encoder: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for colour in ("red", "blue", "white"):
        for size in (64, 32):
            Image.new("RGB", (size, size), colour).save(folder / f"{colour}{size}.png")
    Image.new("RGB", (1, 1), "green").save(folder / "dot.png")
    for number in range(100):
        photo("rocket").resize((64, 43)).save(folder / f"rocket{number:03d}.png")
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder) as index:
        index.add(folder)
        groups = {Path(g.representative.path).name: len(g.members) for g in index.duplicates()}
    assert groups == {"red64.png": 1, "blue64.png": 1, "white64.png": 1, "rocket000.png": 99}


def test_decisions_outlive_moves_and_can_be_undone(family: Path, family_index: vsearch.Index) -> None:
    tidying = family_index.tidying()
    apart = tidying.decide_not_duplicates(family / "cat.png", family / "dark.jpg")
    tidying.decide_keep(family / "grey.jpg")
    os.rename(family / "dark.jpg", family / "night.jpg")
    family_index.add(family)
    (group,) = family_index.duplicates(kinds=["altered"])
    assert "night.jpg" not in kinds_of([group])
    assert group.why == "you decided so" and group.as_json()["keep"].endswith("grey.jpg")
    family_index.tidying().forget_decision(apart.id)
    assert "night.jpg" in kinds_of(family_index.duplicates())
    assert [each.what for each in family_index.tidying().decisions()] == ["keep"]


# --- the command line ----------------------------------------------------------------------------


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
    assert done.returncode == 0 and done.stderr.count(b"another name of the same file") == 2
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
        (("--forget", ""), "there is no decision ''"),
        (("--decisions", "--html", "x.html"), "go with no decision"),
        (("--undo", "--kind", "altered"), "go with no decision"),
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

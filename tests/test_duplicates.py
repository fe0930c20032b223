"""Duplicates: proposals, verdicts, groups, decisions, moves."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

import vsearch
from tests import album
from tests.family import kinds_of, photo
from vsearch import hashing, images
from vsearch.duplicates import comparisons, groups, keeping, nearhashes, neighbours, proposals
from vsearch.duplicates.records import DuplicatePhoto
from vsearch.variants import agreement, judging

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
        for pairs in nearhashes.HashTable(hashes).within(hashes, proposals.HASH_BITS)
        for q, o in zip(pairs.query, pairs.other, strict=True)
    }
    assert found == set(zip(*(x.tolist() for x in np.nonzero(distances <= proposals.HASH_BITS)), strict=True))


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
    hashed = proposals.Hashed(
        np.full(count, 1 << 63, np.uint64), np.zeros(count, np.uint64), np.ones(count, np.float32)
    )
    classes = proposals.hash_classes(hashed)
    assert len(classes.first) == 1
    edges = proposals.hash_edges(hashed.take(classes.first), np.ones(1, np.bool_))
    propose = proposals.HashProposals(classes, edges)
    assert max(len(propose(row)) for row in range(count)) == 64


def test_many_pairs_of_near_hashes_are_cut_down_before_all_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 30
    phashes = np.uint64(1) << np.arange(count, dtype=np.uint64)  # each 2 bits from each other
    hashed = proposals.Hashed(phashes, np.zeros(count, np.uint64), np.ones(count, np.float32))
    new = np.ones(count, np.bool_)
    expected = proposals.hash_edges(hashed, new)
    cuts: list[int] = []
    strongest = proposals._strongest

    def counted(edges: list[proposals.Edges]) -> proposals.Edges:
        cuts.append(len(edges))
        return strongest(edges)

    monkeypatch.setattr(proposals, "_WAITING", 10)
    monkeypatch.setattr(proposals, "_strongest", counted)
    found = proposals.hash_edges(hashed, new)
    assert len(cuts) > 1
    assert len(found.a) == count * (count - 1) // 2
    for name in ("a", "b", "distance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_row_that_lost_a_neighbour_is_asked_again() -> None:
    digests = np.array([bytes([n]) * 32 for n in range(3)], "V32")
    known = comparisons.nothing("f", np.eye(2, dtype=np.float32), 1).moved_to(digests)
    rows, scores = np.array([[1], [0], [1]], np.int32), np.ones((3, 1), np.float32)
    known = replace(known, nearest=neighbours.NeighbourTable(rows, scores))
    assert known.moved_to(digests).nearest.rows.tolist() == rows.tolist()
    left = known.moved_to(digests[[0, 2]])
    assert left.nearest.rows.tolist() == [[comparisons.UNKNOWN], [comparisons.UNKNOWN]]


def test_a_chain_is_no_group() -> None:
    related = {(1, 0), (2, 1), (3, 2)}
    ways = [(lambda row: range(row - 1, -1, -1), lambda a, b: (a, b) in related, 9)]
    assert proposals.stars(range(4), ways).members == {0: [1], 1: [2], 2: [3]}


def test_what_came_before_its_neighbours_is_asked_again() -> None:
    proposed = {0: [2], 1: [], 2: [1]}  # 0 knows only a copy of 1, which comes later
    related = {(2, 1), (0, 1)}
    ways = [(lambda row: proposed[row], lambda a, b: (a, b) in related, 9)]
    assert proposals.stars(range(3), ways).members == {1: [2, 0]}


def test_a_small_group_joins_a_large_one_member_by_member() -> None:
    proposed = {0: [3], 1: [0], 2: [], 3: [2], 4: [2]}  # 0 and 1: framed copies of 2, which comes later
    related = {(1, 0), (0, 2), (1, 2), (3, 2), (4, 2)}
    ways = [(lambda row: proposed[row], lambda a, b: (a, b) in related, 9)]
    assert proposals.stars(range(5), ways).members == {2: [3, 4, 0, 1]}


def test_a_frame_joins_the_picture_whose_group_it_led() -> None:
    proposed = {0: [1], 1: [0], 2: [1], 3: [1]}  # 0: a screenshot of 1, larger, and like no copy of it
    related = {(1, 0), (0, 1), (2, 1), (3, 1)}
    ways = [(lambda row: proposed[row], lambda a, b: (a, b) in related, 9)]
    assert proposals.stars(range(4), ways).members == {1: [2, 3, 0]}


def test_rules_are_applied_in_order() -> None:
    small = DuplicatePhoto("1", "/o/a.png", "a", 10, 10, 5, 2, "PNG", "2020-01-01T00:00:00")
    large = DuplicatePhoto("2", "/p/b.jpg", "b", 20, 20, 9, 1, "JPEG", "2021-01-01T00:00:00")

    def kept(rules: str, decided: dict[str, str] | None = None) -> str:
        return keeping.choose([small, large], keeping.parse(rules), decided or {}).photo.id

    assert [kept(r) for r in ("largest", "oldest", "format,largest", "path:/p/*,oldest", "path:p/*")] == [
        "2",
        "1",
        "1",
        "2",
        "2",
    ]
    assert kept("largest", {"a": "elsewhere.png"}) == "1"
    with pytest.raises(vsearch.UsageError, match="--keep takes"):
        keeping.parse("prettiest")


def test_what_rules_leave_undecided_goes_to_more_bytes() -> None:
    first = DuplicatePhoto("1", "/p/a.jpg", "a", 20, 20, 5, 1, "JPEG", None)
    second = replace(first, id="2", path="/p/b.jpg", sha256="b", bytes=9)
    equal = replace(second, id="3", path="/p/c.jpg")
    assert keeping.choose([first, second], keeping.parse("largest"), {}) == keeping.Choice(
        second, "more bytes"
    )
    chosen = keeping.choose([equal, second], keeping.parse("largest"), {})
    assert chosen == keeping.Choice(second, "first of equals by path")


def test_a_blurred_picture_is_less_sharp_whatever_its_contrast(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(110, 145, (512, 512), np.uint8)
    sharp = Image.fromarray(noise)
    blurred = ImageOps.autocontrast(sharp.filter(ImageFilter.GaussianBlur(6)))
    assert np.var(blurred) > 4 * np.var(sharp)
    sharp.save(tmp_path / "sharp.png")
    blurred.save(tmp_path / "blurred.png")
    assert groups.sharpness(tmp_path / "sharp.png") > groups.sharpness(tmp_path / "blurred.png")


SKY = Image.linear_gradient("L").resize((900, 600)).point(lambda level: 120 + level // 5).convert("RGB")


def with_plane(x: int, y: int) -> Image.Image:
    picture = SKY.copy()
    ImageDraw.Draw(picture).polygon([(x, y), (x + 45, y + 7), (x, y + 15)], fill=(30, 30, 30))
    return picture


def with_stars(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (900, 600), (8, 8, 8))
    for x, y in random.integers(0, (900, 600), (300, 2)).tolist():
        ImageDraw.Draw(picture).ellipse((x, y, x + 1, y + 1), fill=(230, 230, 220))
    return picture


def with_words(words: str) -> Image.Image:
    picture = Image.new("RGB", (827, 1170), "white")
    ImageDraw.Draw(picture).multiline_text((100, 125), words, fill="black", font=ImageFont.load_default(14))
    return picture


FLAT = {
    "plane": (with_plane(200, 150), with_plane(640, 400)),
    "stars": (with_stars(1), with_stars(2)),
    "words": (
        with_words("Invoice 4711\nTotal 129.00 EUR"),
        with_words("Receipt no. 8\nCoffee 3.20\nCake 4.10"),
    ),
}


def looked_at(picture: Image.Image, quality: int = 92) -> judging.Look:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    look = judging.look(images.decode(file.getvalue(), 64).thumbnail, picture.width / picture.height)
    assert look is not None and look.textured < agreement.FEW_BLOCKS
    return look


@pytest.mark.parametrize("scene", FLAT)
def test_pictures_without_texture_are_told_apart_by_their_details(scene: str) -> None:
    one, other = FLAT[scene]
    look = looked_at(one)
    assert judging.as_whole(look, looked_at(other)).relation is None
    smaller, larger = (ImageOps.scale(one, times) for times in (0.5, 2))
    for copy, quality in ((one, 30), (one, 95), (smaller, 90), (larger, 90)):
        assert judging.as_whole(look, looked_at(copy, quality)).relation == "altered"
    mirrored = ImageOps.mirror(one)
    assert judging.as_whole(look, looked_at(mirrored)).relation == "turned"
    assert judging.as_whole(look, looked_at(one, 60), same_time=False).relation is None


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


def test_a_first_look_at_few_photos_does_not_narrow_the_next(tmp_path: Path, toy_encoder: Path) -> None:
    random = np.random.default_rng(1)
    index = vsearch.Index.create(tmp_path / "i.vsearch")  # 256 numbers, more than a basis has directions
    for n in range(24):
        scene = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize((400, 300), 3)
        (tmp_path / "album").mkdir(exist_ok=True)
        scene.save(tmp_path / "album" / f"{n:02d}.png")
        if n == 1:
            index.add(tmp_path / "album")
            assert index.duplicates() == []
    index.add(tmp_path / "album")
    index.duplicates()
    basis = np.load(index.path / "duplicates" / "comparisons.npz")["basis"]
    assert basis.shape == (256, 24)


def test_duplicates_of_nothing_spoil_nothing(tmp_path: Path, toy_encoder: Path) -> None:
    album.write_album(tmp_path / "album", 4)
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder)
    assert index.duplicates() == []
    index.add(tmp_path / "album")
    shutil.copy(tmp_path / "album" / "day0" / "photo000.png", tmp_path / "album" / "copy.png")
    index.add(tmp_path / "album")
    assert len(index.duplicates(kinds=["identical"])) == 1


def test_a_full_disk_keeps_nobody_from_looking(
    family_index: vsearch.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise vsearch.StorageError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr("vsearch.duplicates.comparisons.durable.write_atomic", full)
    found = family_index.duplicates()
    assert found
    monkeypatch.undo()
    assert family_index.duplicates() == found

"""Queries of several pictures, regions, photos of the index, thresholds and lists; refined ranking."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vsearch
from tests import album
from tests.conftest import Run
from vsearch import calibration, ranking, search
from vsearch.encoders import Encoder
from vsearch.errors import EncoderError, UsageError
from vsearch.question import Asked, Weighted, box_of
from vsearch.search import AnswerOptions


def test_a_mean_of_pictures_finds_both(index: vsearch.Index) -> None:
    found = index.query(images=[album.picture(0), album.picture(2)], k=2)
    assert {Path(m.path).stem for m in found} == {"photo000", "photo002"}


def test_several_pictures_are_expanded_each_by_itself() -> None:
    """Two clusters: one is denser, so that all neighbours of the mean lie there."""
    dice = np.random.default_rng(5)
    centres = np.eye(2, 16, dtype=np.float32)
    spread = np.repeat([0.10, 0.14], 40)[:, None]
    noise = dice.normal(size=(80, 16)).astype(np.float32)
    pool = ranking.normalised(np.repeat(centres, 40, axis=0) + np.float32(spread) * noise)
    parts, shares = pool[[0, 40]], np.array([0.5, 0.5])
    mean = ranking.mixed(parts, shares)
    alone = np.argsort(-ranking.scores_by(mean, pool, ranking.refined))[:10]
    together = np.argsort(-ranking.refined_together(parts, shares, pool))[:10]
    assert {0, 1} == set(np.unique(together // 40))
    assert min(np.bincount(together // 40)) > min(np.bincount(alone // 40, minlength=2))


def test_photos_of_several_pictures_come_first(index: vsearch.Index, photos: Path) -> None:
    pair = [photos / "day0/photo000.png", photos / "day0/photo004.png"]
    found = index.query(images=pair, k=4)
    assert {Path(match.path) for match in found[:2]} == set(pair)
    assert [match.kind for match in found[:2]] == ["identical"] * 2
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True)
    plain = [match.score for match in index.query(images=pair, k=4, expand=False)]
    assert plain == sorted(plain, reverse=True)


def test_weights_and_minus_move_the_question(index: vsearch.Index) -> None:
    a, b = album.picture(0), album.picture(2)
    assert Path(index.query(a, images=[b], weights=[1, 3], k=1)[0].path).stem == "photo002"
    assert Path(index.query(a, images=[b], minus=[a], k=1)[0].path).stem == "photo002"
    with pytest.raises(UsageError, match="cancel each other out"):
        index.query(a, minus=[a])


def test_a_region_of_a_photo_that_has_changed_is_refused(index: vsearch.Index, photos: Path) -> None:
    photo = index.named(photos / "day0/photo000.png")
    assert photo is not None
    assert index.query(photo, crop="0%,0%,50%,50%", k=1)
    album.write(photos / "day0/photo000.png", 77)
    with pytest.raises(vsearch.PhotoError, match="has changed since it was indexed; run `vsearch sync`"):
        index.query(photo, crop="0%,0%,50%,50%", k=1)


def test_a_crop_is_the_region_alone(index: vsearch.Index) -> None:
    wide = Image.new("RGB", (192, 64))
    wide.paste(album.picture(4), (96, 0))
    best = index.query(wide, crop="50%,0,50%,100%", k=1)[0]
    assert (Path(best.path).stem, best.score) == ("photo004", pytest.approx(1, abs=1e-4))
    assert index.query(wide, crop=(96, 0, 96, 64), k=1) == [best]


@given(st.integers(1, 9999), st.integers(1, 9999), st.integers(0, 99), st.integers(0, 99))
def test_parts_by_per_cent_are_inside_and_meet(width: int, height: int, across: int, down: int) -> None:
    size = (max(width, 100), max(height, 100))
    corner = box_of(f"{across}%,{down}%,{100 - across}%,{100 - down}%", size)
    assert (corner[0] + corner[2], corner[1] + corner[3]) == size
    if across and down:
        assert box_of(f"0%,0%,{across}%,{down}%", size) == (0, 0, *corner[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": (0, 0, 97, 64)}, "not inside the picture"),
        ({"crop": "1,2,3"}, "a crop is X,Y,WIDTH,HEIGHT"),
        ({"k": 0}, "k must be at least 1"),
        ({"weights": [1, 2]}, "one for each"),
        ({"weights": [float("nan")]}, "above 0"),
        ({"min_score": 2}, "between -1 and 1"),
        ({"min_match": 0.5}, "too few photos"),
        ({"where": "colour = red"}, "no field"),
    ],
)
def test_what_makes_no_sense_is_refused(index: vsearch.Index, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        index.query(album.picture(0), **options)


def test_a_minus_needs_a_plus_and_words_a_text_half(index: vsearch.Index) -> None:
    with pytest.raises(UsageError, match="needs a picture or a text"):
        index.query(minus=[album.picture(0)])
    with pytest.raises(UsageError, match="pictures only"):
        index.query(text="a dog")


def test_k_beyond_the_index_and_all(index: vsearch.Index) -> None:
    assert len(index.query(album.picture(0), k=99)) == len(index.query(album.picture(0), k=None)) == 12


def test_a_known_picture_is_not_encoded(index: vsearch.Index, photos: Path) -> None:
    again = vsearch.Index.open(index.path)
    path = photos / "day0" / "photo000.png"
    assert again.query(path, k=1)[0].kind == "identical"
    assert again.query(again.named("day1/photo001.jpg"), k=1)[0].path.endswith("photo001.jpg")
    assert again._loaded is None


def test_refined_scores_fall_and_a_near_copy_keeps_its_own() -> None:
    random = np.random.default_rng(0)
    pool = ranking.normalised(random.standard_normal((60, 16)).astype(np.float32))
    scores = ranking.refined(pool[7], pool)
    assert scores.argmax() == 7 and scores.max() == pytest.approx(1, abs=1e-5)
    assert (scores >= ranking.cosine(pool[7], pool) - 1e-6).all()
    few = pool[: ranking.SMALLEST_POOL - 1]
    np.testing.assert_allclose(ranking.refined(pool[7], few), ranking.cosine(pool[7], few), atol=1e-6)


def test_smoothing_brings_a_cluster_together() -> None:
    random = np.random.default_rng(1)
    centres = np.repeat(ranking.normalised(random.standard_normal((4, 64)).astype(np.float32)), 25, axis=0)
    noisy = ranking.normalised(centres + 0.15 * random.standard_normal((100, 64)).astype(np.float32))
    before = np.einsum("nd,nd->n", noisy, centres)
    assert (np.einsum("nd,nd->n", ranking.smoothed(noisy), centres) > before).mean() > 0.95


def test_the_background_tells_related_pairs_from_chance() -> None:
    random = np.random.default_rng(2)
    centres = np.repeat(ranking.normalised(random.standard_normal((5, 64)).astype(np.float32)), 30, axis=0)
    vectors = ranking.normalised(centres + 0.08 * random.standard_normal((150, 64)).astype(np.float32))
    found = calibration.background(vectors)
    assert found is not None and found.share == pytest.approx(29 / 149, abs=0.05)
    low, high = found.probability(np.array([0.0, 0.75]))
    assert low < 0.05 and high > 0.95
    rising = found.probability(np.linspace(-1, 1, 200))
    assert (np.diff(rising) >= -1e-9).all()


def test_probabilities_are_frequencies() -> None:
    random = np.random.default_rng(5)
    related = random.random(40_000) < 0.25
    scores = np.where(related, random.normal(0.6, 0.13, 40_000), random.normal(0.4, 0.08, 40_000))
    found = calibration.Background(0.25, 0.4, 0.08, 0.6, 0.13, 0.42, 0.32).probability(scores)
    for low in np.arange(0.1, 1.0, 0.2):
        inside = (found >= low) & (found < low + 0.2)
        assert related[inside].mean() == pytest.approx(found[inside].mean(), abs=0.05)
    narrow = calibration.Background(0.25, 0.4, 0.13, 0.6, 0.08, 0.45, 0.27).probability(
        np.linspace(-1, 1, 200)
    )
    assert (np.diff(narrow) >= 0).all()


def test_scores_of_words_are_judged_as_those_of_pictures_wherever_they_lie() -> None:
    random = np.random.default_rng(6)
    spread = calibration.Background(0.1, 0.4, 0.08, 0.7, 0.1, 0.42, 0.31)
    scores = np.where(
        random.random(1000) < 0.1, random.normal(0.7, 0.1, 1000), random.normal(0.4, 0.08, 1000)
    )
    moved = spread.moved(0.1 + 0.2 * scores, 0.1 + 0.2 * scores)
    np.testing.assert_allclose(moved, scores, atol=0.03)
    assert np.isfinite(spread.moved(np.full(3, 0.2), np.full(30, 0.2))).all()


@pytest.mark.parametrize("k", [1, None])
def test_many_questions_are_answered_as_one_by_one(
    index: vsearch.Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int | None
) -> None:
    monkeypatch.setattr(search, "_POOLS_BYTES", 3 * 4 * 40)  # a few of a batch together
    paths = [tmp_path / f"{n}.png" for n in range(21)]
    for n, path in enumerate(paths):
        album.picture(n % 7).rotate(n // 7).save(path)
    paths[3].write_text("no picture")
    paths[10] = next(photos.rglob("photo001.*"))  # known by its bytes
    found = list(index.answers(((str(path), str(path)) for path in paths), search.AnswerOptions(k)))
    assert [result.query for result in found] == [str(path) for path in paths]
    assert [n for n, result in enumerate(found) if result.failure] == [3]
    for path, result in zip(paths, found, strict=True):
        if not result.failure:
            assert list(result.matches) == index.query(path, k=k)


def test_a_picture_whose_vector_is_not_finite_is_passed_over(
    index: vsearch.Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Encoder.encode

    def dividing_by_zero(self: Encoder, pixels: Any) -> Any:
        return np.where(pixels.any(axis=(1, 2, 3))[:, None], encode(self, pixels), np.nan)

    monkeypatch.setattr(Encoder, "encode", dividing_by_zero)
    known, black, new = next(photos.rglob("photo001.*")), tmp_path / "black.png", tmp_path / "new.png"
    Image.new("RGB", (64, 64)).save(black)
    album.picture(0).rotate(90).save(new)
    paths = [str(path) for path in (black, new, known, black, new)]
    found = list(index.answers([(path, path) for path in paths], search.AnswerOptions(2)))
    assert [result.failure is None for result in found] == [False, True, True, False, True]
    assert found[1].matches and found[1].matches == found[4].matches == tuple(index.query(new, k=2))
    assert f"{black}: the encoder gave numbers that are not finite" in str(found[0].failure)
    with pytest.raises(EncoderError, match="not finite"):
        index.query(black)


def test_a_weight_without_words_is_refused(command: Run, index: vsearch.Index, photos: Path) -> None:
    asked = ("query", photos / "day0" / "photo000.png", "--index", index.path, "--text-weight", "2")
    assert b"--text-weight goes with --text" in command(*asked).stderr


def test_a_list_goes_with_no_way_to_show_answers(command: Run, index: vsearch.Index, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("")
    for more in (["--html", "x.html"], ["--copy-to", "x"], ["--text-weight", "2"], ["--open"]):
        done = command("query", "--from", "list.txt", "--json", "--index", index.path, *more)
        assert done.returncode == 2 and b"--from needs --json" in done.stderr
        assert not (tmp_path / more[-1]).exists()


def test_the_command_line_answers_lists_stdin_and_ids(
    command: Run, index: vsearch.Index, photos: Path
) -> None:
    names = [str(p) for p in sorted(photos.rglob("photo00[0-3].*"))]
    done = command(
        "query",
        "--from",
        "-",
        "--json",
        "-k",
        "1",
        "--index",
        str(index.path),
        stdin="\n".join([*names, "/nope.jpg"]).encode(),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["query"] for line in lines] == [line["path"] for line in lines] == names
    assert b"/nope.jpg" in done.stderr and done.returncode == 0
    piped = command(
        "query", "-", "--paths", "-k", "1", "--index", str(index.path), stdin=Path(names[0]).read_bytes()
    )
    assert piped.stdout.decode().strip() == names[0]
    nothing = command("query", "-", "--index", str(index.path), stdin=b"")
    assert nothing.returncode == 2 and b"nothing came on stdin" in nothing.stderr


def answered(command: Run, index: vsearch.Index, lines: bytes, *more: str) -> tuple[int, list[str], str]:
    """Exit code, queries that found something, and what was said."""
    done = command(
        "query", "--from", "-", "--json", "-k", "1", "--index", str(index.path), *more, stdin=lines
    )
    return done.returncode, [json.loads(n)["query"] for n in done.stdout.splitlines()], done.stderr.decode()


def test_lists_may_name_photos_of_the_index(command: Run, index: vsearch.Index, photos: Path) -> None:
    first, gone = photos / "day0" / "photo000.png", photos / "day0" / "photo002.png"
    photo = index.query(first, k=1)[0].id
    gone.unlink()
    named = [str(first), str(gone), "day1/photo003.jpg", photo]
    code, queries, said = answered(command, index, "\r\n".join(["\ufeff" + named[0], *named[1:]]).encode())
    assert (code, queries, said) == (0, named, "")


def test_lists_that_find_nothing_say_so(command: Run, index: vsearch.Index, photos: Path) -> None:
    first = str(photos / "day0" / "photo000.png").encode()
    assert answered(command, index, b"~a\0b\n/nope.jpg\n\xff.jpg")[0] == 2
    code, queries, said = answered(command, index, b"/nope.jpg\n" + first)
    assert (code, len(queries)) == (0, 1) and "1 of 2 pictures were skipped" in said
    code, queries, said = answered(command, index, first, "--where", "width > 9999")
    assert (code, queries) == (1, []) and "meets the filter" in said
    code, queries, said = answered(command, index, b"\n\n")
    assert (code, queries) == (2, []) and "names no picture" in said


def test_euclidean_means_keep_their_lengths(photos: Path, toy_encoder: Path) -> None:
    index = vsearch.Index.create(photos.parent / "euclidean", encoder=toy_encoder, metric="euclidean")
    index.add(photos)
    paths = [str(photos / "day0" / f"photo{n:03d}.png") for n in (0, 4)]
    once = [match.path for match in index.query(paths[0], k=5)]
    assert [match.path for match in index.query(images=[paths[0]] * 2, k=5)] == once
    vectors = {path: index.query(path, k=1)[0].path for path in paths}
    assert vectors == {path: path for path in paths}
    nearest = index.query(images=paths, k=12)
    assert {match.path for match in nearest[:6]} >= set(paths)
    away = [match.path for match in index.query(paths[0], minus=[paths[1]], k=12)]
    assert away.index(paths[0]) < away.index(paths[1])


def test_scores_fall_with_the_rank_however_a_query_is_made(index: vsearch.Index, photos: Path) -> None:
    path = [photos / "day0" / f"photo{n:03d}.png" for n in (0, 2, 4, 6)]
    for plus, minus in ((path[:2], path[2:3]), (path[:3], path[3:]), (path[1:3], path[:1])):
        scores = [match.score for match in index.query(images=plus, minus=minus, k=12)]
        assert scores == sorted(scores, reverse=True)


def test_words_must_be_unicode(index: vsearch.Index) -> None:
    with pytest.raises(UsageError, match="must be Unicode"):
        index.query(text="dog \udcff")


def test_the_photo_that_is_asked_comes_before_its_copies(index: vsearch.Index, photos: Path) -> None:
    asked, copy = photos / "day0/photo004.png", photos / "day0/a copy.png"
    shutil.copyfile(asked, copy)
    index.sync()
    for picture, first in ((asked, asked), (copy, copy), (asked.read_bytes(), copy)):
        found = index.query(picture, k=2)
        assert [match.kind for match in found] == ["identical", "identical"]
        assert found[0].path == str(first)
    photo = next(photo for photo in index.photos() if photo.file.path == "day0/photo004.png")
    assert index.query(photo, k=1)[0].path == str(asked)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"weights": weights} for weights in (["a"], 5, [float("nan")], [10**308], [1e6 + 1])),
        {"crop": 5},
        {"images": None},
        {"minus": 5},
        {"text": 5},
        {"text": "x", "text_weight": "a"},
        {"under": 5},
        {"under": b"x"},
        {"under": "\ud800"},
        {"where": "name ~ \ud800"},
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    index: vsearch.Index, photos: Path, wrong: dict[str, object]
) -> None:
    with pytest.raises(vsearch.UsageError):
        index.query(photos / "day0/photo000.png", **wrong)


def test_a_path_may_be_bytes_within(index: vsearch.Index, photos: Path) -> None:
    class Within(os.PathLike[bytes]):
        def __fspath__(self) -> bytes:
            return os.fsencode(photos / "day0/photo000.png")

    for crop in (None, "0%,0%,50%,50%"):
        assert len(index.query(Within(), crop=crop, k=2)) == 2
    with pytest.raises(vsearch.UsageError, match="named by its path"):
        index.add(Within())


def test_an_answer_says_whether_there_may_be_more(index: vsearch.Index, photos: Path) -> None:
    asked = Asked((Weighted(photos / "day0/photo000.png"),))
    for k, more in ((3, True), (11, True), (12, False), (None, False)):
        assert index.answer(asked, AnswerOptions(k)).more is more
    condition = index.condition("format = jpeg")
    (count,) = {len(index.answer(asked, AnswerOptions(None, condition=condition)).matches)}
    assert index.answer(asked, AnswerOptions(count - 1, condition=condition)).more
    assert not index.answer(asked, AnswerOptions(count, condition=condition)).more
    second = index.answer(asked, AnswerOptions(2)).matches[1].score
    assert index.answer(asked, AnswerOptions(2, min_score=second - 1e-6)).more
    assert not index.answer(
        asked, AnswerOptions(2, min_score=second + 1e-6)
    ).more  # scores fall with the rank


def test_what_is_related_may_be_behind_what_is_not(toy_encoder: Path, tmp_path: Path) -> None:
    """Neighbours rank answers, and probabilities are of their own cosines."""
    album.write_album(tmp_path / "photos", 260)
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder) as index:
        index.add(tmp_path / "photos")
        asked = Asked((Weighted(tmp_path / "photos/day0/photo000.png"),))
        passing = {m.id for m in index.answer(asked, AnswerOptions(None, min_match=0.5)).matches}
        best = index.answer(asked, AnswerOptions(200, min_match=0.3)).matches
        for k in (1, 7, 20, 38, 110):  # pages of one list
            assert index.answer(asked, AnswerOptions(k, min_match=0.3)).matches == best[:k]
        found, k = index.answer(asked, AnswerOptions(1, min_match=0.5)), 1
        while found.more:
            k += 20
            found = index.answer(asked, AnswerOptions(k, min_match=0.5))
    assert len(passing) < 250 and k < 260
    assert {m.id for m in found.matches} == passing


def test_an_identical_photo_is_certainly_related(toy_encoder: Path, tmp_path: Path) -> None:
    album.write_album(tmp_path / "photos", 60)
    with vsearch.Index.create(tmp_path / "i", encoder=toy_encoder) as index:
        index.add(tmp_path / "photos")
        found = index.query(tmp_path / "photos/day0/photo000.png", min_match=1.0)
    assert (found[0].kind, found[0].match) == ("identical", 1.0)

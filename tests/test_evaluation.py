"""Measures against scikit-learn's; labels; the evaluate command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity

import vsearch
from tests import album
from tests.conftest import Run
from vsearch import ranking, sources
from vsearch.errors import UsageError
from vsearch.evaluation import labels, measures
from vsearch.evaluation.alterations import ALTERATIONS
from vsearch.evaluation.baselines import BASELINES
from vsearch.evaluation.comparison import approximate_recall
from vsearch.files import stat_file
from vsearch.records import FileStat
from vsearch.sampling import spread


def test_quality_equals_scikit_learn_s() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 8)).astype(np.float32)
    names = [str(n) for n in random.integers(0, 6, 300)]
    measured = measures.quality(vectors, names, k=7)
    scores, truth = cosine_similarity(vectors), np.equal.outer(names, names)
    precisions, at_1, at_5, recalls = [], [], [], []
    for query in range(300):
        others = np.arange(300) != query
        hits, score = truth[query][others], scores[query][others]
        precisions.append(average_precision_score(hits, score))
        ranked = hits[np.argsort(-score)]
        at_1.append(ranked[0])
        at_5.append(ranked[:5].mean())
        recalls.append(ranked[:7].sum() / hits.sum())
    assert measured.queries == 300
    assert measured.mean_average_precision == pytest.approx(np.mean(precisions), abs=1e-6)
    assert measured.precision_at_1 == pytest.approx(np.mean(at_1))
    assert measured.precision_at_5 == pytest.approx(np.mean(at_5))
    assert measured.recall_at_k == pytest.approx(np.mean(recalls))


def test_photos_alone_with_their_label_are_no_queries() -> None:
    vectors = np.float32([[1, 0], [1, 0.1], [0, 1]])
    measured = measures.quality(vectors, ["a", "a", "alone"])
    assert (measured.queries, measured.mean_average_precision) == (2, 1.0)


def test_places_of_altered_copies() -> None:
    vectors = np.eye(4, dtype=np.float32)
    queries = np.float32([[1, 0.1, 0, 0], [1, 0.9, 0, 0]])
    assert measures.ranks_of(queries, vectors, [0, 1]).tolist() == [1, 2]


def test_the_graph_of_a_small_collection_misses_nothing() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    assert approximate_recall(vectors) == 1.0


def test_baselines_give_what_they_promise() -> None:
    pixels = np.stack([np.asarray(album.picture(n, (160, 160))) for n in range(3)])
    for baseline in BASELINES.values():
        vectors = baseline.encode(pixels)
        assert vectors.shape == (3, baseline.dimension)
        assert len(np.unique(vectors, axis=0)) == 3


@pytest.mark.parametrize("name", ALTERATIONS)
def test_alterations_alter(name: str) -> None:
    before = album.picture(1, (80, 60))
    after = ALTERATIONS[name](before)
    assert (after.size, after.tobytes()) != (before.size, before.tobytes())


def test_labels(tmp_path: Path) -> None:
    photo = stat_file(str(album.write(tmp_path / "cats" / "tom_3.png", 0)))
    below = FileStat(str(tmp_path), "cats/tom_3.png", photo.size, photo.mtime_ns)
    (tmp_path / "labels.csv").write_text("cats/tom_3.png,tabby\n")
    assert labels.rule("folder")(below) == "cats"
    assert labels.rule(r"([a-z]+)_\d")(below) == "tom"
    assert labels.rule("dog")(below) is None
    assert labels.rule(str(tmp_path / "labels.csv"))(below) == "tabby"


def test_a_csv_with_two_labels_for_a_photo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("a.png,cat\n./a.png,cat\nb.png,dog\nx/../a.png,tabby\n")
    with pytest.raises(UsageError, match=r"labels\.csv names x/\.\./a\.png twice, as cat and as tabby"):
        labels.rule(str(tmp_path / "labels.csv"))


def test_a_csv_of_other_photos_is_told(command: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\nelsewhere/a.png,cat\n")
    for line in (("evaluate", "--baseline", "colour"), ("train", "--head")):
        done = command(*line, photos, "--labels", "labels.csv")
        assert done.returncode == 2 and b"labels.csv names none of 12 photos" in done.stderr, done.stderr
        assert str(tmp_path / "elsewhere" / "a.png") in done.stderr.decode()
    (tmp_path / "labels.csv").write_text("")
    done = command("evaluate", photos, "--baseline", "colour", "--labels", "labels.csv")
    assert done.returncode == 2 and b"labels.csv is empty" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"), [("(", "regular expression"), ("none.csv", "cannot read none.csv")]
)
def test_wrong_labels(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels.rule(text)


def test_evaluate_by_folder(command: Run, photos: Path, toy_encoder: Path, tmp_path: Path) -> None:
    done = command(
        *("evaluate", photos, "--labels", "folder", "--encoder", toy_encoder, "--baseline", "colour"),
        *("--json", "--html", "page.html"),
    )
    assert done.returncode == 0, done.stderr
    toy, colour = map(json.loads, done.stdout.splitlines())
    assert (toy["encoder"], colour["encoder"]) == (str(toy_encoder), "colour")
    assert (toy["queries"], toy["bytes_a_vector"]) == (12, 48)
    assert 0 <= toy["mean_average_precision"] <= 1 and toy["images_per_second"] > 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure class=") == 12 * 2 * 8
    assert "right" in page and "http:" not in page


def test_an_index_measures_itself_as_the_command_does(
    command: Run, photos: Path, toy_encoder: Path, tmp_path: Path
) -> None:
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder) as index:
        index.add(photos)
        found = index.evaluate("folder", rankings=["plain", "smoothed"])
    rankings = ("--ranking", "plain", "--ranking", "smoothed", "--json")
    done = command("evaluate", photos, "--labels", "folder", "--encoder", toy_encoder, *rankings)
    for line in map(json.loads, done.stdout.splitlines()):
        assert line["mean_average_precision"] == pytest.approx(found[line["ranking"]].mean_average_precision)
    assert set(found) == {"plain", "smoothed"}


def test_evaluate_by_itself(command: Run, photos: Path, toy_encoder: Path) -> None:
    done = command("evaluate", photos, "--self", "--encoder", toy_encoder, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["alterations"]) == set(ALTERATIONS)
    assert result["alterations"]["re-encode"]["recall_at_1"] == 1.0
    assert result["approximate_recall_at_10"] == 1.0


@pytest.mark.parametrize("limit", [1, 7, 11, 12, 50])
def test_a_limit_takes_so_many_evenly_spread(photos: Path, limit: int) -> None:
    found = sources.found([photos], ())
    some = spread(found, limit)
    assert len(set(some)) == len(some) == min(limit, 12)
    steps = np.diff([found.index(photo) for photo in some])
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize(
    "line",
    [
        ("evaluate", "--labels", "folder", "--baseline", "colour"),
        ("train", "--labels", "folder", "--head"),
        ("train", "--staging", "staging", "--batch-size", "99"),
    ],
)
def test_photos_left_out_are_told_without_an_index(command: Run, photos: Path, line: tuple[str, ...]) -> None:
    for number in range(25):
        (photos / f"broken{number:02}.png").write_bytes(b"no picture")
    Image.new("1", (20_000, 20_000)).save(photos / "bomb.png")
    said = command(*line, photos).stderr.decode()
    assert "bomb.png: decompression bomb" in said and "save a smaller copy" in said, said
    assert "… and 6 more\n" in said and "status" not in said and "--max-megapixels" not in said


def test_tables_say_how_many_photos_were_measured(command: Run, photos: Path) -> None:
    line = ("evaluate", photos, "--baseline", "colour", "--limit", "7")
    for how in (("--labels", "folder"), ("--self",)):
        head, row = command(*line, *how).stdout.decode().splitlines()
        assert (head.split()[1], row.split()[:2]) == ("photos", ["colour", "7"])


def test_a_page_that_cannot_be_written_is_told_before_photos_are_read(
    command: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "day0" / "broken.png").write_bytes(b"no picture")
    line = ("evaluate", photos, "--labels", "folder", "--baseline", "colour", "--html")
    for place, said in (("none/x.html", b"there is no such folder"), (".", b"is a folder")):
        done = command(*line, place)
        assert done.returncode == 2 and said in done.stderr and b"broken.png" not in done.stderr
    assert command(*line, "x.html").returncode == 0 and [*tmp_path.glob("*.html")] == [tmp_path / "x.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), b"either --labels folder|REGEX|CSV, or --self"),
        (("--self", "-k", "3"), b"-k, --html and --ranking need --labels"),
        (("--labels", "."), b"different labels; measuring needs at least two"),
        (("--labels", "folder", "--ranking", "best"), b"rankings are plain, expanded, smoothed, refined"),
        (("--labels", "folder", "--baseline", "guess"), b"baselines are pixels, colour, dhash"),
        (("--labels", "folder", "--encoder", "pet160"), b"vsearch train PHOTOS --encoder pet160"),
    ],
)
def test_evaluate_says_what_is_wrong(
    command: Run, photos: Path, arguments: tuple[str, ...], message: bytes
) -> None:
    done = command("evaluate", photos, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.replace(b"\n", b" ")
    assert done.stdout == b""


def test_rankings_are_those_of_queries_without_the_photo_itself() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((3, 16))
    vectors = np.repeat(centres, 20, axis=0) + random.standard_normal((60, 16))
    vectors = ranking.normalised(vectors.astype(np.float32))
    for name, score in ranking.RANKINGS.items():
        for query, found in enumerate(measures.rankings(vectors, name)):
            assert sorted([query, *found.tolist()]) == list(range(60))
            others = np.delete(np.arange(60), query)
            scores = dict(zip(others.tolist(), score(vectors[query], vectors[others]), strict=True))
            assert np.all(np.diff([scores[row] for row in found.tolist()]) <= 1e-6)
    labels = [str(row // 20) for row in range(60)]
    plain, refined = (measures.quality(vectors, labels, by=name) for name in ("plain", "refined"))
    assert refined.mean_average_precision > plain.mean_average_precision

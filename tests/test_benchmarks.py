"""The parts of benchmarks/ that can be wrong without being slow: what they write, and that they go on."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vsearch
from tests.album import write_album
from tests.chroma import ChromaProcess
from vsearch.encoders import Encoder, resolve

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of benchmarks/, whose modules import one another by their bare names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def test_figures_survive_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = script("measured", monkeypatch)
    rows = [measured.Figure("a", "1 s", "2 s", "0.5", "`a.py`"), measured.Figure("b", "x|y")]
    measured.write(tmp_path / "figures.json", rows)
    assert measured.read(tmp_path / "figures.json") == rows
    assert measured.table(rows).splitlines() == [
        "| what | vsearch | baseline | ratio | command | day |",
        "|---|---|---|---|---|---|",
        "| a | 1 s | 2 s | 0.5 | `a.py` |  |",
        "| b | x\\|y |  |  |  |  |",
    ]


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = script("measured", monkeypatch)
    with pytest.raises(measured.Failed, match="exit code 3: the reason"):
        measured.run([sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])
    ran = measured.run([sys.executable, "-c", "print('first'); print('{\"n\": 2}')"])
    assert ran.json() == {"n": 2} and ran.seconds > 0 and ran.peak_mib > 1


def test_a_script_that_fails_leaves_a_row_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = script("readme", monkeypatch)
    wanted = [
        readme.Job("lacking", "needs a bundle", "study.py", None, "--pet160"),
        readme.Job("failing", "does not run", "sync.py", ("not a number",)),
        readme.Job("sync", "scans", "sync.py", ("600",)),
    ]
    outcomes = list(readme.collect(wanted))
    assert [fresh for _, _, fresh in outcomes] == [False, False, True]
    rows = [row for _, some, _ in outcomes for row in some]
    assert [row.what for row in rows] == ["needs a bundle", "does not run", "`sync` of 600 unchanged photos"]
    assert rows[0].value == "not run: needs --pet160"
    assert rows[1].value == "failed with exit code 2"
    assert "MiB" in rows[2].value
    assert [bool(row.day) for row in rows] == [False, False, True]


def test_a_job_s_rows_take_the_place_of_its_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, measured = script("readme", monkeypatch), script("measured", monkeypatch)
    file = tmp_path / "figures.json"
    one, other = readme.Job("a", "one", "sync.py", ()), readme.Job("a", "other", "sync.py", ())
    first, second = measured.Figure("first", "1 s", day="2026-01-01"), measured.Figure("second", "2 s")
    for job, row in ((one, first), (other, first), (one, second)):
        readme.keep(job, [row], file)
    assert readme.kept(file) == {"one": [second], "other": [first]}
    assert readme.kept(tmp_path / "none.json") == {}


def test_the_readme_shows_the_kept_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    readme, measured = script("readme", monkeypatch), script("measured", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["bench", str(BENCHMARKS)])
    known = readme.kept()
    jobs = [job.what for job in readme.jobs(readme.arguments())]
    assert set(known) <= set(jobs) and len(jobs) == len(set(jobs))
    table = measured.table(row for what in jobs for row in known.get(what, ()))
    assert readme.replaced(readme.README.read_text(), table) == readme.README.read_text()


def test_the_readme_has_a_place_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = script("readme", monkeypatch)
    text = readme.README.read_text()
    changed = readme.replaced(text, "| new |")
    assert "| new |" in changed
    assert changed.replace("| new |", "") != text
    assert [line for line in changed.splitlines() if line not in text.splitlines()] == ["| new |"]
    assert "| what | vsearch |" not in changed


def test_every_job_names_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = script("readme", monkeypatch)
    monkeypatch.setattr(sys, "argv", ["bench", str(tmp_path)])
    for job in readme.jobs(readme.arguments()):
        command = [sys.executable, BENCHMARKS / job.script, *(job.arguments or ()), "--help"]
        shown = subprocess.run(command, capture_output=True, text=True)
        assert "--json" in shown.stdout, job.script


def test_scale_keeps_one_point_a_size_and_shows_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = script("curves", monkeypatch)
    file = tmp_path / "new" / "scale.json"
    for count, taken in ((3000, 9.0), (1000, 1.0), (3000, 8.0)):
        keys = ("publish_s", "raw_s", "rebuild_s", "add_s", "nearest_ms")
        curves.keep("vectors", {"vectors": count, **dict.fromkeys(keys, taken)}, file)
    (vectors,) = curves.tables(curves.results(file))
    assert [line.split(" | ")[:3] for line in vectors.splitlines()[2:]] == [
        ["| 1,000", "1.0", "1.0"],
        ["| 3,000", "8.0", "8.0"],
    ]
    curves.keep("mixed", {"mixed": 5000, "publish_s": 2.0}, file)
    assert [table.splitlines()[0] for table in curves.tables(curves.results(file))][1] == (
        "| vectors as photos lie | publish s |"
    )
    curves.plot(curves.results(file), tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_scale_leave_out_a_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = script("curves", monkeypatch)
    point = {"vectors": 3000, "publish_s": 6.0, "publish_mib": 90.0, "raw_s": 8.0, "raw_mib": 100.0}
    assert [(row.what, row.ratio) for row in curves.figures(point)] == [
        ("publish 3,000 vectors of 256 numbers", "0.75x the time")
    ]
    assert not list(curves.figures({"vectors": 3000, "publish_s": 6.0, "publish_mib": 90.0}))
    asked = {"nearest_ms": 3.0, "nearest_mib": 1.0, "nearest_recall": 1.0, "raw_ms": 2.0, "raw_recall": 1.0}
    (row,) = [row for row in curves.figures({**point, **asked}) if "query" in row.what]
    assert (row.baseline, row.ratio) == (
        "raw Chroma 2.0 ms, 1.000; hnswlib was not measured",
        "1.50x the time",
    )


def test_recall_of_an_exact_search_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = script("scale", monkeypatch)
    vectors = scale.clustered(2000, 16, seed=3)
    _, right = scale.judged(lambda query: np.argsort(-(vectors @ query))[:10].tolist(), vectors)
    _, wrong = scale.judged(lambda query: np.argsort(vectors @ query)[:10].tolist(), vectors)
    assert (right, wrong) == (1.0, 0.0)


def test_shards_find_together_what_one_collection_finds(
    tmp_path: Path, chroma_server: ChromaProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script("shards", monkeypatch).compare(chroma_server.url, tmp_path, photos=300, shards=3, asked=5)
    assert (found["recall_of_shards"], found["same_ten"]) == (1.0, 1.0)


def test_candidates_of_a_small_collection_are_all_there(
    tmp_path: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = script("accuracy", monkeypatch)
    write_album(tmp_path / "photos", 24)
    with vsearch.Index.create(tmp_path / "i.vsearch", encoder=str(toy_encoder)) as index:
        index.add(tmp_path / "photos")
        assert accuracy.candidates(index) == (1.0, 1.0)


def test_crops_are_the_same_in_each_run(
    tmp_path: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = script("crops", monkeypatch)
    write_album(tmp_path, 4)
    paths, encoder = sorted(tmp_path.rglob("*.jpg")), Encoder(resolve(str(toy_encoder)))
    vectors = crops.cropped(paths, 30, encoder)
    assert vectors.shape == (30, encoder.dimension)
    assert len(np.unique(vectors, axis=0)) == 30
    assert np.array_equal(vectors, crops.cropped(paths, 30, encoder))
    mixed = crops.mixed(vectors, 70_000)
    assert len(np.unique(mixed[-1000:], axis=0)) > 900
    assert np.allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)


def test_photos_of_scale_are_all_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = script("scale", monkeypatch)
    scale.make_photos(tmp_path, 998, 4)
    made = sorted(tmp_path.rglob("*.jpg"))
    assert [str(path.relative_to(tmp_path)) for path in made] == [
        "000/0000998.jpg",
        "000/0000999.jpg",
        "001/0001000.jpg",
        "001/0001001.jpg",
    ]
    assert len({path.read_bytes() for path in made}) == 4


@pytest.mark.parametrize("name", ["measured", "peers", "readme"])
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctest.testmod(script(name, monkeypatch))
    assert found.attempted and not found.failed

"""The map: places on a plane, and the page that shows them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests import album
from tests.conftest import Run
from vsearch.layout import positions
from vsearch.photomap import PhotoMap
from vsearch.render.map import sheets, write_map

WITHOUT = "import sys; sys.modules['openTSNE'] = None; from vsearch.cli import main; main()"


def clusters(count: int, each: int, dimension: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Points around ``count`` centres, and which centre each belongs to."""
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(count), each)
    centres = random.standard_normal((count, dimension))
    points = centres[labels] + 0.2 * random.standard_normal((len(labels), dimension))
    return points.astype(np.float32), labels


def data_of(page: Path) -> dict[str, list[object]]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    data: dict[str, list[object]] = json.loads(found[1])
    return data


def test_neighbours_lie_together() -> None:
    points, labels = clusters(6, 20)
    found = positions(points)
    assert (found.dtype, found.shape) == (np.float32, (120, 2))
    apart = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, :5]
    assert (labels[nearest] == labels[:, None]).mean() > 0.98


def test_a_seed_gives_the_same_map_and_another_seed_another() -> None:
    points, _ = clusters(3, 12)
    assert np.array_equal(positions(points, seed=3), positions(points, seed=3))
    assert not np.array_equal(positions(points, seed=3), positions(points, seed=4))


def test_many_points_are_placed_by_interpolation() -> None:
    points, labels = clusters(8, 200)
    found = positions(points)
    assert found.min() == 0
    assert found.max() == 1
    centres = np.stack([found[labels == n].mean(axis=0) for n in range(8)])
    to_centres = np.linalg.norm(found[:, None] - centres[None], axis=2)
    assert (to_centres.argmin(axis=1) == labels).mean() > 0.98


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("same", [False, True])
def test_few_points_and_equal_ones_stay_apart(count: int, same: bool) -> None:
    random = np.random.default_rng(count)
    points = np.zeros((count, 3)) if same else random.standard_normal((count, 3))
    found = positions(points.astype(np.float32))
    assert found.shape == (count, 2)
    assert ((found >= 0) & (found <= 1)).all()
    assert len(np.unique(found, axis=0)) == count


def test_the_map_of_an_index(index: vsearch.Index) -> None:
    found = index.map()
    assert isinstance(found, vsearch.PhotoMap)
    photos = list(index.photos())
    assert list(found.ids) == [str(photo.id) for photo in photos]
    assert list(found.paths) == [index.path_of(photo) for photo in photos]
    assert found.positions.shape == (12, 2)
    assert np.array_equal(found.positions, index.map(seed=0).positions)


def test_filters(index: vsearch.Index) -> None:
    assert len(index.map(under="day0")) == 6
    assert len(index.map("format = png", under="day1")) == 0
    with pytest.raises(vsearch.UsageError, match="colour"):
        index.map("colour = red")
    with pytest.raises(vsearch.UsageError, match="seed"):
        index.map(seed=-1)


def test_an_empty_index_has_an_empty_map(tmp_path: Path, toy_encoder: Path) -> None:
    with vsearch.Index.create(tmp_path / "empty.vsearch", encoder=toy_encoder) as empty:
        found = empty.map()
    assert (list(found.ids), found.positions.shape) == ([], (0, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_copies_lie_apart(tmp_path: Path, toy_encoder: Path, count: int) -> None:
    for n in range(count):
        album.write(tmp_path / "photos" / f"copy{n}.png", 5)
    with vsearch.Index.create(tmp_path / "copies.vsearch", encoder=toy_encoder) as index:
        index.add(tmp_path / "photos")
        assert len(np.unique(index.map().positions, axis=0)) == count


def test_long_vectors_are_read_in_parts(index: vsearch.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three photos at a time in place of all: the same components, and so the same neighbourhoods."""
    whole = index.map()
    monkeypatch.setattr("vsearch.photomap._SLICE_BYTES", 3 * 12 * 4)
    parts = index.map()
    assert parts.ids == whole.ids
    assert np.isfinite(parts.positions).all()

    def order(found: PhotoMap) -> np.ndarray:
        apart = np.linalg.norm(found.positions[:, None] - found.positions[None], axis=2)
        ranks: np.ndarray = np.argsort(apart, axis=1)[:, 1]
        return ranks

    assert (order(parts) == order(whole)).mean() > 0.7


def test_a_euclidean_index_has_a_map(photos: Path, tmp_path: Path, toy_encoder: Path) -> None:
    path = tmp_path / "euclidean.vsearch"
    with vsearch.Index.create(path, encoder=toy_encoder, metric="euclidean") as index:
        index.add(photos)
        assert len(index.map()) == 12


def test_the_page_holds_everything_and_reaches_for_nothing(index: vsearch.Index, tmp_path: Path) -> None:
    found, page = index.map(), tmp_path / "map.html"
    write_map(page, found, index.thumbnail)
    text, data = page.read_text(), data_of(page)
    assert data["names"] == [Path(path).name for path in found.paths]
    assert data["links"] == [Path(path).as_uri() for path in found.paths]
    assert all(str(sheet).startswith("data:image/jpeg;base64,") for sheet in data["sheets"])
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "default-src 'none'" in text
    assert re.search(r"script-src 'sha256-[\w+/=]+'", text)


def test_names_with_anything_in_them_stay_text(tmp_path: Path) -> None:
    script = "<script>alert(1)<!--.jpg"
    names = [script, "a&b'\"<!--.jpg", "\udcff\u2028.jpg", "line\nbreak.jpg"]
    places = np.zeros((len(names), 2), np.float32)
    found = PhotoMap([str(n) for n in range(4)], [f"/photos/{name}" for name in names], places)
    write_map(tmp_path / "map.html", found, lambda _: None, ["</title><b>"])
    text = (tmp_path / "map.html").read_text()
    assert text.count("</script>") == 2
    assert "<script>alert" not in text
    assert "<b>" not in text
    data = data_of(tmp_path / "map.html")
    assert data["names"][0] == names[0]
    assert "%FF" in str(data["links"][2])
    assert "\n" not in str(data["names"][3])


def test_thumbnails_shrink_as_photos_get_more(index: vsearch.Index) -> None:
    jpeg = index.thumbnail(str(next(index.photos()).id))
    few, many = sheets(["1"] * 5, lambda _: jpeg), sheets(["1"] * 4000, lambda _: jpeg)
    assert (few.side, many.side) == (128, 64)
    assert (len(few.pictures), len(many.pictures)) == (1, 4)
    assert sum(map(len, many.pictures)) < 4e6
    assert sheets(["1", "2"], lambda photo: jpeg if photo == "1" else None).colours[1] == ""


def test_the_command(command: Run, index: vsearch.Index, tmp_path: Path) -> None:
    done = command("map", "--html", "map.html", "--json", "--index", index.path)
    assert (done.returncode, done.stderr) == (0, b"map: map.html\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == list(index.map().paths)
    assert all(0 <= line[axis] <= 1 for line in lines for axis in "xy")
    assert (tmp_path / "map.html").stat().st_size > 10_000
    done = command("map", "--html", "some.html", "--under", "day0", "--index", index.path)
    assert done.returncode == 0 and "photos, under day0</h1>" in (tmp_path / "some.html").read_text()


def test_the_command_refuses(command: Run, index: vsearch.Index, tmp_path: Path) -> None:
    assert command("map", "--index", index.path).returncode == 2
    nothing = command("map", "--html", "none.html", "--under", "nowhere", "--index", index.path)
    assert (nothing.returncode, nothing.stdout) == (1, b"")
    assert b"no photos to draw" in nothing.stderr
    assert not (tmp_path / "none.html").exists()
    unwritable = command("map", "--html", "no/such/folder.html", "--index", index.path)
    assert unwritable.returncode == 2
    assert unwritable.stderr.count(b"\n") == 1


def test_without_the_extra_one_line_says_what_to_install(index: vsearch.Index, tmp_path: Path) -> None:
    arguments = ["map", "--html", str(tmp_path / "map.html"), "--index", str(index.path)]
    command = [sys.executable, "-c", WITHOUT, *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'vsearch[map]'" in done.stderr

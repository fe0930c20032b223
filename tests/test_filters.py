"""Filters: what they leave, and where their errors point."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vsearch
from tests import album
from vsearch import files, filters
from vsearch.errors import UsageError
from vsearch.images import opening


@pytest.fixture
def dated(tmp_path: Path, toy_encoder: Path) -> vsearch.Index:
    """Three photos with EXIF dates and cameras, one without, in two folders."""
    folder = tmp_path / "dated"
    for number, (name, taken, camera) in enumerate(
        [
            ("trips/rome/a.jpg", "2024:05:01 10:00:00", "Canon EOS R6"),
            ("trips/rome/b.jpg", "2024:05:31 23:59:59", "NIKON Z 6"),
            ("trips/romeo/c.jpg", "2023:12:31 08:00:00", "Canon EOS R6"),
            ("home/d.jpg", None, None),
        ]
    ):
        picture = album.picture(number)
        exif = picture.getexif()
        if taken and camera:
            exif[0x0110] = camera
            exif.get_ifd(0x8769)[0x9003] = taken
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name, exif=exif)
    made = vsearch.Index.create(tmp_path / "dated.vsearch", encoder=toy_encoder)
    made.add(folder)
    return made


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("taken = 2024-05", "ab"),
        ("taken > 2024-05", ""),
        ("taken >= 2024-05-31T23:59", "b"),
        ("taken < 2024", "c"),
        ("taken = none", "d"),
        ("camera ~ CANON", "ac"),
        ("camera != 'canon eos r6'", "bd"),
        ("not camera ~ canon", "bd"),
        ("folder = trips/rome", "ab"),
        ("folder = trips", "abc"),
        ("folder ~ rome and taken < 2024-06 or name = d.jpg", "abcd"),
        ("(folder ~ rome or name = d.jpg) and camera ~ nikon", "b"),
        ("width = 96 and height < 65 and format = jpeg", "abcd"),
        ("bytes > 1MB", ""),
        ("taken <= 9999", "abc"),
        ("taken > 9999 or taken = 9999-12-31T23:59:59", ""),
        ("path = TRIPS/rome/a.jpg", "a"),
        ("format = jpg", "abcd"),
        ("format != jpg or format = heic", ""),
    ],
)
def test_a_filter_leaves_what_it_says(dated: vsearch.Index, where: str, names: str) -> None:
    found = dated.query(album.picture(0), where=where, k=None)
    assert sorted(Path(m.path).stem for m in found) == list(names)


def test_short_forms(dated: vsearch.Index, tmp_path: Path) -> None:
    def stems(**options: Any) -> list[str]:
        return sorted(Path(m.path).stem for m in dated.query(album.picture(0), k=None, **options))

    assert stems(under="trips/rome") == ["a", "b"]
    assert stems(under=str(tmp_path / "dated" / "trips")) == ["a", "b", "c"]
    assert stems(since="2024", until="2024-05-30") == ["a"]
    assert stems(since=date(2024, 5, 31)) == ["b"]
    assert stems(until=datetime(2024, 5, 31)) == ["a", "c"]
    assert stems(until=date.max) == stems(until=datetime.max) == stems(until="9999") == ["a", "b", "c"]


def test_a_path_may_be_as_answers_show_it(dated: vsearch.Index, tmp_path: Path) -> None:
    def stems(where: str) -> list[str]:
        return sorted(Path(m.path).stem for m in dated.query(album.picture(0), where=where, k=None))

    shown = next(m.path for m in dated.query(album.picture(0)) if m.path.endswith("c.jpg"))
    assert stems(f"path = '{shown}'") == stems(f"path = '{shown.upper()}'") == ["c"]
    assert stems(f"path != '{shown}'") == ["a", "b", "d"]
    assert stems(f"path = '{tmp_path}/dated/home/../home/d.jpg' or path = /elsewhere/a.jpg") == ["d"]
    assert stems("path != /elsewhere/a.jpg") == ["a", "b", "c", "d"]


def test_every_suffix_of_photos_names_a_format() -> None:
    Image.init()
    for suffix in files.PHOTO_SUFFIXES:
        sql = filters.compiled([filters.parse(f"format = {suffix[1:]}")], [])
        (given,) = sql.parameters
        assert isinstance(given, bytes)
        name = given.decode().upper()
        assert name in (*opening.FORMATS, "MPO", "HEIF")
        assert name == Image.EXTENSION.get(suffix, "HEIF")


def test_under_a_folder_that_links_lead_to(tmp_path: Path, toy_encoder: Path) -> None:
    photos, elsewhere = tmp_path / "real" / "photos", tmp_path / "elsewhere"
    for folder, number in ((photos / "in", 0), (elsewhere / "deep", 1), (photos / "beside", 2)):
        album.write(folder / f"{folder.name}.png", number)
    (photos / "linked").symlink_to(elsewhere)
    (tmp_path / "home").symlink_to(tmp_path / "real")
    index = vsearch.Index.create(tmp_path / "index", encoder=toy_encoder)
    index.add(photos)

    def stems(under: Path) -> list[str]:
        return [Path(match.path).stem for match in index.query(album.picture(0), under=under)]

    assert stems(photos / "linked") == stems(photos / "linked" / "deep") == ["deep"]
    assert stems(tmp_path / "home" / "photos" / "linked" / "deep") == ["deep"]
    assert stems(tmp_path / "home" / "photos" / "in") == ["in"]
    assert index.remove(tmp_path / "home" / "photos" / "linked").removed == 1


@pytest.mark.parametrize(
    ("where", "column"),
    [
        ("taken >=", 9),
        ("taken >= and camera ~ x", 10),
        ("(width > 3", 11),
        ("width > 3 camera = x", 11),
        ("width > 3\nand camera x", 22),
        ("width > 3\nand\n", 15),
    ],
)
def test_a_syntax_error_points_at_its_column(where: str, column: int) -> None:
    with pytest.raises(UsageError, match=f"column {column}:"):
        filters.parse(where)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", 'a field, "not" or "(", found the end'),
        ("width > 3 camera = x", '"and", "or" or the end, found \'camera = x\''),
        ("(width > 3 camera = x", '"and", "or" or ")", found'),
        ("width > 3)", '"and", "or" or the end, found \')\''),
        ("width > 3 and !", 'a field, "not" or "(", found \'!\''),
        ("taken\n>=", "a value, found the end; in: taken >="),
    ],
)
def test_a_syntax_error_says_what_may_stand_there(where: str, expected: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"expected {expected}")):
        filters.parse(where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("widht > 3", "no field 'widht'; use one of taken, camera"),
        ("width ~ 3", "~ is for text"),
        ("taken = 2024-13", "not a date"),
        ("width > wide", "needs a number"),
        ("width > 1 and folder < a", "column 15"),
        ("width > 1\nand folder < a", "column 15"),
    ],
)
def test_values_that_do_not_fit_are_refused(where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        filters.compiled([filters.parse(where)], [])


def test_days_that_are_none_are_named_by_their_option(dated: vsearch.Index) -> None:
    with pytest.raises(UsageError, match=r"^since: '2024-13' is not a date: month must be in"):
        dated.query(album.picture(0), since="2024-13")
    with pytest.raises(UsageError, match=r"^until: 'x' is not a date"):
        dated.query(album.picture(0), where="width > 3", until="x")
    for none in ("2024-00", "2024-01-00", "2024-00-00"):
        with pytest.raises(UsageError, match=f"^since: '{none}' is not a date"):
            dated.query(album.picture(0), since=none)


def test_numbers_are_left_to_chroma_too() -> None:
    condition = filters.compiled([filters.parse("width > 3 and bytes <= 2KB")], [])
    assert condition.chroma == {"$and": [{"width": {"$gt": 3}}, {"bytes": {"$lte": 2000}}]}
    assert filters.compiled([filters.parse("camera ~ x")], []).chroma is None


@pytest.mark.parametrize("scanned", [True, False])
@pytest.mark.parametrize(("edge", "fits"), [("95.5", "!= > >="), ("96.5", "!= < <="), ("96", "= <= >=")])
def test_fractions_are_compared_as_they_are(
    dated: vsearch.Index, monkeypatch: pytest.MonkeyPatch, edge: str, fits: str, scanned: bool
) -> None:
    if not scanned:  # but asked of Chroma
        monkeypatch.setattr("vsearch.answering.SCAN_BYTES", 0)
        monkeypatch.setattr("vsearch.nearest.SCAN_BYTES", 0)
    for operator in ("=", "!=", "<", "<=", ">", ">="):
        found = dated.query(album.picture(0), where=f"width {operator} {edge}", k=None)
        assert len(found) == (4 if operator in fits.split() else 0), operator


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("id = 99999999999999999999999", "too large a number"),
        ("bytes > 9999999999GB", "too large a number"),
        ("not " * 990 + "id = 1", "20 conditions in one another"),
        ("(id = 1 or (id = 2 and " * 20 + "id = 3" + "))" * 20, "20 conditions in one another"),
        ("id = 1 or " * 1500 + "id = 2", "more than 500 comparisons"),
    ],
)
def test_filters_beyond_what_sqlite_takes(dated: vsearch.Index, where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dated.query(album.picture(0), where=where)


@pytest.mark.parametrize(
    "where",
    [
        "not " * 20 + "id < 9",
        "(id = 1 or (id = 2 and " * 10 + "id < 9" + "))" * 10,
        "id = 1 or " * 499 + "id = 2",
    ],
)
def test_filters_as_large_as_they_may_be(dated: vsearch.Index, where: str) -> None:
    assert dated.query(album.picture(0), where=where)

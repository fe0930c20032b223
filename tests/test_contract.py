"""One contract, three implementations: the index, one on a Chroma server, the client of `vsearch serve`."""

from __future__ import annotations

import datetime
import io
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

import vsearch
from tests import album
from tests.images import pictures
from tests.serving import Server

_FORMS = ("path", "bytes", "bytearray", "view", "slice", "file", "read", "image", "cmyk", "array", "photo")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> vsearch.Index:
    folder = tmp_path_factory.mktemp("contract")
    album.write_album(folder / "photos", 12)
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    index = vsearch.Index.create(folder / "made.vsearch", encoder=toy_encoder)
    index.add(folder / "photos")
    return index


@pytest.fixture(scope="module", params=["chroma", "local", "http"])
def index(request: pytest.FixtureRequest, made: vsearch.Index, toy_encoder: Path) -> Iterator[Any]:
    """An Index, one on a Chroma server, a Client: ``Any``, for what all can do is what is tested.

    With Chroma's server both that index and ``made`` ask their graphs, small as they are.
    """
    if request.param == "local":
        yield made
        return
    if request.param == "chroma":
        server = request.getfixturevalue("chroma_server")
        other = vsearch.Index.create(
            made.path.with_name("other.vsearch"), encoder=toy_encoder, chroma=server.url
        )
        other.add(*made.roots())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vsearch.answering.SCAN_BYTES", 0)
            patch.setattr("vsearch.nearest.SCAN_BYTES", 0)
            yield other
        other.close()
        made.close()
        return
    with Server(made.path, "--allow-add") as server, vsearch.connect(server.url) as client:
        yield client


@pytest.fixture
def photo(made: vsearch.Index) -> vsearch.Photo:
    return made.page(limit=1)[0]


def test_the_client_has_the_methods_of_the_index() -> None:
    of_the_owner = {
        "create",
        "open",
        "build",
        "exists",
        "remove",
        "sync",
        "plan",
        "check",
        "rebuild",
        "reencode",
        "is_busy",
        "evaluate",
    }
    within = {
        "path",
        "named",
        "sibling",
        "edition",
        "ready",
        "answer",
        "answers",
        "condition",
        "tidying",
        "has_text",
        "max_megapixels",
        "held",
        "encoder_info",
        "thumbnails",
        "walked_roots",
    }
    methods = {name for kind in vsearch.Index.__mro__ for name in vars(kind) if not name.startswith("_")}
    assert methods - of_the_owner - within <= set(dir(vsearch.Client))


def test_odd_arguments_are_understood_or_refused(
    index: Any, made: vsearch.Index, photo: vsearch.Photo
) -> None:
    found = index.photo(photo.id)
    assert found is not None and found.file == photo.file
    assert index.photo(str(photo.id)) == found
    assert index.thumbnail(photo.id) == made.thumbnail(str(photo.id))
    assert index.query(photo, since=datetime.date(1971, 1, 1)) == index.query(photo, since="1971")
    moment = datetime.datetime(2024, 5, 31, 18, 30, 5, 999, tzinfo=datetime.UTC)
    assert index.query(photo, until=moment) == index.query(photo, until="2024-05-31T18:30:05")
    with pytest.raises(vsearch.UsageError):
        index.query(photo, where=5)


def test_a_photo_finds_itself_first(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    path = made.path_of(photo)
    first, *others = index.query(path, k=5)
    assert (first.rank, first.path, first.kind, first.id) == (1, path, "identical", str(photo.id))
    assert [m.rank for m in others] == [2, 3, 4, 5]
    assert first.score == pytest.approx(1.0, abs=1e-5)


def test_answers_are_those_of_the_index(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    assert index.query(photo, k=7) == made.query(photo, k=7)


@pytest.mark.parametrize("form", _FORMS)
def test_every_form_of_picture(index: Any, made: vsearch.Index, photo: vsearch.Photo, form: str) -> None:
    path = made.path_of(photo)
    read = io.BytesIO(Path(path).read_bytes())
    read.seek(9)
    with Image.open(path) as image, open(path, "rb") as file:
        forms = {
            "path": path,
            "bytes": Path(path).read_bytes(),
            "bytearray": bytearray(Path(path).read_bytes()),
            "view": memoryview(Path(path).read_bytes()),
            "slice": memoryview(np.repeat(np.frombuffer(Path(path).read_bytes(), np.uint8), 2))[::2],
            "file": file,
            "read": read,
            "cmyk": image.convert("RGB").convert("CMYK"),
            "image": image.copy(),
            "array": np.asarray(image),
            "photo": photo,
        }
        match = index.query(forms[form], k=1)[0]
    assert match.path == path
    assert match.kind == ("identical" if form not in ("image", "cmyk", "array") else match.kind)


def _turned(picture: Image.Image, orientation: int, format: str = "JPEG") -> Image.Image:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return Image.open(io.BytesIO(pictures.encoded(picture, format, exif=exif)))


@pytest.mark.parametrize(
    "picture",
    [
        *(_turned(album.picture(3).resize((301, 203)), n) for n in (3, 5, 6, 8)),
        _turned(album.picture(3), 6, "PNG"),
        _turned(album.picture(3), 6, "TIFF"),
        Image.fromarray(np.asarray(album.picture(3).convert("L"), np.float32) / 255),
        Image.fromarray(np.asarray(album.picture(3).convert("L"), np.int32) * 200),
        Image.fromarray(np.asarray(album.picture(3).convert("L"), np.uint16) * 200),
        album.picture(3).convert("P"),
        album.picture(3).convert("LAB"),
        album.picture(3).convert("RGBa"),
        Image.merge("RGBA", [*album.picture(3).split(), album.picture(1).convert("L")]),
        Image.merge("LA", [album.picture(n).convert("L") for n in (3, 1)]),
        np.asarray(album.picture(3), np.float64) / 255,
    ],
    ids=lambda picture: f"{getattr(picture, 'format', '')}-{getattr(picture, 'mode', 'array')}",
)
def test_pictures_in_memory_are_what_they_are_to_the_index(
    index: Any, made: vsearch.Index, picture: Any
) -> None:
    assert index.query(picture, k=5) == made.query(picture, k=5)
    assert index.query(picture, crop="0%,0%,50%,50%") == made.query(picture, crop="0%,0%,50%,50%")


@pytest.mark.parametrize("picture", [Image.new("RGB", (0, 0)), Image.new("La", (8, 8)), np.zeros((0, 3)), 5])
def test_what_is_no_picture_in_memory_is_refused_alike(index: Any, made: vsearch.Index, picture: Any) -> None:
    with pytest.raises(vsearch.VsearchError) as expected:
        made.query(picture)
    with pytest.raises(type(expected.value)) as caught:
        index.query(picture)
    assert str(caught.value) == str(expected.value)


def test_a_pipe_has_regions(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    data, (reading, writing) = Path(made.path_of(photo)).read_bytes(), os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(data)
    with os.fdopen(reading, "rb") as pipe:
        assert index.query(pipe, crop="0,0,50%,50%") == made.query(data, crop="0,0,50%,50%")


def test_one_picture_is_no_list(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    array = np.asarray(album.picture(0))
    for one in (made.path_of(photo), io.BytesIO(), array, array[..., 0]):
        with pytest.raises(vsearch.UsageError, match=r"in brackets: images=\[...\]"):
            index.query(images=one)
    assert index.query(images=array[None]) == index.query(array)


def test_several_pictures_with_weights_and_minus(index: Any, made: vsearch.Index) -> None:
    one, two, three = made.page(limit=3)
    found = index.query(images=[one, two], weights=[5, 1], minus=iter([three]), k=50)
    scores = {match.id: match.score for match in found}
    assert scores[str(one.id)] > scores[str(two.id)] > scores[str(three.id)]
    assert found == made.query(images=[one, two], weights=[5, 1], minus=[three], k=50)


def test_a_crop_is_a_region_of_the_picture(index: Any, made: vsearch.Index, tmp_path: Path) -> None:
    one, two = (Path(made.path_of(p)) for p in made.page(limit=2))
    both = Image.new("RGB", (192, 64))
    for left, path in ((0, one), (96, two)):
        with Image.open(path) as image:
            both.paste(image, (left, 0))
    both.save(tmp_path / "both.png")
    for left, path in ((0, one), (96, two)):
        assert index.query(tmp_path / "both.png", crop=(left, 0, 96, 64), k=1)[0].path == str(path)


def test_a_crop_may_be_of_any_integers(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    corner = tuple(np.arange(4, dtype=np.int64) + 1)
    assert index.query(made.path_of(photo), crop=corner) == made.query(made.path_of(photo), crop=(1, 2, 3, 4))


def test_min_score_leaves_out_what_is_below(index: Any, photo: vsearch.Photo) -> None:
    every = index.query(photo, k=12)
    bound = every[3].score
    assert index.query(photo, k=12, min_score=bound) == [m for m in every if m.score >= bound]


def test_photos_come_in_pages(index: Any, made: vsearch.Index) -> None:
    first = index.page(limit=5)
    second = index.page(limit=100, after=str(first[-1].id))
    assert [p.id for p in first + second] == [p.id for p in made.page(limit=100)]
    assert [p.id for p in index.page(limit=100, newest=True)] == [p.id for p in reversed(first + second)]
    assert index.page("failed")[0].file.path == "broken.jpg"
    assert index.page(limit=np.int64(5)) == first
    with pytest.raises(vsearch.UsageError):
        index.page("gone")


def test_all_photos_are_streamed(index: Any, made: vsearch.Index) -> None:
    assert [p.id for p in index.photos()] == [p.id for p in made.photos()]


def test_duplicates_are_the_same(index: Any, made: vsearch.Index) -> None:
    assert index.duplicates() == made.duplicates()


def test_the_map_is_the_same(index: Any, made: vsearch.Index) -> None:
    found, expected = index.map(), made.map()
    assert isinstance(found, vsearch.PhotoMap)
    assert (list(found.ids), list(found.paths)) == (list(expected.ids), list(expected.paths))
    assert found.positions.dtype == np.float32
    assert np.array_equal(found.positions, expected.positions)


def test_filters(index: Any, made: vsearch.Index, photo: vsearch.Photo) -> None:
    found = index.query(photo, where="format = png and width > 10", k=None)
    assert found
    assert all(match.path.endswith(".png") for match in found)
    assert found == made.query(photo, where="format = png and width > 10", k=None)
    assert index.query(photo, since="2020") == []
    with pytest.raises(vsearch.UsageError, match="colour"):
        index.query(photo, where="colour = red")


def test_facts_and_thumbnail(index: Any, photo: vsearch.Photo) -> None:
    found = index.photo(str(photo.id))
    assert (found.id, found.file, found.sha256, found.facts) == (
        photo.id,
        photo.file,
        photo.sha256,
        photo.facts,
    )
    with Image.open(io.BytesIO(index.thumbnail(str(photo.id)))) as thumbnail:
        assert thumbnail.format == "JPEG"


@pytest.mark.parametrize("photo_id", ["999999", "no-id", "9" * 30, "../1", ""])
def test_an_unknown_id_is_none(index: Any, photo_id: str) -> None:
    assert index.photo(photo_id) is None
    assert index.thumbnail(photo_id) is None


def test_status_failed_and_cameras(index: Any, made: vsearch.Index) -> None:
    found, expected = index.status(), made.status()
    assert replace(found, bytes={}, chroma_url=None) == replace(expected, bytes={})
    assert found.bytes["vectors"] == expected.bytes["vectors"] > 0
    assert [s.path for s in index.failed()] == [s.path for s in made.failed()]
    assert index.cameras() == {}


@pytest.fixture
def new(index: Any, made: vsearch.Index, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder for photos to add: of the index itself, or of a machine that sends them."""
    if isinstance(index, vsearch.Client):
        return tmp_path
    return made.path.parent / "photos" / request.node.originalname


def test_adding_a_photo_and_again(index: Any, new: Path) -> None:
    path = album.write(new / "new.png", 500 if isinstance(index, vsearch.Client) else 501)
    report = index.add(path)
    assert (report.added, report.unchanged, list(report.skipped)) == (1, 0, [])
    assert index.query(path, k=1)[0].kind == "identical"
    again = index.add(path)
    assert (again.added, again.unchanged) == (0, 1)


def test_what_is_no_photo_is_skipped(index: Any, new: Path) -> None:
    album.write(new / "good.png", 77 if isinstance(index, vsearch.Client) else 78)
    (new / "text.jpg").write_text("hello")
    report = index.add(new)
    assert report.added == 1
    (skipped,) = report.skipped
    assert skipped.path == str(new / "text.jpg")
    assert skipped.reason
    assert skipped.remedy


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ({}, vsearch.UsageError),
        ({"image": b"no picture"}, vsearch.PhotoError),
        ({"image": b""}, vsearch.PhotoError),
        ({"image": "/no/such/file.jpg"}, vsearch.PhotoError),
        ({"image": album.picture(0), "k": 0}, vsearch.UsageError),
        ({"image": album.picture(0), "weights": [1, 2]}, vsearch.UsageError),
        ({"image": album.picture(0), "weights": [0]}, vsearch.UsageError),
        ({"image": album.picture(0), "weights": 3.0}, vsearch.UsageError),
        ({"image": album.picture(0), "weights": [1e7]}, vsearch.UsageError),
        ({"image": album.picture(0), "minus": [album.picture(1)], "minus_weights": 1}, vsearch.UsageError),
        ({"image": album.picture(0), "crop": 5}, vsearch.UsageError),
        ({"image": album.picture(0), "minus": [album.picture(0)]}, vsearch.UsageError),
        ({"image": album.picture(0), "crop": (500, 0, 10, 10)}, vsearch.UsageError),
        ({"image": album.picture(0), "k": 1.5}, vsearch.UsageError),
        ({"image": album.picture(0), "text": "x", "text_weight": math.nan}, vsearch.UsageError),
        ({"image": album.picture(0), "min_score": math.nan}, vsearch.UsageError),
        ({"image": "a\0b.jpg"}, vsearch.PhotoError),
        ({"image": "~a\0b.jpg"}, vsearch.PhotoError),
    ],
)
def test_bad_questions_raise_the_same(
    index: Any, question: dict[str, Any], error: type[vsearch.VsearchError]
) -> None:
    with pytest.raises(error) as caught:
        index.query(**question)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("photos", [(None,), (["a"],), ("/nope",), ("",), ("a\0b",), ()])
def test_what_is_no_path_is_not_added(index: Any, photos: Any) -> None:
    with pytest.raises(vsearch.UsageError):
        index.add(*photos)


def test_numbers_may_be_those_of_numpy(index: Any, made: vsearch.Index) -> None:
    one, two = made.page(limit=2)
    given = {"weights": np.array([2, 1], np.float32), "k": np.int64(3), "min_score": np.float32(-0.5)}
    plain = {"weights": [2.0, 1.0], "k": 3, "min_score": -0.5}
    assert index.query(images=[one, two], **given) == index.query(images=[one, two], **plain)

"""An index that has answered before answers as one just opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import vsearch
from tests import album


@pytest.fixture
def varied(tmp_path: Path, toy_encoder: Path) -> vsearch.Index:
    """Pictures and altered copies of them, so that kinds differ."""
    folder = tmp_path / "varied"
    for path in album.write_album(folder, 12):
        with Image.open(path) as picture:
            picture.resize((48, 32)).save(path.with_name(f"{path.stem}-small.jpg"), quality=70)
            picture.transpose(Image.Transpose.ROTATE_90).save(path.with_name(f"{path.stem}-turned.png"))
    made = vsearch.Index.create(tmp_path / "varied.vsearch", encoder=toy_encoder)
    made.add(folder)
    return made


def test_what_is_remembered_changes_no_answer(varied: vsearch.Index) -> None:
    other = varied.sibling()
    photos = list(varied.photos())
    first = {photo.id: varied.query(photo, k=20) for photo in photos}
    assert {m.kind for matches in first.values() for m in matches} == {"identical", "variant", "similar"}
    for photo in photos:
        with vsearch.Index.open(varied.path) as fresh:
            expected = fresh.query(photo, k=20)
        assert first[photo.id] == varied.query(photo, k=20) == other.query(photo, k=20) == expected


def test_pictures_without_bytes_are_told_apart(varied: vsearch.Index) -> None:
    one, other = album.picture(1), album.picture(2)
    for picture in (one, other, one):
        with vsearch.Index.open(varied.path) as fresh:
            assert varied.query(picture, k=20) == fresh.query(picture, k=20)


def test_a_segment_number_that_comes_again_is_read_anew(
    index: vsearch.Index, photos: Path, tmp_path: Path
) -> None:
    before = next(index.photos())
    with vsearch.Index.open(index.path) as reader:
        reader.query(before, k=3)
        assert reader.thumbnail(str(before.id)) is not None
        index.remove(photos)
        index.sync()  # drops the segments, so that numbers begin anew
        index.add(album.write_album(tmp_path / "others", 5, first=100)[0].parent.parent)
        photo = next(index.photos())
        assert photo.vector is not None
        assert photo.vector.segment == 1
        with vsearch.Index.open(index.path) as fresh:
            assert reader.thumbnail(str(photo.id)) == fresh.thumbnail(str(photo.id))
            assert reader.query(photo, k=3) == fresh.query(photo, k=3)

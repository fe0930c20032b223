"""What is left out, what is walked although it is hidden, and what a path of the index names."""

from __future__ import annotations

from pathlib import Path

import pytest

import vsearch
from tests import album, safety
from tests.conftest import Run


@pytest.mark.parametrize("glob", ["raw", "raw/*"])
def test_a_folder_that_is_left_out_is_not_added(
    index: vsearch.Index, photos: Path, toy_encoder: Path, glob: str
) -> None:
    """The next sync would take its photos out again."""
    album.write_album(photos / "raw", 2, first=50)
    vsearch.Index.build(index.path, [photos], encoder=toy_encoder, exclude=[glob]).close()
    for folder in (photos / "raw", photos / "raw" / "day0"):
        with pytest.raises(vsearch.UsageError, match="left out by the index's --exclude"):
            index.add(folder)
    vsearch.Index.build(index.path, [photos], encoder=toy_encoder, exclude=["*.txt"]).close()
    assert index.add(photos / "raw").added == 2


def test_a_folder_that_is_left_out_is_not_added_together_with_the_one_around_it(
    photos: Path, tmp_path: Path, toy_encoder: Path
) -> None:
    index = vsearch.Index.create(tmp_path / "i.vsearch", encoder=toy_encoder, exclude=["day1"])
    with pytest.raises(vsearch.UsageError, match="day1 is left out by the index's --exclude"):
        index.add(photos, photos / "day1")
    assert index.add(photos).added == 6


def test_globs_hold_from_the_root_when_a_folder_below_is_added(index: vsearch.Index, photos: Path) -> None:
    album.write_album(photos / "trips" / "raw", 2, first=50)
    vsearch.Index.build(index.path, [photos], exclude=["trips/raw"]).close()
    album.write(photos / "trips" / "new.png", 60)
    assert index.add(photos / "trips").added == 1
    assert index.sync().removed == 0


def test_status_names_what_is_left_out(index: vsearch.Index, photos: Path, command: Run) -> None:
    assert b"excluded" not in command("status", "--index", index.path).stdout
    vsearch.Index.build(index.path, [photos], exclude=["raw/", "*.tif"]).close()
    assert list(index.status().exclude) == ["raw", "*.tif"]
    assert b"excluded    raw, *.tif" in command("status", "--index", index.path).stdout


def test_a_hidden_folder_that_was_named_is_walked(index: vsearch.Index, photos: Path) -> None:
    album.write_album(photos / ".hidden", 2, first=50)
    assert index.add(photos / ".hidden").added == 2
    album.write(photos / ".hidden" / "new.png", 60)
    assert index.sync().added == 1
    safety.assert_sound(index.path)


def test_what_is_removed_must_be_named(index: vsearch.Index) -> None:
    with pytest.raises(vsearch.UsageError, match="name photos"):
        index.remove()


def test_a_link_is_removed_without_the_photo_that_it_leads_to(index: vsearch.Index, photos: Path) -> None:
    (photos / "fav").mkdir()
    (photos / "fav" / "best.png").symlink_to(photos / "day0" / "photo000.png")
    assert index.sync().added == 1
    assert index.remove(photos / "fav" / "best.png").removed == 1
    assert index.named(photos / "day0" / "photo000.png")
    alias = photos.parent / "alias.png"
    alias.symlink_to(photos / "day0" / "photo000.png")
    assert index.remove(alias).removed == 1  # no photo of the index by itself
    assert not index.named(photos / "day0" / "photo000.png")


def test_globs_are_taken_as_people_write_them(index: vsearch.Index, photos: Path, toy_encoder: Path) -> None:
    kept = len(list((photos / "day1").iterdir()))
    for glob in ("day0/", "./day0"):
        with vsearch.Index.build(index.path, [photos], encoder=toy_encoder, exclude=[glob]) as built:
            built.add(photos)
            assert built.status().photos == kept
    for glob in (str(photos / "day0"), "~/day0"):
        with pytest.raises(vsearch.UsageError, match="relative to the photo folder"):
            vsearch.Index.build(index.path, [photos], exclude=[glob])


def test_exclude_can_be_taken_back(index: vsearch.Index, photos: Path, command: Run) -> None:
    asked = ("build-index", photos, "--index", index.path, "--exclude")
    assert command(*asked, "day0").returncode == 0
    index.close()
    assert index.status().photos == len(list((photos / "day1").iterdir()))
    assert command(*asked, "none").returncode == 0
    index.close()
    assert index.status().photos == 12

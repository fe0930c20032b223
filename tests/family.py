"""One photo and what may become of it: copies, edits, crops; and what duplicates say of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps
from skimage import data

from vsearch.duplicates.records import DuplicateGroup

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


def kinds_of(groups: list[DuplicateGroup]) -> Kinds:
    return {Path(m.photo.path).name: m.kind for group in groups for m in group.members}

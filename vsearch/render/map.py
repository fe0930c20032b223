"""The map as one HTML file with everything in it, that opens without a network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image, ImageOps

from vsearch import durable
from vsearch.photomap import PhotoMap
from vsearch.render.html import data_url, environment, file_url
from vsearch.render.text import printable

# Thumbnails get smaller as photos get more, so that the page does not grow as they do.  Sides are whole
# blocks of a JPEG with halved colour, so that neighbours on a sheet do not bleed into one another.
_PIXELS = 24e6
_SIDES = (128, 112, 96, 80, 64, 48, 32, 16)
_SHEET = 2048
_QUALITY = 75
_EMPTY = (136, 136, 136)


@dataclass(frozen=True, slots=True)
class Sheets:
    """Thumbnails side by side in a few large pictures.

    Attributes:
        pictures: JPEG bytes.
        side: of each thumbnail, pixels.
        columns: thumbnails in a row, and rows in a picture.
        colours: mean colour of each thumbnail, ``rrggbb``; empty for photos without one.
    """

    pictures: Sequence[bytes]
    side: int
    columns: int
    colours: Sequence[str]


def write_map(
    path: Path, found: PhotoMap, thumbnail: Callable[[str], bytes | None], filters: Sequence[str] = ()
) -> None:
    """Write the page to ``path``.

    Args:
        thumbnail: JPEG bytes of the photo with this id, or ``None``.
        filters: those that were used, for the title.

    Raises:
        UsageError, StorageError: ``path`` cannot be written.
    """
    script = _source("plane.js") + "\n" + _source("map.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        environment()
        .get_template("map.html")
        .render(
            count=f"{len(found):,}",
            filters=[printable(text) for text in filters],
            script=Markup(script),  # our own; its hash is in the page's policy
            script_hash=f"sha256-{digest}",
            data=Markup(_inert(_data(found, sheets(found.ids, thumbnail)))),
        )
    )
    durable.write_output(path, page.encode("utf-8", "replace"), durable.PAGE)


def sheets(ids: Sequence[str], thumbnail: Callable[[str], bytes | None]) -> Sheets:
    """The thumbnails of photos, cut to squares, in the order of ``ids``."""
    side = next((s for s in _SIDES if s * s * len(ids) <= _PIXELS), _SIDES[-1])
    columns = _SHEET // side
    pictures, colours = [], []
    for start in range(0, len(ids), columns * columns):
        some = ids[start : start + columns * columns]
        sheet = Image.new("RGB", (columns * side, -(-len(some) // columns) * side), _EMPTY)
        for place, photo in enumerate(some):
            tile = _tile(thumbnail(photo), side)
            colours.append(_mean(tile) if tile else "")
            if tile:
                sheet.paste(tile, (place % columns * side, place // columns * side))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
        pictures.append(buffer.getvalue())
    return Sheets(pictures, side, columns, colours)


def _tile(jpeg: bytes | None, side: int) -> Image.Image | None:
    if jpeg is None:
        return None
    with Image.open(io.BytesIO(jpeg)) as opened:
        opened.draft("RGB", (side, side))
        return ImageOps.fit(opened.convert("RGB"), (side, side))


def _mean(tile: Image.Image) -> str:
    return tile.resize((1, 1), Image.Resampling.BOX).tobytes().hex()


def _data(found: PhotoMap, made: Sheets) -> dict[str, Any]:
    return {
        "x": [round(float(x), 5) for x in found.positions[:, 0]],
        "y": [round(float(y), 5) for y in found.positions[:, 1]],
        "names": [printable(Path(path).name) for path in found.paths],
        "links": [file_url(path) for path in found.paths],
        "colours": made.colours,
        "side": made.side,
        "columns": made.columns,
        "perSheet": made.columns**2,
        "sheets": [data_url(picture) for picture in made.pictures],
    }


def _inert(data: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in, whatever files are called."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _source(name: str) -> str:
    return (resources.files("vsearch.render") / "templates" / name).read_text("utf-8")

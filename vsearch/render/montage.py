"""The montage: the query and its matches in rows, one picture file, as the study showed its five nearest."""

from __future__ import annotations

import contextlib
import io
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from vsearch import durable
from vsearch.records import Match
from vsearch.render.parts import Part
from vsearch.render.text import printable

_TILE = 240
_LABEL = 44
_GAP = 12
_COLUMNS = 6
_MOST = 240  # pictures; JPEG ends at 65,535 pixels
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SIZE = 15
# Pillow brings a font of ASCII letters alone; these lie on most systems, each with more of the others.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
)
_NO_LETTER = "\uffff"
_BACKGROUND, _INK, _SOFT, _ACCENT = "#ffffff", "#111111", "#666666", "#2563eb"


def write_montage(
    path: Path,
    parts: Sequence[Part],
    matches: Sequence[Match],
    thumbnail: Callable[[str], bytes | None],
) -> int:
    """Write a montage to ``path``, whose suffix says JPEG or PNG; how many of ``matches`` fit into it.

    Args:
        parts: what the query asks with: the first tiles.
        thumbnail: JPEG bytes of the photo with this id, or ``None``.

    Raises:
        UsageError, StorageError: ``path`` cannot be written.
    """
    shown = matches[:_MOST]
    tiles = [_tile(part.jpeg, _title(part), part.role, _ACCENT) for part in parts]
    tiles += [
        _tile(thumbnail(m.id), Path(m.path).name, f"{m.rank}   {m.score:.3f}   {m.kind}", _SOFT)
        for m in shown
    ]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = columns * (_TILE + _GAP) + _GAP, rows * (_TILE + _LABEL + _GAP) + _GAP
    montage = Image.new("RGB", (width, height), _BACKGROUND)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        montage.paste(tile, (_GAP + column * (_TILE + _GAP), _GAP + row * (_TILE + _LABEL + _GAP)))
    buffer = io.BytesIO()
    mark = durable.MONTAGE.mark.decode()
    if path.suffix.lower() == ".png":
        montage.save(buffer, "PNG", pnginfo=_with_text("Software", mark))
    else:
        montage.save(buffer, "JPEG", quality=90, comment=mark)
    durable.write_output(path, buffer.getvalue(), durable.MONTAGE)
    return len(shown)


def _title(part: Part) -> str:
    """A picture's file name, or the words."""
    return part.name if part.jpeg is None else Path(part.name).name or part.name


def _with_text(key: str, value: str) -> PngInfo:
    info = PngInfo()
    info.add_text(key, value)
    return info


def _tile(jpeg: bytes | None, name: str, facts: str, colour: str) -> Image.Image:
    tile = Image.new("RGB", (_TILE, _TILE + _LABEL), _BACKGROUND)
    if jpeg:
        with Image.open(io.BytesIO(jpeg)) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((_TILE, _TILE))
        tile.paste(picture, ((_TILE - picture.width) // 2, (_TILE - picture.height) // 2))
    draw = ImageDraw.Draw(tile)
    draw.text((0, _TILE + 4), facts, colour, ImageFont.load_default(_SIZE))
    name = unicodedata.normalize("NFC", printable(name))
    font = max(_fonts(name), key=lambda font: sum(_has(font, letter) for letter in name))
    draw.text((0, _TILE + 23), _fitting(_spelt(name, font), draw, font), _INK, font)
    return tile


def _fonts(text: str) -> Sequence[_Font]:
    """Those to try for ``text``."""
    return [ImageFont.load_default(_SIZE)] if text.isascii() else _system_fonts()


@cache
def _system_fonts() -> Sequence[_Font]:
    fonts: list[_Font] = []
    for name in _FONTS:
        with contextlib.suppress(OSError):  # it is not there
            fonts.append(ImageFont.truetype(name, _SIZE))
    return fonts or [ImageFont.load_default(_SIZE)]


@cache
def _has(font: _Font, letter: str) -> bool:
    return letter.isascii() or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))


def _spelt(text: str, font: _Font) -> str:
    """``text`` by letters that ``font`` has: those it lacks without their marks, or as question marks."""
    return "".join(c if _has(font, c) else _plain(c, font) for c in text)


def _plain(letter: str, font: _Font) -> str:
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(p if _has(font, p) else "?" for p in parts if not unicodedata.combining(p))


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: _Font) -> str:
    """``text``, cut in the middle where it is too long for a tile."""
    short, dots = text, _spelt("\u2026", font)
    while draw.textlength(short, font) > _TILE and len(text) > 8:
        text = text[: len(text) // 2 - 1] + text[len(text) // 2 + 1 :]
        short = f"{text[: len(text) // 2]}{dots}{text[len(text) // 2 :]}"
    return short

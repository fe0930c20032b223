"""Pictures in the terminal: by the protocols of kitty, iTerm2 or sixel, else as coloured half-blocks.

Protocols: https://sw.kovidgoyal.net/kitty/graphics-protocol/, https://iterm2.com/documentation-images.html,
and DEC's sixels (https://vt100.net/docs/vt3xx-gp/chapter14.html).
"""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TextIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from vsearch.errors import UsageError
from vsearch.records import Match
from vsearch.render.text import shortened

Protocol = Literal["kitty", "iterm2", "sixel", "blocks"]
VARIABLE = "VSEARCH_PREVIEW"
_COLUMNS = 40  # character cells of a picture
_ROWS = 12
_CHUNK = 4096  # kitty takes no more base64 at once
_SIXEL_COLOURS = 64


def protocol(environment: Mapping[str, str]) -> Protocol:
    """What the terminal can do, by the variables it sets; ``VSEARCH_PREVIEW`` overrides it.

    Raises:
        UsageError: that is none of them.

    >>> protocol({"TERM": "xterm-kitty"}), protocol({"TERM": "xterm-256color"})
    ('kitty', 'blocks')
    """
    if chosen := environment.get(VARIABLE):
        for name in _DRAWINGS:
            if chosen == name:
                return name
        raise UsageError(f"{VARIABLE} must be one of {', '.join(_DRAWINGS)}; received {chosen!r}")
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty", "vscode"):
        return "iterm2"
    return "sixel" if term.startswith(("foot", "mlterm", "yaft")) or "sixel" in term else "blocks"


def show(matches: Sequence[Match], thumbnail: Callable[[str], bytes | None], stream: TextIO) -> None:
    """Write each match's picture to ``stream``, with rank, score, kind and path below it.

    Args:
        thumbnail: JPEG bytes of the photo with this id, or ``None``.
    """
    draw = _DRAWINGS[protocol(os.environ)]
    for match in matches:
        jpeg = thumbnail(match.id)
        if jpeg:
            with Image.open(io.BytesIO(jpeg)) as opened:
                stream.write(draw(opened.convert("RGB")) + "\n")
        stream.write(f"{match.rank}  {match.score:.4f}  {match.kind}  {shortened(match.path)}\n\n")


def blocks(picture: Image.Image) -> str:
    """Two pixels a character: the upper half in the foreground's colour, the lower in the background's."""
    columns = min(_COLUMNS, shutil.get_terminal_size().columns)
    scale = min(columns / picture.width, 2 * _ROWS / picture.height)
    size = max(1, round(picture.width * scale)), 2 * max(1, round(picture.height * scale / 2))
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    lines = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀"
            for a, b in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def kitty(picture: Image.Image) -> str:
    """A PNG in chunks of base64; ``m`` says whether more follow."""
    data = base64.standard_b64encode(_png(picture)).decode()
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    first = f"\x1b_Ga=T,f=100,m={int(len(parts) > 1)};{parts[0]}\x1b\\"
    rest = (f"\x1b_Gm={int(n < len(parts) - 1)};{part}\x1b\\" for n, part in enumerate(parts[1:], start=1))
    return first + "".join(rest)


def iterm2(picture: Image.Image) -> str:
    """A PNG as base64 in one sequence."""
    data = _png(picture)
    return f"\x1b]1337;File=inline=1;size={len(data)}:{base64.standard_b64encode(data).decode()}\x07"


def sixel(picture: Image.Image) -> str:
    """Bands of six rows; in each band one run of characters for each colour."""
    indexed = picture.quantize(_SIXEL_COLOURS)
    palette = np.asarray(indexed.getpalette() or [], np.int64).reshape(-1, 3) * 100 // 255
    registers = "".join(f"#{n};2;{r};{g};{b}" for n, (r, g, b) in enumerate(palette.tolist()))
    pixels = np.asarray(indexed)
    bands = (pixels[top : top + 6] for top in range(0, len(pixels), 6))
    body = "-".join("$".join(_sixel_line(band, colour) for colour in np.unique(band)) for band in bands)
    return f'\x1bPq"1;1;{picture.width};{picture.height}{registers}{body}\x1b\\'


def _sixel_line(band: npt.NDArray[np.uint8], colour: int) -> str:
    bits = (band == colour).T @ (1 << np.arange(len(band)))
    return f"#{colour}" + "".join(chr(63 + int(bit)) for bit in bits)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


_DRAWINGS: dict[Protocol, Callable[[Image.Image], str]] = {
    "kitty": kitty,
    "iterm2": iterm2,
    "sixel": sixel,
    "blocks": blocks,
}

"""The contact sheet: one HTML file with everything in it, that opens without a network."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2

from vsearch import durable
from vsearch.records import Match
from vsearch.render.parts import Part
from vsearch.render.text import printable


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One query of a sheet: its name, what it asks with, its matches, the filters used, why there are few."""

    query: str
    parts: Sequence[Part]
    matches: Sequence[Match]
    filters: Sequence[str] = ()
    note: str = ""


def write_sheet(path: Path, rows: Sequence[SheetRow], thumbnail: Callable[[str], bytes | None]) -> None:
    """Write a contact sheet of ``rows`` to ``path``.

    Args:
        thumbnail: JPEG bytes of the photo with this id, or ``None``.

    Raises:
        UsageError, StorageError: ``path`` cannot be written.
    """
    page = (
        environment()
        .get_template("sheet.html")
        .render(
            rows=[
                {
                    "query": printable(row.query),
                    "parts": [
                        {"name": printable(part.name), "role": part.role, "picture": data_url(part.jpeg)}
                        for part in row.parts
                    ],
                    "note": printable(row.note),
                    "filters": [printable(text) for text in row.filters],
                    "cards": [_card(match, thumbnail(match.id)) for match in row.matches],
                }
                for row in rows
            ]
        )
    )
    durable.write_output(path, page.encode("utf-8", "replace"), durable.PAGE)


def _card(match: Match, thumbnail: bytes | None) -> dict[str, object]:
    return {
        "rank": match.rank,
        "score": f"{match.score:.3f}",
        "kind": match.kind,
        "name": printable(Path(match.path).name),
        "path": printable(match.path),
        "link": file_url(match.path),
        "picture": data_url(thumbnail),
    }


def file_url(path: str) -> str:
    """A path as a link; to the bytes that the index knows, whatever this process takes names to be."""
    if os.name == "nt":
        return Path(path).as_uri()
    return "file://" + quote(path, encoding="utf-8", errors="surrogateescape")


def data_url(jpeg: bytes | None) -> str:
    """JPEG bytes as an address that needs no network; empty for ``None``."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else ""


def environment() -> jinja2.Environment:
    """Where the templates lie; all values are escaped."""
    loader = jinja2.PackageLoader("vsearch.render")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)

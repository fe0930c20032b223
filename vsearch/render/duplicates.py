"""Duplicate groups for eyes: a table, and a page that shows each group side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from vsearch import durable
from vsearch.duplicates.records import DuplicateGroup, DuplicateMember, DuplicatePhoto
from vsearch.render.html import data_url, environment, file_url
from vsearch.render.text import printable, shortened, size_text

_KINDS = {
    "identical": "same bytes",
    "altered": "same picture, saved again, resized or edited",
    "turned": "mirrored or turned",
    "cropped": "cropped, framed or captioned",
    "burst": "taken in one burst",
}


def groups_table(groups: Sequence[DuplicateGroup]) -> Table:
    """Each group's representative and members, with evidence; ``*`` marks what would be kept."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("keep", "kind", "bits", "score", "apart"):
        table.add_column(name, justify="right" if name in ("bits", "score", "apart") else "left")
    table.add_column("path", overflow="fold")
    for group in groups:
        table.add_row(
            _star(group, group.representative), "", "", "", "", Text(shortened(group.representative.path))
        )
        for m in group.members:
            bits = "" if m.hash_distance is None else str(m.hash_distance)
            row = (_star(group, m.photo), m.kind, bits, f"{m.score:.3f}", _apart(m))
            table.add_row(*row, Text(f"  {shortened(m.photo.path)}"))
    return table


def write_page(
    path: Path, groups: Sequence[DuplicateGroup], thumbnail: Callable[[str], bytes | None]
) -> None:
    """Write the page; it opens without a network.

    Args:
        thumbnail: JPEG bytes of the photo with this id, or ``None``.

    Raises:
        UsageError, StorageError: ``path`` cannot be written.
    """
    shown = [
        {
            "title": printable(Path(group.representative.path).name),
            "why": printable(group.why),
            "cards": [
                _card(group, group.representative, None, thumbnail),
                *(_card(group, member.photo, member, thumbnail) for member in group.members),
            ],
        }
        for group in groups
    ]
    page = environment().get_template("duplicates.html").render(groups=shown)
    durable.write_output(path, page.encode("utf-8", "replace"), durable.PAGE)


def _card(
    group: DuplicateGroup,
    photo: DuplicatePhoto,
    member: DuplicateMember | None,
    thumbnail: Callable[[str], bytes | None],
) -> dict[str, object]:
    when = photo.taken_at or datetime.fromtimestamp(photo.mtime_ns / 1e9).isoformat(timespec="seconds")
    return {
        "name": printable(Path(photo.path).name),
        "path": printable(photo.path),
        "link": file_url(photo.path),
        "picture": data_url(thumbnail(photo.id)),
        "kept": photo.id == group.keep,
        "kind": member.kind if member else "",
        "kind_text": _KINDS[member.kind] if member else "representative",
        "evidence": _evidence(member) if member else "",
        "size": f"{photo.width} x {photo.height} {photo.format}, {size_text(photo.bytes)}",
        "date": when.replace("T", " ") + ("" if photo.taken_at else " (file)"),
        "sharpness": "" if photo.sharpness is None else f"sharpness {photo.sharpness:,.0f}",
        "region": member.region if member else None,
    }


def _evidence(member: DuplicateMember) -> str:
    bits = "" if member.hash_distance is None else f"{member.hash_distance} bits, "
    apart = f", {_apart(member)} apart" if member.seconds is not None else ""
    return f"{bits}score {member.score:.3f}{apart}"


def _apart(member: DuplicateMember) -> str:
    return "" if member.seconds is None else f"{member.seconds:.0f} s"


def _star(group: DuplicateGroup, photo: DuplicatePhoto) -> str:
    return "*" if photo.id == group.keep else ""

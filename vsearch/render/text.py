"""Tables and JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from vsearch.records import EncoderInfo, IndexStatus, Match, Planned, Skipped, SyncReport

if TYPE_CHECKING:  # rich takes 0.06 s to import, and lines of text and JSON do without
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 500  # rich assumes 80 columns where there is no terminal, and would fold paths
_SHOWN_SKIPS = 20


def console(stream: TextIO) -> Console:
    """A console on ``stream`` that folds nothing unless a person is looking."""
    from rich.console import Console

    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def write_paths(paths: Iterable[str], end: str) -> None:
    """Write bare paths to stdout, each as the bytes that the file system knows it by."""
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join((path + end).encode("utf-8", "surrogateescape") for path in paths))


def printable(path: str) -> str:
    r"""A path on one line: control characters as escapes, bytes that are no text as ``\xNN``.

    >>> printable('a\nb')
    'a\\nb'
    """
    raw = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in raw)


def shortened(path: str) -> str:
    """A path relative to the working directory where it lies below it."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    return printable(path.removeprefix(here))


def matches_table(matches: Sequence[Match]) -> Table:
    """Rank, score, kind and path of each match."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("kind")
    table.add_column("path", overflow="fold")
    for m in matches:
        table.add_row(str(m.rank), f"{m.score:.4f}", m.kind, Text(shortened(m.path)))
    return table


def match_json(query: str, match: Match) -> str:
    """One match as the JSON line that ``query --json`` promises."""
    ordered: dict[str, object] = {
        "query": query,
        "rank": match.rank,
        "path": match.path,
        "score": round(match.score, 6),
        "kind": match.kind,
        "id": match.id,
    }
    if match.match is not None:
        ordered["match"] = round(match.match, 6)
    return json.dumps(ordered)


def encoders_table(encoders: Iterable[EncoderInfo]) -> Table:
    """Name, input size, dimension, parameters, whether trained, and licence."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "input", "dimension", "parameters", "trained", "licence"):
        table.add_column(name, justify="left" if name in ("name", "trained", "licence") else "right")
    for e in encoders:
        size, trained = f"{e.input_size} px", "yes" if e.trained else "no"
        table.add_row(e.name, size, f"{e.dimension:,}", f"{e.parameters:,}", trained, e.licence)
    return table


def encoder_json(info: EncoderInfo) -> str:
    """One encoder as the JSON line that ``encoders --json`` promises."""
    return json.dumps(asdict(info))


def status_table(status: IndexStatus) -> Table:
    """What an index holds."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    waiting = f" ({status.pending:,} not yet published)" if status.pending else ""
    table.add_row("photos", f"{status.photos:,}{waiting}")
    failed = f"{status.failed:,}" + (" (see `vsearch status --failed`)" if status.failed else "")
    table.add_row("failed", failed)
    encoder = f"{status.encoder.name}, {status.encoder.dimension:,} numbers a photo, {status.metric}"
    table.add_row("encoder", encoder)
    table.add_row("generation", str(status.generation))
    sizes = ", ".join(f"{name} {size_text(size)}" for name, size in status.bytes.items())
    dead = sum(status.dead.values())
    table.add_row("on disk", sizes + (f" (of removed photos: {size_text(dead)})" if dead else ""))
    if status.chroma_url is not None:
        table.add_row("server", Text(printable(status.chroma_url)))
    for root in status.roots:
        table.add_row("root", Text(printable(root)))
    if status.exclude:
        table.add_row("excluded", Text(printable(", ".join(status.exclude))))
    return table


def report_text(report: SyncReport) -> str:
    """What a run changed, in a sentence."""
    counts = report.as_json()
    names = ("added", "updated", "moved", "removed", "unchanged")
    parts = [f"{counts[n]:,} {n}" for n in names if counts[n]]
    parts += [f"{len(report.skipped):,} skipped"] if report.skipped else []
    done = report.added + report.updated
    rate = f" ({done / report.seconds:.0f} photos/s)" if done and report.seconds > 0.1 else ""
    return f"{', '.join(parts) or 'nothing to do'} in {report.seconds:.1f} s{rate}"


def planned_text(planned: Planned) -> str:
    """What a sync would do to one photo, on one line."""
    origin = f"{printable(planned.origin)} -> " if planned.origin else ""
    return f"{planned.change:8} {origin}{printable(planned.path)}"


def print_skipped(skipped: Sequence[Skipped], *, remembered: bool = False) -> None:
    """The first skipped photos with reason and remedy on stderr, one a line, and how many more there are.

    Args:
        remembered: an index has them all.
    """
    for one in skipped[:_SHOWN_SKIPS]:
        print(f"skipped {skipped_text(one)}", file=sys.stderr)
    if len(skipped) > _SHOWN_SKIPS:
        rest = len(skipped) - _SHOWN_SKIPS
        listed = "; --json lists all, `vsearch status --failed` those that failed" if remembered else ""
        print(f"… and {rest:,} more{listed}", file=sys.stderr)


def skipped_text(skipped: Skipped) -> str:
    """Path, reason and remedy on one line."""
    remedy = f"; {skipped.remedy}" if skipped.remedy else ""
    return f"{printable(skipped.path)}: {skipped.reason}{remedy}"


def size_text(size: float) -> str:
    """Bytes for people.

    >>> size_text(2048)
    '2.0 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

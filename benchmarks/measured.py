"""What benchmarks share: processes measured as a whole, figures with baseline and ratio, tables of them.

A script that takes ``--json FILE`` writes its figures there; ``scripts/bench`` makes the README's table.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADINGS = ("what", "vsearch", "baseline", "ratio", "command", "day")


@dataclass(frozen=True)
class Figure:
    """One row, as text to be shown: what was measured, ours, what it is held against, ratio, command, day."""

    what: str
    value: str
    baseline: str = ""
    ratio: str = ""
    command: str = ""
    day: str = ""


@dataclass(frozen=True)
class Ran:
    """One process: the last line it printed, wall seconds, peak resident MiB (its child's, if larger)."""

    output: str
    seconds: float
    peak_mib: float

    def json(self) -> dict[str, float]:
        figures: dict[str, float] = json.loads(self.output)
        return figures


class Failed(RuntimeError):
    """A measured process ended with an error; the text is what it said last."""


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ran:
    """Run one process to its end.

    Raises:
        Failed: it did not end well.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    with process.stdout:
        lines = process.stdout.read().splitlines() or [""]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"exit code {process.returncode}: {lines[-1][:300]}")
    return Ran(lines[-1], seconds, usage.ru_maxrss / 1024)  # KiB on Linux


def folder_bytes(folder: Path) -> int:
    """What all files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write(file: Path | None, figures: Iterable[Figure]) -> None:
    """The machine-readable form, if it was asked for."""
    if file is not None:
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


def read(file: Path) -> list[Figure]:
    return [Figure(**row) for row in json.loads(file.read_text())]


def table(figures: Iterable[Figure]) -> str:
    """A Markdown table of figures."""
    return markdown(HEADINGS, (tuple(asdict(figure).values()) for figure in figures))


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown(("a", "b"), [("1|2", "3")]))
    | a | b |
    |---|---|
    | 1\\|2 | 3 |
    """
    cells = [headings, *rows]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(headings), *lines[1:]])

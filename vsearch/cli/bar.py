"""The progress bar that people see: count, rate and time left, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.text import Text

from vsearch.updates import OnProgress, Progress


@contextmanager
def drawn_bar(title: str) -> Iterator[OnProgress]:
    """A callback that draws a bar while the block runs."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def show(progress: Progress) -> None:
            note = f"{progress.skipped:,} skipped" if progress.skipped else ""
            bar.update(task, completed=progress.done, total=progress.total, note=note)

        yield show


class _RateColumn(ProgressColumn):
    """Photos a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f} photos/s" if speed else "", style="progress.data.speed")

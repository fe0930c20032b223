"""Showing how far a run is, to people only."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from vsearch.updates import OnProgress, Progress


def progress_bar(title: str) -> AbstractContextManager[OnProgress]:
    """A callback that draws a bar while the block runs; off a terminal it does nothing."""
    if not sys.stderr.isatty():
        return nullcontext(_ignore)
    from vsearch.cli.bar import drawn_bar  # here, because it imports rich

    return drawn_bar(title)


def _ignore(progress: Progress) -> None:
    """Nobody is looking."""

"""Telling which photos a command left out that has no index to keep their list in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from vsearch.records import Skipped
from vsearch.render.text import skipped_text

_SHOWN = 20
_OPTION = "--max-megapixels"  # of build-index; train and evaluate keep its default


def print_left_out(skipped: Sequence[Skipped]) -> None:
    """The first skipped photos with reason and remedy, one a line, and how many more there are."""
    for one in skipped[:_SHOWN]:
        print(f"skipped {skipped_text(_without_option(one))}", file=sys.stderr)
    if len(skipped) > _SHOWN:
        print(f"… and {len(skipped) - _SHOWN:,} more", file=sys.stderr)


def _without_option(skipped: Skipped) -> Skipped:
    if _OPTION not in skipped.remedy:
        return skipped
    return replace(skipped, remedy="if it is a real photo, save a smaller copy of it")

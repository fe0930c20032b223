"""Telling which photos a command left out that has no index to keep their list in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vsearch.records import Skipped
from vsearch.render.text import print_skipped

_OPTION = "--max-megapixels"  # of build-index; train and evaluate keep its default


def print_left_out(skipped: Sequence[Skipped]) -> None:
    """:func:`print_skipped`, without an option that only commands with an index have."""
    print_skipped([_without_option(one) for one in skipped])


def _without_option(skipped: Skipped) -> Skipped:
    if _OPTION not in skipped.remedy:
        return skipped
    return replace(skipped, remedy="if it is a real photo, save a smaller copy of it")

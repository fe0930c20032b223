"""Waiting for changes below the photo folders (the one module that knows watchfiles)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vsearch import files
from vsearch.errors import UsageError

# A copy of many files fires for minutes; wait until it has been quiet this long, but not for ever.
QUIET_MS = 1_000
AT_MOST_MS = 15_000


def check_installed() -> None:
    """Raise UsageError if watchfiles, which watches, is not installed."""
    if importlib.util.find_spec("watchfiles") is None:
        raise UsageError('--watch needs one more package: pip install "vsearch[watch]"')


def changes(roots: Sequence[str], index: str) -> Iterator[None]:
    """One item at once, then one each time something changed and settled; ends on Ctrl-C.

    Hidden files and folders do not count, and least of all the index itself.

    Args:
        roots: the folders to watch; those that are not there now are left out.
        index: the index directory.

    Raises:
        UsageError: watchfiles is not installed, or no root is there.
    """
    check_installed()
    import watchfiles

    present = [root for root in roots if os.path.isdir(root)]
    if not present:
        raise UsageError("there is no folder to watch: none of the index's folders is there")

    def matters(_: watchfiles.Change, path: str) -> bool:
        within = next((r for r in present if path.startswith(r.rstrip(os.sep) + os.sep)), None)
        if Path(path).is_relative_to(index):
            return False
        return within is None or not files.is_hidden(os.path.relpath(path, within))

    watching = watchfiles.watch(
        *present,
        watch_filter=matters,
        debounce=AT_MOST_MS,
        step=QUIET_MS,
        rust_timeout=1_000,
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    for number, seen in enumerate(watching):
        if seen or not number:
            yield

"""Waiting for changes below the photo folders (the one module that knows watchfiles)."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vsearch import files
from vsearch.errors import MissingExtraError, UsageError, install

# A copy of many files fires for minutes; wait until it has been quiet this long, but not for ever.
QUIET_MS = 1_000
AT_MOST_MS = 15_000
_LOOK_S = 1.0  # between looks whether other folders are there than before


def check_installed() -> None:
    """Raise MissingExtraError if watchfiles, which watches, is not installed."""
    if importlib.util.find_spec("watchfiles") is None:
        raise MissingExtraError(f"--watch needs watchfiles; {install('watch')}")


def changes(roots: Callable[[], Sequence[str]], index: str) -> Iterator[None]:
    """One item at once, then one each time something changed and settled; ends on Ctrl-C.

    Hidden files and folders do not count, and least of all the index itself.

    Args:
        roots: the folders to watch, asked for every second; those that are not there are left out until
            they are, and coming or going is a change.
        index: the index directory.

    Raises:
        UsageError: watchfiles is not installed, or no root is there at the start.
    """
    check_installed()
    present = _present(roots())
    if not present:
        raise UsageError("there is no folder to watch: none of the index's folders is there")
    while True:
        yield from _changes_below(present, index, lambda: _present(roots()))
        while not (present := _present(roots())):
            time.sleep(_LOOK_S)


def _present(roots: Sequence[str]) -> list[str]:
    return [root for root in roots if os.path.isdir(root)]


def _changes_below(present: list[str], index: str, now: Callable[[], list[str]]) -> Iterator[None]:
    """One item at once, then one for each change; until other folders are there than ``present``.

    Or until one is linked: what a link leads to is watched only if the link is there at the beginning.
    """
    import watchfiles

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
        rust_timeout=int(1_000 * _LOOK_S),
        yield_on_timeout=True,
        raise_interrupt=True,
    )
    for number, seen in enumerate(watching):
        if seen or not number:
            yield
        linked = (c is watchfiles.Change.added and os.path.islink(p) and os.path.isdir(p) for c, p in seen)
        if now() != present or any(linked):
            return

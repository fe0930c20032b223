"""What SQLite's errors mean to whoever uses the index."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from vsearch import durable
from vsearch.errors import IndexDamaged, StorageError


def explained(path: Path, error: sqlite3.DatabaseError) -> IndexDamaged | StorageError:
    """Our error for SQLite's: the catalog at ``path`` is damaged, or the disk or a permission is wrong."""
    reason = str(error)
    if not isinstance(error, sqlite3.OperationalError) or "no such" in reason or "malformed" in reason:
        return damaged(path, reason)
    if "unable to open" in reason and path.exists() and not os.access(path, os.R_OK):
        return durable.not_readable(path)
    if "readonly" in reason:
        reason = "a killed run left a change half made, and this user may not mend it"
        return StorageError(
            f"cannot use {path}: {reason}; run `vsearch status` once as a user who may write there"
        )
    return StorageError(f"cannot use {path}: {reason}; check that the disk is neither full nor read-only")


def damaged(path: Path, why: str) -> IndexDamaged:
    """The error for a catalog that cannot be trusted."""
    return IndexDamaged(f"{path} is damaged: {why}; run `vsearch rebuild` to make it anew from the vectors")

"""What the user decided about duplicates: "not duplicates", "keep this".

Decisions name photos by the SHA-256 of their bytes, so they outlive moves, renames and rebuilds of the index.
They lie in ``duplicates/decisions.jsonl``, one JSON object a line, and the file is replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vsearch import durable
from vsearch.errors import IndexDamaged, UsageError

What = Literal["not-duplicates", "keep"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        what: ``not-duplicates`` (of two photos) or ``keep`` (of one).
        sha256: of the photos' bytes, sorted.
        paths: where they were when it was made; of files with the same bytes, ``keep`` means the one there.
        made_at: ``YYYY-MM-DDTHH:MM:SS``, local.
    """

    what: What
    sha256: tuple[str, ...]
    paths: tuple[str, ...]
    made_at: str

    @property
    def id(self) -> str:
        """Eight digits that name the decision; the same decision has the same ones."""
        return hashlib.sha256(" ".join((self.what, *self.sha256)).encode()).hexdigest()[:8]

    def as_json(self) -> dict[str, object]:
        """The object that is stored and exported."""
        return {
            "id": self.id,
            "what": self.what,
            "sha256": list(self.sha256),
            "paths": list(self.paths),
            "made_at": self.made_at,
        }


def load(path: Path) -> list[Decision]:
    """The decisions in a file, oldest first; none when there is no file.

    Raises:
        IndexDamaged: a line is not what :func:`save` writes.
    """
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise durable.not_readable(path) from error
    except OSError as error:
        raise IndexDamaged(f"cannot read {path}: {error.strerror}; restore it from a backup") from error
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def save(path: Path, decisions: Iterable[Decision]) -> None:
    """Replace the file.

    Raises:
        StorageError: the index cannot be written.
    """
    text = "".join(json.dumps(decision.as_json()) + "\n" for decision in decisions)
    with durable.storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    durable.write_atomic(path, text.encode("utf-8", "surrogateescape"))


def with_decision(decisions: Iterable[Decision], new: Decision) -> list[Decision]:
    """The decisions and a new one, in the place of one with the same id."""
    return [*(each for each in decisions if each.id != new.id), new]


def without(decisions: Iterable[Decision], name: str) -> list[Decision]:
    """The decisions but the one whose id is ``name``.

    Raises:
        UsageError: there is none.
    """
    kept = list(decisions)
    left = [each for each in kept if each.id != name]
    if len(left) == len(kept):
        raise UsageError(f"there is no decision {name!r}; `vsearch duplicates --decisions` lists them")
    return left


def _parsed(path: Path, number: int, line: str) -> Decision:
    try:
        fields = json.loads(line)
        if fields["what"] not in ("not-duplicates", "keep"):
            raise ValueError(fields["what"])
        return Decision(
            fields["what"],
            tuple(sorted(map(str, fields["sha256"]))),
            tuple(map(str, fields["paths"])),
            str(fields["made_at"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IndexDamaged(
            f"{path} is damaged in line {number}; mend or remove that line, or restore the file from a backup"
        ) from error

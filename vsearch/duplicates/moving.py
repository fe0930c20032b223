"""Moving duplicates aside, or turning copies into hard links: plan, journal, act, undo.  Nothing is deleted.

The whole plan is written to a journal and forced to the disk before the first file is touched.  A move first
gives the file its new name and only then takes the old one away, so that at any instant either name exists.
What became of each entry is read from the files themselves, so a journal can be finished or reverted after a
kill, and twice.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from vsearch import durable, files
from vsearch.errors import IndexDamaged, PhotoError, UsageError
from vsearch.records import Skipped

What = Literal["move", "hardlink"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A photo that stays in the place of one that goes: its absolute path, and SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Step:
    """One file to act on.

    Attributes:
        what: ``move`` to ``target``, or replace by a ``hardlink`` to ``target``.
        source: absolute path of the photo.
        target: where it goes, or the file of the same bytes that it becomes a link to.
        sha256: of the bytes of ``source`` (and of ``target``, for a link) when the plan was made.
        mode, mtime_ns: of ``source``, to give them back.
        kept: what stays in its place; it moves only while they are what they were.
    """

    what: What
    source: str
    target: str
    sha256: str
    mode: int = 0
    mtime_ns: int = 0
    kept: tuple[Kept, ...] = ()

    def at(self, place: Callable[[str], str]) -> Step:
        """The same with ``place`` of each path in its stead."""
        kept = tuple(Kept(place(each.path), each.sha256) for each in self.kept)
        return replace(self, source=place(self.source), target=place(self.target), kept=kept)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: how many files, and which were left alone and why.

    Attributes:
        can_be_repeated: some were left alone for a fault that can be mended, such as a full disk.
        misses: some were left alone since they are not there; they may be back another time.
        needs_prune: a photo folder has lost so much of what is indexed that `sync` takes out nothing unasked.
    """

    done: int
    skipped: Sequence[Skipped] = ()
    can_be_repeated: bool = False
    misses: bool = False
    needs_prune: bool = False

    def as_json(self) -> dict[str, object]:
        """The object that ``duplicates --json`` prints."""
        return {"done": self.done, "skipped": [asdict(skipped) for skipped in self.skipped]}


class _Changed(PhotoError):
    """A file is no longer what the plan says; repeating it will not help."""


class _Missing(PhotoError):
    """A file is not there: gone for good, or with a disk that is away."""

    def __init__(
        self, path: str, reason: str = "no such file", remedy: str = "it was moved or removed since"
    ) -> None:
        super().__init__(path, reason, remedy)


def plan_moves(sources: Iterable[tuple[str, str, str, tuple[Kept, ...]]], folder: Path) -> list[Step]:
    """Steps that move photos into ``folder``.

    Args:
        sources: absolute path, path relative to its root, SHA-256 of each photo, and what stays instead.
        folder: photos keep their relative path below it; a name that is taken gets a number.
    """
    taken: set[str] = set()
    steps = []
    for source, relative, sha256, kept in sources:
        target = _free(folder / relative, taken)
        taken.add(str(target))
        steps.append(replace(_step("move", source, str(target), sha256), kept=kept))
    return steps


def plan_links(sources: Iterable[tuple[str, str, str]]) -> list[Step]:
    """Steps that make each photo (path, path of its twin, SHA-256 of both) a hard link to its twin."""
    return [_step("hardlink", source, twin, sha256) for source, twin, sha256 in sources]


def write_journal(path: Path, steps: Sequence[Step]) -> None:
    """Write a plan down, before anything is touched.

    Raises:
        StorageError: it cannot be written; nothing was touched.
    """
    with durable.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(step)) + "\n" for step in steps)
    durable.write_atomic(path, lines.encode("utf-8", "surrogateescape"))


def read_journal(path: Path) -> list[Step]:
    """The steps of a journal.

    Raises:
        UsageError: there is no such journal.
        IndexDamaged: it is torn.
        StorageError: this user may not read it.
    """
    try:
        return [_parsed(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such journal") from error
    except PermissionError as error:
        raise durable.not_readable(path) from error
    except (ValueError, TypeError, OSError) as error:
        raise IndexDamaged(
            f"{path} is damaged: it is not the journal that vsearch writes; restore it from a backup, or "
            "remove it: what it moved can then no longer be undone"
        ) from error


def act(steps: Sequence[Step]) -> Outcome:
    """Do what is not done yet of a journal's steps; files that have changed are left alone.

    A photo that is to stay in the place of others is hashed once, before the first of them goes.
    """
    is_sound = cache(_is_sound)

    def move(step: Step) -> bool:
        for kept in step.kept if os.path.lexists(step.source) else ():
            try:
                sound = is_sound(kept)
            except PhotoError as failure:
                reason = f"the photo to keep, {kept.path}: {failure.reason}"
                raise PhotoError(step.source, reason, failure.remedy) from failure
            if not sound:
                reason = f"the photo to keep, {kept.path}, has changed since it was indexed"
                remedy = "look at both; `vsearch sync` and --keep-this choose anew"
                raise _Changed(step.source, reason, remedy)
        return _renamed(Path(step.source), Path(step.target), step.sha256)

    return _each(steps, {"move": move, "hardlink": _link})


def undo(steps: Sequence[Step], folders: Sequence[str]) -> Outcome:
    """Revert what was done of a journal's steps, last first; files that have changed are left alone.

    Args:
        steps: of the journal.
        folders: the photo folders; no photo goes back to one that is not there.
    """
    present = [files.Below(folder) for folder in folders if os.path.lexists(folder)]

    def move_back(step: Step) -> bool:
        if not any(step.source in folder for folder in present):
            reason = "the photo folder that it was in is not there"
            raise _Missing(step.source, reason, "bring it back and run this again")
        return _renamed(Path(step.target), Path(step.source), step.sha256)

    return _each(list(reversed(steps)), {"move": move_back, "hardlink": _unlink})


def _each(steps: Sequence[Step], actions: dict[What, Callable[[Step], bool]]) -> Outcome:
    done, skipped, can_be_repeated, misses = 0, [], False, False
    for step in steps:
        try:
            done += actions[step.what](step)
        except PhotoError as error:
            misses |= isinstance(error, _Missing)
            can_be_repeated |= not isinstance(error, (_Changed, _Missing))
            skipped.append(Skipped(error.path, error.reason, error.remedy))
        except OSError as error:
            can_be_repeated = True
            skipped.append(
                Skipped(step.source, _reason(error), "nothing was lost; mend that and run it again")
            )
        durable.step("duplicate-step")
    return Outcome(done, tuple(skipped), can_be_repeated, misses)


def _renamed(source: Path, target: Path, sha256: str) -> bool:
    """Give a file another name, never over a file that is there; whether there was anything to do."""
    _sweep(target)
    if source.is_symlink():
        raise _Changed(str(source), "a link and not a file", "move it by hand")
    if os.path.lexists(target):
        if not os.path.lexists(source):
            return False  # done before
        if files.sha256(str(target)) != sha256:
            remedy = f"it lies in {source}; take that file away and run this again"
            raise PhotoError(str(target), "another file is where it would go", remedy)
        _expect(source, sha256, "it has changed since then")
    else:
        _expect(source, sha256, "it has changed since then")
        target.parent.mkdir(parents=True, exist_ok=True)
        _add_name(source, target, sha256)
    durable.step("duplicate-two-names")
    source.unlink()
    with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
        durable.fsync_folder(source.parent)
    return True


def _add_name(source: Path, target: Path, sha256: str) -> None:
    """A second name for a file: a hard link, or a checked copy on another file system."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        _copy(source, target, sha256)
    with contextlib.suppress(OSError):
        durable.fsync_folder(target.parent)


def _copy(source: Path, target: Path, sha256: str) -> None:
    temporary = durable.temporary_beside(target)
    try:
        shutil.copy2(source, temporary)
        durable.fsync_file(temporary)
        _expect(temporary, sha256, "its copy differs")
        durable.step("duplicate-copied")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _link(step: Step) -> bool:
    source, twin = Path(step.source), Path(step.target)
    _sweep(source)
    if _is_one_file(source, twin):
        return False
    _expect(source, step.sha256, "it has changed since then")
    _expect(twin, step.sha256, "its twin has changed since then")
    temporary = durable.temporary_beside(source)
    try:
        os.link(twin, temporary)
        durable.step("duplicate-linked")
        os.replace(temporary, source)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _unlink(step: Step) -> bool:
    source, twin = Path(step.source), Path(step.target)
    _sweep(source)
    if not _is_one_file(source, twin):
        return False
    _expect(source, step.sha256, "it has changed since then")
    temporary = durable.temporary_beside(source)
    try:
        shutil.copyfile(twin, temporary)
        os.chmod(temporary, step.mode)
        os.utime(temporary, ns=(step.mtime_ns, step.mtime_ns))
        durable.fsync_file(temporary)
        os.replace(temporary, source)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _sweep(path: Path) -> None:
    """Remove what a kill left of an unfinished copy or link that was to become ``path``."""
    for leftover in path.parent.glob(f"{durable.TEMPORARY}*-{glob.escape(path.name)}"):
        leftover.unlink(missing_ok=True)


def _is_one_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samestat(os.stat(a), os.stat(b))
    except FileNotFoundError as error:
        raise _Missing(str(error.filename)) from error


def _expect(path: Path, sha256: str, otherwise: str) -> None:
    if not os.path.lexists(path):
        raise _Missing(str(path))
    if files.sha256(str(path)) != sha256:
        raise _Changed(str(path), otherwise, "it stays where it is; `vsearch sync` tells the index of it")


def _is_sound(kept: Kept) -> bool:
    """Whether the file is there and has the bytes that it was indexed with.

    Raises:
        PhotoError: it is there and cannot be read.
    """
    return os.path.lexists(kept.path) and files.sha256(kept.path) == kept.sha256


def _parsed(fields: dict[str, Any]) -> Step:
    return Step(**{**fields, "kept": tuple(Kept(**each) for each in fields.get("kept", ()))})


def _step(what: What, source: str, target: str, sha256: str) -> Step:
    try:
        status = os.stat(source)
    except OSError:
        return Step(what, source, target, sha256)  # acting on it will say what is wrong
    return Step(what, source, target, sha256, status.st_mode & 0o7777, status.st_mtime_ns)


def _free(wanted: Path, taken: set[str]) -> Path:
    """``wanted``, or the first numbered name beside it that is free."""
    path, number = wanted, 1
    while str(path) in taken or os.path.lexists(path):
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path


def _reason(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "its twin is on another file system, where no hard link can lead"
    return (error.strerror or str(error)).lower()

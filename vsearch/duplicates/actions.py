"""Duplicates as the user meets them: groups with what to keep, decisions, moves with a journal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

from vsearch import files
from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.duplicates import decisions, keeping, moving
from vsearch.duplicates.decisions import Decision, What
from vsearch.duplicates.finding import FOLDER, Finder, Group
from vsearch.duplicates.groups import Filler, with_sharpness
from vsearch.duplicates.moving import Kept, Outcome, Step
from vsearch.duplicates.records import DuplicateGroup, DuplicatePhoto
from vsearch.duplicates.superfluous import beside, kept_for, kept_of, superfluous
from vsearch.errors import UsageError, VsearchError
from vsearch.files import Below
from vsearch.plan import may_remove
from vsearch.records import Photo, Relation, Skipped

PathLike = str | os.PathLike[str]
KINDS: tuple[Relation, ...] = get_args(Relation)
#: What may be moved without being named: copies that show no less and nothing else.
MOVED_KINDS: tuple[Relation, ...] = ("identical", "altered")


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """Which groups are wanted.

    Attributes:
        kinds: relations to report; all when empty.
        within: only photos in this folder, or below it.
        keep: rules for :func:`vsearch.duplicates.keeping.parse`.
        sharpness: measure how sharp each photo of a group is (its file is decoded).
    """

    kinds: Sequence[str] = ()
    within: PathLike | None = None
    keep: str = ",".join(keeping.DEFAULT_RULES)
    sharpness: bool = False


@dataclass(frozen=True, slots=True)
class MovePlan:
    """What a move would do: its steps, and the photos that are left alone and why."""

    steps: Sequence[Step]
    skipped: Sequence[Skipped] = ()


class Duplicates:
    """The duplicates of one index.

    Args:
        directory: of the index.
        catalog: open for reading.
        fingerprint: of the index's encoder.
    """

    def __init__(self, directory: IndexDirectory, catalog: Catalog, fingerprint: str) -> None:
        self._directory = directory
        self._catalog = catalog
        self._fingerprint = fingerprint
        self._decisions = directory.path / FOLDER / "decisions.jsonl"
        self._journals = directory.path / FOLDER / "journals"

    # -- groups ----------------------------------------------------------------------------------

    def groups(self, wanted: GroupOptions) -> list[DuplicateGroup]:
        """Groups of duplicates, by the path of their representative.

        Raises:
            UsageError: an unknown kind or rule, or a folder without photos of the index.
        """
        kinds, rules = _kinds(wanted.kinds), keeping.parse(wanted.keep)
        within = None if wanted.within is None else self._folder(wanted.within)
        made = self.decisions()
        kept = _to_keep(made)
        finder = Finder(self._directory, self._catalog, self._fingerprint)
        try:
            found = self._filled(finder, within, made, kinds)
        finally:
            finder.close()
        if wanted.sharpness or keeping.needs_sharpness(rules):
            found = [with_sharpness(group) for group in found]
        chosen = [(group, keeping.choose(group.photos, rules, kept)) for group in found]
        groups = [replace(group, keep=choice.photo.id, why=choice.why) for group, choice in chosen]
        return sorted(groups, key=lambda group: (group.representative.path, group.members[0].photo.path))

    def _filled(
        self, finder: Finder, within: Below | None, made: Sequence[Decision], kinds: Sequence[Relation]
    ) -> list[DuplicateGroup]:
        rows = self._rows(finder, within)
        place = {digest.tobytes().hex(): row for row, digest in enumerate(finder.photos.digests)}
        apart = [
            (place[each.sha256[0]], place[each.sha256[-1]])
            for each in made
            if each.what == "not-duplicates" and all(digest in place for digest in each.sha256)
        ]
        filler = Filler(finder, self._catalog, within, kinds)
        while True:
            found = finder.groups(rows, apart)
            gone = {row for group in found for row in _rows_of(group) if not filler.photos(row)}
            if not gone:
                return [filled for group in found for filled in filler.fill(group)]
            rows = rows - gone  # their files have been moved or removed since

    def _rows(self, finder: Finder, within: Below | None) -> set[int]:
        contents = finder.photos.photos
        if within is None:
            return set(range(len(contents)))
        inside = {photo.id for photo in self._catalog.photos("ready") if photo.file.absolute in within}
        if not inside:
            raise UsageError(f"{within.folder}: the index has no photo there; see `vsearch status`")
        return {row for row, ids in enumerate(contents) if not inside.isdisjoint(ids)}

    def _folder(self, within: PathLike) -> Below:
        """A folder that is there; else relative to the photo folders, as filters take it."""
        given = files.expanded(os.fspath(within))
        places = [given, *(os.path.join(root, given) for root in self._catalog.roots)]
        return Below(next((place for place in places if os.path.isdir(place)), within))

    # -- decisions -------------------------------------------------------------------------------

    def decisions(self) -> list[Decision]:
        """What was decided, oldest first."""
        return self._placed(decisions.load(self._decisions), self._directory.resolved)

    def decide_not_duplicates(self, a: PathLike, b: PathLike) -> Decision:
        """Never again report two photos as duplicates of each other.

        Raises:
            UsageError: one of them is not in the index, or both have the same bytes.
        """
        one, other = self._photo_at(a), self._photo_at(b)
        if one.sha256 == other.sha256:
            raise UsageError(f"{os.fspath(a)} and {os.fspath(b)} have the same bytes: they are duplicates")
        return self._decide("not-duplicates", (one, other))

    def decide_keep(self, path: PathLike) -> Decision:
        """Keep this photo in whatever group it is found.

        Raises:
            UsageError: it is not in the index.
        """
        return self._decide("keep", (self._photo_at(path),))

    def forget_decision(self, name: str) -> None:
        """Undo a decision, named by its id.

        Raises:
            UsageError: there is none with that id.
        """
        with self._directory.writing():
            self._save(decisions.without(self.decisions(), name))

    def _decide(self, what: What, photos: Sequence[Photo]) -> Decision:
        pairs = sorted((photo.sha256 or "", photo.file.absolute) for photo in photos)
        digests, paths = tuple(digest for digest, _ in pairs), tuple(path for _, path in pairs)
        made = Decision(what, digests, paths, time.strftime("%Y-%m-%dT%H:%M:%S"))
        with self._directory.writing():
            self._save(decisions.with_decision(self.decisions(), made))
        return made

    def _save(self, made: Sequence[Decision]) -> None:
        decisions.save(self._decisions, self._placed(made, self._stored))

    def _placed(self, made: Sequence[Decision], place: Callable[[str], str]) -> list[Decision]:
        return [replace(each, paths=tuple(map(place, each.paths))) for each in made]

    def _stored(self, path: str) -> str:
        return self._directory.stored(path, self._catalog.roots)

    def _photo_at(self, path: PathLike) -> Photo:
        for place in files.places(path):
            for root in self._catalog.roots:
                if Path(place).is_relative_to(root):
                    photo = self._catalog.find(root, os.path.relpath(place, root))
                    if photo is not None and photo.state == "ready":
                        return photo
        raise UsageError(f"{os.fspath(path)}: no photo of the index; add it with `vsearch add`")

    # -- moving ----------------------------------------------------------------------------------

    def superfluous(self, groups: Sequence[DuplicateGroup]) -> tuple[list[DuplicatePhoto], list[Skipped]]:
        """The photos that might be taken away, by hand as well; and those that must stay, and why."""
        return superfluous(groups, self._link_to, decided=_to_keep(self.decisions()))

    def _link_to(self, photo: DuplicatePhoto) -> str | None:
        """The path of a photo of the index that is a link to ``photo``."""
        names = (same.file.absolute for same in self._catalog.with_digest(photo.sha256))
        return next((n for n in names if n != photo.path and os.path.realpath(n) == photo.path), None)

    def plan_moves(
        self, groups: Sequence[DuplicateGroup], folder: PathLike, protect: Sequence[PathLike] = ()
    ) -> MovePlan:
        """The moves that leave the photo to keep of each group, and protected ones, where they are.

        What lies in ``folder`` already was moved aside before: where it would be kept, nothing is moved.

        Raises:
            UsageError: ``folder`` is a file or lies in the index directory, or a protected one is not there.
        """
        target = Path(os.path.abspath(os.path.expanduser(os.fspath(folder))))
        _refuse_missing(protect)
        if os.path.lexists(target) and not target.is_dir():
            raise UsageError(f"{target} is no folder; name the folder to move to")
        if Below(self._directory.path).holds(str(target)):
            raise UsageError(f"{target} lies in the index itself; choose a folder outside")
        there = Below(target)
        aside = [group for group in groups if there.holds(kept_of(group).path)]
        others = [group for group in groups if group not in aside]
        decided = _to_keep(self.decisions())
        extra, skipped = superfluous(others, self._link_to, protect, target, decided=decided)
        skipped += beside(aside, target)
        relative = {str(p.id): p.file.path for p in self._photos_of(extra)}
        kept = kept_for(others)
        sources = [
            (p.path, relative[p.id], p.sha256, tuple(Kept(k.path, k.sha256) for k in kept[p.id]))
            for p in extra
        ]
        return MovePlan(moving.plan_moves(sources, target), skipped)

    def plan_links(self, groups: Sequence[DuplicateGroup], protect: Sequence[PathLike] = ()) -> MovePlan:
        """The links that let photos with the same bytes share one file; others are left alone.

        Raises:
            UsageError: a protected folder is not there.
        """
        _refuse_missing(protect)
        extra, skipped = superfluous(groups, lambda _: None, protect, linked=True)  # each name stays
        first = {photo.sha256: photo for photo in reversed(extra)}
        first |= {photo.sha256: photo for photo in map(kept_of, groups)}
        same = [(p.path, first[p.sha256].path, p.sha256) for p in extra if first[p.sha256] is not p]
        linked = {digest for _, _, digest in same}
        others = [
            Skipped(photo.path, "no other photo has the same bytes", "use --move-to for such photos")
            for photo in extra
            if photo.sha256 not in linked
        ]
        return MovePlan(moving.plan_links(same), (*skipped, *others))

    def carry_out(self, plan: MovePlan) -> Outcome:
        """Write the journal, then do what the plan says.

        Raises:
            UsageError: an earlier move was interrupted and must be finished or undone first.
        """
        with self._directory.writing():
            self._refuse_unfinished()
            journal = self._journals / f"{self._next_journal():06d}.doing.jsonl"
            moving.write_journal(journal, [step.at(self._stored) for step in plan.steps])
            outcome = moving.act(plan.steps)
            if outcome.done:
                self._mark(journal, "done")
            else:
                journal.unlink()  # there is nothing to undo
            return replace(outcome, needs_prune=self._needs_prune(plan.steps))

    def finish(self) -> Outcome:
        """Do the rest of a move that was interrupted; it stays so while a fault can be mended.

        Raises:
            UsageError: none was.
        """
        with self._directory.writing():
            unfinished = sorted(self._journals.glob("*.doing.jsonl"))
            if not unfinished:
                raise UsageError("no move was interrupted; there is nothing to finish")
            steps = self._steps(unfinished[-1])
            outcome = moving.act(steps)
            if not outcome.can_be_repeated:
                self._mark(unfinished[-1], "done")
            return replace(outcome, needs_prune=self._needs_prune(steps))

    def undo(self) -> Outcome:
        """Revert the last move, finished or not; files that have changed, or gone, since then stay so.

        Where some are not there, what is back another time is reverted then; until it is, the move before
        comes next.

        Raises:
            UsageError: there is none.
        """
        with self._directory.writing():
            missed = Outcome(0)
            journals = [p for p in self._journals.glob("*.jsonl") if not p.name.endswith(".undone.jsonl")]
            for journal in sorted(journals, reverse=True):
                outcome = moving.undo(self._steps(journal), self._catalog.roots)
                if not outcome.can_be_repeated:
                    self._mark(journal, "missing" if outcome.misses else "undone")
                told = journal.name.endswith(".missing.jsonl")
                if outcome.done or outcome.can_be_repeated or not told:
                    return outcome
                missed = missed if missed.misses else outcome
            if not missed.misses:
                raise UsageError("nothing was moved or linked; there is nothing to undo")
            return missed

    def problems(self) -> Iterator[VsearchError]:
        """What of the decisions and of the journals cannot be read, and whether a move was interrupted."""
        journals = sorted(self._journals.glob("*.jsonl"))
        reads: list[Callable[[], object]] = [self.decisions, self._refuse_unfinished]
        for read in reads + [partial(moving.read_journal, journal) for journal in journals]:
            try:
                read()
            except VsearchError as error:
                yield error

    def _steps(self, journal: Path) -> list[Step]:
        return [step.at(self._directory.resolved) for step in moving.read_journal(journal)]

    def _needs_prune(self, steps: Sequence[Step]) -> bool:
        """Whether so many went out of a photo folder that `sync` will take it for one that is not mounted."""
        folders = {root: Below(root) for root in self._catalog.roots}

        def is_out(path: str) -> bool:
            return not any(path in folder for folder in folders.values())

        went = [step.source for step in steps if step.what == "move" and is_out(step.target)]
        left = [root for root, folder in folders.items() if any(path in folder for path in went)]
        return any(self._has_lost_half(root) for root in left)

    def _has_lost_half(self, root: str) -> bool:
        gone = [files.is_gone(root, photo.file.path) for photo in self._catalog.below(root, "")]
        return not may_remove(sum(gone), len(gone))

    def _mark(self, journal: Path, state: str) -> None:
        os.replace(journal, self._journals / f"{journal.name[:6]}.{state}.jsonl")

    def _refuse_unfinished(self) -> None:
        if any(self._journals.glob("*.doing.jsonl")):
            raise UsageError(
                "an earlier move was interrupted; `vsearch duplicates --finish` does the rest, "
                "--undo reverts it"
            )

    def _next_journal(self) -> int:
        return 1 + max((int(path.name[:6]) for path in self._journals.glob("*.jsonl")), default=0)

    def _photos_of(self, photos: Iterable[DuplicatePhoto]) -> list[Photo]:
        return list(self._catalog.get_many([int(photo.id) for photo in photos]).values())


def _refuse_missing(protect: Sequence[PathLike]) -> None:
    for folder in protect:
        if not os.path.lexists(os.path.expanduser(os.fspath(folder))):
            raise UsageError(f"{os.fspath(folder)} is to be protected and is not there; check its name")


def _rows_of(group: Group) -> list[int]:
    return [group.representative, *(link.row for link in group.members)]


def _kinds(names: Sequence[str]) -> tuple[Relation, ...]:
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise UsageError(f"--kind takes {', '.join(KINDS)}; received {unknown[0]!r}")
    return tuple(kind for kind in KINDS if kind in names) or KINDS


def _to_keep(made: Sequence[Decision]) -> dict[str, str]:
    """SHA-256 of the photos that are to be kept, and the path that was named."""
    return {sha: "".join(each.paths[:1]) for each in made if each.what == "keep" for sha in each.sha256}

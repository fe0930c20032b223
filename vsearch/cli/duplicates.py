"""The duplicates command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vsearch.cli import FAILED, NOTHING_FOUND, app
from vsearch.cli.options import IndexOption, JsonOption
from vsearch.errors import UsageError

if TYPE_CHECKING:
    from vsearch.duplicates.actions import Duplicates
    from vsearch.duplicates.moving import Outcome
    from vsearch.duplicates.records import DuplicateGroup
    from vsearch.index import Index


@app.command()
def duplicates(
    index: IndexOption = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", metavar="KIND", help="identical, altered, turned, cropped or burst; may be repeated."
        ),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option("--within", metavar="FOLDER", help="Only among the photos below this folder."),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="RULES",
            help="What to keep, strongest rule first: largest, oldest, sharpest, format, path:GLOB.",
        ),
    ] = "largest,oldest",
    as_json: JsonOption = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print the paths that would not be kept.")] = False,
    null: Annotated[bool, typer.Option("-0", help="The same, ended by NUL, for `xargs -0`.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page that shows each group side by side."),
    ] = None,
    move_to: Annotated[
        Path | None,
        typer.Option(
            "--move-to", metavar="DIR", help="Move what would not be kept to DIR; needs --yes to act."
        ),
    ] = None,
    hardlink: Annotated[
        bool, typer.Option("--hardlink", help="Let photos with the same bytes share one file; needs --yes.")
    ] = False,
    protect: Annotated[
        list[Path] | None,
        typer.Option(
            "--protect", metavar="FOLDER", help="Never move a photo below this folder; may be repeated."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do what the plan says.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Revert the last --move-to or --hardlink.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Do the rest of one that was interrupted.")
    ] = False,
    not_duplicates: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--not-duplicates", metavar="A B", help="Never report these two as duplicates again."),
    ] = None,
    keep_this: Annotated[
        Path | None,
        typer.Option("--keep-this", metavar="PHOTO", help="Keep this photo, whatever the rules say."),
    ] = None,
    list_decisions: Annotated[
        bool, typer.Option("--decisions", help="List what was decided; with --json, to export it.")
    ] = False,
    forget: Annotated[
        str | None, typer.Option("--forget", metavar="ID", help="Undo the decision with this id.")
    ] = None,
) -> None:
    """Find photos that are one picture (copies, edits, turned or cropped ones) or one burst. Nothing is
    deleted.

    --move-to and --hardlink act on identical and altered photos, unless --kind says otherwise.

    Examples:

      vsearch duplicates --html duplicates.html

      vsearch duplicates --kind cropped --within ~/Photos/2024 --json

      vsearch duplicates --keep format,largest --move-to ~/aside --protect ~/Photos/originals --yes
    """
    from vsearch.duplicates.actions import MOVED_KINDS
    from vsearch.index import Index

    if as_json + paths + null > 1:
        raise UsageError("--json, --paths and -0 exclude each other; choose one")
    actions = (undo, finish, not_duplicates, keep_this, list_decisions, forget, move_to, hardlink)
    chosen = sum(action not in (None, False) for action in actions)
    if chosen > 1:
        raise UsageError(
            "one thing at a time: choose one of the options that decide, list, move, finish or undo"
        )
    moving = move_to is not None or hardlink
    if moving and (paths or null):
        raise UsageError("--paths and -0 list photos, they do not go with a move; --json does")
    if chosen and not moving and any((kind, within, paths, null, html, protect)):
        raise UsageError(
            "--kind, --within, --protect, --paths, -0 and --html cannot be combined with a decision, "
            "--finish or --undo"
        )
    if not chosen and (protect or yes):
        raise UsageError("--protect and --yes are for --move-to and --hardlink")
    with Index.open(index) as opened:
        tidying = opened.tidying()
        if undo or finish:
            outcome = tidying.undo() if undo else tidying.finish()
            _report(outcome, "reverted" if undo else "done", as_json)
        elif list_decisions:
            _print_decisions(tidying, as_json)
        elif not_duplicates is not None or keep_this is not None or forget is not None:
            _decide(tidying, not_duplicates, keep_this, forget, as_json)
        else:
            kinds = kind or (MOVED_KINDS if moving else ())
            groups = _find(opened, kinds, within, keep, html)
            if moving:
                _move(tidying, groups, move_to, protect or [], yes, as_json)
            else:
                _print(tidying, groups, as_json=as_json, paths=paths, null=null)


def _find(
    index: Index, kinds: Sequence[str], within: Path | None, keep: str, html: Path | None
) -> list[DuplicateGroup]:
    from rich.console import Console

    from vsearch import durable
    from vsearch.errors import install
    from vsearch.variants.localfeatures import available

    if html is not None:
        durable.check_output(html, durable.PAGE)
    if not available():
        print(
            f"crops and framed copies are not looked for: OpenCV is not installed; {install('duplicates')}",
            file=sys.stderr,
        )
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with console.status("comparing photos"):
        groups = index.duplicates(kinds=kinds, within=within, keep=keep, sharpness=html is not None)
        if html is not None:
            from vsearch.render.duplicates import write_page

            write_page(html, groups, index.thumbnail)
    if html is not None:
        print(f"page: {html}", file=sys.stderr)
    if not groups:
        print("no duplicates found", file=sys.stderr)
        raise typer.Exit(NOTHING_FOUND)
    return groups


def _print(
    tidying: Duplicates, groups: Sequence[DuplicateGroup], *, as_json: bool, paths: bool, null: bool
) -> None:
    from vsearch.render.duplicates import groups_table
    from vsearch.render.text import console, print_skipped, write_paths

    if as_json:
        for group in groups:
            print(json.dumps(group.as_json()))
    elif paths or null:
        extra, stay = tidying.superfluous(groups)
        write_paths((photo.path for photo in extra), "\0" if null else "\n")
        print_skipped(stay)
    else:
        console(sys.stdout).print(groups_table(groups))


def _print_decisions(tidying: Duplicates, as_json: bool) -> None:
    from vsearch.render.text import printable

    for decision in tidying.decisions():
        paths = " ".join(printable(path) for path in decision.paths)
        line = f"{decision.id}  {decision.made_at}  {decision.what}  {paths}"
        print(json.dumps(decision.as_json()) if as_json else line)


def _decide(
    tidying: Duplicates,
    apart: tuple[Path, Path] | None,
    keep_this: Path | None,
    forget: str | None,
    as_json: bool,
) -> None:
    if forget is not None:
        tidying.forget_decision(forget)
        print(json.dumps({"forgotten": forget}) if as_json else f"forgotten: {forget}")
        return
    made = tidying.decide_not_duplicates(*apart) if apart else None
    if keep_this is not None:
        made = tidying.decide_keep(keep_this)
    assert made is not None  # the caller has one of the three
    said = f"decided: {made.id} {made.what}; `vsearch duplicates --forget {made.id}` undoes it"
    print(json.dumps(made.as_json()) if as_json else said)


def _move(
    tidying: Duplicates,
    groups: Sequence[DuplicateGroup],
    move_to: Path | None,
    protect: list[Path],
    yes: bool,
    as_json: bool,
) -> None:
    from vsearch.render.text import print_skipped, printable

    plan = tidying.plan_moves(groups, move_to, protect) if move_to else tidying.plan_links(groups, protect)
    for step in plan.steps:
        arrow = "->" if step.what == "move" else "= link to"
        line = f"{step.what}  {printable(step.source)}  {arrow}  {printable(step.target)}"
        print(json.dumps(asdict(step)) if as_json else line)
    print_skipped(plan.skipped)
    if not plan.steps:
        print("nothing to do", file=sys.stderr)
    elif not yes:
        print(
            f"{len(plan.steps):,} files; nothing was done yet: the same command with --yes does it",
            file=sys.stderr,
        )
    else:
        _report(tidying.carry_out(plan), "done", as_json)


def _report(outcome: Outcome, word: str, as_json: bool) -> None:
    from vsearch.render.text import print_skipped

    print_skipped(outcome.skipped)
    hints = []
    if outcome.done and word == "done":
        hints.append("`vsearch duplicates --undo` reverts it")
    if outcome.done:
        hints.append(f"`vsearch sync{' --prune' if outcome.needs_prune else ''}` tells the index")
    said = "; ".join([f"{outcome.done:,} {word}", *filter(None, [", ".join(hints)])])
    print(json.dumps(outcome.as_json()) if as_json else said)
    if outcome.misses and word == "reverted":
        print(
            "missing files can be reverted by --undo once they are back; "
            "until then it reverts the move before",
            file=sys.stderr,
        )
    if outcome.skipped and not outcome.done:
        raise typer.Exit(FAILED)

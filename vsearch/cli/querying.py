"""The query command: what is asked.  What becomes of the answers is in :mod:`vsearch.cli.answers`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from vsearch.cli import FAILED, NOTHING_FOUND, app
from vsearch.cli.answers import Output, Shown, check_output, deliver
from vsearch.cli.options import DeviceOption, IndexOption, JsonOption, SinceOption, UnderOption, UntilOption
from vsearch.errors import UsageError

if TYPE_CHECKING:
    from vsearch.index import Index
    from vsearch.question import Asked, Picture
    from vsearch.search import AnswerOptions

_WEIGHTED = re.compile(r"(\d+(?:\.\d*)?|\.\d+):(.+)", re.DOTALL)
Filter = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="Such as 'taken >= 2024-05 and camera ~ canon'."),
]


@app.command()
def query(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE...]",
            help="Pictures to look for: files, ids of the index, - for stdin; 2:A.jpg counts twice.",
        ),
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option("--minus", metavar="IMAGE", help="Be unlike this; may be repeated.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Words to look for; needs a CLIP or SigLIP encoder.")
    ] = None,
    text_weight: Annotated[float, typer.Option(help="How much the words count beside the pictures.")] = 1.0,
    crop: Annotated[
        str | None,
        typer.Option("--crop", metavar="X,Y,W,H", help="A region of the first picture, in pixels or with %."),
    ] = None,
    bulk: Annotated[
        Path | None,
        typer.Option("--from", metavar="LIST", help="One query picture a line (- for stdin); with --json."),
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = "auto",
    k: Annotated[str, typer.Option("-k", metavar="N", help="How many matches, or all.")] = "10",
    where: Filter = None,
    under: UnderOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    expand: Annotated[
        bool, typer.Option("--expand/--no-expand", help="Rank by neighbourhoods too, or by plain scores.")
    ] = True,
    min_score: Annotated[
        float | None, typer.Option("--min-score", metavar="S", help="Only matches that score at least S.")
    ] = None,
    min_match: Annotated[
        float | None,
        typer.Option(
            "--min-match", metavar="P", help="Only matches related with a probability of at least P."
        ),
    ] = None,
    as_json: JsonOption = False,
    paths: Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line.")] = False,
    null: Annotated[bool, typer.Option("-0", help="Print paths ended by NUL, for `xargs -0`.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a contact sheet that opens offline."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="Write a montage, .jpg or .png.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the pictures in the terminal.")] = False,
    open_best: Annotated[bool, typer.Option("--open", help="Open the best match.")] = False,
    copy_to: Annotated[
        Path | None, typer.Option("--copy-to", metavar="DIR", help="Copy the matches there.")
    ] = None,
    link_to: Annotated[
        Path | None, typer.Option("--link-to", metavar="DIR", help="Link to the matches there.")
    ] = None,
) -> None:
    """Show the photos most like a picture, or several pictures and words together, best first.

    Examples:

      vsearch query cat.jpg

      vsearch query cat.jpg dog.jpg --minus snow.jpg -k 20 --html pets.html

      vsearch query tower.jpg --crop 10%,0%,50%,80% --where "taken >= 2024-05 and camera ~ canon"

      vsearch query --text "dog on a beach" --min-match 0.9

      vsearch query --from list.txt --json > answers.jsonl
    """
    from vsearch.index import Index
    from vsearch.search import AnswerOptions

    if text is None and text_weight != 1.0 and bulk is None:
        raise UsageError("--text-weight goes with --text")
    output = Output(as_json, paths, null, html, sheet, preview, open_best, copy_to, link_to)
    check_output(output)
    with Index.open(index, device=device) as opened:
        condition = opened.condition(where, under=under, since=since, until=until)
        wanted = AnswerOptions(_count(k), expand, condition, min_score, min_match)
        filters = named_filters(
            where, under=under, since=since, until=until, min_score=min_score, min_match=min_match
        )
        if bulk is not None:
            others = (html, sheet, preview, open_best, copy_to, link_to, text_weight != 1.0)
            if images or minus or text or crop or not as_json or any(others):
                raise UsageError(
                    "--from needs --json, and cannot be combined with other pictures, --text, --crop, "
                    "--html, --sheet, --preview, --open, --copy-to or --link-to"
                )
            _many(opened, bulk, wanted)
            return
        asked = _asked(opened, images or [], minus or [], text, text_weight, crop)
        answer = opened.answer(asked, wanted, once=True)
        deliver(opened, Shown(asked, images or [], minus or [], filters), answer, output)
        if answer.note:
            print(answer.note, file=sys.stderr)
        if not answer.matches:
            raise typer.Exit(NOTHING_FOUND)


def named_filters(where: str | None, **short_forms: str | float | None) -> list[str]:
    """The filters that were given, as pages name them: ``since 2024``."""
    forms = (f"{name.replace('_', '-')} {given}" for name, given in short_forms.items() if given is not None)
    return [*([where] if where else []), *forms]


def _asked(
    index: Index,
    images: list[str],
    minus: list[str],
    text: str | None,
    text_weight: float,
    crop: str | None,
) -> Asked:
    from vsearch.question import Asked, Weighted

    weighed = [_weight(argument) for argument in (*images, *minus)]
    if [argument for argument, _ in weighed].count("-") > 1:
        raise UsageError("only one picture can come from stdin; name the others")
    weighted = tuple(
        Weighted(_from_stdin() if argument == "-" else _picture(index, argument), weight)
        for argument, weight in weighed
    )
    return Asked(weighted[: len(images)], weighted[len(images) :], text, text_weight, crop)


def _from_stdin() -> bytes:
    data = sys.stdin.buffer.read()
    if not data:
        raise UsageError("nothing came on stdin; pipe a picture into this command")
    return data


def _weight(argument: str) -> tuple[str, float]:
    """What stands behind ``2:``, and how much it counts; a file may be called so."""
    found = _WEIGHTED.fullmatch(argument)
    return (found[2], float(found[1])) if found and not os.path.lexists(argument) else (argument, 1.0)


def _picture(index: Index, argument: str) -> Picture:
    """A file, or a photo of the index: by id, or by path inside a photo folder."""
    from vsearch import files

    path = files.expanded(argument)
    if os.path.lexists(path):
        return path
    return index.photo(argument) or index.named(argument) or path


def _count(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"k must be a whole number or all; received {text!r}") from None


def _many(index: Index, source: Path, wanted: AnswerOptions) -> None:
    """Answer a query for each line; pictures that cannot be read are told of and passed over."""
    from vsearch.render.text import match_json, printable

    asked = skipped = found = 0
    note = None
    lines = (line.rstrip("\n") for line in _opened(source))
    pictures = ((line, _picture(index, line)) for line in lines if line)
    for result in index.answers(pictures, wanted):
        asked += 1
        found += len(result.matches)
        note = note or result.note
        if result.failure is not None:
            skipped += 1
            print(f"skipped {printable(str(result.failure))}", file=sys.stderr)
        for match in result.matches:
            print(match_json(result.query, match))
    if not asked:
        raise UsageError(f"{source} names no picture; it must have one a line")
    if skipped:
        print(f"{skipped:,} of {asked:,} pictures were skipped", file=sys.stderr)
    if not found:
        if note:
            print(note, file=sys.stderr)
        raise typer.Exit(FAILED if skipped == asked else NOTHING_FOUND)


def _opened(source: Path) -> TextIO:
    try:  # names may be any bytes, and Windows' editors begin files with a mark
        file = 0 if str(source) == "-" else Path(os.path.expanduser(source))
        return open(file, encoding="utf-8-sig", errors="surrogateescape", closefd=file != 0)
    except OSError as error:
        raise UsageError(
            f"cannot read {source}: {error.strerror}; name a file with one path a line"
        ) from error

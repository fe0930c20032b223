"""Filters: ``taken >= 2024-05 and camera ~ canon`` to SQL on the catalog and to Chroma's ``where``.

    expression   one or more comparisons with ``and``, ``or``, ``not`` and brackets
    comparison   FIELD OPERATOR VALUE, the operator one of ``=  !=  <  <=  >  >=  ~`` (contains)
    value        a word, or anything in single or double quotes; ``none`` for "not known"

Text is compared without regard to case (of ASCII letters).  A date is a year, a month, a day or a moment, and
stands for all of it: ``taken = 2024-05`` is May, ``taken > 2024-05`` begins with June.  ``folder = trips``
means that folder and all below it, relative to any photo folder, or absolute, as ``path = trips/rome/a.jpg``
may be.  ``format = jpg`` means the format of that suffix, JPEG.
"""

from __future__ import annotations

import calendar
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from vsearch import files
from vsearch.errors import UsageError

if TYPE_CHECKING:
    import lark

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Parameter = str | int | float | bytes
Day = str | date  # a moment too: datetime is a date

# By the catalog's columns.  A path's folder is what remains when all but its slashes is trimmed off its end.
_FOLDER = "rtrim(path, replace(path, '/', ''))"
_NUMBERS = {"width": "width", "height": "height", "bytes": "size", "id": "id"}
_TEXTS = {
    "camera": "camera",
    "format": "format",
    "path": "path",
    "name": f"substr(path, length({_FOLDER}) + 1)",
}
FIELDS = ("taken", "camera", "folder", "path", "name", "format", "width", "height", "bytes", "id")
_DEEPEST = 20  # SQLite takes some 30 brackets in each other, and a thousand conditions side by side
_MOST = 500
_LARGEST = 2**63  # SQLite's integers end before
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_CHROMA = {"=": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_CHROMA_FIELDS = {"width", "height", "bytes"}
# Pillow's names, which the catalog has, by the suffixes of files; where these differ.
_FORMATS = (
    dict.fromkeys(("jpg", "jpe", "jfif"), "JPEG")
    | dict.fromkeys(("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"), "JPEG2000")
    | dict.fromkeys(("pgm", "pbm", "pnm", "pfm"), "PPM")
    | {"apng": "PNG", "tif": "TIFF", "avifs": "AVIF", "heic": "HEIF", "hif": "HEIF"}
)
_LATEST = "9999-12-31T24:00:00"  # sorts after every moment that a date can be
_MOMENT = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2}))?)?)?)?")
_GRAMMAR = r"""
    ?start: either
    ?either: both ("or"i both)*
    ?both: inverse ("and"i inverse)*
    ?inverse: "not"i inverse -> negation | "(" either ")" | comparison
    comparison: FIELD OPERATOR value
    value: QUOTED | WORD
    OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">" | "~"
    FIELD: /(?!(?:and|or|not)\b)[a-z_]+/i
    WORD: /(?!(?:and|or|not)\b)(~\/)?[^\s()"'=<>~!][^\s()"']*/i
    QUOTED: /"[^"]*"|'[^']*'/
    %ignore /\s+/
"""
_EXPECTED = {
    "FIELD": "a field",
    "NOT": '"not"',
    "LPAR": '"("',
    "OPERATOR": "one of = != < <= > >= ~",
    "WORD": "a value",
    "QUOTED": "a value",
    "AND": '"and"',
    "OR": '"or"',
    "RPAR": '")"',
    "$END": "the end",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``; ``place`` is where it stands, as messages say it."""

    field: str
    operator: Operator
    value: str
    place: str


@dataclass(frozen=True, slots=True)
class Junction:
    """``and`` or ``or`` of two or more."""

    word: Literal["and", "or"]
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """``not``."""

    part: Node


Node = Comparison | Junction | Negation


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter, compiled.

    Attributes:
        sql: a condition on the catalog's table of photos.
        parameters: its values.
        chroma: the same as Chroma's ``where``, or ``None`` where that cannot say it.
    """

    sql: str
    parameters: tuple[Parameter, ...]
    chroma: dict[str, Any] | None


def parse(text: str) -> Node:
    """The tree of a filter.

    Raises:
        UsageError: it is not one, and the message names the column; or it is too large.
    """
    import lark

    if not isinstance(text, str):
        raise UsageError(f'a filter is a text, such as "width > 3000"; received {text!r}')
    try:
        tree = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise UsageError(_syntax(text, error)) from error
    if sum(1 for _ in tree.find_data("comparison")) > _MOST:
        raise UsageError(f"filter: more than {_MOST} comparisons; make it shorter")
    return _node(tree)


def short_forms(under: Sequence[str], since: Day | None, until: Day | None) -> list[Node]:
    """The comparisons that ``--under``, ``--since`` and ``--until`` stand for.

    Args:
        under: the paths that the folder may go by; none for no such filter.
        since, until: the days.
    """
    forms: list[Node] = []
    if under:
        folders = tuple(Comparison("folder", "=", folder, "under") for folder in under)
        forms.append(folders[0] if len(folders) == 1 else Junction("or", folders))
    if since is not None:
        forms.append(Comparison("taken", ">=", day_text(since), "since"))
    if until is not None:
        forms.append(Comparison("taken", "<=", day_text(until), "until"))
    return forms


def day_text(day: Day) -> str:
    """A day or moment as filters write it; a camera's clock knows no time zone."""
    if isinstance(day, datetime):
        return day.replace(microsecond=0, tzinfo=None).isoformat()
    return str(day)


def compiled(nodes: Sequence[Node], roots: Sequence[str]) -> Condition:
    """All of ``nodes`` as one condition.

    Args:
        nodes: one or more.
        roots: the index's photo folders, absolute, in the catalog's order.

    Raises:
        UsageError: a field is unknown, or a value does not fit its field; the message names the place.
    """
    node = nodes[0] if len(nodes) == 1 else Junction("and", tuple(nodes))
    sql, parameters = _sql(node, roots)
    return Condition(sql, tuple(parameters), _chroma(node))


@cache
def _parser() -> lark.Lark:
    import lark

    return lark.Lark(_GRAMMAR, parser="lalr")


def _syntax(text: str, error: lark.exceptions.UnexpectedInput) -> str:
    ended = getattr(getattr(error, "token", None), "type", "") == "$END"
    position = len(text) if ended or error.pos_in_stream is None else error.pos_in_stream
    before = _parser().parse_interactive(text[:position])
    before.exhaust_lexer()
    allowed: set[str] = before.accepts()  # type: ignore[no-untyped-call]
    *others, last = dict.fromkeys(said for name, said in _EXPECTED.items() if name in allowed)
    wanted = f"{', '.join(others)} or {last}" if others else last
    found = repr(text[position : position + 12]) if position < len(text) else "the end"
    line = re.sub(r"\s", " ", text)  # one line, so that the column can be counted
    return f"{_place(position)}: expected {wanted}, found {found}; in: {line}"


def _place(position: int) -> str:
    return f"filter, column {position + 1}"


def _node(tree: lark.Tree[lark.Token], depth: int = 0) -> Node:
    if depth > _DEEPEST:
        raise UsageError(f"filter: more than {_DEEPEST} conditions in one another; make it simpler")
    children = tree.children
    if tree.data == "comparison":
        field, operator, value = cast("tuple[lark.Token, lark.Token, lark.Tree[lark.Token]]", tuple(children))
        token = cast("lark.Token", value.children[0])
        text = token[1:-1] if token.type == "QUOTED" else str(token)
        return Comparison(field.lower(), cast(Operator, str(operator)), text, _place(field.start_pos or 0))
    parts = tuple(_node(cast("lark.Tree[lark.Token]", child), depth + 1) for child in children)
    return Negation(parts[0]) if tree.data == "negation" else Junction(_WORDS[tree.data], parts)


_WORDS: dict[str, Literal["and", "or"]] = {"either": "or", "both": "and"}


def _sql(node: Node, roots: Sequence[str]) -> tuple[str, list[Parameter]]:
    if isinstance(node, Negation):
        sql, parameters = _sql(node.part, roots)
        return f"NOT {sql}", parameters
    if isinstance(node, Junction):
        parts = [_sql(part, roots) for part in node.parts]
        joined = f" {node.word.upper()} ".join(sql for sql, _ in parts)
        return f"({joined})", [value for _, values in parts for value in values]
    sql, parameters = _comparison(node, roots)
    return f"(({sql}) IS TRUE)", parameters  # what is not known satisfies nothing, and neither its opposite


def _comparison(c: Comparison, roots: Sequence[str]) -> tuple[str, list[Parameter]]:
    if c.field not in FIELDS:
        raise _wrong(c, f"there is no field {c.field!r}; use one of {', '.join(FIELDS)}")
    if c.value.lower() == "none" and c.field in ("taken", "camera", "format", "width", "height"):
        column = {"taken": "taken_at"}.get(c.field, c.field)
        return f"{column} IS {_is(c, 'none')} NULL", []
    if c.field == "taken":
        return _taken(c)
    if c.field == "folder":
        return _folder(c, roots)
    if c.field == "path" and c.operator in ("=", "!=") and os.path.isabs(files.expanded(c.value)):
        return _absolute(c, roots)
    if c.field in _NUMBERS:
        return _number(c)
    return _text(c)


def _is(c: Comparison, what: str) -> str:
    if c.operator not in ("=", "!="):
        raise _wrong(c, f"{what} goes with = and != only")
    return "" if c.operator == "=" else "NOT"


def _text(c: Comparison) -> tuple[str, list[Parameter]]:
    given = _FORMATS.get(c.value.lower(), c.value) if c.field == "format" else c.value
    column, value = _TEXTS[c.field], _raw(given)
    if c.operator == "~":
        return f"instr(lower({column}), lower(CAST(? AS TEXT))) > 0", [value]
    if c.operator == "!=":
        return f"{column} IS NULL OR lower({column}) != lower(CAST(? AS TEXT))", [value]
    return f"lower({column}) {c.operator} lower(CAST(? AS TEXT))", [value]


def _folder(c: Comparison, roots: Sequence[str]) -> tuple[str, list[Parameter]]:
    if c.operator == "~":
        return f"instr(lower({_FOLDER}), lower(CAST(? AS TEXT))) > 0", [_raw(c.value)]
    negated = _is(c, "a folder (or ~ for a part of its name)")
    value = files.expanded(c.value)
    if not os.path.isabs(value):
        sql, parameters = _below(os.path.normpath(value))
        return f"{negated} ({sql})", parameters
    value = os.path.normpath(value)
    parts: list[tuple[str, list[Parameter]]] = []
    for number, root in enumerate(roots):
        if os.path.commonpath([value, root]) == value:
            parts.append((f"root = {number}", []))
        elif os.path.commonpath([value, root]) == root:
            sql, parameters = _below(os.path.relpath(value, root))
            parts.append((f"(root = {number} AND {sql})", parameters))
    return _any(parts, negated)


def _absolute(c: Comparison, roots: Sequence[str]) -> tuple[str, list[Parameter]]:
    """A path as answers have it: a photo folder's and, from there, the photo's own."""
    path = _raw(os.path.normpath(files.expanded(c.value)))
    parts: list[tuple[str, list[Parameter]]] = []
    for number, root in enumerate(roots):
        inside = _raw(os.path.join(root, ""))
        if path.lower().startswith(inside.lower()):  # bytes: ASCII letters alone, as SQLite does it
            same = f"(root = {number} AND lower(path) = lower(CAST(? AS TEXT)))"
            parts.append((same, [path[len(inside) :]]))
    return _any(parts, _is(c, "an absolute path"))


def _any(parts: Sequence[tuple[str, list[Parameter]]], negated: str) -> tuple[str, list[Parameter]]:
    joined = " OR ".join(sql for sql, _ in parts) or "FALSE"
    return f"{negated} ({joined})", [value for _, values in parts for value in values]


def _below(folder: str) -> tuple[str, list[Parameter]]:
    if folder == ".":
        return "TRUE", []
    low, high = _raw(folder + "/"), _raw(folder + "0")  # "0" is the character after "/"
    return "path >= CAST(? AS TEXT) AND path < CAST(? AS TEXT)", [low, high]


def _number(c: Comparison) -> tuple[str, list[Parameter]]:
    if c.operator == "~":
        raise _wrong(c, f"{c.field} is a number; ~ is for text")
    column = _NUMBERS[c.field]
    missing = f"{column} IS NULL OR " if c.operator == "!=" else ""
    return f"{missing}{column} {c.operator} ?", [_amount(c)]


def _amount(c: Comparison) -> int | float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", c.value.lower())
    unit = _UNITS.get(found[2]) if found and (c.field == "bytes" or not found[2]) else None
    if found is None or unit is None:
        example = "4MB" if c.field == "bytes" else "3000"
        raise _wrong(c, f"{c.field} needs a number such as {example}; received {c.value!r}")
    number = float(found[1]) * unit
    if number >= _LARGEST:
        raise _wrong(c, f"{c.value} is too large a number")
    return int(number) if number.is_integer() else number


def _taken(c: Comparison) -> tuple[str, list[Parameter]]:
    if c.operator == "~":
        raise _wrong(c, "taken is a date; use = with a year or a month, such as taken = 2024-05")
    first, after = _span(c)
    if c.operator in ("=", "!="):
        inside = "taken_at >= ? AND taken_at < ?"
        return (inside if c.operator == "=" else f"NOT ({inside}) OR taken_at IS NULL"), [first, after]
    edges = {"<": ("<", first), ">=": (">=", first), "<=": ("<", after), ">": (">=", after)}
    operator, edge = edges[c.operator]
    return f"taken_at {operator} ?", [edge]


def _span(c: Comparison) -> tuple[str, str]:
    """The first moment of a date, and the first one after it, as the catalog writes them."""
    found = _MOMENT.fullmatch(c.value)
    if found is None:
        raise _wrong(c, f"{c.value!r} is not a date; write 2024, 2024-05, 2024-05-31 or 2024-05-31T18:30")
    _, month, day, hour, _, second = found.groups()
    year, _, _, *time = map(int, found.groups("0"))
    try:
        first = datetime(year, int(month or 1), int(day or 1), time[0], time[1], time[2])  # no month is 00
    except ValueError as error:
        raise _wrong(c, f"{c.value!r} is not a date: {error}") from error
    length = _length(first, month, day, hour, second)
    return first.isoformat(), _LATEST if length > datetime.max - first else (first + length).isoformat()


def _length(first: datetime, *given: str | None) -> timedelta:
    month, day, hour, second = given
    if month is None:
        return timedelta(days=366 if calendar.isleap(first.year) else 365)
    if day is None:
        return timedelta(days=calendar.monthrange(first.year, first.month)[1])
    if hour is None:
        return timedelta(days=1)
    return timedelta(minutes=1) if second is None else timedelta(seconds=1)


def _chroma(node: Node) -> dict[str, Any] | None:
    """Chroma compares numbers; dates, parts of text and opposites it cannot say."""
    if isinstance(node, Junction):
        parts = [_chroma(part) for part in node.parts]
        return None if None in parts else {f"${node.word}": parts}
    if not isinstance(node, Comparison) or node.field not in _CHROMA_FIELDS or node.value.lower() == "none":
        return None
    return {node.field: {_CHROMA[node.operator]: _whole(_amount(node), node.operator)}}


def _whole(number: int | float, operator: Operator) -> int:
    """The whole number that says the same of whole numbers; Chroma would cut the fraction off."""
    if operator in ("=", "!=") and number != int(number):
        return -1  # as no photo has it
    return math.ceil(number) if operator in ("<", ">=") else math.floor(number)


def _raw(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise UsageError(f"a filter must be Unicode; this is not: {text!r}") from error


def _wrong(c: Comparison, why: str) -> UsageError:
    return UsageError(f"{c.place}: {why}")

"""Evaluation results: tables, and one HTML page with a bar chart and a dozen queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.table import Table

from vsearch import durable
from vsearch.evaluation.comparison import Result, SelfResult
from vsearch.render.html import data_url, environment
from vsearch.render.text import printable, size_text

_QUERIES = 12
_NEIGHBOURS = 8
_CHARTED = (("P@1", "precision_at_1"), ("P@5", "precision_at_5"), ("mAP", "mean_average_precision"))


@dataclass(frozen=True, slots=True)
class Shown:
    """A photo on the page: its path, label and thumbnail (JPEG bytes)."""

    path: str
    label: str
    thumbnail: bytes


def quality_table(results: Sequence[Result]) -> Table:
    """One line an encoder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("encoder")
    for name in ("photos", *_heads(results)):
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(printable(result.title), f"{len(result.nearest):,}", *_cells(result))
    return table


def self_table(results: Sequence[SelfResult]) -> Table:
    """Recall@1/5/10 of each alteration, one line an encoder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("encoder")
    for name in ("photos", *results[0].recalls, "Chroma/exact"):
        table.add_column(name, justify="right")
    for result in results:
        recalls = ["/".join(f"{value:.3f}" for value in values) for values in result.recalls.values()]
        photos, exact = f"{result.photos:,}", f"{result.approximate_recall:.3f}"
        table.add_row(printable(result.name), photos, *recalls, exact)
    return table


def write_page(
    path: Path, results: Sequence[Result], labels: Sequence[str], shown: Callable[[int], Shown]
) -> None:
    """Write the page; everything is inside it.

    Args:
        results: one an encoder.
        labels: of all photos.
        shown: what to show of the photo in a row.

    Raises:
        UsageError, StorageError: ``path`` cannot be written.
    """
    card = cache(lambda row: _card(shown(row)))
    page = (
        environment()
        .get_template("evaluation.html")
        .render(
            photos=len(labels),
            classes=len(set(labels)),
            heads=_heads(results),
            lines=[(printable(r.title), _cells(r)) for r in results],
            measures=[name for name, _ in _CHARTED],
            bars=[_bars(result) for result in results],
            queries=[_query(row, results, labels, card) for row in _chosen(labels)],
        )
    )
    durable.write_output(path, page.encode("utf-8", "replace"), durable.PAGE)


def _heads(results: Sequence[Result]) -> list[str]:
    return ["P@1", "P@5", f"recall@{results[0].quality.k}", "mAP", "bytes a vector", "images/s"]


def _cells(result: Result) -> list[str]:
    q = result.quality
    measures = (q.precision_at_1, q.precision_at_5, q.recall_at_k, q.mean_average_precision)
    return [
        *(f"{value:.3f}" for value in measures),
        size_text(result.bytes_a_vector),
        f"{result.images_per_second:.1f}",
    ]


def _bars(result: Result) -> dict[str, Any]:
    values = [getattr(result.quality, field) for _, field in _CHARTED]
    return {"name": printable(result.title), "values": values}


def _chosen(labels: Sequence[str]) -> list[int]:
    """A dozen rows, evenly spread over the labels."""
    order = sorted(range(len(labels)), key=lambda row: labels[row])
    count = min(_QUERIES, len(order))
    return [order[(2 * n + 1) * len(order) // (2 * count)] for n in range(count)]


def _query(
    row: int, results: Sequence[Result], labels: Sequence[str], card: Callable[[int], dict[str, str]]
) -> dict[str, Any]:
    lines = [
        {
            "name": printable(result.title),
            "cards": [
                card(int(other)) | {"verdict": "right" if labels[other] == labels[row] else "wrong"}
                for other in result.nearest[row, :_NEIGHBOURS]
            ],
        }
        for result in results
    ]
    return {"query": card(row), "lines": lines}


def _card(shown: Shown) -> dict[str, str]:
    return {
        "path": printable(shown.path),
        "label": printable(shown.label),
        "picture": data_url(shown.thumbnail),
    }

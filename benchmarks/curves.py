"""What `scale.py` found: kept, as tables, as rows of the README, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import measured
from synthetic import dimension

RESULTS = Path(__file__).parent / "scale.json"
Point = dict[str, float]
Results = dict[str, list[Point]]


def results(file: Path = RESULTS) -> Results:
    """What is kept: points of photos, of made-up vectors, and of vectors mixed of those of photos."""
    known: Results = json.loads(file.read_text()) if file.exists() else {}
    return {kind: known.get(kind, []) for kind in ("photos", "vectors", "mixed")}


def keep(kind: str, point: Point, file: Path = RESULTS) -> None:
    """Put a size's figures in the place of what was known of it."""
    known = results(file)
    others = [other for other in known[kind] if other[kind] != point[kind]]
    known[kind] = sorted([*others, point], key=lambda one: one[kind])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known, indent=1) + "\n")


def tables(known: Results) -> Iterator[str]:
    """One Markdown table for each kind of which there is something."""
    photos = [
        ("photos", "photos", ",.0f"),
        ("build s", "build_s", ".1f"),
        ("photos/s", "rate", ".1f"),
        ("build MiB", "build_mib", ",.0f"),
        ("disk MiB", "disk_mib", ",.0f"),
        ("add 100 s", "add_s", ".1f"),
        ("cold query s", "cold_s", ".2f"),
        ("its MiB", "cold_mib", ",.0f"),
        ("warm query ms", "warm_ms", ".1f"),
    ]
    steps = [
        ("publish s", "publish_s", ".1f"),
        ("raw Chroma inserts s", "raw_s", ".1f"),
        ("publish MiB", "publish_mib", ",.0f"),
        ("disk MiB", "publish_disk_mib", ",.0f"),
        ("add 100 s", "add_s", ".2f"),
        ("rebuild s", "rebuild_s", ".1f"),
        ("query ms", "nearest_ms", ".2f"),
        ("graph ms", "nearest_graph_ms", ".2f"),
        ("its recall", "nearest_recall", ".3f"),
        ("200 candidates ms", "nearest_pool_ms", ".2f"),
        ("Chroma, same graph ms", "nearest_chroma_ms", ".2f"),
        ("Chroma by default ms", "nearest_chroma_default_ms", ".2f"),
        ("raw Chroma ms", "raw_ms", ".2f"),
        ("its recall", "raw_recall", ".3f"),
        ("hnswlib ms", "hnswlib_ms", ".2f"),
        ("its recall", "hnswlib_recall", ".3f"),
    ]
    vectors = [("vectors", "vectors", ",.0f"), *steps]
    mixed = [("vectors as photos lie", "mixed", ",.0f"), *steps]
    for kind, columns in (("photos", photos), ("vectors", vectors), ("mixed", mixed)):
        points = [{**p, "rate": p["photos"] / p["build_s"]} if kind == "photos" else p for p in known[kind]]
        columns = [column for column in columns if any(column[1] in point for point in points)]
        rows = [[format(p[key], form) if key in p else "-" for _, key, form in columns] for p in points]
        if rows:
            yield measured.markdown([heading for heading, _, _ in columns], rows)


def figures(point: Point) -> Iterator[measured.Figure]:
    """The rows of the README's table for one size of vectors; without a step that failed."""
    count = f"{point['vectors']:,.0f}"

    def has(*steps: str) -> bool:
        return all(f"{step}_mib" in point for step in steps)

    if has("publish", "raw"):
        yield measured.Figure(
            f"publish {count} vectors of {dimension()} numbers",
            f"{point['publish_s']:.0f} s, {point['publish_mib']:.0f} MiB",
            f"raw Chroma inserts {point['raw_s']:.0f} s, {point['raw_mib']:.0f} MiB",
            f"{point['publish_s'] / point['raw_s']:.2f}x the time",
            "`scale.py`",
        )
    if has("rebuild", "raw"):
        yield measured.Figure(
            f"`rebuild` of {count} photos",
            f"{point['rebuild_s']:.0f} s",
            f"raw Chroma inserts {point['raw_s']:.0f} s",
            f"{point['rebuild_s'] / point['raw_s']:.2f}x the time",
            "`scale.py`",
        )
    if has("nearest", "raw"):
        ours, raw = point["nearest_ms"], point["raw_ms"]
        theirs, ratios = f"raw Chroma {raw:.1f} ms, {point['raw_recall']:.3f}", f"{ours / raw:.2f}x"
        if has("hnswlib"):
            theirs += f"; hnswlib {point['hnswlib_ms']:.2f} ms, {point['hnswlib_recall']:.3f}"
            ratios += f", {ours / point['hnswlib_ms']:.1f}x"
        else:
            theirs += "; hnswlib was not measured"
        yield measured.Figure(
            f"warm query at {count} vectors, exact re-ranking",
            f"{ours:.1f} ms, recall@10 {point['nearest_recall']:.3f}",
            theirs,
            f"{ratios} the time",
            "`scale.py`",
        )


def plot(known: Results, file: Path) -> None:
    """Time, memory and disk against size, logarithmic both ways: in proportion is a line at 45 degrees."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    panels: list[tuple[str, str, dict[str, str]]] = [
        ("photos", "seconds", {"build-index": "build_s", "add of 100": "add_s", "cold query": "cold_s"}),
        ("photos", "warm query, milliseconds", {"by picture": "warm_ms"}),
        ("photos", "MiB", {"build, memory": "build_mib", "query, memory": "cold_mib", "disk": "disk_mib"}),
        (
            "vectors",
            "seconds",
            {"publish": "publish_s", "rebuild": "rebuild_s", "raw Chroma": "raw_s", "add of 100": "add_s"},
        ),
        (
            "vectors",
            "query, milliseconds",
            {
                "vsearch": "nearest_ms",
                "its graph": "nearest_graph_ms",
                "raw Chroma": "raw_ms",
                "hnswlib": "hnswlib_ms",
            },
        ),
        (
            "vectors",
            "MiB",
            {"publish, memory": "publish_mib", "raw Chroma, memory": "raw_mib", "disk": "publish_disk_mib"},
        ),
    ]
    for axis, (kind, unit, lines) in zip(axes.flat, panels, strict=True):
        source = "mixed" if kind == "vectors" and known["mixed"] else kind
        for label, key in lines.items():
            points = [(p[source], p[key]) for p in known[source] if key in p]
            axis.loglog(*zip(*points, strict=True) if points else ((), ()), marker="o", label=label)
        axis.set(xlabel="vectors as photos lie" if source == "mixed" else kind, ylabel=unit)
        low, high = axis.get_ylim()
        axis.set_ylim(
            min(low, high / 20), 1.3 * high
        )  # a decade at least: a small step must not look like a cliff
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.yaxis.set_major_formatter("{x:,g}")
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_minor_formatter("")
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(file, dpi=90)

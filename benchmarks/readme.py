"""The README's table of figures: every script that feeds it, one after the other, each in its own process.

    scripts/bench PHOTOS [--quick] [--readme] [--pet160 BUNDLE] [--travel600 BUNDLE] [--only build sync ...]

PHOTOS holds a folder for each place or thing.  --quick takes small sizes: it shows that all scripts run, its
figures are not for the README.  Bundles come from `vsearch train`; rows that need one say "not run" without.
The table goes to stdout, what the scripts say to stderr.  Exit code 1 if a script failed; its row says so.
A whole run takes hours: --readme keeps what was measured in benchmarks/figures.json, with its day, and puts
all that is there into README.md; so it can be done in parts with --only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import measured

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
KEPT = HERE / "figures.json"
QUICK = HERE.parent / "build" / "scale.json"  # sizes that show nothing stay out of what is kept
START, END = "<!-- figures: made by scripts/bench -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Job:
    """One script with its arguments; ``None`` instead of them: it cannot be run for want of ``needs``.

    ``name`` is what --only calls it, ``what`` differs from job to job.
    """

    name: str
    what: str
    script: str
    arguments: tuple[str, ...] | None
    needs: str = ""


def jobs(given: argparse.Namespace) -> Iterator[Job]:
    """In the order of the table."""
    photos, quick = str(given.photos), given.quick
    short = ("--limit", "30", "--steps", "2") if quick else ()

    def with_bundle(bundle: Path | None) -> tuple[str, ...] | None:
        return (photos, str(bundle)) if bundle else None

    quality, study = "right among the first five", "index and ask with"
    yield Job("quality", quality, "quality.py", with_bundle(given.travel600), "--travel600")
    yield Job("study", f"{study} `pet160`", "study.py", with_bundle(given.pet160), "--pet160")
    yield Job("study", f"{study} `travel600`", "study.py", with_bundle(given.travel600), "--travel600")
    for name in ("travel600", "pet160"):
        yield Job("train", f"train `{name}`", "train.py", (photos, "--architecture", name, *short))
    sizes = ("20", "200", "--steps", "2") if quick else ()
    yield Job("train_memory", "memory of training", "train_memory.py", sizes)
    building = (photos, "--repeats", "1", "--skip-memory") if quick else (photos,)
    yield Job("build", "build and query", "build.py", building)
    limits = ("--limit", "30", "--repeats", "1") if quick else ("--copies", "5")
    yield Job("limits", "the limit of this machine", "limits.py", (photos, *limits))
    copies = ("--repeats", "1") if quick else ("--copies", "8")
    yield Job("bulk", "queries in bulk", "bulk.py", (photos, *copies))
    yield Job("cluster", "index on Ray", "cluster.py", (photos, "--repeats", "1") if quick else (photos,))
    yield Job("flat", "memory for flattened latents", "flat.py", ("--photos", "200") if quick else ())
    yield Job("sync", "`sync` without changes", "sync.py", ("5000",) if quick else ())
    kept_apart = ("--results", str(QUICK), "vectors", "2000")
    yield Job("scale", "what size costs", "scale.py", kept_apart if quick else ("vectors", "100000"))
    yield Job("shards", "shards on one machine", "shards.py", ("--photos", "600") if quick else ())
    # Peers take gigabytes to install: a quick run leaves them out.
    yield Job("peers", "beside other ways", "peers.py", None if quick else (photos,), "a run without --quick")


def figures(job: Job, scratch: Path) -> list[measured.Figure]:
    """The rows of a job that can be run.

    Raises:
        measured.Failed: the script did.
    """
    assert job.arguments is not None
    file = scratch / "figures.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / job.script), *job.arguments, "--json", str(file)]
    print("$", *command, file=sys.stderr, flush=True)
    code = subprocess.run(command, stdout=sys.stderr).returncode
    if code or not file.exists():
        raise measured.Failed(f"failed with exit code {code}")
    return measured.read(file)


def collect(wanted: list[Job]) -> Iterator[tuple[Job, list[measured.Figure], bool]]:
    """Each job, its rows, and whether they were measured now."""
    with tempfile.TemporaryDirectory() as scratch:
        for job in wanted:
            row = measured.Figure(job.what, f"not run: needs {job.needs}", command=f"`{job.script}`")
            if job.arguments is None:
                yield job, [row], False
                continue
            try:
                today = datetime.date.today().isoformat()
                yield job, [replace(figure, day=today) for figure in figures(job, Path(scratch))], True
            except measured.Failed as reason:
                yield job, [replace(row, value=str(reason))], False


def kept(file: Path = KEPT) -> dict[str, list[measured.Figure]]:
    """The rows measured before, by job."""
    rows = json.loads(file.read_text()) if file.exists() else {}
    return {what: [measured.Figure(**row) for row in some] for what, some in rows.items()}


def keep(job: Job, rows: list[measured.Figure], file: Path = KEPT) -> None:
    """Put a job's rows in the place of those of an earlier day."""
    known = {**kept(file), job.what: rows}
    plain = {what: [asdict(row) for row in some] for what, some in known.items()}
    file.write_text(json.dumps(plain, indent=1) + "\n")


def replaced(readme: str, table: str) -> str:
    """The README with this table between its marks.

    >>> print(replaced(f"a\\n{START}\\nold\\n{END}\\nb", "new"))
    a
    <!-- figures: made by scripts/bench -->
    new
    <!-- end of figures -->
    b
    """
    before, found, rest = readme.partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise SystemExit(f"{README} has no {START!r} ... {END!r} to put the table between")
    return f"{before}{START}\n{table}\n{END}{after}"


def arguments() -> argparse.Namespace:
    lines = __doc__.splitlines()
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=lines[0],
        epilog="\n".join(lines[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument(
        "--readme", action="store_true", help="keep the figures, and show all kept in README.md"
    )
    parser.add_argument("--pet160", type=Path, metavar="BUNDLE", help="a trained pet160.encoder")
    parser.add_argument("--travel600", type=Path, metavar="BUNDLE", help="a trained travel600.encoder")
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="leave the others out")
    given = parser.parse_args()
    names = {job.name for job in jobs(given)}
    if not given.photos.is_dir():
        parser.error(f"{given.photos} is no folder")
    if given.readme and given.quick:
        parser.error("--readme takes a real run, without --quick")
    if set(given.only or ()) - names:
        parser.error(f"--only: choose from {', '.join(sorted(names))}")
    return given


def main() -> None:
    given = arguments()
    every = list(jobs(given))
    shown, sound = [], True
    for job, rows, fresh in collect([job for job in every if not given.only or job.name in given.only]):
        shown += rows
        sound = sound and (fresh or job.arguments is None)
        if given.readme and fresh:
            keep(job, rows)  # at once: the next one may take hours
    print(measured.table(shown))
    if given.readme:
        known = kept()
        table = measured.table(row for job in every for row in known.get(job.what, ()))
        README.write_text(replaced(README.read_text(), table))
    sys.exit(not sound)


if __name__ == "__main__":
    main()

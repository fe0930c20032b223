"""What `--min-match P` means: which part of the pairs at P or above shows the same, by encoder and library.

    python benchmarks/calibration.py LANDMARKS PETS --encoder photo --encoder photo-small --encoder my.encoder

Every pair of photos gets its probability from the library's own background, as in a query.  Printed are, for
three thresholds, which part of the pairs at or above it have one label, and which part of all pairs that have
one label these are; and the score at which the threshold lies.  The background knows no labels: two photos
of unlike breeds may well be related, so the shares measure agreement among encoders more than truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsearch import sources
from vsearch.calibration import SAMPLE, background
from vsearch.evaluation import comparison
from vsearch.ranking import normalised
from vsearch.sampling import spread

THRESHOLDS = (0.5, 0.9, 0.95, 0.99)


def rows(folder: Path, encoder: str) -> Iterator[str]:
    files = sources.found([folder], ())
    (contestant,) = comparison.contestants([encoder], ())
    unit = normalised(comparison._vectors(contestant, files))
    labels = np.array([Path(file.path).parent.name for file in files])
    known = background(unit[spread(range(len(unit)), SAMPLE)])
    assert known is not None
    first, second = np.triu_indices(len(unit), 1)
    scores = (unit @ unit.T)[first, second].astype(np.float64)
    same = labels[first] == labels[second]
    found = known.probability(scores)
    for least in THRESHOLDS:
        above = found >= least
        share, recall = same[above].mean() if above.any() else 0.0, same[above].sum() / same.sum()
        score = f"{scores[above].min():.2f}" if above.any() else "-"
        yield f"| {Path(encoder).name} | {folder.name} | {least} | {score} | {share:.2f} | {recall:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--encoder", action="append")
    given = parser.parse_args()
    print("| encoder | photos | P at least | that is a score of | of one label | of those found |")
    print("|---|---|---|---|---|---|")
    for encoder in given.encoder or ["photo", "photo-small"]:
        for folder in given.folders:
            for row in rows(folder, encoder):
                print(row, flush=True)


if __name__ == "__main__":
    main()

"""What has been compared already: kept in the index, so that after ``add`` only new photos are compared.

One file, ``duplicates/comparisons.npz``.  Photos are known by the SHA-256 of their bytes, so it outlives
moves and rebuilds; it is derived, and one that is torn, of another encoder or of another version is made
anew.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.duplicates.neighbours import NeighbourTable
from vsearch.duplicates.proposals import Edges

VERSION = 4
Digests = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """Judged pairs: rows int32 [V] each, code uint8 [V], region float64 [V, 4] (NaN for none)."""

    a: Numbers
    b: Numbers
    code: npt.NDArray[np.uint8]
    region: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Everything compared among N photos.

    Attributes:
        fingerprint: of the encoder.
        basis: float32 [D, d], onto which vectors are projected.
        digests: sorted SHA-256, void32 [N]; a photo's row is its place here.
        edges: near hashes.
        nearest: the nearest few of every row by vector.
        verdicts: what was judged.
    """

    fingerprint: str
    basis: npt.NDArray[np.float32]
    digests: Digests
    edges: Edges
    nearest: NeighbourTable
    verdicts: Verdicts

    def moved_to(self, digests: Digests) -> Comparisons:
        """The same knowledge with rows numbered by other ``digests`` (sorted); what is gone is dropped.

        A row of ``nearest`` that is new, or has lost a neighbour, is empty: it must be asked anew.
        """
        place = _places(self.digests, digests)
        a, b, v, w = (place[x] for x in (self.edges.a, self.edges.b, self.verdicts.a, self.verdicts.b))
        edges, verdicts = (a >= 0) & (b >= 0), (v >= 0) & (w >= 0)
        low, high = np.minimum(a, b)[edges], np.maximum(a, b)[edges]
        return Comparisons(
            self.fingerprint,
            self.basis,
            digests,
            Edges(low, high, self.edges.distance[edges]),
            self._moved_nearest(place, len(digests)),
            Verdicts(v[verdicts], w[verdicts], self.verdicts.code[verdicts], self.verdicts.region[verdicts]),
        )

    def _moved_nearest(self, place: Numbers, count: int) -> NeighbourTable:
        old = self.nearest
        k = old.rows.shape[1]
        moved = np.where(old.rows >= 0, place[old.rows], -1)
        whole = (place >= 0) & ~((old.rows >= 0) & (moved < 0)).any(axis=1)
        rows, scores = np.full((count, k), UNKNOWN, np.int32), np.zeros((count, k), np.float32)
        rows[place[whole]], scores[place[whole]] = moved[whole], old.scores[whole]
        return NeighbourTable(rows, scores)


#: In ``nearest.rows``: this row has not been asked.
UNKNOWN = -2


def nothing(fingerprint: str, basis: npt.NDArray[np.float32], k: int) -> Comparisons:
    """No photos, nothing compared."""
    none, codes = np.zeros(0, np.int32), np.zeros(0, np.uint8)
    return Comparisons(
        fingerprint,
        basis,
        np.zeros(0, "V32"),
        Edges(none, none, codes),
        NeighbourTable(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32)),
        Verdicts(none, none, codes, np.zeros((0, 4), np.float64)),
    )


def load(path: Path, fingerprint: str, k: int) -> Comparisons | None:
    """What was saved, or ``None`` when there is nothing of use."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            if int(saved["version"]) != VERSION or str(saved["fingerprint"]) != fingerprint:
                return None
            found = Comparisons(
                fingerprint,
                saved["basis"],
                np.ascontiguousarray(saved["digests"]).view("V32").reshape(-1),
                Edges(*(saved[f"edge_{name}"] for name in ("a", "b", "distance"))),
                NeighbourTable(saved["nearest_rows"], saved["nearest_scores"]),
                Verdicts(*(saved[f"verdict_{name}"] for name in ("a", "b", "code", "region"))),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # missing or torn: everything is compared anew
    return found if found.nearest.rows.shape == (len(found.digests), k) else None


def save(path: Path, known: Comparisons) -> None:
    """Write it down.

    Raises:
        StorageError: the index cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        version=VERSION,
        fingerprint=known.fingerprint,
        basis=known.basis,
        digests=np.frombuffer(known.digests.tobytes(), np.uint8).reshape(-1, 32),
        edge_a=known.edges.a,
        edge_b=known.edges.b,
        edge_distance=known.edges.distance,
        nearest_rows=known.nearest.rows,
        nearest_scores=known.nearest.scores,
        verdict_a=known.verdicts.a,
        verdict_b=known.verdicts.b,
        verdict_code=known.verdicts.code,
        verdict_region=known.verdicts.region,
    )
    with durable.storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    durable.write_atomic(path, buffer.getvalue())


def _places(old: Digests, new: Digests) -> Numbers:
    """Where each of ``old`` is in ``new`` (both sorted), -1 for gone; int32 [len(old)]."""
    if not len(new):
        return np.full(len(old), -1, np.int32)
    left, right = _sortable(old), _sortable(new)
    place = np.searchsorted(right, left)
    place[place == len(new)] = 0
    return np.where(right[place] == left, place, -1).astype(np.int32)


def _sortable(digests: Digests) -> npt.NDArray[np.bytes_]:
    # Void cannot be compared; bytes can, but numpy strips trailing zeros from them: one more byte keeps them.
    padded = np.full((len(digests), 33), 1, np.uint8)
    padded[:, :32] = np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, 32)
    return padded.view("S33").reshape(-1)

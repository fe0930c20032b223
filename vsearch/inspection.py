"""What ``check`` and ``rebuild`` look at in a child process, because a damaged file can end the process.

The child gets one JSON request on stdin and answers with findings on stdout, one JSON line each: what it had
found is not lost when something ends it.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.catalog import Catalog
from vsearch.collection import Collection
from vsearch.directory import IndexDirectory
from vsearch.errors import IndexDamaged, VsearchError
from vsearch.published import generations_of
from vsearch.records import Photo
from vsearch.segments import Segment

_SAMPLE = 200
_PAGE = 1000
_TOLERANCE = 1e-4  # Chroma normalises once more
_LEAST_RECALL = 0.95


def unreadable_segments(paths: Sequence[Path]) -> dict[Path, str]:
    """Those of ``paths`` that cannot be read from beginning to end, and why."""
    bad: dict[Path, str] = {}
    found, why = _ask({"what": "segments", "paths": [str(path) for path in paths]})
    if why is None:
        return {Path(path): reason for path, reason in found}
    for path in paths:  # one of them ends the process: which?
        found, why = _ask({"what": "segments", "paths": [str(path)]})
        if found or why:
            bad[path] = why or found[0][1]
    return bad


def collection_problems(directory: IndexDirectory, *, full: bool) -> list[str]:
    """How the published generation differs from the catalog and the vectors."""
    found, why = _ask({"what": "collection", "path": str(directory.path), "full": full})
    return [*map(str, found), *([f"the collection of {directory.path} {why}"] if why else [])]


def _ask(request: dict[str, Any]) -> tuple[list[Any], str | None]:
    """The child's findings, and why there are no more."""
    command = [sys.executable, "-m", "vsearch.inspection"]
    done = subprocess.run(command, input=json.dumps(request).encode(), capture_output=True)
    try:
        found = [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError:  # a library wrote there as well, or the last line is torn
        return [], f"cannot be read: {done.stdout[-200:].decode(errors='replace')!r} was answered"
    if done.returncode < 0:
        return found, f"ends the process that opens it, with signal {-done.returncode}"
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        return found, f"cannot be read: {last[0]}"
    return found, None


def _main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        found: Iterator[Any]
        if request["what"] == "segments":
            found = ([str(p), why] for p in map(Path, request["paths"]) if (why := _read(p)))
        else:
            found = _collection(IndexDirectory(Path(request["path"])), bool(request["full"]))
        for one in found:
            print(json.dumps(one), file=answer, flush=True)


def _read(path: Path) -> str | None:
    """Read a segment whole; why it cannot be done."""
    try:
        with Segment(path) as segment:
            if not len(segment.ids()) == len(segment.digests()) == len(segment.facts()) == segment.rows:
                return f"{path} is damaged: its columns differ in length"
            for start in range(0, segment.rows, _PAGE):
                segment.touch(start, min(start + _PAGE, segment.rows))
    except VsearchError as error:
        return str(error)
    return None


def _collection(directory: IndexDirectory, full: bool) -> Iterator[str]:
    try:
        settings = directory.settings()
        generations = generations_of(directory, settings)
        number = generations.current()
        with Catalog(directory.catalog_file, directory.roots(settings), read_only=True) as catalog:
            if number < catalog.published():
                yield f"{directory.current_file} is damaged: generation {catalog.published()} was published"
                return
            manifest = generations.verify(number, every_byte=True)
            if (manifest.fingerprint, manifest.metric) != (settings.encoder, settings.metric):
                yield f"generation {number} was made with another encoder or metric"
                return
            if manifest.catalog == catalog.identity() and catalog.count_changed_since(manifest.sequence):
                yield "changes are not published yet; the next `vsearch sync` publishes them"
                return
            with generations.open(number) as collection:
                yield from _compare(directory, catalog, collection, full)
    except VsearchError as error:
        yield str(error)


def _compare(
    directory: IndexDirectory, catalog: Catalog, collection: Collection, full: bool
) -> Iterator[str]:
    expected = {str(row.photo_id) for row in catalog.matching("TRUE", ())}
    ids = collection.ids()
    held = set(ids)
    if len(ids) > len(held):
        yield f"{len(ids) - len(held):,} photos are in the collection twice"
    if missing := expected - held:
        one = min(missing, key=int)
        yield f"{len(missing):,} photos are missing from the collection, photo {one} among them"
    if extra := held - expected:
        yield f"{len(extra):,} photos in the collection are not in the catalog, {min(extra)} among them"
    both = sorted(map(int, expected & held))
    chosen = iter(both if full else random.Random(len(both)).sample(both, min(_SAMPLE, len(both))))
    different = found = asked = 0
    while page := list(islice(chosen, _PAGE)):
        photos = catalog.get_many(page)
        vectors = {}
        for photo in photos.values():
            with contextlib.suppress(IndexDamaged):  # whoever checks the segments tells of it
                vectors[photo.id] = _vector(directory, photo)
        if not vectors:
            continue
        stored = collection.vectors([str(i) for i in vectors])
        different += sum(not np.allclose(stored[str(i)], v, atol=_TOLERANCE) for i, v in vectors.items())
        hits = collection.search(np.stack(list(vectors.values())), 1)
        # Photos with the same vector may answer for each other.
        near = [bool(row) and abs(row[0].distance) <= _TOLERANCE for row in hits]
        found, asked = found + sum(near), asked + len(near)
    if different:
        yield f"{different:,} of {asked:,} vectors differ between the segments and the collection"
    if asked and found < _LEAST_RECALL * asked:
        yield f"only {found:,} of {asked:,} photos are found by their own vector"


def _vector(directory: IndexDirectory, photo: Photo) -> np.ndarray[Any, Any]:
    assert photo.vector is not None  # catalog.matching lists ready photos
    with Segment(directory.segment("vectors", photo.vector.segment)) as segment:
        row: np.ndarray[Any, Any] = segment.read_rows([photo.vector.row])[0]
    return row


if __name__ == "__main__":
    _main()

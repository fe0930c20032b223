"""Reading photos on a Ray cluster: its tasks read, decode and encode, this process alone commits.

A task takes a few dozen photos and writes what becomes of them to a *stage*: segments under names of their
own, in a temporary folder of the index, which every node sees.  This process collects the stages in the
order of the photos and hands the readings to the committer that local runs have too, so that the same index
comes out: same ids, same segments, same skips.

A task whose worker or node died is run again by Ray, into another stage; what a finished one staged outlives
its node.  The folder has a temporary name: what a killed run left in it, the next writer sweeps.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vsearch import __version__, durable
from vsearch.catalog import Catalog, SegmentKind
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle, Encoder
from vsearch.errors import (
    ClusterError,
    MissingExtraError,
    UsageError,
    VersionMismatch,
    VsearchError,
    install,
)
from vsearch.ingest import Job, ReadAll, Reader, Reading, batch_of, batched
from vsearch.processes import ProcessReaders, known_among
from vsearch.quiet import quiet_stderr
from vsearch.segments import Segment, SegmentWriter
from vsearch.settings import Settings

# One or two seconds of work: little beside the hundredth of a second that a task and its files cost, and
# little to do again when a node dies.
TASK_PHOTOS = 64
TASKS_PER_CPU = 2  # one that runs, one that waits for its end
RETRIES = 5  # of a task whose worker or node died
_CONNECT_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0  # without any CPU in the cluster
_VARIABLES = {
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # tries to connect; by itself it makes 20
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # it prints to stdout, asked or not, when a node dies
    "RAY_py_gcs_connect_timeout_s": "5",  # of each try, beside 10 s that it takes anyway
}
_START = "start one with `ray start --head`, or name another address"


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker is told.

    Attributes:
        jobs: the photos.
        known: SHA-256 of bytes that need not be decoded.
        settings: of the index.
        bundle: the folder of its encoder.
        folder: where the stage goes.
        version: of the vsearch that asks.
    """

    jobs: Sequence[Job]
    known: frozenset[str]
    settings: Settings
    bundle: Path
    folder: Path
    version: str = __version__


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a worker answers.

    Attributes:
        readings: one for each job; arrays and thumbnails of those that were decoded are in the segments.
        segments: the staged file of each kind; empty when nothing was decoded.
        node: the worker's host.
        missing: the photos that are not there on that host.
    """

    readings: Sequence[Reading]
    segments: dict[SegmentKind, Path]
    node: str
    missing: frozenset[str]


class RayReaders:
    """A :class:`~vsearch.ingest.ReadAll` on the cluster that this process is connected to.

    Args:
        directory, catalog: of the index; the catalog is asked from this process alone.
        task_photos: photos a task.
    """

    def __init__(
        self, directory: IndexDirectory, catalog: Catalog, *, task_photos: int = TASK_PHOTOS
    ) -> None:
        import ray

        self._directory = directory
        self._sizes = catalog.sizes()
        self._task_photos = task_photos
        self._remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_read)

    def __call__(self, reader: Reader, jobs: Iterable[Job]) -> Generator[Reading, None, None]:
        """Readings in the order of the jobs; at most ``TASKS_PER_CPU`` tasks a CPU are under way.

        Raises:
            ClusterError: a task could not be brought to its end, or a node does not see the files.
        """
        folder = durable.temporary_beside(self._directory.store / f"ray-{uuid.uuid4().hex[:12]}")
        with durable.storage_errors(folder):
            folder.mkdir()
        waiting: deque[tuple[_Task, Any]] = deque()
        try:
            for some in batched(jobs, self._task_photos):
                task = self._task(reader, some, folder)
                waiting.append((task, self._remote.remote(task)))
                while len(waiting) >= TASKS_PER_CPU * max(1, _cpus()):
                    yield from _collected(*waiting.popleft())
            while waiting:
                yield from _collected(*waiting.popleft())
        finally:
            _cancel([reference for _, reference in waiting])
            durable.remove(folder)

    def _task(self, reader: Reader, jobs: Sequence[Job], folder: Path) -> _Task:
        known = known_among(jobs, reader, self._sizes)
        return _Task(jobs, known, reader.settings, reader.encoder.bundle.folder, folder)


@contextmanager
def reading_at(address: str | None, directory: IndexDirectory, catalog: Catalog) -> Iterator[ReadAll]:
    """How to read photos on the Ray cluster at ``address``, or on this machine for ``None``."""
    if address is None:
        yield ProcessReaders(catalog)
        return
    with connected(address):
        yield RayReaders(directory, catalog)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to the Ray cluster at ``address``: ``auto``, or the ``HOST:PORT`` of its head.

    A connection that this process has already is used, and kept.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers.
        UsageError: ``address`` is neither.
    """
    if not isinstance(address, str):
        raise _no_address(address)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError(f"--ray needs ray; {install('ray')}")
    with _ray_variables():
        import ray

        if not (kept := ray.is_initialized()):
            _connect(address)
    try:
        yield
    finally:
        if not kept:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address != "auto":
        _check_answers(address)
    try:
        with quiet_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).partition(". ")[0]
        if address == "auto" and not isinstance(error, ray.exceptions.RayError):
            raise _unreachable(address, reason) from error
        raise _refused(address, reason) from error


@contextmanager
def _ray_variables() -> Iterator[None]:
    """Ray takes some settings from the environment alone, as it is imported.

    A program that uses Ray itself has imported it before, and keeps its own.
    """
    missing = {name: value for name, value in _VARIABLES.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def _check_answers(address: str) -> None:
    """Ray itself takes 15 s to find out."""
    import ray

    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise _no_address(address)
    if host in ("localhost", "127.0.0.1"):
        host = str(ray.util.get_node_ip_address())  # as Ray does
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, getattr(error, "strerror", None) or str(error)) from error


def _no_address(given: object) -> UsageError:
    return UsageError(f"--ray takes auto, or HOST:PORT of a cluster's head; received {given!r}")


def _unreachable(address: str, why: str) -> ClusterError:
    return ClusterError(f"no Ray cluster answers {_where(address)}: {_first_line(why)}; {_START}")


def _refused(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"something listens {_where(address)}, but it is no Ray cluster, another version of Ray, or one that "
        f"wants a token: {_first_line(why)}; name another address, install the same Ray, or set "
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
    )


def _where(address: str) -> str:
    return "here" if address == "auto" else f"at {address}"


def _first_line(why: str) -> str:
    return why.splitlines()[0].rstrip(".") if why else "no answer"


def _cpus() -> int:
    import ray

    resources: dict[str, float] = ray.cluster_resources()
    return int(resources.get("CPU", 0))


def _cancel(references: Sequence[Any]) -> None:
    import ray

    for reference in references:
        ray.cancel(reference, force=True)


# -- in the driver ------------------------------------------------------------------------------------


def _collected(task: _Task, reference: Any) -> Iterator[Reading]:
    """The readings of one task, complete; its stage is removed."""
    stage = _result(task, reference)
    for path in stage.missing:
        if os.path.lexists(path):
            raise ClusterError(
                f"{stage.node} does not see {path}; photos and index must lie under the same path on every "
                "node of the Ray cluster"
            )
    staged = _staged(stage, task.settings.keep_pixels)
    for reading in stage.readings:
        yield reading if reading.facts is None else next(staged)
    for staged_file in stage.segments.values():
        durable.remove(staged_file)


def _result(task: _Task, reference: Any) -> _Stage:
    import ray

    until = time.monotonic() + _PATIENCE_SECONDS
    try:
        while not ray.wait([reference], timeout=10)[0]:
            if _cpus():
                until = time.monotonic() + _PATIENCE_SECONDS
            elif time.monotonic() > until:
                raise ClusterError(
                    "the Ray cluster has no CPU left; add nodes and run the same command again"
                )
        stage: _Stage = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VsearchError):
            raise error.cause from None
        raise ClusterError(
            f"a Ray task failed with {type(error.cause).__name__}: {error.cause}; "
            "is the same vsearch installed on every node?"
        ) from error
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"Ray gave up reading {task.jobs[0].path} and {len(task.jobs) - 1} more after {RETRIES} retries "
            f"({type(error).__name__}); see its logs; what was finished is kept, the same command goes on"
        ) from error
    return stage


def _staged(stage: _Stage, keep_pixels: bool) -> Iterator[Reading]:
    """The readings that were decoded, with what their segments hold; a few rows at a time in memory."""
    decoded = [reading for reading in stage.readings if reading.facts is not None]
    if not decoded:
        return
    with ExitStack() as stack:
        files = {kind: stack.enter_context(Segment(path)) for kind, path in stage.segments.items()}
        for start in range(0, len(decoded), 16):
            some = decoded[start : start + 16]
            vectors = files["vectors"].read(start, start + len(some))
            pixels = files["pixels"].read(start, start + len(some)) if keep_pixels else None
            for n, reading in enumerate(some):
                yield replace(
                    reading,
                    thumbnail=files["thumbnails"].thumbnail(start + n),
                    vector=vectors[n],
                    pixels=None if pixels is None else pixels[n],
                )


# -- in a worker --------------------------------------------------------------------------------------


def _read(task: _Task) -> _Stage:
    """The task: read, hash, decode and encode, batch by batch, into one stage."""
    node = socket.gethostname()
    if task.version != __version__:
        raise VersionMismatch(
            f"{node} has vsearch {__version__}, the index is built with {task.version}; "
            "install the same version on every node of the Ray cluster"
        )
    if not task.folder.is_dir():
        raise ClusterError(
            f"{node} does not see {task.folder.parent}; the index must lie under the same path on every node "
            "of the Ray cluster"
        )
    reader = Reader(
        _encoder(task.bundle, task.settings.encoder), task.settings, lambda job, sha256: sha256 in task.known
    )
    writers = _StageWriters(task)
    readings: list[Reading] = []
    for batch in batched(task.jobs, batch_of(reader.encoder.specification.input_size)):
        some = reader.read(batch)
        writers.append([reading for reading in some if reading.vector is not None])
        readings += [replace(reading, thumbnail=b"", pixels=None, vector=None) for reading in some]
    missing = frozenset(job.path for job in task.jobs if not os.path.lexists(job.path))
    return _Stage(readings, writers.commit(), node, missing)


@lru_cache(maxsize=1)
def _encoder(bundle: Path, fingerprint: str) -> Encoder:
    """The index's encoder, once a worker process; the fingerprint tells another one in the same folder."""
    return Encoder(Bundle(bundle), "cpu")


class _StageWriters:
    """The segments of one stage."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._name = uuid.uuid4().hex
        self._writers: dict[SegmentKind, SegmentWriter] = {}

    def append(self, readings: Sequence[Reading]) -> None:
        """Write the arrays and thumbnails of decoded photos."""
        if not readings:
            return
        self._write("vectors", np.stack([r.vector for r in readings if r.vector is not None]), readings)
        self._write("thumbnails", [r.thumbnail for r in readings], readings)
        if self._task.settings.keep_pixels:
            self._write("pixels", np.stack([r.pixels for r in readings if r.pixels is not None]), readings)

    def commit(self) -> dict[SegmentKind, Path]:
        """Finish the files; where each is."""
        for writer in self._writers.values():
            writer.commit()
        return {kind: writer.path for kind, writer in self._writers.items()}

    def _write(self, kind: SegmentKind, data: Any, readings: Sequence[Reading]) -> None:
        if kind not in self._writers:
            path = self._task.folder / f"{self._name}-{kind}.h5"
            self._writers[kind] = SegmentWriter(path, kind, self._task.settings.encoder)
        writer = self._writers[kind]
        rows = range(writer.rows, writer.rows + len(readings))
        writer.append(data, rows, [r.sha256 or "" for r in readings], ["{}"] * len(readings))

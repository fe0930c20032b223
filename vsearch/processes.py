"""Reading photos in processes of this machine, for more cores than one interpreter can keep busy.

Of the 20 ms that a photo takes, threads hold the interpreter lock for 2 to 4: that leaves two cores busy, and
sixteen three quarters idle.  So on more than four cores each has a process, which reads, decodes and encodes;
the process that was started commits, as it does for threads.

A worker is Python with this module and two pipes: jobs come in, readings go out, pickled.  It ends when its
pipe does, however the other end died.  (``multiprocessing`` would import the program that uses vsearch anew
in each worker, and its workers outlive a parent that was killed.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Self

from vsearch import files
from vsearch.catalog import Catalog, Sizes
from vsearch.encoders import Bundle, Encoder, devices
from vsearch.errors import PhotoError, UsageError, VsearchError
from vsearch.ingest import (
    Job,
    Reader,
    Reading,
    batch_of,
    batched,
    gpu_batch_of,
    in_parallel,
    read_here,
    usable_cores,
)
from vsearch.records import Device
from vsearch.settings import Settings

VARIABLE = "VSEARCH_PROCESSES"
THREADS_SUFFICE = 4  # cores that threads of one process keep busy
MOST_PROCESSES = 16  # beyond which nothing was measured, and the one process that commits is the limit
FEW_PHOTOS = 256  # photos that are read sooner than processes start
GPU_BYTES_A_PROCESS = 4 * 2**30  # that a process may take of a GPU: CUDA itself, and a batch
_CRASHED = "the process that decoded it crashed"
_CRASH_REMEDY = "it may be damaged: save it anew, or try again with --retry-failed"
_KILL = 9  # on POSIX, where an exit code says so
_WITHOUT = f"set {VARIABLE}=1 to read them in this one"


@dataclass(frozen=True, slots=True)
class _Task:
    """Jobs for a worker, and the SHA-256 of bytes that it need not decode."""

    jobs: Sequence[Job]
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a worker is told first: the folder of the encoder, the index's settings, where to encode."""

    bundle: Path
    settings: Settings
    device: Device


class ProcessReaders:
    """A :class:`~vsearch.ingest.ReadAll` in processes, or in this one where that is as well.

    There are ``VSEARCH_PROCESSES``, or one a core if there are more than four.

    Args:
        catalog: of the index; it is asked from this process alone.

    Raises:
        UsageError: ``VSEARCH_PROCESSES`` is not a number.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._processes = process_count()

    def __call__(self, reader: Reader, jobs: Iterable[Job]) -> Generator[Reading, None, None]:
        """Readings in the order of the jobs, never far ahead of the consumer."""
        processes, size = _division(reader.encoder, self._processes)
        if processes == 1:
            yield from read_here(reader, jobs)
            return
        rest = iter(jobs)
        first = list(islice(rest, FEW_PHOTOS))
        all_jobs = chain(first, rest)
        if len(first) < FEW_PHOTOS:
            yield from read_here(reader, all_jobs)
            return
        sizes = self._catalog.sizes()
        tasks = (_Task(some, known_among(some, reader, sizes)) for some in batched(all_jobs, size))
        with _Team(reader) as team:
            for readings in in_parallel(team.read, tasks, processes):
                yield from readings


def process_count() -> int:
    """How many processes read photos: ``VSEARCH_PROCESSES``, or what suits this machine; 1 for threads.

    Raises:
        UsageError: the variable is not a whole number of 1 or more.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        if not given.isdecimal() or int(given) < 1:
            raise UsageError(f"{VARIABLE} must be a whole number of 1 or more; received {given!r}")
        return int(given)
    # A program that was packed into one file is not a Python that could be started again.
    startable = sys.executable and not getattr(sys, "frozen", False)
    cores = usable_cores()
    return min(cores, MOST_PROCESSES) if startable and cores > THREADS_SUFFICE else 1


def known_among(jobs: Sequence[Job], reader: Reader, sizes: Sizes) -> frozenset[str]:
    """SHA-256 of bytes that ``jobs`` may turn out to have and that the catalog can settle undecoded."""
    return frozenset(
        digest for job in jobs for digest in _candidates(job, sizes) if reader.is_known(job, digest)
    )


def _candidates(job: Job, sizes: Sizes) -> set[str]:
    """What the bytes of ``job`` may be that the catalog knows: equal bytes have equal sizes."""
    before = {job.known.sha256} if job.known and job.known.sha256 else set()
    return before | sizes.digests(job.file.size)


def _division(encoder: Encoder, processes: int) -> tuple[int, int]:
    """How many processes there can be, and how many photos each reads at a time.

    They share the memory of a GPU, half of which is left alone.
    """
    size = encoder.specification.input_size
    if processes == 1 or encoder.device != "cuda":
        return processes, batch_of(size)
    free = devices.free_gpu_bytes()
    if free is None:
        return 1, batch_of(size)
    fitting = max(1, min(processes, free // 2 // GPU_BYTES_A_PROCESS))
    return fitting, gpu_batch_of(size, free, fitting)


class _Team:
    """Workers, one for each thread that asks; use it as a context manager."""

    def __init__(self, reader: Reader) -> None:
        encoder = reader.encoder
        self._setup = _Setup(encoder.bundle.folder, reader.settings, encoder.device)
        self._mine = threading.local()
        self._all: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.hang_up()  # first all, so that they end side by side
        for worker in self._all:
            worker.wait()

    def read(self, task: _Task) -> list[Reading]:
        """What becomes of the jobs, in order; one that its worker does not survive is a failure."""
        try:
            return self._worker().read(task)
        except _Crash:
            self._dismiss()
            return [self._read_one(job, task.known) for job in task.jobs]

    def _read_one(self, job: Job, known: frozenset[str]) -> Reading:
        try:
            return self._worker().read(_Task([job], known))[0]
        except _Crash:
            self._dismiss()
            return _crashed(job)

    def _worker(self) -> _Worker:
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is None:
            worker = self._mine.worker = _Worker(self._setup)
            self._all.append(worker)
        return worker

    def _dismiss(self) -> None:
        worker: _Worker = self._mine.worker
        self._mine.worker = None
        self._all.remove(worker)
        worker.hang_up()
        if worker.wait() == -_KILL:
            raise VsearchError(
                "a process that read photos was killed, perhaps because memory ran out; what was committed "
                f"is kept: run the same command with {VARIABLE} at less than {len(self._all) + 1}"
            )


def _crashed(job: Job) -> Reading:
    try:
        digest = files.sha256(job.path)
    except PhotoError as failure:
        return Reading(job, failure=failure.bare())
    return Reading(job, digest, failure=PhotoError(job.path, _CRASHED, _CRASH_REMEDY))


class _Crash(Exception):
    """A worker ended before its answer."""


class _Worker:
    """One process, once it can read photos.

    Raises:
        VsearchError: it cannot.
    """

    def __init__(self, setup: _Setup) -> None:
        path = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"import {__name__}; {__name__}.work()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                start_new_session=True,  # Ctrl-C is for the process that was started
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows likewise
            )
        except OSError as error:
            raise VsearchError(
                f"cannot start a process to read photos: {error.strerror}; {_WITHOUT}"
            ) from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        try:
            self._ask(setup)
        except _Crash as error:
            self.hang_up()
            raise VsearchError(
                f"a process to read photos ended with exit code {self.wait()} as it started; {_WITHOUT}"
            ) from error
        except BaseException:
            self.hang_up()
            self.wait()
            raise

    def read(self, task: _Task) -> list[Reading]:
        """What becomes of the jobs.

        Raises:
            _Crash: the process ended.
            VsearchError: what stops a run: the encoder is unusable, say.
        """
        readings: list[Reading] = self._ask(task)
        return readings

    def hang_up(self) -> None:
        """Tell the process to end."""
        with contextlib.suppress(OSError):  # it may be gone
            self._to.close()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        self._from.close()
        return self._process.wait()

    def _ask(self, message: object) -> Any:
        try:
            pickle.dump(message, self._to, pickle.HIGHEST_PROTOCOL)
            self._to.flush()
            answer = pickle.load(self._from)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise _Crash from error
        if isinstance(answer, Exception):
            raise answer
        return answer


# -- in a worker --------------------------------------------------------------------------------------


def work() -> None:
    """Answer on stdout what comes on stdin, until that ends: first a setup, then tasks."""
    questions, answers = _pipes()
    setup: _Setup | None = None
    for question in _messages(questions):
        answer: object = None
        try:
            if setup is None:
                setup = question
                _encoder(setup.bundle, setup.device)
            else:
                answer = _read(setup, question)
        except VsearchError as error:
            answer = error
        except Exception as error:  # is raised again where it can be reported
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        try:
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
        except OSError:
            break  # nobody waits for it any more
    os._exit(0)  # a decoder that took too long may still run


def _read(setup: _Setup, task: _Task) -> list[Reading]:
    encoder = _encoder(setup.bundle, setup.device)
    return Reader(encoder, setup.settings, lambda job, sha256: sha256 in task.known).read(task.jobs)


@lru_cache(maxsize=1)
def _encoder(bundle: Path, device: Device) -> Encoder:
    return Encoder(Bundle(bundle), device)


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """This process's stdin and stdout, out of the reach of whatever prints."""
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return tasks, answers


def _messages(pipe: IO[bytes]) -> Iterator[Any]:
    while True:
        try:
            message = pickle.load(pipe)
        except (EOFError, OSError, pickle.UnpicklingError):
            return
        yield message

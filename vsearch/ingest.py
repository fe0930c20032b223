"""From files to vectors: read, hash, decode and encode, in batches, with a bounded look-ahead.

A *batch* of a few files goes through all stages in one task, on one thread, and tasks run side by side.
That keeps both cores busy without queues between the stages: a thread that waits for the disk or holds the
interpreter lock leaves its core to another.  Results come back in order.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vsearch import files, hashing, images
from vsearch.encoders import NOT_FINITE, Encoder, devices
from vsearch.errors import PhotoError
from vsearch.records import FileStat, Photo, PhotoFacts
from vsearch.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")
IsKnown = Callable[["Job", str], bool]

# int8 graphs take as long on batches of 1 to 8, within what the machine wavers, and on 16 a fifth longer;
# a build peaked at 260 MB with 4 and at 320 with 8.
# 3 threads cover each other's waits on 2 cores; 4 did no better.
# Large ones: travel600 took 1.7 GB with batches of 8 pictures and 1.2 GB with 2, in the same time.
BATCH = 4
BATCH_BYTES = 9 * 2**18
GPU_BATCH = 64  # decoding them on one thread takes a second; more would only wait
GPU_BYTES_A_PIXEL = 3 * 64 * 4
THREADS_BEYOND_CORES = 1
LOOK_AHEAD = 8  # batches waiting for each thread
DECODE_SECONDS = 20.0
ROOM = 2**29  # bytes of files in the memory of a process at a time; the largest that is read is 2**30


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read, and the catalog's row for its path, if there is one."""

    file: FileStat
    known: Photo | None = None

    @property
    def path(self) -> str:
        """Absolute path."""
        return self.file.absolute


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What became of a job: encoded, recognised by its bytes, or failed.

    Attributes:
        job: the job.
        sha256: of the bytes; ``None`` if they could not be read.
        facts: with perceptual hashes; ``None`` unless decoded.
        thumbnail: JPEG bytes.
        pixels: uint8 [S, S, 3], where they are kept.
        vector: float32 [D].
        failure: why it failed.
    """

    job: Job
    sha256: str | None = None
    facts: PhotoFacts | None = None
    thumbnail: bytes = b""
    pixels: npt.NDArray[np.uint8] | None = None
    vector: npt.NDArray[np.float32] | None = None
    failure: PhotoError | None = None

    @property
    def nbytes(self) -> int:
        """Memory of what is to be stored of the photo, about."""
        arrays = sum(array.nbytes for array in (self.pixels, self.vector) if array is not None)
        return arrays + len(self.thumbnail)


class Room:
    """Memory for the bytes of files that several threads read: who finds too little left waits.

    Args:
        nbytes: of all files together; a larger file has it to itself.
    """

    def __init__(self, nbytes: int) -> None:
        self._all = self._left = nbytes
        self._freed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Room for ``size`` bytes until the end; a thread that has some asks for no more, or all may wait."""
        size = min(size, self._all)
        with self._freed:
            self._freed.wait_for(lambda: size <= self._left)
            self._left -= size
        try:
            yield
        finally:
            with self._freed:
                self._left += size
                self._freed.notify_all()


_room = Room(ROOM)


class Reader:
    """Turns batches of jobs into readings.

    Args:
        encoder: shared by all threads.
        settings: of the index: the bound on megapixels, and whether pixels are kept.
        is_known: whether the catalog can settle a job by the SHA-256 of its bytes alone; called from
            several threads.
        decode_seconds: a photo whose decoding takes longer fails.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: Settings,
        is_known: IsKnown,
        *,
        decode_seconds: float = DECODE_SECONDS,
    ) -> None:
        self.encoder = encoder
        self.settings = settings
        self.is_known = is_known
        self._decode_seconds = decode_seconds

    def read(self, jobs: Sequence[Job]) -> list[Reading]:
        """One batch, in order; a photo that fails is a reading with a failure."""
        readings = [self._decode(job) for job in jobs]
        pixels = [reading.pixels for reading in readings if reading.pixels is not None]
        if not pixels:
            return readings
        vectors = iter(self.encoder.encode(np.stack(pixels)))
        return [r if r.pixels is None else self._encoded(r, next(vectors)) for r in readings]

    def _encoded(self, reading: Reading, vector: npt.NDArray[np.float32]) -> Reading:
        if not np.isfinite(vector).all():  # one such vector, and Chroma would take none
            failure = PhotoError(reading.job.path, NOT_FINITE, "use another encoder, or leave the photo out")
            return Reading(reading.job, reading.sha256, failure=failure)
        # Up to a hundred readings wait while a generation is published: without pixels, in little memory.
        return replace(reading, vector=vector, pixels=reading.pixels if self.settings.keep_pixels else None)

    def _decode(self, job: Job) -> Reading:
        sha256 = None
        try:
            files.check_format(job.path)
            with _room.of(job.file.size):
                data = files.read(job.path)
                sha256 = files.digest(data)
                if self.is_known(job, sha256):
                    return Reading(job, sha256)
                return self._decoded_in_time(job, data, sha256)
        except PhotoError as failure:
            return Reading(job, sha256, failure=failure.bare())

    def _decoded_in_time(self, job: Job, data: bytes, sha256: str) -> Reading:
        try:
            return within(self._decode_seconds, lambda: self._decoded(job, data, sha256))
        except TimeoutError as error:
            reason = f"decoding took longer than {self._decode_seconds:g} s"
            remedy = "it may be damaged: save it anew, or try again with --retry-failed"
            raise PhotoError(job.path, reason, remedy) from error

    def _decoded(self, job: Job, data: bytes, sha256: str) -> Reading:
        specification = self.encoder.specification
        decoded = images.decode(
            data,
            specification.input_size,
            specification.resizing,
            max_megapixels=self.settings.max_megapixels,
            name=job.path,
        )
        phash, dhash = hashing.perceptual_hashes(decoded.picture)
        facts = replace(decoded.facts, phash=phash, dhash=dhash)
        return Reading(job, sha256, facts, decoded.thumbnail, decoded.pixels)


class ReadAll(Protocol):
    """A way to read many photos: here, or on other machines."""

    def __call__(self, reader: Reader, jobs: Iterable[Job]) -> Generator[Reading, None, None]:
        """What ``reader`` makes of the jobs, in order, never far ahead of the consumer."""


def read_here(reader: Reader, jobs: Iterable[Job]) -> Generator[Reading, None, None]:
    """:class:`ReadAll` on the threads of this process."""
    threads = reading_threads()
    batches = batched(jobs, _batch(reader.encoder, threads))
    for readings in in_parallel(reader.read, batches, threads):
        yield from readings


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def reading_threads() -> int:
    """Threads that keep the cores busy with decoding and encoding."""
    return usable_cores() + THREADS_BEYOND_CORES


def batch_of(input_size: int) -> int:
    """How many pictures of ``input_size`` pixels a side are read and encoded together.

    >>> batch_of(260), batch_of(600)
    (4, 2)
    """
    return max(1, min(BATCH, BATCH_BYTES // (3 * input_size**2)))


def gpu_batch_of(input_size: int, free_bytes: int, threads: int) -> int:
    """The same on a GPU with so much memory free, where every thread may have a batch in flight.

    Half of the memory is left alone.  The bytes a pixel are those of three activations of 64 channels in
    float32, as at the front of ``travel600``; an H100 took about 600, CUDA's own memory included.

    >>> gpu_batch_of(260, 8 * 2**30, 3), gpu_batch_of(600, 8 * 2**30, 3), gpu_batch_of(600, 2**20, 3)
    (27, 5, 2)
    """
    fitting = free_bytes // 2 // threads // (GPU_BYTES_A_PIXEL * input_size**2)
    return max(batch_of(input_size), min(GPU_BATCH, fitting))


def _batch(encoder: Encoder, threads: int) -> int:
    size = encoder.specification.input_size
    free = devices.free_gpu_bytes() if encoder.device == "cuda" else None
    return batch_of(size) if free is None else gpu_batch_of(size, free, threads)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """``items`` in lists of ``size``, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """``function()``, abandoned if it is not done in time.

    Nothing can stop a thread, so it runs on one of its own, which then keeps its memory until it ends, and
    which the end of the process does not wait for.  Decoders let other threads run meanwhile.

    Raises:
        TimeoutError: it is not done; and whatever ``function`` raises.
    """
    outcome: Future[Result] = Future()

    def settle() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # raised again in the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=settle, name="vsearch-decode", daemon=True).start()
    return outcome.result(seconds)


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """``map(function, items)`` on ``threads`` threads, in order, never far ahead of the consumer.

    When the consumer stops early, what has not begun is dropped.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vsearch")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= threads * LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

"""Segments: immutable HDF5 files with the vectors, pixels or thumbnails of up to 1,024 photos.

A segment is filled under a temporary name, closed, fsynced and renamed; it is never changed after that.
Each describes itself: beside every row lie the photo's id, the SHA-256 of its file, and its facts as JSON,
so that the catalog can be rebuilt from the segments alone.

Layout of a file (n rows):

    attributes       format_version, kind, fingerprint (of the encoder; empty for thumbnails), rows
    id               int64 [n]
    sha256           uint8 [n, 32]
    facts            ragged UTF-8 JSON
    vectors          float32 [n, D]            kind "vectors"
    pixels           uint8 [n, H, W, 3]        kind "pixels"
    thumbnails       ragged JPEG bytes         kind "thumbnails"

A ragged column is a flat ``uint8`` dataset and ``<name>_end`` ``int64 [n]``, the offset behind each row.
Every dataset carries Fletcher-32 checksums: a flipped bit is an error and not a wrong answer.  Nothing is
compressed: on photos lzf and gzip saved nothing and cost 8-20 times the writing time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from vsearch import durable
from vsearch.errors import IndexDamaged, StorageError, VersionMismatch

if TYPE_CHECKING:
    import h5py

SegmentKind = Literal["vectors", "pixels", "thumbnails"]
FORMAT_VERSION = 1
_CHUNK_BYTES = 64 * 1024
_BLOCK_BYTES = 4096
_SLICE_BYTES = 256 * 1024
Array = npt.NDArray[Any]


class SegmentWriter:
    """Fills one segment, batch by batch; memory is one batch.

    Args:
        path: the final name; nothing is there until :meth:`commit`.
        kind: which column the segment holds besides ``id``, ``sha256`` and ``facts``.
        fingerprint: of the encoder bundle the data belongs to.

    Raises:
        StorageError: the disk is full, read-only or failing.
    """

    def __init__(self, path: Path, kind: SegmentKind, fingerprint: str = "") -> None:
        import h5py

        self.path = path
        self.kind = kind
        self.rows = 0
        self._temporary = durable.temporary_beside(path)
        with _writing(path):
            self._sink = _Sink(self._temporary)
            self._file = h5py.File(self._sink, "w", libver="v110")
            self._file.attrs.update(format_version=FORMAT_VERSION, kind=kind, fingerprint=fingerprint)

    def append(
        self,
        data: Array | Sequence[bytes],
        ids: Sequence[int],
        digests: Sequence[str],
        facts: Sequence[str],
    ) -> int:
        """Append ``len(ids)`` rows; returns the row number of the first.

        Args:
            data: ``[b, …]`` array of vectors or pixels, or ``b`` encoded thumbnails.
            ids: the photos' ids.
            digests: SHA-256 of each file, hexadecimal.
            facts: JSON of each photo.
        """
        first = self.rows
        with _writing(self.path):
            if isinstance(data, np.ndarray):
                self._extend(self.kind, data)
            else:
                self._extend_ragged(self.kind, data)
            self._extend("id", np.asarray(ids, dtype=np.int64))
            self._extend("sha256", _digest_rows(digests))
            self._extend_ragged("facts", [text.encode("utf-8", "surrogatepass") for text in facts])
            self._sink.raise_error()
        self.rows += len(ids)
        return first

    def commit(self) -> None:
        """Finish the file and give it its name."""
        with _writing(self.path):
            self._file.attrs["rows"] = self.rows
            self._file.close()
            self._sink.close()
            self._sink.raise_error()
        durable.publish(self._temporary, self.path, self.kind)

    def abandon(self) -> None:
        """Drop what was written."""
        with durable.uninterrupted():
            self._file.close()
            self._sink.close()
        self._temporary.unlink(missing_ok=True)

    def _extend(self, name: str, rows: Array) -> None:
        if name not in self._file:
            self._file.create_dataset(
                name,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                dtype=rows.dtype,
                chunks=_chunks(rows),
                fletcher32=True,
            )
        dataset = self._file[name]
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows

    def _extend_ragged(self, name: str, rows: Sequence[bytes]) -> None:
        end = self._file[name].shape[0] if name in self._file else 0
        self._extend(name, np.frombuffer(b"".join(rows), dtype=np.uint8))
        self._extend(f"{name}_end", end + np.cumsum([len(row) for row in rows], dtype=np.int64))


class _Sink:
    """The file that HDF5 writes to; what fails is kept for :meth:`raise_error`, and HDF5 is told all is well.

    HDF5 cannot drop a file whose writes fail: it tries again when the process ends, which then ended with a
    segmentation fault (h5py 3.14, a full disk).
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115  (closed by close())
        self._error: OSError | None = None

    def raise_error(self) -> None:
        """Raise the first error that a write met."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, data: memoryview) -> int:
        """Write all of ``data`` at the current position."""
        rest = memoryview(data).cast("B")
        while self._error is None and len(rest):
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._error = error
        return memoryview(data).nbytes

    def read(self, size: int = -1) -> bytes:
        """Bytes from the current position; h5py takes only what has this method for a file."""
        return self._file.read(size) or b""

    def readinto(self, target: memoryview) -> int:
        """Read into ``target``; what could not be written reads as zeros."""
        view = memoryview(target).cast("B")
        count = self._file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the file's length."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is buffered; :mod:`vsearch.durable` forces the file to the disk."""


class Segment:
    """One finished segment, open for reading; use it as a context manager.

    Raises:
        IndexDamaged: the file is missing, torn, or fails its checksum.
        VersionMismatch: another format version wrote it.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        with _reading(path):
            self._file: h5py.File = h5py.File(path, "r", locking=False)
            attributes = self._file.attrs
            version, rows, kind = (attributes.get(name) for name in ("format_version", "rows", "kind"))
        if version != FORMAT_VERSION:
            raise VersionMismatch(
                f"{path}: segment format {version}, this vsearch reads {FORMAT_VERSION}; "
                "use the vsearch that wrote it, or build the index anew"
            )
        if rows is None or kind is None:
            raise _damaged(path, "it was never finished")
        self.kind = str(kind)
        self.rows = int(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def fingerprint(self) -> str:
        """Of the encoder that its photos were read with; empty if it is not known."""
        with _reading(self.path):
            return str(self._file.attrs.get("fingerprint", ""))

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows ``start:stop`` of the vectors or pixels, ``[b, …]``."""
        with _reading(self.path):
            rows: Array = self._file[self.kind][start:stop]
        return rows

    def touch(self, start: int, stop: int) -> None:
        """Read rows ``start:stop``, whatever the kind, and so check their checksums."""
        if self.kind == "thumbnails":
            for row in range(start, stop):
                self.thumbnail(row)
        else:
            self.read(start, stop)

    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row of the vectors or pixels."""
        with _reading(self.path):
            return tuple(int(n) for n in self._file[self.kind].shape[1:])

    def read_rows(self, rows: Sequence[int] | npt.NDArray[np.int64], out: Array | None = None) -> Array:
        """Chosen rows of the vectors or pixels, in the order asked for.

        Rows near each other are read as one slice: HDF5's own fancy indexing is about 180 times slower than
        a loop of single reads, and a single read takes as long as 256 KiB more of a slice.

        Args:
            rows: their numbers.
            out: where they go, C-contiguous; a new array by default.
        """
        given = np.asarray(rows, dtype=np.int64)
        with _reading(self.path):
            column = self._file[self.kind]
            result: Array = np.empty((len(given), *column.shape[1:]), column.dtype) if out is None else out
            if len(given) and (np.diff(given) == 1).all():
                column.read_direct(result, np.s_[given[0] : given[-1] + 1])
                return result
            order = np.argsort(given, kind="stable")
            wanted = given[order]
            apart = max(1, _SLICE_BYTES // _row_bytes(result))
            for run in np.split(np.arange(len(wanted)), np.flatnonzero(np.diff(wanted) > apart) + 1):
                if len(run):
                    first = wanted[run[0]]
                    result[order[run]] = column[first : wanted[run[-1]] + 1][wanted[run] - first]
        return result

    def thumbnail(self, row: int) -> bytes:
        """The encoded thumbnail in ``row``."""
        return self._ragged_row("thumbnails", row)

    def ids(self) -> npt.NDArray[np.int64]:
        """Photo ids, int64 [n]."""
        with _reading(self.path):
            ids: npt.NDArray[np.int64] = self._file["id"][:]
        return ids

    def digests(self) -> list[str]:
        """SHA-256 of each row's file, hexadecimal."""
        with _reading(self.path):
            rows = self._file["sha256"][:]
        return [bytes(row).hex() for row in rows]

    def facts(self) -> list[str]:
        """The JSON beside each row."""
        with _reading(self.path):
            data = self._file["facts"][:].tobytes()
            ends = [0, *self._file["facts_end"][:].tolist()]
        return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]

    def _ragged_row(self, name: str, row: int) -> bytes:
        with _reading(self.path):
            ends = self._file[f"{name}_end"]
            start = int(ends[row - 1]) if row else 0
            data: Array = self._file[name][start : int(ends[row])]
        return data.tobytes()


def _chunks(rows: Array) -> tuple[int, ...]:
    """As many whole rows as come first, 4 KiB at least and 64 KiB at most; one row where rows are longer.

    h5py's automatic chunks were 6-40 times slower.  A chunk takes its whole length on the disk, so that a
    single photo would take 650 KiB.
    """
    block, most = (max(1, size // _row_bytes(rows)) for size in (_BLOCK_BYTES, _CHUNK_BYTES))
    return (min(most, max(block, len(rows))), *rows.shape[1:])


def _row_bytes(rows: Array) -> int:
    return max(1, int(rows.itemsize * np.prod(rows.shape[1:], dtype=np.int64)))


def _digest_rows(digests: Sequence[str]) -> Array:
    return np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(-1, 32)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        with durable.uninterrupted():
            yield
    except OSError as error:
        raise durable.storage_error(path, error) from error
    except (RuntimeError, ValueError) as error:
        # HDF5 reports a write that failed while flushing as RuntimeError, without an errno.
        raise StorageError(
            f"cannot write {path}: {error}; check that the disk is not full and run again"
        ) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error
    except PermissionError as error:
        raise IndexDamaged(
            f"cannot read {path}: permission denied; make it readable for this user"
        ) from error
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "it is torn") from error


def _damaged(path: Path, why: str) -> IndexDamaged:
    return IndexDamaged(f"{path} is damaged: {why}; run `vsearch check` to see what can be mended")

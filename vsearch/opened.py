"""What is open of an index: settings, encoder, catalog; and how a writer gets hold of it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from vsearch.catalog import Catalog
from vsearch.directory import IndexDirectory
from vsearch.encoders import Bundle, Encoder, devices
from vsearch.errors import (
    EncoderError,
    EncoderMismatch,
    IndexBusy,
    IndexDamaged,
    UsageError,
)
from vsearch.published import remove_superseded
from vsearch.records import EncoderInfo
from vsearch.updates import Writable

_open: weakref.WeakSet[OpenIndex] = weakref.WeakSet()


def _unlock() -> None:
    """In a forked child the threads that held locks are gone: it would wait for ever to be refused."""
    for index in _open:
        index._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_unlock)


class OpenIndex:
    """The base of :class:`vsearch.Index`, without its verbs.

    Args:
        directory: the index directory.
        device: where the encoder runs: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UsageError: there is no such device here.
        IndexNotFound, IndexDamaged, VersionMismatch, EncoderMismatch: it cannot be used.
    """

    def __init__(self, directory: IndexDirectory, device: str = "auto") -> None:
        self._process = os.getpid()
        self._device = devices.usable(device)
        self._directory = directory
        self._settings = directory.settings()
        try:
            self._bundle = self._check_encoder(self._read_bundle())
        except (EncoderMismatch, IndexDamaged):
            before, self._settings = self._settings, directory.settings()
            if before.store == self._settings.store:
                raise
            self._bundle = self._check_encoder(self._read_bundle())  # re-encoding has just switched
        self._loaded: Encoder | None = None
        self._catalog: Catalog | None = None
        self._lock = threading.RLock()  # a thread must not close what another asks
        _open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; the index may be used again and opens them anew."""
        with self._lock:
            # It closes itself when the last thread or iterator that reads it has done so.
            self._catalog = None

    @property
    def path(self) -> Path:
        """The index directory."""
        return self._directory.path

    @property
    def encoder_info(self) -> EncoderInfo:
        """The encoder that made the vectors."""
        return self._bundle.info

    @property
    def max_megapixels(self) -> float:
        """The largest picture that is decoded."""
        return self._settings.max_megapixels

    @contextmanager
    def _writing(self) -> Iterator[Writable]:
        """The index open for writing, under the writer's lock, as it is now and not as it was opened.

        However the block ends, what is open for reading is closed: it may be of before.
        """
        with self._directory.writing():
            self._reload()
            remove_superseded(self._directory, self._settings)
            try:
                with self._open_catalog(read_only=False) as catalog:
                    yield Writable(self._directory, self._settings, catalog, self._encoder())
            finally:
                self.close()
        self._reload()

    def is_busy(self) -> bool:
        """Whether another process is writing."""
        try:
            with self._directory.writing():
                return False
        except IndexBusy:
            return True

    def _reading(self) -> Catalog:
        self._refuse_forked()
        with self._lock:
            if self._catalog is not None and not self._is_current():
                self.close()  # re-encoding has removed the store, or the catalog was made anew
            if self._catalog is None:
                self._reload()
                self._catalog = self._open_catalog(read_only=True)
                self._catalog_status = os.stat(self._catalog.path)
            return self._catalog

    def _is_current(self) -> bool:
        """Whether the catalog that is open is still the one of that name."""
        try:
            return self._catalog is not None and os.path.samestat(
                os.stat(self._catalog.path), self._catalog_status
            )
        except FileNotFoundError:
            return False

    def _open_catalog(self, *, read_only: bool) -> Catalog:
        def roots() -> list[str]:
            return self._directory.roots(self._directory.settings())

        file = self._directory.catalog_file
        return Catalog(file, roots(), read_only=read_only, reload_roots=roots)

    def _reload(self) -> None:
        """Read ``index.json`` again; another process may have added a root, or re-encoded everything."""
        with self._lock:
            before, self._settings = self._settings, self._directory.settings()
            if before.encoder != self._settings.encoder:
                self._bundle = self._check_encoder(self._read_bundle())
                self._loaded = None
            if before.store != self._settings.store:
                self.close()  # what is open lies in the old store

    def _refuse_forked(self) -> None:
        """Neither SQLite's connections nor the threads of ONNX Runtime and Chroma outlive a fork."""
        if self._is_forked():
            raise UsageError(
                f"{self.path} was opened before this process was forked; open it anew here, with "
                "vsearch.Index.open"
            )

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def _encoder(self) -> Encoder:
        self._refuse_forked()
        if self._loaded is None:
            self._loaded = Encoder(self._bundle, self._device)
        return self._loaded

    def _keep(self, encoder: Encoder) -> None:
        """Use an encoder that is loaded already from the bundle of which the index has a copy."""
        encoder.bundle = self._bundle
        self._loaded = encoder

    def _read_bundle(self) -> Bundle:
        try:
            return Bundle(self._directory.encoder)
        except EncoderError as error:
            why, _ = error.what_and_remedy()
            raise IndexDamaged(
                f"{self._directory.encoder} is damaged ({why}); `vsearch rebuild` brings back an encoder of "
                "this package, others must be copied there"
            ) from error

    def _check_encoder(self, bundle: Bundle) -> Bundle:
        expected = self._settings.encoder
        if bundle.fingerprint != expected:
            raise EncoderMismatch(
                f"{self._directory.encoder} has fingerprint {bundle.fingerprint[:12]}, index.json expects "
                f"{expected[:12]}: the encoder was replaced; restore that folder, or run `vsearch rebuild`"
            )
        return bundle

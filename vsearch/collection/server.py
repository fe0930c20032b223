"""Collections on a Chroma server, one for each generation.

A generation's folder holds its manifest alone, which names the server and the collection.  A collection is
filled from the segments, never from the one before it: Chroma's own server cannot copy one (``fork`` is for
hosted Chroma), and what it sends back is not the truth.  So publishing costs inserting everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from vsearch import durable
from vsearch.collection.chroma import (
    Collection,
    first_line,
    import_chromadb,
    quiet,
)
from vsearch.collection.filling import Batch, configured, threshold_of, upsert
from vsearch.collection.generations import MANIFEST, Base, Description, Manifest, Place, Source
from vsearch.errors import CollectionError, IndexDamaged, UsageError, VsearchError

if TYPE_CHECKING:
    import httpx
    from chromadb.api.client import Client

TOKEN_VARIABLE = "VSEARCH_CHROMA_TOKEN"
_PAGE = 100  # collections listed at once
_PATIENCE = 10.0  # seconds for a sign of life
# What a request may have for a body: nginx lets 1 MiB pass by default.  To send more at once is no faster.
_REQUEST_BYTES = 768 * 2**10
_HOME = "vsearch_home"  # in a collection's metadata: the folder of the generations that it belongs to


class Unreachable(CollectionError):
    """No server answers: whoever asks again at once waits once more for nothing."""


def server_url(given: str) -> str:
    """The URL of a Chroma server as an index remembers it.

    >>> server_url("HTTP://localhost:8000/ ")
    'http://localhost:8000'

    Raises:
        UsageError: it is no http or https URL, or holds a password, which would be written down.
    """
    try:
        parts = urlsplit(given.strip())
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or any(map(str.isspace, given.strip())) or parts.query or parts.fragment:
        raise UsageError(f"a Chroma server is named like http://localhost:8000; received {given!r}")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the address of a Chroma server is kept in the index, so leave user and password out of it; "
            f"set {TOKEN_VARIABLE} to send a token"
        )
    return parts.geturl().rstrip("/")  # its scheme in lower case


class ChromaServer:
    """One Chroma server; each client of it is a connection pool of its own.

    Args:
        url: as :func:`server_url` gives it.  If the variable ``VSEARCH_CHROMA_TOKEN`` is set, every request
            has the header ``Authorization: Bearer <token>``, for a reverse proxy that asks for one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._is_tls = urlsplit(url).scheme == "https"

    def check(self) -> None:
        """Ask for a sign of life, since Chroma's own client waits for ever for one.

        Raises:
            Unreachable: it does not answer.
            CollectionError: something else does.
        """
        import httpx  # a dependency of chromadb's client

        with self.errors():
            beat = httpx.get(
                f"{self.url}/api/v2/heartbeat", headers=_headers(), timeout=_PATIENCE, verify=self._is_tls
            )
        if not beat.is_success or not beat.headers.get("content-type", "").startswith("application/json"):
            raise self._refusal(f"{beat.status_code} {beat.reason_phrase}")

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A client of it, closed at the end."""
        client = self.connect()
        try:
            yield client
        finally:
            disconnect(client)

    def connect(self) -> Client:
        """A client of it, for :func:`disconnect`.

        Raises:
            CollectionError: it cannot be reached.
        """
        self.check()
        settings = quiet()
        if not self._is_tls:
            settings.chroma_server_ssl_verify = False  # certificates that nobody asks for take 0.1 s to load
        with self.errors():
            client: Client = import_chromadb().HttpClient(
                self.url, ssl=self._is_tls, headers=_headers(), settings=settings
            )
        return client

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Map what Chroma's client raises, bare ``Exception`` for some answers, to ours."""
        try:
            yield
        except VsearchError:
            raise
        except Exception as error:
            raise self._mapped(error) from error

    def _mapped(self, error: Exception) -> VsearchError:
        import httpx
        from chromadb.errors import NotFoundError

        reason = first_line(error).partition(" (trace ID")[0]
        if isinstance(error, NotFoundError):
            return self.gone(reason)
        if isinstance(error, httpx.TransportError):
            what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else reason
            is_away = isinstance(error, httpx.ConnectError | httpx.TimeoutException)  # not: it hung up
            return (Unreachable if is_away else CollectionError)(
                f"the Chroma server {self.url} cannot be reached: {what}; "
                "start it, or see that the address is right"
            )
        if isinstance(error.__context__, httpx.HTTPStatusError):  # of which Chroma's client tells the text
            return self._answered(error.__context__.response, reason)
        return self._refusal(reason)

    def _answered(self, answer: httpx.Response, said: str) -> CollectionError:
        import httpx

        status = f"{answer.status_code} {answer.reason_phrase}"
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            return CollectionError(
                f"the Chroma server {self.url} refused: {status}; let the proxy before it take larger "
                "requests, 8 MiB say (nginx: client_max_body_size 8m)"
            )
        is_page = "html" in answer.headers.get("content-type", "")
        return self._refusal(status if is_page or not answer.text else said)

    def _refusal(self, reason: str) -> CollectionError:
        return CollectionError(
            f"the Chroma server {self.url} refused: {reason}; see that the address is right, and that "
            f"{TOKEN_VARIABLE} has the token if a proxy wants one"
        )

    def gone(self, why: str) -> IndexDamaged:
        """The error for a collection that was there and is not."""
        return IndexDamaged(
            f"the Chroma server {self.url} was wiped, or started with another folder, or this index is a "
            f"copy of one that has gone on: {why}; run `vsearch rebuild` to fill it again"
        )


def disconnect(client: Client) -> None:
    """Close a client, and the connections of it and its twin, which Chroma 1.5 does not."""
    twin: Any = client._admin_client
    servers: list[Any] = [client._server, twin._server]
    client.close()
    for server in servers:
        server._session.close()


def _headers() -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and not (token.isascii() and token.isprintable()):  # else errors would show it
        raise UsageError(f"{TOKEN_VARIABLE} has a character that no HTTP header may have; set it anew")
    return {"Authorization": f"Bearer {token}"} if token else {}


class OnServer(Place):
    """Collections on a Chroma server.

    Args:
        url: of the server.
    """

    # Each publishing inserts everything: at every fivefold, all those on the way cost a quarter of the last.
    growth: ClassVar[float] = 4.0

    def __init__(self, url: str) -> None:
        self.url = url
        self._chroma = ChromaServer(url)

    def check(self, folder: Path, manifest: Manifest) -> None:
        """See :class:`Place`; the folder has nothing to look at."""

    def verify(self, folder: Path, manifest: Manifest, *, every_byte: bool) -> None:
        """See :class:`Place`; the server must have the collection, with as many vectors as long."""
        with self._chroma.client() as client, self._chroma.errors():
            photos = client.get_collection(manifest.collection, embedding_function=None)
            count, dimension = photos.count(), photos.get_model().dimension
        if dimension not in (None, manifest.dimension):
            raise IndexDamaged(
                f"on the Chroma server {self.url} another collection has the name {manifest.collection}: its "
                f"vectors have {dimension:,} numbers and not {manifest.dimension:,}; "
                "run `vsearch rebuild` to fill a new one"
            )
        if count != manifest.count:
            raise self._chroma.gone(f"{manifest.collection} has {count:,} photos and not {manifest.count:,}")

    def open(self, folder: Path, manifest: Manifest, resources: contextlib.ExitStack) -> Collection:
        """See :class:`Place`."""
        return Collection(self._chroma.connect(), [manifest.collection], self._chroma.errors, disconnect)

    def write(
        self, folder: Path, number: int, source: Source, base: Base | None, description: Description
    ) -> Manifest:
        """See :class:`Place`; whatever the base, all is inserted, in one collection."""
        parts, d = list(source(0)), description
        expected = sum(changes.count for changes in parts)
        with durable.storage_errors(folder):
            folder.mkdir(parents=True)
        # Told apart from one half-filled under the same number, and from that of a copy of this index.
        name = f"{_prefix(d.catalog)}{number:06d}-{uuid.uuid4().hex[:8]}"
        with self._chroma.client() as client, self._chroma.errors():
            photos = client.create_collection(
                name,
                embedding_function=None,
                configuration=configured(d.metric, d.hnsw, threshold_of(expected, d.dimension)),
                metadata={_HOME: os.path.realpath(folder.parent)},
            )
            durable.step("generation-copied")
            for batch in chain.from_iterable(changes.batches for changes in parts):
                for request in _requests(batch):
                    upsert(photos, request)
                durable.step("generation-upserted")
            count = photos.count()
        durable.step("generation-persisted")
        if count != expected:
            raise CollectionError(
                f"the Chroma server {self.url} took {count:,} of {expected:,} photos; see what its log says"
            )
        return Manifest(
            sequence=d.sequence,
            catalog=d.catalog,
            count=count,
            dimension=d.dimension,
            metric=d.metric,
            fingerprint=d.fingerprint,
            files={},
            digests={},
            stamps={},
            parts=[],
            part_ids=d.part_ids,
            server=self.url,
            collection=name,
        )

    def drop(self, home: Path, identities: set[str], keep: set[str]) -> None:
        """See :class:`Place`; this is also what finds collections that a killed writer left half-filled."""
        prefixes = tuple(map(_prefix, identities))
        with self._chroma.client() as client, self._chroma.errors():
            for photos in list(_collections(client)):
                ours = photos.name.startswith(prefixes) and photos.name not in keep
                if ours and _may_drop(photos.metadata, home):
                    client.delete_collection(photos.name)
                    durable.step("collection-dropped")


def _requests(batch: Batch) -> Iterator[Batch]:
    """The same rows in parts, each small enough for one request: vectors in base64, metadata in JSON."""
    row = batch.vectors[:1].nbytes * 4 // 3 + max(len(json.dumps(fields)) for fields in batch.metadatas)
    rows = max(1, _REQUEST_BYTES // row)
    return (batch[start : start + rows] for start in range(0, len(batch), rows))


def _may_drop(metadata: dict[str, Any] | None, home: Path) -> bool:
    """Not if a copy of this index made it whose folder is still there."""
    made_for = str((metadata or {}).get(_HOME, ""))
    return made_for == os.path.realpath(home) or not os.path.isdir(made_for)


def server_of(folder: Path) -> str | None:
    """The server that the newest readable generation below ``folder`` names, if it names one."""
    for manifest in sorted(folder.glob(f"[0-9]*/{MANIFEST}"), reverse=True):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Manifest(**durable.unsealed(manifest.read_bytes())).server or None
    return None


def _prefix(identity: str) -> str:
    return f"vsearch-{identity}-"


def _collections(client: Client) -> Iterator[Any]:
    offset = 0
    while page := client.list_collections(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)

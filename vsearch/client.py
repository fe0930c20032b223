"""A ``vsearch serve`` somewhere else, with the methods and types of :class:`vsearch.Index`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self

import httpx

from vsearch import errors, images, sending, wire
from vsearch.connection import Connection, object_of
from vsearch.duplicates.records import DuplicateGroup
from vsearch.filters import Day, day_text
from vsearch.photomap import PhotoMap
from vsearch.question import Crop, Picture, content, several, weighted
from vsearch.records import IndexStatus, Match, Photo, Skipped, SyncReport
from vsearch.updates import OnProgress, Progress

_API = "/api/v1"
_ADD_SECONDS = 600.0  # a photo is acknowledged when it is published
_LARGE = "copy it into a photo folder of the server, or start that with a larger --max-upload"
_MAP_SECONDS = 3600.0  # the first to ask for a map waits until it is made
_LONGEST_ID = 40
_MOST = 10_000


def connect(url: str, *, token: str | None = None, timeout: float = 60.0) -> Client:
    """A client of the server at ``url``; nothing is sent yet.

    Args:
        url: such as ``http://127.0.0.1:8750``.
        token: what the server was started with.
        timeout: seconds to wait for an answer.

    Raises:
        UsageError: ``url`` is no http or https URL, ``token`` not printable ASCII without spaces, or
            ``timeout`` no number above 0.
    """
    return Client(Connection(url, token, timeout))


class Client:
    """What :func:`connect` gives.

    Calls that change nothing are tried again when the server is busy or out of reach for a moment.
    All methods may raise :class:`~vsearch.errors.VsearchError`: those of the same method of
    :class:`vsearch.Index`, and :class:`~vsearch.errors.ServerError` when the server cannot be reached or
    refuses.  A :class:`Photo` from here has no locations of its rows, which mean nothing elsewhere.
    """

    def __init__(self, server: Connection) -> None:
        self.url = server.url
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def query(
        self,
        image: Picture | None = None,
        *,
        images: Iterable[Picture] = (),
        minus: Iterable[Picture] = (),
        weights: Sequence[float] | None = None,
        minus_weights: Sequence[float] | None = None,
        text: str | None = None,
        text_weight: float = 1.0,
        crop: Crop | None = None,
        where: str | None = None,
        under: str | os.PathLike[str] | None = None,
        since: Day | None = None,
        until: Day | None = None,
        expand: bool = True,
        min_score: float | None = None,
        min_match: float | None = None,
        k: int | None = 10,
    ) -> list[Match]:
        """The ``k`` photos most like a picture; see :meth:`vsearch.Index.query`.

        A path is one of this machine: the file is sent.  A :class:`Photo` is sent as its id.
        """
        pictures = [*([] if image is None else [image]), *several(images, "images")]
        unlike = several(minus, "minus")
        request = {
            "images": [self._name(picture) for picture in pictures],
            "minus": [self._name(picture) for picture in unlike],
            "weights": _weights(pictures, weights, "weights"),
            "minus_weights": _weights(unlike, minus_weights, "minus_weights"),
            "text": text,
            "text_weight": text_weight,
            "crop": _crop(crop),
            "where": where,
            "under": None if under is None else os.fspath(under),
            "since": _day(since),
            "until": _day(until),
            "expand": expand,
            "min_score": min_score,
            "min_match": min_match,
            "k": _MOST if k is None else k,
        }
        return self._server.ask(wire.matches, "POST", f"{_API}/query", json=wire.plain(request))

    def status(self) -> IndexStatus:
        """Counts, sizes, encoder and generation of the server's index."""
        return self._server.ask(wire.status, "GET", f"{_API}/status")

    def photo(self, photo_id: str | int) -> Photo | None:
        """The photo with the ``id`` of a :class:`Match`, or ``None``."""
        response = self._photo_part(photo_id, "")
        return None if response is None else self._server.understood(wire.photo, response)

    def photos(self) -> Iterator[Photo]:
        """The photos that queries can find, by id."""
        return self._all("ready")

    def page(
        self,
        state: Literal["ready", "failed"] = "ready",
        *,
        limit: int = 100,
        after: str | None = None,
        newest: bool = False,
    ) -> list[Photo]:
        """One page of the photos; see :meth:`vsearch.Index.page`."""
        given = {"state": state, "limit": limit, "after": after, "newest": newest}
        parameters = {name: value for name, value in given.items() if value is not None}
        return self._server.ask(wire.photos, "GET", f"{_API}/photos", params=parameters)

    def failed(self) -> Iterator[Skipped]:
        """The photos that could not be used, with reason and remedy."""
        for photo in self._all("failed"):
            yield Skipped(self.path_of(photo), photo.reason or "", photo.remedy or "")

    def thumbnail(self, photo_id: str | int) -> bytes | None:
        """The JPEG thumbnail of a photo, longest side 256 pixels, or ``None``."""
        response = self._photo_part(photo_id, "/thumbnail")
        return None if response is None else response.content

    def original(self, photo_id: str | int) -> bytes | None:
        """The bytes of a photo's file, or ``None`` if there is no such photo.

        Raises:
            ServerError: the file is gone, or was changed since it was indexed.
        """
        response = self._photo_part(photo_id, "/original")
        return None if response is None else response.content

    def roots(self) -> list[str]:
        """The photo folders, absolute, on the server."""
        return list(self.status().roots)

    def duplicates(
        self,
        *,
        kinds: Sequence[str] = (),
        within: str | os.PathLike[str] | None = None,
        keep: str = "largest,oldest",
    ) -> list[DuplicateGroup]:
        """Groups of photos that are one picture; see :meth:`vsearch.Index.duplicates`."""
        given: dict[str, Any] = {"kind": list(kinds), "keep": keep, "limit": 1000}
        if within is not None:
            given["within"] = os.fspath(within)
        groups: list[DuplicateGroup] = []
        while True:
            parameters = {**given, "offset": len(groups)}
            page, total = self._server.ask(wire.groups, "GET", f"{_API}/duplicates", params=parameters)
            groups += page
            if not page or len(groups) >= total:
                return groups

    def map(
        self,
        where: str | None = None,
        *,
        under: str | os.PathLike[str] | None = None,
        since: Day | None = None,
        until: Day | None = None,
    ) -> PhotoMap:
        """All photos on a plane; see :meth:`vsearch.Index.map`.  The server makes it once for all who ask.

        Raises:
            MissingExtraError: the server lacks the extra ``map``.
            UsageError: the filter cannot be understood.
        """
        folder = None if under is None else os.fspath(under)
        given = {"where": where, "under": folder, "since": _day(since), "until": _day(until)}
        filters = {name: value for name, value in given.items() if value is not None}
        return self._server.ask(wire.photo_map, "GET", f"{_API}/map", params=filters, timeout=_MAP_SECONDS)

    def cameras(self) -> dict[str, int]:
        """How many photos each camera took, most first."""
        return self._server.ask(wire.cameras, "GET", f"{_API}/server")

    def add(
        self,
        *photos: str | os.PathLike[str],
        root: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Send photos of this machine to the server, which saves and indexes them.

        Args:
            photos: files and folders.
            root: the photo folder of the server to save under; needed if it has several.
            on_progress: called after each batch of files.

        Raises:
            UsageError: there is no photo in ``photos``, or no such ``root``.
            ServerError: the server takes no photos.
        """
        started = time.monotonic()
        unreadable: list[Skipped] = []
        paths = [path for photo in photos for path in sending.paths(photo, unreadable)]
        if not paths:
            names = ", ".join(os.fspath(photo) for photo in photos)
            raise errors.UsageError(
                f"no photos in {names}" if photos else "name photos, or folders of photos"
            )
        reports: list[SyncReport] = []
        done = 0
        for some in sending.batches(paths):
            reports += self._send(some, root, unreadable)
            done += len(some)
            if on_progress is not None:
                skipped = len(unreadable) + sum(len(report.skipped) for report in reports)
                on_progress(Progress(done, len(paths), done - skipped, skipped))
        return SyncReport(
            added=sum(report.added for report in reports),
            unchanged=sum(report.unchanged for report in reports),
            skipped=(*unreadable, *(skipped for report in reports for skipped in report.skipped)),
            seconds=time.monotonic() - started,
        )

    @staticmethod
    def path_of(photo: Photo) -> str:
        """The absolute path of a photo, on the server."""
        return photo.file.absolute

    # -- internal --------------------------------------------------------------------------------

    def _all(self, state: Literal["ready", "failed"]) -> Iterator[Photo]:
        after = None
        while page := self.page(state, limit=1000, after=after):
            yield from page
            after = str(page[-1].id)

    def _name(self, picture: Picture) -> str:
        """What a query calls ``picture``: its id, or the name it gets by being sent."""
        if isinstance(picture, Photo):
            return str(picture.id)
        name = images.name_of(picture)
        data = content(picture)
        if data is None:
            data = images.as_png(picture)
        try:
            return self._server.ask(wire.name, "POST", f"{_API}/pictures", files={"image": ("picture", data)})
        except errors.PhotoError as error:
            raise errors.PhotoError(name, error.reason, error.remedy) from None

    def _send(self, paths: Sequence[str], root: str | None, unreadable: list[Skipped]) -> list[SyncReport]:
        """Upload a few files; the reports name those that were skipped by their path here."""
        parts = sending.parts(paths, unreadable)
        if not parts:
            return []
        data = {} if root is None else {"root": root}
        response = self._server.once("POST", f"{_API}/photos", files=parts, data=data, timeout=_ADD_SECONDS)
        answered = object_of(response)
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            if len(paths) > 1:
                return [report for path in paths for report in self._send([path], root, unreadable)]
            return [SyncReport(skipped=[Skipped(paths[0], str(answered.get("detail", "too large")), _LARGE)])]
        if "skipped" not in answered:
            self._server.raise_for(response)
        return [self._server.understood(lambda fields: wire.report(fields, paths), response)]

    def _photo_part(self, photo_id: str | int, part: str) -> httpx.Response | None:
        text = str(photo_id)
        if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID):
            return None
        response = self._server.retried("GET", f"{_API}/photos/{text}{part}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        self._server.raise_for(response)
        if response.headers.get("content-type", "").startswith("text/html"):
            raise self._server.no_vsearch(response)
        return response


def _weights(pictures: Sequence[Picture], weights: Sequence[float] | None, name: str) -> list[float] | None:
    return None if weights is None else [w.weight for w in weighted(pictures, weights, name)]


def _crop(given: Crop | None) -> str | None:
    """As text, in which the server tells whether it is a crop."""
    if given is None or isinstance(given, str):
        return given
    return ",".join(map(str, given)) if isinstance(given, Iterable) else str(given)


def _day(given: Day | None) -> str | None:
    return None if given is None else day_text(given)

"""Uploads under way: bounded together, and given up when whoever sent them has left."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vsearch.server.problems import busy

_KEPT = "/api/v1/photos"  # photos to add: what was saved must be indexed, whether its client waits or not


class Uploading:
    """Middleware around requests with files.

    Args:
        app: what answers.
        largest: bytes that one request may have.
        together: bytes that all under way may have.
    """

    def __init__(self, app: ASGIApp, largest: int, together: int) -> None:
        self._app = app
        self._largest = largest
        self._together = together
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request.

        Raises:
            Problem: 503, before the body is read: too much is being uploaded already.
        """
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not headers.get("content-type", "").startswith("multipart/form-data"):
            await self._app(scope, receive, send)
            return
        size = int(headers.get("content-length", self._largest))  # the guard has seen that it is a number
        if self._under_way and self._under_way + size > self._together:
            raise busy("uploads", {"Connection": "close"})  # the body is not read
        self._under_way += size
        try:
            if scope["path"] == _KEPT:
                await self._app(scope, receive, send)
            else:
                await self._while_wanted(scope, receive, send)
        finally:
            self._under_way -= size

    async def _while_wanted(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = asyncio.Event()

        async def reading() -> Message:
            message = await receive()
            if not message.get("more_body"):
                read.set()
            return message

        async def gone() -> None:
            await read.wait()
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self._app(scope, reading, send))
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
                return
            await work
        finally:
            leaving.cancel()
            work.cancel()  # when the server stops

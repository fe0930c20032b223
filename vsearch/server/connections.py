"""Connections: the head of a request is bounded in bytes and in time, whoever sends it."""

from __future__ import annotations

import asyncio

HEAD_BYTES = 64 * 2**10
HEAD_SECONDS = 20.0


def protocol() -> type[asyncio.Protocol] | str:
    """What uvicorn is to speak HTTP with: httptools, which has no bounds of its own, else h11."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return "h11"  # with ``h11_max_incomplete_event_size``

    class Bounded(HttpToolsProtocol):
        """Ends a connection whose request head grows too long, or takes too long."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._head: int | None = None  # bytes so far, while a head is coming
            self._begin()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._head is not None:  # all of ``data``, but for the end of a body, was head
                self._head += len(data)
                if self._head > HEAD_BYTES:
                    self._refuse()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._begin()

        def on_headers_complete(self) -> None:
            self._end()
            super().on_headers_complete()

        def _begin(self) -> None:
            if self._head is None:
                self._head = 0
                self._late = self.loop.call_later(HEAD_SECONDS, self._refuse)

        def _end(self) -> None:
            if self._head is not None:
                self._head = None
                self._late.cancel()

        def _refuse(self) -> None:
            nothing_came = self._head == 0  # browsers open connections ahead
            self._end()
            if nothing_came:
                self.transport.close()
            elif not self.transport.is_closing():
                self.send_400_response("the head of the request is too long, or took too long")

    return Bounded

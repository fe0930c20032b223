"""Running the application with uvicorn until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import uvicorn

from vsearch.blas import one_thread
from vsearch.errors import UsageError
from vsearch.index import Index
from vsearch.server.app import create_app
from vsearch.server.connections import HEAD_BYTES, protocol
from vsearch.server.options import Options

_GRACE_SECONDS = 10
_BACKLOG = 2048


def serve(index: Index, options: Options, on_start: Callable[[str], None] | None = None) -> None:
    """Serve ``index`` until SIGINT or SIGTERM; requests under way are finished first.

    Args:
        on_start: called with the URL once the port is bound.

    Raises:
        UsageError: the host cannot be bound, or the port is in use.
    """
    with _bound(options.host, options.port) as listener:
        app = create_app(index, options)
        if on_start is not None:
            on_start(_url(listener))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            backlog=_BACKLOG,
            http=protocol(),
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        # One thread for each product of matrices: the readers are what runs side by side.
        with one_thread():
            _Server(config, app.state.service.maps.stop).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Calls ``on_stop`` before it waits for the requests under way: some of them would take minutes."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot serve on {host}: it is no address of this machine; see --host") from error
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # connections that come before the server runs wait
    except OSError as error:
        listener.close()
        raise UsageError(_refused(host, port, error)) from error
    return listener


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what uses it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights; choose one above 1023 with --port"
    return f"cannot serve on {host}: {error.strerror}; see --host"


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

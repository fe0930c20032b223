"""Who may ask what: host names, origins, tokens, body sizes, and the headers of every answer.

A server for one's own photos is attacked from the browser: by a page that resolves its own name to this
machine (DNS rebinding: the Host header gives it away), by a page that posts to it (the Origin header does),
and by a picture that is really a document (the content policy, and nosniff).  There is no CORS.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vsearch.server.options import Options
from vsearch.server.problems import Problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SANDBOX = "default-src 'none'; sandbox"
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="vsearch"'}
_SAFE = ("GET", "HEAD", "OPTIONS")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_SMALL_BODY = 2**20
# What clients call a picture that is sent bare; the last is what curl calls any body.
_BARE = ("image/", "application/octet-stream", "application/x-www-form-urlencoded")


def cookie_of(token: str) -> str:
    """The cookie's name: browsers give the cookies of one port to all others of a host."""
    return f"vsearch_{hmac.new(token.encode(), b'vsearch cookie', hashlib.sha256).hexdigest()[:8]}"


def session_of(token: str) -> str:
    """The cookie's value: proves the token, does not tell it, and outlives a restart of the server."""
    return hmac.new(token.encode(), b"vsearch session", hashlib.sha256).hexdigest()


def matches_token(given: str, token: str) -> bool:
    """Whether ``given`` is the token, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


class Guard:
    """ASGI middleware: refuses what :mod:`vsearch.server.security` names, and adds the headers."""

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app = app
        self._options = options
        self._names = {n.lower().rstrip(".") for n in (*_LOOPBACK_NAMES, options.host, *options.allow_hosts)}
        if not options.loopback:
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        head = scope["method"] == "HEAD"
        if head:
            scope = {**scope, "method": "GET"}

        async def with_headers(message: Message) -> None:
            if head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                given = {name for name, _ in headers}
                missing = [pair for pair in _RAW_HEADERS if pair[0] not in given]
                message = {**message, "headers": [*headers, *missing]}
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, self._bounded(scope, receive), with_headers)
        except Problem as problem:
            await problem.response()(scope, receive, with_headers)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._knows_host(headers.get("host", "")):
            raise Problem(
                421,
                "misdirected",
                "this server does not answer to that host name; start it with --allow-host NAME if it should",
            )
        if scope["method"] not in _SAFE and not _same_origin(headers):
            raise Problem(
                403,
                "cross-origin",
                "requests from other sites are refused; a reverse proxy must pass the header Host on",
            )
        if _is_private(scope["path"]) and not self._is_known(scope, headers):
            raise Problem(401, "unauthorized", "this server wants its token", _CHALLENGE)

    def _knows_host(self, header: str) -> bool:
        name = _host_name(header)
        if name is None:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # A name that was rebound is a name: an address in Host was typed by someone.
        return not self._options.loopback or address.is_loopback

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        token = self._options.token
        if token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and matches_token(given.strip(), token):
            return True
        cookie = HTTPConnection(scope).cookies.get(cookie_of(token), "")
        return matches_token(cookie, session_of(token))

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """``receive`` that refuses a body beyond the bound, whatever Content-Length promised."""
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "")
        form = kind.startswith("multipart/form-data")
        limit = self._options.max_upload_bytes if form else _SMALL_BODY
        refusal = _no_form() if kind.startswith(_BARE) else _too_large(limit)
        promised = headers.get("content-length", "0")
        if not promised.isdecimal() or int(promised) > limit:
            raise refusal
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise refusal
            return message

        return bounded


# The rest of a body that is refused is not read, hence the connection cannot be used again.
def _too_large(limit: int) -> Problem:
    detail = f"the request is larger than {limit / 2**20:g} MiB"
    return Problem(413, "too-large", detail, {"Connection": "close"})


def _no_form() -> Problem:
    detail = "send pictures as multipart/form-data, in the field `image` (`file` where photos are added)"
    return Problem(415, "no-form", detail, {"Connection": "close"})


def _is_private(path: str) -> bool:
    """Everything but the page's own files, the health check and the way to log in."""
    return (path.startswith("/api/") and path != "/api/v1/session") or path == "/metrics"


def _host_name(header: str) -> str | None:
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".") or None
    except ValueError:
        return None


def is_https(headers: Headers) -> bool:
    """Whether the browser asked by HTTPS, of a reverse proxy: its Origin says so."""
    return headers.get("origin", "").startswith("https://")


def _same_origin(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True  # not a browser
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False

"""Errors as problem details (RFC 9457): ``application/problem+json`` with type, title, status and detail.

``type`` is ``urn:vsearch:problem:`` and a word; the client turns that back into the class of the error.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vsearch import errors, wire

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
_log = logging.getLogger("vsearch.server")

# All others mean that the index cannot answer now.
_STATUS: Mapping[type[errors.VsearchError], int] = {
    errors.VsearchError: 500,
    errors.UsageError: 422,
    errors.MissingExtraError: 501,
    errors.PhotoError: 422,
    errors.StorageError: 507,
}


class Problem(HTTPException):
    """A problem to answer with; an HTTPException, since FastAPI passes those through while it reads a body.

    Args:
        status: HTTP status.
        word: the last part of ``type``.
        detail: one line for a person.
        headers: more headers of the answer.
        members: more members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        word: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.word = word
        self.members = members

    def response(self) -> Response:
        """The answer."""
        body = {
            "type": wire.PROBLEM + self.word,
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            **self.members,
        }
        return Response(json.dumps(body), self.status_code, self.headers, MEDIA_TYPE)


def busy(what: str, headers: dict[str, str] | None = None) -> Problem:
    """503: too much at once, come back in a second."""
    headers = {"Retry-After": str(RETRY_SECONDS)} | (headers or {})
    return Problem(503, "busy", f"too many {what} at once; try again", headers)


def of_error(error: errors.VsearchError) -> Problem:
    """The problem that says what ``error`` says."""
    kind = next(kind for kind in type(error).__mro__ if kind in wire.WORDS)
    status = _STATUS.get(kind, 503)
    members: dict[str, str] = {}
    if isinstance(error, errors.PhotoError):
        members = {"path": error.path, "reason": error.reason, "remedy": error.remedy}
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    return Problem(status, wire.WORDS[kind], str(error), headers, **members)


def refuse_unknown_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have: a misspelt filter must not let all pass.

    Raises:
        Problem: there is one.
    """
    path = request.scope["route"].path
    if not path.startswith("/api/"):
        return  # whoever looks whether the server is up may add what defeats caches
    operations = request.app.openapi()["paths"].get(path, {})
    operation = operations.get("get" if request.method == "HEAD" else request.method.lower(), {})
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    if unknown := [name for name in request.query_params if name not in known]:
        wrong = {"where": f"query.{unknown[0]}", "message": "there is no such parameter"}
        has = f"; it has {', '.join(known)}" if known else ""
        raise Problem(422, "invalid", f"{wrong['where']}: {wrong['message']} here{has}", errors=[wrong])


def _of_untyped(error: dict[str, Any]) -> str:
    """What to say of one error of a request that does not call its body JSON."""
    if error["loc"] == ("body",) and error["type"] != "missing":
        return "it was not sent as JSON; add the header Content-Type: application/json"
    if error["loc"][0] == "body" and error["type"] == "missing" and len(error["loc"]) > 1:
        return f"send it as multipart/form-data, in the field `{error['loc'][1]}`"
    return _message(error)


def _message(error: dict[str, Any]) -> str:
    """What pydantic says, without its own word before what vsearch says."""
    return str(error["msg"]).removeprefix("Value error, ")


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    async def vsearch_error(_: Request, error: errors.VsearchError) -> Response:
        return of_error(error).response()

    async def http_error(_: Request, error: HTTPException) -> Response:
        if isinstance(error, Problem):
            return error.response()
        word = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        return Problem(error.status_code, word, str(error.detail), headers).response()

    async def invalid(request: Request, error: RequestValidationError) -> Response:
        is_json = "json" in request.headers.get("content-type", "")
        wrong = [
            {"where": ".".join(map(str, e["loc"])), "message": _message(e) if is_json else _of_untyped(e)}
            for e in error.errors()
        ]
        detail = "; ".join(f"{e['where']}: {e['message']}" for e in wrong)
        return Problem(422, "invalid", detail, errors=wrong).response()

    async def no_memory(_: Request, error: MemoryError) -> Response:
        _log.error("not enough memory", exc_info=error)
        return Problem(503, "memory", "the server has not enough memory for this").response()

    async def unexpected(_: Request, error: Exception) -> Response:
        _log.error("unexpected error", exc_info=error)
        detail = f"unexpected {type(error).__name__}; this is a bug: the server's log has more"
        return Problem(500, "unexpected", detail).response()

    app.exception_handler(errors.VsearchError)(vsearch_error)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(RequestValidationError)(invalid)
    app.exception_handler(MemoryError)(no_memory)
    app.exception_handler(Exception)(unexpected)


class Plain:
    """Middleware: errors that Starlette answers as plain text, those of Range headers, become problems."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        plain: Problem | None = None

        async def as_problem(message: Message) -> None:
            nonlocal plain
            if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
                headers = Headers(raw=message["headers"])
                if headers.get("content-type", "").startswith("text/plain"):
                    plain = _of_range(message["status"], headers)
                    return
            if plain is None:
                await send(message)
            elif not message.get("more_body"):
                await plain.response()(scope, receive, send)

        await self._app(scope, receive, as_problem)


def _of_range(status: int, headers: Headers) -> Problem:
    named = {"Content-Range": headers["content-range"]} if "content-range" in headers else None
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), f"{phrase.lower()}: see the header Range", named)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these problems, and those that any may."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in (*statuses, 400, 401, 403, 404, 405, 413, 415, 421, 422, 503)
    }

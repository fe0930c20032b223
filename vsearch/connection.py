"""Requests to one ``vsearch serve``: tried again when it is busy, and what it refuses as our errors."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import httpx

from vsearch import errors, wire

Read = TypeVar("Read")

_TRIES = 4
_PAUSE_SECONDS = 0.25  # before the first retry; doubled each time
_CLASSES = {word: kind for kind, word in wire.WORDS.items()} | {"invalid": errors.UsageError}


class Connection:
    """One server; every method raises :class:`~vsearch.errors.VsearchError` and nothing else.

    Args:
        url: such as ``http://127.0.0.1:8750``.
        token: what the server was started with.
        timeout: seconds to wait for an answer.

    Raises:
        UsageError: one of them is not as :func:`vsearch.connect` wants it.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError, ValueError):
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise errors.UsageError(f"the server must be an http or https URL; received {url!r}")
        if token is not None and not _is_token(token):
            raise errors.UsageError("a token is printable ASCII text without spaces; this one is not")
        self.url = str(parsed)
        self._connect = partial(
            httpx.Client,
            base_url=parsed,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_limits(timeout),
            trust_env=False,
        )
        self._http, self._process = self._connect(), os.getpid()
        self._parents: httpx.Client | None = None  # kept: the parent goes on using its connections

    def close(self) -> None:
        """Close it."""
        self._http.close()

    def ask(self, read: Callable[[Any], Read], method: str, path: str, **options: Any) -> Read:
        """What ``read`` makes of the JSON of an answer; the request changes nothing, and may be repeated.

        Raises:
            ServerError: ``read`` makes nothing of it: it may be a page of a proxy.
        """
        return self.understood(read, self.again(method, path, **options))

    def understood(self, read: Callable[[Any], Read], response: httpx.Response) -> Read:
        """What ``read`` makes of the JSON of ``response``; errors of :meth:`ask`."""
        try:
            return read(response.json())
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self.no_vsearch(response) from error

    def again(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A successful answer, of :meth:`retried`."""
        response = self.retried(method, path, **options)
        self.raise_for(response)
        return response

    def retried(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request that changes nothing: tried again when the server is away or busy."""
        pause = _PAUSE_SECONDS
        for left in reversed(range(_TRIES)):
            try:
                response = self.once(method, path, **options)
            except errors.ServerError:
                if not left:
                    raise
            else:
                busy = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
                if not busy or not left:
                    return response
                pause = max(pause, _retry_after(response))
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable: the last try returns or raises")

    def once(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Whatever the server answers.

        Raises:
            ServerError: it cannot be reached.
            UsageError: JSON or HTTP cannot say what is asked, or the connection was closed.
        """
        if os.getpid() != self._process:  # answers would go to whoever reads first from what was open
            self._parents, self._http, self._process = self._http, self._connect(), os.getpid()
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise errors.ServerError(
                f"cannot reach {self.url}: {why}; is `vsearch serve` running there?"
            ) from error
        except (TypeError, ValueError, OverflowError) as error:  # a text that is not Unicode, say
            raise errors.UsageError(f"this cannot be asked for: {error}") from error
        except RuntimeError as error:
            raise errors.UsageError("this client was closed; connect anew") from error

    def raise_for(self, response: httpx.Response) -> None:
        """Raise what the server refused with, if it did."""
        if not response.is_error:
            return
        problem = object_of(response)
        word, detail = str(problem.get("type")).removeprefix(wire.PROBLEM), str(problem.get("detail"))
        kind = _CLASSES.get(word, errors.VsearchError)
        if kind is errors.PhotoError and {"path", "reason", "remedy"} <= problem.keys():
            raise errors.PhotoError(problem["path"], problem["reason"], problem["remedy"])
        if not {"type", "detail"} <= problem.keys():
            raise self.no_vsearch(response)
        if kind not in (errors.PhotoError, errors.VsearchError):
            raise kind(detail)
        raise errors.ServerError(f"{self.url}: {detail}")

    def no_vsearch(self, response: httpx.Response) -> errors.ServerError:
        """The error that says so of whoever answered."""
        answered = f"{response.status_code} {response.reason_phrase}"
        return errors.ServerError(f"{self.url} answered {answered}; is it a vsearch server?")


def object_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one if it has none, a proxy's page say."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_token(token: object) -> bool:
    return isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token


def _limits(timeout: object) -> httpx.Timeout:
    if not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise errors.UsageError(f"a timeout is a number of seconds above 0; received {timeout!r}")
    return httpx.Timeout(timeout, connect=min(timeout, 5.0))


def _retry_after(response: httpx.Response) -> float:
    seconds = response.headers.get("retry-after", "0")
    return float(seconds) if seconds.isdecimal() else 0.0

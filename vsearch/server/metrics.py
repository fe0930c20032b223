"""Prometheus metrics: requests by route, how long they took, and what the index holds."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("vsearch_requests", "Requests answered", labels, registry=self._registry)
        self._seconds = Histogram(
            "vsearch_request_seconds",
            "Seconds from request to answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._photos = Gauge("vsearch_photos", "Photos by state", ("state",), registry=self._registry)
        self._generation = Gauge("vsearch_generation", "The published generation", registry=self._registry)
        self._pending = Gauge(
            "vsearch_pending", "Changes that no published generation has", registry=self._registry
        )
        self._waiting = Gauge(
            "vsearch_running",
            "Calls that run or wait, by kind of worker",
            ("worker",),
            registry=self._registry,
        )

        self._recalled = Counter(
            "vsearch_answers_recalled",
            "Questions answered with an answer given before",
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def set_index(self, ready: int, failed: int, generation: int, pending: int) -> None:
        """What the index holds now."""
        self._photos.labels("ready").set(ready)
        self._photos.labels("failed").set(failed)
        self._generation.set(generation)
        self._pending.set(pending)

    def set_running(self, worker: str, count: int) -> None:
        """How many calls of one kind run or wait now."""
        self._waiting.labels(worker).set(count)

    def count_recalled(self) -> None:
        """Count one question that was answered with an answer given before."""
        self._recalled.inc()

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return generate_latest(self._registry)


class Measured:
    """ASGI middleware that counts requests by the template of their route, never by their path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.observe(method, route, status, time.perf_counter() - started)


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

"""The OpenAPI document is held to its word by requests that Hypothesis makes up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

import vsearch
from tests.serving import Server
from vsearch.server.app import create_app
from vsearch.server.options import Options

schemathesis = pytest.importorskip("schemathesis", reason="needs the dev extra's schemathesis")
NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def test_many_may_ask_for_the_document_at_once(served_index: Path) -> None:
    app = create_app(vsearch.Index.open(served_index), Options())
    together = threading.Barrier(6)

    def asked(_: int) -> dict[str, Any]:
        together.wait()
        return app.openapi()

    with ThreadPoolExecutor(6) as pool:
        documents = list(pool.map(asked, range(6)))
    assert all("token" in document["components"]["securitySchemes"] for document in documents)
    assert len({id(document) for document in documents}) == 1


def test_the_document_names_what_there_is(served_index: Path) -> None:
    document = create_app(vsearch.Index.open(served_index), Options()).openapi()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/api/v1/query",
        "/api/v1/query/upload",
        "/api/v1/duplicates",
        "/api/v1/duplicates/decisions",
        "/api/v1/duplicates/decisions/{name}",
        "/api/v1/map",
        "/api/v1/progress",
        "/api/v1/pictures",
        "/api/v1/pictures/{name}",
        "/api/v1/photos",
        "/api/v1/photos/{photo_id}",
        "/api/v1/photos/{photo_id}/similar",
        "/api/v1/photos/{photo_id}/thumbnail",
        "/api/v1/photos/{photo_id}/original",
        "/api/v1/server",
        "/api/v1/session",
        "/api/v1/status",
        "/healthz",
        "/metrics",
    }


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_server_error_and_no_undocumented_answer(
    server: Server, served_index: Path, mode: schemathesis.GenerationMode
) -> None:
    """Requests that fit the document, and requests that do not, of every operation."""
    document = create_app(vsearch.Index.open(served_index), Options()).openapi()
    held = 0
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        try:
            cases = operation.as_strategy(generation_mode=mode)
            hold(cases, server)
        except Unsatisfiable:
            continue  # nothing about it can be wrong: it takes no input
        held += 1
    assert held >= 8


def hold(cases: SearchStrategy[schemathesis.Case], server: Server) -> None:
    """Send ``cases`` and check the answers against the document."""

    schemathesis.checks.load_all_checks()
    checks = schemathesis.checks.CHECKS.get_by_names(NAMES)

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def send(case: schemathesis.Case) -> None:
        response = case.call(base_url=server.url)
        case.validate_response(response, checks=checks)

    send()

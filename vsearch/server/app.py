"""The ASGI application over one index."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI

import vsearch
from vsearch.errors import UsageError
from vsearch.index import Index
from vsearch.server import problems, schemas
from vsearch.server.adding import NO_FOLDER, Adder
from vsearch.server.answers import Answers
from vsearch.server.maps import Maps
from vsearch.server.metrics import Measured, Metrics
from vsearch.server.options import Options
from vsearch.server.pictures import Pictures
from vsearch.server.routes import duplicates, maps, page, photos, queries, service
from vsearch.server.security import Guard
from vsearch.server.service import Service
from vsearch.server.uploading import Uploading
from vsearch.server.workers import Workers

_DESCRIPTION = "Find photos by picture. Errors are problem details (RFC 9457)."
_KEPT_UPLOADS = 4  # of the largest size
_UPLOADS_TOGETHER = 8
_describing = threading.Lock()  # the first requests want the document at once, and FastAPI makes it for one


def create_app(index: Index, options: Options) -> FastAPI:
    """The application; ``index`` is its own from now on.

    Raises:
        UsageError: adding is allowed, but there is no photo folder to save under.
    """
    served = _service(index, options)
    app = FastAPI(
        title="vsearch",
        version=vsearch.__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # the documentation pages of FastAPI load scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.service = served
    for topic in (queries, photos, duplicates, maps, service):
        app.include_router(topic.router, dependencies=[Depends(problems.refuse_unknown_parameters)])
    app.include_router(page.router)
    problems.install(app)
    app.add_middleware(problems.Plain)
    largest = options.max_upload_bytes
    app.add_middleware(Uploading, largest=largest, together=_UPLOADS_TOGETHER * largest)
    app.add_middleware(Guard, options=options)
    app.add_middleware(Measured, metrics=served.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _service(index: Index, options: Options) -> Service:
    if options.allow_add and not index.walked_roots():
        raise UsageError(NO_FOLDER)
    metrics = Metrics()
    return Service(
        options=options,
        readers=Workers(index, options.readers, options.queued, "questions"),
        decoders=Workers(index, options.decoders, options.waiting, "uploads"),
        adder=Adder(index.sibling(), options.max_megapixels) if options.allow_add else None,
        maps=Maps(Workers(index, 1, options.queued, "maps")),
        pictures=Pictures(_KEPT_UPLOADS * options.max_upload_bytes),
        answers=Answers(options.kept_answers_bytes, metrics.count_recalled),
        metrics=metrics,
    )


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    served: Service = app.state.service
    if served.adder is not None:
        served.adder.start()
    served.readers.warm()
    yield
    if served.adder is not None:
        served.adder.stop()
    served.maps.close()
    served.readers.close()
    served.decoders.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with our problems in place of its errors, and how to show a token."""
    with _describing:
        if app.openapi_schema is None:
            app.openapi_schema = _described(FastAPI.openapi(app))
        return app.openapi_schema


def _described(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for model in (schemas.Problem, schemas.Wrong):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document

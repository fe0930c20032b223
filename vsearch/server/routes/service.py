"""The server itself: what it holds and can do, adding photos, health, metrics, logging in."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import Response

import vsearch
from vsearch.errors import PhotoError
from vsearch.index import Index
from vsearch.records import Photo
from vsearch.server import schemas
from vsearch.server.adding import Adder, root_of
from vsearch.server.problems import Problem, documented
from vsearch.server.security import cookie_of, is_https, matches_token, session_of
from vsearch.server.service import Served, json_response, photo_json

router = APIRouter(tags=["service"])
_MOST_FILES = 100
_WRONG_TOKEN_SECONDS = 0.5
_SESSION_SECONDS = 30 * 24 * 3600


@router.get("/api/v1/status", response_model=schemas.Status, responses=documented())
async def status(service: Served) -> Response:
    """What the index holds."""
    return json_response(await service.read(Index.status))


@router.get("/api/v1/server", response_model=schemas.Server, responses=documented())
async def server(service: Served) -> Response:
    """What this server can do, and how far its writer is."""
    options = service.options
    cameras, text, roots = await service.read(lambda i: (i.cameras(), i.has_text(), i.walked_roots()))
    return json_response(
        {
            "version": vsearch.__version__,
            "allow_add": options.allow_add,
            "text": text,
            "max_upload_bytes": options.max_upload_bytes,
            "max_megapixels": options.max_megapixels,
            "cameras": cameras,
            "roots": roots if options.allow_add else [],
            "adding": _adding(service.adder),
        }
    )


@router.get("/api/v1/progress", response_model=schemas.Progress, responses=documented())
async def progress(service: Served) -> Response:
    """How far indexing is, by this server or by another process; for asking again and again."""
    held = await service.read(Index.held)
    return json_response({**asdict(held), "adding": _adding(service.adder)})


@router.post(
    "/api/v1/photos", status_code=201, response_model=schemas.Report, responses=documented(400, 413, 507)
)
async def add(
    service: Served,
    file: Annotated[list[UploadFile], File(max_length=_MOST_FILES)],
    root: Annotated[
        str | None, Form(description="The photo folder to save under: one of `roots`, or its last name.")
    ] = None,
) -> Response:
    """Save photos in a photo folder and index them; answered when a published generation has them."""
    adder = service.adder
    if adder is None:
        raise Problem(403, "adding-off", "this server takes no photos; --allow-add lets it")
    started = time.monotonic()
    pictures = [await upload.read() for upload in file]
    folder = root_of(await service.read(Index.walked_roots), root)
    names = [upload.filename or "upload" for upload in file]
    paths, skipped = await service.decode(lambda _: _saved(adder, folder, names, pictures))
    if not paths:
        raise Problem(422, "photo", "none of the uploads is a photo that can be used", skipped=skipped)
    before = await service.read(lambda index: [index.named(path) for path in paths])
    await asyncio.wrap_future(adder.add(paths))
    after = await service.read(lambda index: [index.named(path) for path in paths])
    return json_response(_report(before, after, skipped, time.monotonic() - started), 201)


def _saved(
    adder: Adder, folder: str, names: list[str], pictures: list[bytes]
) -> tuple[list[Path], list[dict[str, str]]]:
    """Where uploads were saved, and those that were not, under the name that they came with."""
    paths: list[Path] = []
    skipped: list[dict[str, str]] = []
    for name, data in zip(names, pictures, strict=True):
        try:
            paths.append(adder.save(data, folder))
        except PhotoError as error:
            skipped.append({"path": name, "reason": error.reason, "remedy": error.remedy})
    return paths, skipped


def _report(
    before: list[Photo | None], after: list[Photo | None], skipped: list[dict[str, str]], seconds: float
) -> dict[str, Any]:
    """What became of each upload: the writer's own report covers other requests too."""
    ready = [photo for photo in after if photo is not None and photo.state == "ready"]
    known = {photo.id for photo in before if photo is not None and photo.state == "ready"}
    added = len({photo.id for photo in ready} - known)
    failed = [photo for photo in after if photo is not None and photo.state == "failed"]
    return {
        "added": added,
        "updated": 0,
        "moved": 0,
        "removed": 0,
        "unchanged": len(ready) - added,
        "skipped": [
            *skipped,
            *({"path": Index.path_of(p), "reason": p.reason or "", "remedy": p.remedy or ""} for p in failed),
        ],
        "seconds": round(seconds, 3),
        "photos": [photo_json(photo) for photo in ready],
    }


@router.post(
    "/api/v1/session",
    status_code=204,
    response_class=Response,
    responses=documented(),
)
async def log_in(login: schemas.Login, request: Request, service: Served) -> Response:
    """Trade the token for a cookie that scripts cannot read: how the page logs in."""
    token = service.options.token
    if token is None:
        return Response(status_code=204)
    if not matches_token(login.token, token):
        await asyncio.sleep(_WRONG_TOKEN_SECONDS)
        raise Problem(401, "unauthorized", "that is not this server's token")
    response = Response(status_code=204)
    response.set_cookie(
        cookie_of(token),
        session_of(token),
        max_age=_SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=is_https(request.headers),
    )
    return response


@router.delete("/api/v1/session", status_code=204, response_class=Response, responses=documented())
async def log_out(service: Served) -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    if service.options.token is not None:
        response.delete_cookie(cookie_of(service.options.token), httponly=True, samesite="strict")
    return response


@router.get("/healthz", response_model=schemas.Health, responses=documented())
async def healthz(service: Served) -> Response:
    """Whether the index can be read: 200, or 503 with the reason."""
    generation = (await service.read(Index.held)).generation
    return json_response({"status": "ok", "generation": generation})


@router.get(
    "/metrics", response_class=Response, responses=documented() | {200: {"content": {"text/plain": {}}}}
)
async def metrics(service: Served) -> Response:
    """Metrics for Prometheus."""
    found = await service.read(Index.held)
    service.metrics.set_index(found.photos, found.failed, found.generation, found.pending)
    service.metrics.set_running("readers", service.readers.running)
    service.metrics.set_running("decoders", service.decoders.running)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _adding(adder: Adder | None) -> dict[str, Any] | None:
    if adder is None:
        return None
    state = adder.state()
    progress = state.progress
    return {
        "waiting": state.waiting,
        "busy": state.busy,
        "done": progress.done if progress else 0,
        "total": progress.total if progress else 0,
    }

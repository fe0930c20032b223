"""The page: one HTML file, its style and its modules, as they lie in the package.

The map's drawing is the same as in the page that ``vsearch map`` writes, and lies with that.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from vsearch.server.problems import Problem

router = APIRouter(include_in_schema=False)
_KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str


def _load() -> dict[str, _Asset]:
    own = [item for item in (files("vsearch.server") / "static").iterdir() if item.is_file()]
    shared = files("vsearch.render") / "templates" / "plane.js"
    return {item.name: _asset(item.name, item.read_bytes()) for item in [*own, shared]}


def _asset(name: str, body: bytes) -> _Asset:
    suffix = name[name.rfind(".") :]
    kind = _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _Asset(body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


ASSETS = _load()


@router.get("/")
async def page(request: Request) -> Response:
    """The page itself."""
    return _sent(request, "page.html")


@router.get("/static/{name}")
async def asset(request: Request, name: str) -> Response:
    """A file of the page."""
    return _sent(request, name)


def _sent(request: Request, name: str) -> Response:
    asset = ASSETS.get(name)
    if asset is None:
        raise Problem(404, "not-found", f"there is no file {name!r}")
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)

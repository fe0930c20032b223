"""The map of the collection."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from vsearch.index import Index
from vsearch.server import schemas
from vsearch.server.maps import Filters, Version
from vsearch.server.problems import documented
from vsearch.server.service import Served

router = APIRouter(prefix="/api/v1", tags=["map"])
IfNoneMatch = Annotated[str | None, Header(description="ETags that the client has.")]


@router.get(
    "/map",
    response_model=schemas.PhotoMap,
    responses=documented(501) | {304: {"description": "Not Modified"}},
)
async def photo_map(
    service: Served,
    where: Annotated[str | None, Query(max_length=4000, description="A filter.")] = None,
    under: Annotated[str | None, Query(max_length=4000, description="Only in this folder.")] = None,
    since: Annotated[str | None, Query(max_length=40, description="Only taken then or later.")] = None,
    until: Annotated[str | None, Query(max_length=40, description="Only taken then or before.")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Photos on a plane, alike ones close together: made once for each generation, in 20 s for 10,000."""
    status = await service.read(Index.status)
    version = Version(status.generation, status.encoder.fingerprint, Filters(where, under, since, until))
    headers = {"ETag": version.etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and (if_none_match.strip() == "*" or version.etag in if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(await service.maps.of(version), media_type="application/json", headers=headers)

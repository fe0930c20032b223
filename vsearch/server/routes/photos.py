"""Photos of the index: lists, facts, thumbnails and originals, by opaque id alone."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from starlette.responses import FileResponse, Response

from vsearch import files
from vsearch.index import Index
from vsearch.plan import differs
from vsearch.records import Photo
from vsearch.server import schemas
from vsearch.server.problems import Problem, documented
from vsearch.server.security import SANDBOX
from vsearch.server.service import Served, found, json_response, photo_json

router = APIRouter(prefix="/api/v1", tags=["photos"])
PhotoId = Annotated[str, schemas.IdPath]
IfNoneMatch = Annotated[str | None, Header(description="ETags that the client has.")]
_REVALIDATED = "private, max-age=300"
# What a browser may show in place: raster pictures.  Everything else is only ever downloaded.
_INLINE = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}


@router.get("/photos", response_model=schemas.Photos, responses=documented())
async def photos(
    service: Served,
    state: Literal["ready", "failed"] = "ready",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(pattern=schemas.ID, description="`next` of the page before.")] = None,
    newest: Annotated[bool, Query(description="From the last one in to the first.")] = False,
    where: Annotated[str | None, Query(max_length=4000, description="A filter.")] = None,
    under: Annotated[str | None, Query(max_length=4000, description="Only in this folder.")] = None,
    since: Annotated[str | None, Query(max_length=40, description="Only taken then or later.")] = None,
    until: Annotated[str | None, Query(max_length=40, description="Only taken then or before.")] = None,
) -> Response:
    """One page of the photos, or of those that failed, in the order in which they came in."""

    def read(index: Index) -> list[Photo]:
        condition = index.condition(where, under=under, since=since, until=until)
        return index.page(state, limit=limit, after=after, newest=newest, condition=condition)

    page = await service.read(read)
    following = str(page[-1].id) if len(page) == limit else None
    return json_response({"photos": [photo_json(photo) for photo in page], "next": following})


@router.get("/photos/{photo_id}", response_model=schemas.Photo, responses=documented(404))
async def photo(photo_id: PhotoId, service: Served) -> Response:
    """What is known about a photo."""
    return json_response(photo_json(await service.read(lambda index: _photo(index, photo_id))))


@router.get(
    "/photos/{photo_id}/thumbnail",
    response_class=Response,
    responses=documented(404) | {200: {"content": {"image/jpeg": {}}}, 304: {"description": "Not Modified"}},
)
async def thumbnail(photo_id: PhotoId, service: Served, if_none_match: IfNoneMatch = None) -> Response:
    """A small JPEG, longest side 256 pixels; also of photos whose file is gone."""

    def read(index: Index) -> Response:
        known = _photo(index, photo_id)
        headers = {"ETag": _etag(known, "t"), "Cache-Control": _REVALIDATED}
        if _has(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        data = index.thumbnail(photo_id)
        if data is None:
            raise Problem(404, "not-found", f"photo {photo_id} has no thumbnail: it could not be read")
        return Response(data, media_type="image/jpeg", headers=headers)

    return await service.read(read)


@router.get(
    "/photos/{photo_id}/original",
    response_class=FileResponse,
    responses=documented(404, 410, 416)
    | {
        200: {"content": {"image/*": {}, "application/octet-stream": {}}},
        206: {"description": "Partial Content"},
        304: {"description": "Not Modified"},
        400: documented(400)[400],
    },
)
async def original(photo_id: PhotoId, service: Served, if_none_match: IfNoneMatch = None) -> Response:
    """The photo's own file; 410 when it is gone or was changed since it was indexed."""

    def read(index: Index) -> Response:
        known = _photo(index, photo_id)
        status = _unchanged(known, photo_id)
        headers = {
            "ETag": _etag(known, "o"),
            "Cache-Control": _REVALIDATED,
            "Content-Security-Policy": SANDBOX,
        }
        if _has(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        kind = _INLINE.get(known.facts.format if known.facts else "")
        return FileResponse(
            Index.path_of(known),
            headers=headers,
            media_type=kind or "application/octet-stream",
            filename=os.path.basename(known.file.path).encode("utf-8", "replace").decode(),
            content_disposition_type="inline" if kind else "attachment",
            stat_result=status,
        )

    return await service.read(read)


def _photo(index: Index, photo_id: str) -> Photo:
    return found(index.photo(photo_id), photo_id)


def _unchanged(photo: Photo, photo_id: str) -> os.stat_result:
    """The stat of the photo's file, which is the one that was indexed."""
    path = photo.file.absolute
    try:
        status = os.stat(path)
    except OSError:
        raise Problem(410, "gone", f"the file of photo {photo_id} is not there any more") from None
    if not stat.S_ISREG(status.st_mode) or not _has_its_bytes(path, status, photo):
        raise Problem(410, "gone", f"the file of photo {photo_id} has changed since it was indexed")
    return status


def _has_its_bytes(path: str, status: os.stat_result, photo: Photo) -> bool:
    """As ``sync`` tells: by the stat, and only where that differs, since it was touched say, by the bytes."""
    size, mtime, ctime = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if not differs(replace(photo.file, size=size, mtime_ns=mtime, ctime_ns=ctime), photo.file):
        return True
    return size == photo.file.size and files.sha256(path) == photo.sha256


def _etag(photo: Photo, what: str) -> str:
    return f'"{(photo.sha256 or "")[:32]}-{what}"'


def _has(header: str | None, etag: str) -> bool:
    return header is not None and (header.strip() == "*" or etag in header)

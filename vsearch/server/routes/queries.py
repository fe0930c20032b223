"""Queries: by uploaded pictures, by photos of the index, or by both."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import pydantic
from fastapi import APIRouter, File, Form, Query, UploadFile
from starlette.responses import Response

from vsearch import images
from vsearch.errors import PhotoError, UsageError
from vsearch.index import Index
from vsearch.question import Asked, Picture, weighted
from vsearch.search import AnswerOptions
from vsearch.server import pictures as uploaded
from vsearch.server import schemas
from vsearch.server.problems import Problem, documented
from vsearch.server.service import Served, Service, as_json, found, json_response

router = APIRouter(prefix="/api/v1", tags=["queries"])
_THUMBNAIL_HEADERS = {"Cache-Control": "private, max-age=86400"}


@router.post("/query", response_model=schemas.Matches, responses=documented(400, 404, 413))
async def query(request: schemas.QueryRequest, service: Served) -> Response:
    """The photos most like some pictures: photos of the index by id, uploaded ones by name."""
    return await _answer(request, service)


@router.post("/query/upload", response_model=schemas.Matches, responses=documented(400, 404, 413))
async def query_upload(
    service: Served, form: Annotated[schemas.QueryForm, Form(media_type="multipart/form-data")]
) -> Response:
    """The same in one step, with the pictures themselves: `curl -F image=@cat.jpg …/query/upload`."""
    asked = _parsed(form.request)
    plus = [service.pictures.put(await _body(file)) for file in form.image]
    less = [service.pictures.put(await _body(file)) for file in form.minus]
    pictures = {"images": [*asked.images, *plus], "minus": [*asked.minus, *less]}
    if max(map(len, pictures.values())) > schemas.MOST_PICTURES:
        raise UsageError(f"at most {schemas.MOST_PICTURES} pictures, ids and uploads together")
    return await _answer(asked.model_copy(update=pictures), service)


@router.get("/photos/{photo_id}/similar", response_model=schemas.Matches, responses=documented(404))
async def similar(
    photo_id: Annotated[str, schemas.IdPath],
    service: Served,
    k: Annotated[int, Query(ge=1, le=schemas.MOST_MATCHES)] = 10,
    offset: Annotated[int, Query(ge=0, le=schemas.FARTHEST)] = 0,
) -> Response:
    """The photos most like one of the index."""
    return await _answer(schemas.QueryRequest(images=[photo_id], k=k, offset=offset), service)


@router.post("/pictures", status_code=201, response_model=schemas.Uploaded, responses=documented(400, 413))
async def upload_picture(image: Annotated[UploadFile, File()], service: Served) -> Response:
    """Leave a picture with the server, to ask for it by name as long as the server keeps it."""
    data = await _body(image)
    limit = service.options.max_megapixels
    measure = await service.decode(lambda _: images.measure(data, limit, name="upload"))
    return json_response({"picture": service.pictures.put(data), **asdict(measure)}, 201)


@router.get(
    "/pictures/{name}",
    response_class=Response,
    responses=documented(404) | {200: {"content": {"image/jpeg": {}}}},
)
async def uploaded_picture(name: str, service: Served) -> Response:
    """A small JPEG of a picture that was left with the server."""
    data = _kept(service, name)
    limit = service.options.max_megapixels

    def thumbnail(_: object) -> bytes:
        return images.decode(data, 8, max_megapixels=limit, name="upload").thumbnail

    return Response(await service.decode(thumbnail), media_type="image/jpeg", headers=_THUMBNAIL_HEADERS)


async def _answer(asked: schemas.QueryRequest, service: Service) -> Response:
    names = [*asked.images, *asked.minus]
    kept = {name: _kept(service, name) for name in names if name.startswith(uploaded.PREFIX)}
    limit = service.options.max_megapixels

    def make(index: Index) -> bytes:
        for data in kept.values():
            images.measure(data, limit, name="upload")
        pictures: dict[str, Picture] = {n: kept.get(n) or found(index.photo(n), n) for n in names}
        plus, minus = ([pictures[name] for name in part] for part in (asked.images, asked.minus))
        question = Asked(
            plus=weighted(plus, asked.weights, "weights"),
            minus=weighted(minus, asked.minus_weights, "minus_weights"),
            text=asked.text,
            text_weight=asked.text_weight,
            crop=asked.crop,
        )
        condition = index.condition(asked.where, under=asked.under, since=asked.since, until=asked.until)
        wanted = AnswerOptions(
            k=asked.k + asked.offset,
            refine=asked.expand,
            condition=condition,
            min_score=asked.min_score,
            min_match=asked.min_match,
        )
        best = index.answer(question, wanted)
        return as_json({"matches": best.matches[asked.offset :], "more": best.more})

    def answer(index: Index) -> bytes:
        if asked.crop or asked.under:  # these read files outside the index, which may change
            return make(index)
        return service.answers.of(index.edition(), asked.model_dump_json(), lambda: make(index))

    # Only a picture that must be decoded has to queue for a decoder.
    run = service.decode if kept or asked.crop or asked.text else service.read
    try:
        return Response(await run(answer), media_type="application/json")
    except PhotoError as error:
        if error.path != images.name_of(b""):
            raise  # a photo of the index, which has a path
        raise PhotoError("upload", error.reason, error.remedy) from error


def _kept(service: Service, name: str) -> bytes:
    data = service.pictures.get(name)
    if data is None:
        raise Problem(404, "picture-dropped", "the server has that picture no more; upload it again")
    return data


async def _body(file: UploadFile) -> bytes:
    data = await file.read()
    if not data:
        raise PhotoError("upload", "empty file", "choose a picture")
    return data


def _parsed(text: str) -> schemas.QueryRequest:
    try:
        return schemas.QueryRequest.model_validate_json(text)
    except pydantic.ValidationError as error:
        wrong = [
            {"where": ".".join(["request", *map(str, e["loc"])]), "message": e["msg"]} for e in error.errors()
        ]
        detail = "; ".join(f"{e['where']}: {e['message']}" for e in wrong)
        raise Problem(422, "invalid", detail, errors=wrong) from error

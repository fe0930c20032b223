"""Duplicates: groups of photos that are one picture, and what was decided about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from vsearch.duplicates.decisions import Decision
from vsearch.errors import UsageError
from vsearch.index import Index
from vsearch.records import Relation
from vsearch.server import schemas
from vsearch.server.problems import Problem, documented
from vsearch.server.service import Served, found, json_response

router = APIRouter(prefix="/api/v1/duplicates", tags=["duplicates"])


@router.get("", response_model=schemas.Duplicates, responses=documented())
async def duplicates(
    service: Served,
    kind: Annotated[list[Relation], Query(description="Relations to report; all by default.")] = [],  # noqa: B006
    within: Annotated[str | None, Query(max_length=4000, description="Only photos in this folder.")] = None,
    keep: Annotated[str, Query(max_length=200, description="Rules for the one to keep.")] = "largest,oldest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """Groups, each around a representative; finding them takes a while the first time."""
    groups = await service.decode(lambda index: index.duplicates(kinds=kind, within=within, keep=keep))
    page = [asdict(group) for group in groups[offset : offset + limit]]
    return json_response({"groups": page, "total": len(groups)})


@router.get("/decisions", response_model=list[schemas.Decision], responses=documented())
async def decisions(service: Served) -> Response:
    """What was decided, oldest first."""
    made = await service.read(lambda index: index.tidying().decisions())
    return json_response([decision.as_json() for decision in made])


@router.post("/decisions", status_code=201, response_model=schemas.Decision, responses=documented(507))
async def decide(decision: schemas.Decide, service: Served) -> Response:
    """Decide that two photos are not duplicates, or which one is to be kept."""

    def work(index: Index) -> Decision:
        photos = [Index.path_of(found(index.photo(i), i)) for i in decision.photos]
        tidying = index.tidying()
        if decision.what == "keep":
            return tidying.decide_keep(photos[0])
        return tidying.decide_not_duplicates(photos[0], photos[-1])

    made = await service.read(work)
    return json_response(made.as_json(), 201)


@router.delete("/decisions/{name}", status_code=204, response_class=Response, responses=documented(507))
async def forget(name: Annotated[str, Path(pattern="^[0-9a-f]{8}$")], service: Served) -> Response:
    """Undo a decision."""

    def work(index: Index) -> None:
        try:
            index.tidying().forget_decision(name)
        except UsageError as error:
            raise Problem(404, "not-found", f"there is no decision {name}") from error

    await service.read(work)
    return Response(status_code=204)

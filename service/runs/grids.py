"""What the endpoints of jobs and of trials answer about sample grids alike.

A picture is asked for by its step. With `v`, which the URLs in the list have, the answer never changes and may be kept for
good; without, it may (training can go back behind a step and draw it anew), and its ETag says whether it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.bodies.base import Page
from service.bodies.samples import SampleGrid, Tiles
from service.context import Context
from service.elsewhere import Errand
from service.errors import Conflict, NotFound
from service.etags import ASK, FOREVER, matches
from service.runs import samples
from service.runs.samples import Grid, Opened
from trainer.images import GridFacts, cut

Step = Annotated[int, InPath(ge=0, lt=10**samples.MOST_DIGITS, examples=[500])]
Tile = Annotated[int, InPath(ge=0, lt=2**31, description="Images are counted from 0, row by row.", examples=[0])]
Version = Annotated[
    str | None, Query(max_length=40, pattern=r"^[0-9a-f-]+$", description="From the list's `url`: that very picture.")
]
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "It is the picture with that ETag."},
}
"""What an endpoint of one picture answers, for the OpenAPI document."""


@dataclass(frozen=True)
class Owner:
    """Whose grids."""

    folder: Path
    name: str
    """For a person."""
    url: str
    """Path below which they are asked for."""


def page(ctx: Context, owner: Owner, limit: int, cursor: str | None) -> Page[SampleGrid]:
    """The grids that are kept. Raises Invalid."""
    found, following = samples.page(ctx.settings.jobs_root, owner.folder, limit, cursor)
    return Page(items=[_shown(grid, owner.url) for grid in found], next_cursor=following)


def newest(ctx: Context, owner: Owner, known: str | None) -> Response:
    """The newest grid. Raises NotFound."""
    opened = samples.newest(ctx.settings.jobs_root, owner.folder)
    if opened is None:
        raise NotFound(f"{owner.name} has drawn no samples yet")
    return _whole(opened, None, known)


def one(ctx: Context, owner: Owner, step: int, version: str | None, known: str | None) -> Response:
    """The grid of a step. Raises NotFound."""
    return _whole(_opened(ctx, owner, step, version), version, known)


async def tile(
    ctx: Context,
    errand: Errand,
    owner: Owner,
    step: int,
    number: int,
    version: str | None,
    known: str | None,
) -> Response:
    """One image of the grid of a step. Raises NotFound, Conflict, Unavailable."""
    opened = await run_in_threadpool(lambda: _opened(ctx, owner, step, version))
    with opened.file:
        facts = opened.grid.facts
        if facts is None:
            raise Conflict(f"the grid of step {step} doesn't say where its images lie; take the whole of it")
        if number >= facts.count:
            raise NotFound(f"the grid of step {step} has images 0 to {facts.count - 1}")
        headers = _headers(opened.grid, f"-{number}", version)
        if matches(known, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        picture = await ctx.elsewhere.pictures.run(_cut, opened, facts, number, errand=errand)
    return Response(picture, headers=headers, media_type="image/png")


def _cut(opened: Opened, facts: GridFacts, number: int) -> bytes:
    try:
        return cut(opened.file, facts, number)
    except ValueError as error:
        raise Conflict(f"{error}; take the whole grid of step {opened.grid.step}") from error


def _opened(ctx: Context, owner: Owner, step: int, version: str | None) -> Opened:
    """Raises NotFound."""
    opened = samples.at(ctx.settings.jobs_root, owner.folder, step)
    if opened is None:
        raise NotFound(f"{owner.name} keeps no grid of step {step}; GET {owner.url}/steps lists them")
    if version not in (None, opened.grid.tag):
        opened.file.close()
        raise NotFound(
            f"{owner.name} has drawn the grid of step {step} anew since; without v it is the one there is now"
        )
    return opened


def _whole(opened: Opened, version: str | None, known: str | None) -> Response:
    headers = _headers(opened.grid, "", version)
    if matches(known, headers["ETag"]):
        opened.file.close()
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(opened.grid.size)
    return StreamingResponse(opened.pieces(), headers=headers, media_type="image/png")


def _headers(grid: Grid, which: str, version: str | None) -> dict[str, str]:
    return {
        "ETag": f'"{grid.tag}{which}"',
        "Cache-Control": ASK if version is None else FOREVER,
        "X-Sample-Step": str(grid.step),
    }


def _shown(grid: Grid, url: str) -> SampleGrid:
    facts = grid.facts
    return SampleGrid(
        step=grid.step,
        images=facts.images if facts else None,
        bytes=grid.size,
        drawn_at=grid.drawn,
        tiles=Tiles(count=facts.count, columns=facts.columns, height=facts.height, width=facts.width)
        if facts
        else None,
        url=f"{url}/{grid.step}?v={grid.tag}",
    )

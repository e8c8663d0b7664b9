"""The endpoints of sample grids, the same for jobs and trials."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends, Response

from service.access.callers import Away, User
from service.bodies.base import Page
from service.bodies.samples import SampleGrid
from service.context import Ctx
from service.etags import IfNoneMatch
from service.paging import Cursor, Limit, Onward
from service.runs import grids
from service.runs.grids import PICTURE, Owner, Step, Tile, Version


def add(router: APIRouter, path: str, find: Callable[..., Owner]) -> None:
    """The endpoints of the sample grids below `path`. find: the dependency that says whose they are."""
    whose = Depends(find)

    @router.get(path, response_class=Response, responses=PICTURE)
    def newest_grid(ctx: Ctx, caller: User, owner: Owner = whose, if_none_match: IfNoneMatch = None) -> Response:
        """The newest sample grid, a PNG; the header `X-Sample-Step` says of which step."""
        return grids.newest(ctx, owner, if_none_match)

    @router.get(path + "/steps")
    def list_grids(
        ctx: Ctx, caller: User, onward: Onward, owner: Owner = whose, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[SampleGrid]:
        """Every sample grid that is kept, newest step first. All are of the same latents, in all trials of a search, too."""
        return onward(grids.page(ctx, owner, limit, cursor))

    @router.get(path + "/{step}", response_class=Response, responses=PICTURE)
    def show_grid(
        step: Step,
        ctx: Ctx,
        caller: User,
        owner: Owner = whose,
        v: Version = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """The sample grid of a step, a PNG."""
        return grids.one(ctx, owner, step, v, if_none_match)

    @router.get(path + "/{step}/tiles/{tile}", response_class=Response, responses=PICTURE)
    async def show_tile(
        step: Step,
        tile: Tile,
        ctx: Ctx,
        caller: User,
        errand: Away,
        owner: Owner = whose,
        v: Version = None,
        if_none_match: IfNoneMatch = None,
    ) -> Response:
        """One image of a sample grid as PNG, pixel for pixel as G drew it: without border, not enlarged."""
        return await grids.tile(ctx, errand, owner, step, tile, v, if_none_match)

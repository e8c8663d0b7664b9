"""The endpoints of checkpoints, the same for jobs and trials."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends, Response

from service.access.callers import User
from service.bodies.base import Page
from service.bodies.checkpoints import Checkpoint
from service.context import Ctx
from service.paging import Cursor, Limit, Onward
from service.ranges import ARCHIVE, IfRange, Range
from service.runs import keeping
from service.runs.keeping import Named, Owner


def add(router: APIRouter, path: str, find: Callable[..., Owner]) -> None:
    """The endpoints of the checkpoints below `path`. find: the dependency that says whose they are."""
    whose = Depends(find)

    @router.get(path)
    def list_checkpoints(
        ctx: Ctx, caller: User, onward: Onward, owner: Owner = whose, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[Checkpoint]:
        """Complete checkpoints that are kept, newest step first, with what was scored at their steps."""
        return onward(keeping.page(ctx, owner, limit, cursor))

    @router.get(path + "/{step}")
    def show_checkpoint(step: Named, ctx: Ctx, caller: User, owner: Owner = whose) -> Checkpoint:
        """One of them: by its step, or `latest` or `best`."""
        return keeping.one(ctx, owner, step)

    @router.get(path + "/{step}/archive", response_class=Response, responses=ARCHIVE)
    def archive(
        step: Named, ctx: Ctx, caller: User, owner: Owner = whose, range_: Range = None, if_range: IfRange = None
    ) -> Response:
        """Its files as a tar: safetensors and JSON, the manifest with the SHA-256 of the others last.

        The header `X-Checkpoint-Step` says of which step. A download that breaks off goes on with `Range` and `If-Range`.
        """
        return keeping.archive(ctx, owner, step, range_, if_range)

    @router.put(path + "/{step}/pin")
    def pin(step: Named, ctx: Ctx, caller: User, owner: Owner = whose) -> Checkpoint:
        """Keep a checkpoint until it is unpinned, whatever the run's or the server's policy says. Asked twice, it is pinned once."""
        return keeping.pin(ctx, owner, step)

    @router.delete(path + "/{step}/pin", status_code=204)
    def unpin(step: Named, ctx: Ctx, caller: User, owner: Owner = whose) -> None:
        """Keep a checkpoint no longer than policy says. One that only its pin has kept is gone with it."""
        keeping.unpin(ctx, owner, step)

    @router.delete(path + "/{step}", status_code=204)
    def delete(step: Named, ctx: Ctx, caller: User, owner: Owner = whose) -> None:
        """Delete a checkpoint. 409 for a pinned one, and for the newest one of a run that has not ended: it goes on from that."""
        keeping.delete(ctx, owner, step)

"""Accounting: who has used how much."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from service.access.callers import User
from service.access.tokens import Scope
from service.bodies.usage import Accounts, By, Prices
from service.context import Ctx
from service.errors import Forbidden, Invalid
from service.paging import Limit
from service.runs import accounts
from service.runs.lists import Owner
from service.settings import Settings
from trainer.spec import FieldError

router = APIRouter(prefix="/v1/usage", tags=["owners"])
Run = Annotated[
    str | None,
    Query(
        max_length=40,
        pattern=r"^[a-z0-9-]+$",
        description="Only this job or search, all that it goes back to and all that goes back to it.",
    ),
]
Since = Annotated[
    datetime | None, Query(description="Only runs that were submitted from then on: `2026-11-01T00:00:00Z`.")
]


@router.get("")
def usage(
    ctx: Ctx,
    caller: User,
    by: By = By.OWNER,
    owner: Owner = None,
    lineage: Run = None,
    since: Since = None,
    limit: Limit = 50,
) -> Accounts:
    """CPU- and GPU-hours of runs, added up, the largest first; with prices, in money. Users see their own, administrators all.

    What was deleted stays in it, but for `lineage` and `since`.
    """
    if caller.scope is not Scope.ADMIN:
        if owner not in (None, caller.owner):
            raise Forbidden("only an administrator sees what others have used; leave owner out")
        owner = caller.owner
    if since is not None and since.tzinfo is None:
        fix = "write a time with its zone, e.g. 2026-11-01T00:00:00Z"
        raise Invalid([FieldError(path="since", message="has no zone", value=since.isoformat(), fix=fix)])
    with ctx.db.read() as session:
        return accounts.of(session, accounts.Asked(by, owner, lineage, since), limit, prices(ctx.settings))


def prices(settings: Settings) -> Prices | None:
    """What an hour costs; None: nobody has said."""
    if settings.price_cpu_hour is None and settings.price_gpu_hour is None:
        return None
    return Prices(
        cpu_hour=settings.price_cpu_hour or 0.0, gpu_hour=settings.price_gpu_hour or 0.0, currency=settings.currency
    )

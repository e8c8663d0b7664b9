"""Runs beside each other: in what their specs differ, their scores and curves, and what they draw at equal images."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from service.access.callers import User
from service.context import Ctx
from service.runs import lists
from service.runs.kinds import JOB
from service.runs.lists import Wanted
from service.web import frame
from service.web.compare import sides
from service.web.compare.sides import MOST, MOST_FIELDS
from service.web.frame import View

router = APIRouter(include_in_schema=False)
SECTION = "/compare"
KNOWN = 50
"""Runs that are offered to add."""
Keys = Annotated[list[Annotated[str, Query(max_length=140)]], Query(alias="run", max_length=2 * MOST)]
At = Annotated[int | None, Query(ge=0, lt=2**63), BeforeValidator(lambda given: given or None)]


@router.get(SECTION)
def show(request: Request, ctx: Ctx, caller: User, run: Keys = [], at: At = None) -> Response:  # noqa: B006 — nobody writes it
    """Those that the address names. at: images."""
    found = sides.read(ctx, run)
    with ctx.db.read() as session:
        offered = lists.page(session, JOB, Wanted(), limit=KNOWN, cursor=None)[0]
    at = found.reached if at is None else at
    told = urlencode([("run", one) for one in dict.fromkeys(side.run for side in found.sides)])
    return frame.page(
        request, caller, "compare/page.html",
        View("Compare", SECTION, events=told or None, scripts=("compare/page.js",) if found.sides else (), charts=bool(found.charts), wide=True),
        found=found, names=found.names, fields=dict(list(found.fields.items())[:MOST_FIELDS]), count=len(found.fields),
        offered=offered, at=at, without=_without, most=MOST,
    )  # fmt: skip


def _without(found: sides.Compared, key: str) -> str:
    """The same comparison without one of them."""
    return "?" + urlencode([("run", side.key) for side in found.sides if side.key != key])

"""All searches, newest first."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from service.access.callers import User
from service.bodies.searches import Search
from service.bodies.states import State
from service.context import Ctx
from service.paging import Cursor
from service.runs import lists, trials, waiting
from service.runs.kinds import SEARCH
from service.searches import replies
from service.web import asked as asking
from service.web import frame
from service.web.frame import View
from service.web.searches.look import ENDED, SECTION

router = APIRouter(include_in_schema=False)
PAGE = 50
FIELDS = (
    ("name", "Name", "digits-lr"),
    ("owner", "Owner", "ada"),
    ("label", "Label", "team=vision"),
    ("score", "Score", "fid<20"),
)
"""Of the filter: parameter, caption, an example."""


@router.get(SECTION)
def show(ctx: Ctx, caller: User, request: Request, cursor: Cursor = None) -> Response:
    """The list of REST, with its filters. What is wrong in these is named beside them."""
    asked = asking.read(SECTION, request.query_params)
    with ctx.db.read() as session:
        rows, further = lists.page(session, SEARCH, asked.wanted, limit=PAGE, cursor=cursor)
        standings, told = trials.standings(session, rows), waiting.briefly(session, rows, datetime.now(UTC))
    view = View("Searches", SECTION, events=None if asked.wrong else "kind=search", scripts=("searches/list.js",))
    found = [] if asked.wrong else [replies.search(row, standings[row.number], told.get(row.number)) for row in rows]
    return frame.page(
        request, caller, "searches/list.html", view, status=422 if asked.wrong else 200, searches=found,
        further=further, cursor=cursor, asked=asked, fields=FIELDS, states=list(State), ended=ended,
    )  # fmt: skip


def ended(search: Search) -> int:
    """How many of its trials have."""
    return sum(search.trials.get(state, 0) for state in ENDED)

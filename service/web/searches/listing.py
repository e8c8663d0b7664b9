"""All searches, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BeforeValidator

from service.access.callers import User
from service.bodies.searches import Search
from service.bodies.states import State
from service.context import Ctx
from service.paging import Cursor
from service.runs import lists, trials, waiting
from service.runs.kinds import SEARCH
from service.runs.lists import Filter, Labels, Owner, Scores, Wanted
from service.searches import replies
from service.web import frame
from service.web.frame import View
from service.web.searches.look import ENDED, SECTION

router = APIRouter(include_in_schema=False)
PAGE = 50
blank = BeforeValidator(lambda given: given or None)
blanks = BeforeValidator(lambda given: [one for one in given if one])
"""A form sends its empty fields, too."""


@dataclass(frozen=True)
class Asked:
    """What of them is to be shown."""

    state: State | None
    name: str | None
    owner: str | None
    labels: list[str]
    scores: list[str]
    cursor: str | None

    @property
    def any(self) -> bool:
        """Whether anything is asked of them."""
        return bool(self.state or self.name or self.owner or self.labels or self.scores)

    def query(self, cursor: str | None) -> str:
        """The same filters, from there on."""
        given = {
            "state": self.state,
            "name": self.name,
            "owner": self.owner,
            "label": self.labels,
            "score": self.scores,
            "cursor": cursor,
        }
        return "?" + urlencode({name: value for name, value in given.items() if value}, doseq=True)


def _asked(
    labels: Annotated[Labels, blanks],
    scores: Annotated[Scores, blanks],
    state: Annotated[State | None, blank] = None,
    name: Annotated[Filter, blank] = None,
    owner: Annotated[Owner, blank] = None,
    cursor: Cursor = None,
) -> Asked:
    return Asked(state, name, owner, labels, scores, cursor)


@router.get(SECTION)
def show(ctx: Ctx, caller: User, asked: Annotated[Asked, Depends(_asked)], request: Request) -> Response:
    """The list of REST, with its filters."""
    wanted = Wanted.read(asked.labels, asked.scores, state=asked.state, name=asked.name, owner=asked.owner)
    with ctx.db.read() as session:
        rows, further = lists.page(session, SEARCH, wanted, limit=PAGE, cursor=asked.cursor)
        standings, told = trials.standings(session, rows), waiting.briefly(session, rows, datetime.now(UTC))
    found = [replies.search(row, standings[row.number], told.get(row.number)) for row in rows]
    return frame.page(
        request, caller, "searches/list.html",
        View("Searches", SECTION, events="kind=search", scripts=("searches/list.js",)),
        searches=found, further=further, asked=asked, states=list(State), ended=ended,
    )  # fmt: skip


def ended(search: Search) -> int:
    """How many of its trials have."""
    return sum(search.trials.get(state, 0) for state in ENDED)

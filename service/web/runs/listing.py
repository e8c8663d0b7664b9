"""The table of runs, as its template is given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import paging
from service.bodies.jobs import Job
from service.db import tables
from service.jobs import replies
from service.runs import lists, waiting
from service.runs.kinds import JOB
from service.runs.lists import Wanted

PAGE = 50
NEW = 100
"""So many new ones are counted."""
SCORES = 3
SPREAD = "_spread"


@dataclass(frozen=True)
class Score:
    """Of a run: its newest."""

    name: str
    value: Any
    spread: Any = None


@dataclass(frozen=True)
class Listing:
    """What a page shows."""

    runs: Sequence[Job] = ()
    gone: Sequence[str] = ()
    """Ids of those that were deleted while someone looked at them."""
    following: str | None = None
    """The cursor of the next page."""
    newest: str = ""
    """The cursor of the first row; what comes later is new."""
    new: int = 0
    """How many there are by now that aren't shown."""


def page(session: Session, wanted: Wanted, cursor: str | None) -> Listing:
    """One, newest first. Raises Invalid for what is no cursor."""
    rows, following = lists.page(session, JOB, wanted, limit=PAGE, cursor=cursor)
    newest = paging.encode(rows[0].number) if rows else paging.encode(0)
    return Listing(_shown(session, rows), (), following, newest)


def again(session: Session, wanted: Wanted, ids: Sequence[str], newest: str | None) -> Listing:
    """Those that someone looks at, as they are now, in their order; and how many came since. Raises Invalid."""
    rows = session.scalars(select(tables.Job).where(tables.Job.kind == JOB.name, tables.Job.id.in_(ids))).all()
    by_id = {run.id: run for run in _shown(session, rows)}
    runs = [by_id[one] for one in ids if one in by_id]
    since = paging.decode(newest)
    new = 0 if since is None else _new(session, wanted, since)
    return Listing(runs, [one for one in ids if one not in by_id], None, newest or "", new)


def _new(session: Session, wanted: Wanted, since: int) -> int:
    found = lists.listed(JOB, wanted, lists.leader_of(session, JOB, wanted), limit=NEW)
    numbers = found.with_only_columns(tables.Job.number).where(tables.Job.number > since)
    return len(session.scalars(numbers).all())


def _shown(session: Session, rows: Sequence[tables.Job]) -> list[Job]:
    told = waiting.near(session, rows, datetime.now(UTC))
    return [replies.job(row, told.get(row.number)) for row in rows]


def scores(of: Mapping[str, Any]) -> list[Score]:
    """The first of them, each with its spread."""
    named = [name for name in of if not name.endswith(SPREAD)]
    return [Score(name, of[name], of.get(name + SPREAD)) for name in named[:SCORES]]

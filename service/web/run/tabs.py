"""What the other tabs of a run's page show, each as it is read for its template."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, text

from service import paging
from service.bodies.usage import By
from service.context import Context
from service.db.tables import SCORED, JobEvent
from service.jobs import checkpoints
from service.owners.accounts import prices
from service.runs import accounts, descent, keeping, lineage
from service.runs.accounts import Asked
from service.runs.kinds import JOB
from service.runs.scores import numbers
from service.web.run import happened
from service.web.run.head import Head

PAGE = 50


def scores(ctx: Context, head: Head, cursor: str | None) -> dict[str, Any]:
    """What was measured at which step, the newest step first, with what it rests on. Raises Invalid."""
    asked = select(JobEvent).where(JobEvent.job_number == head.row.number, text(SCORED), JobEvent.seq <= head.row.acked)
    before = paging.decode(cursor)
    asked = asked if before is None else asked.where(JobEvent.step < before)
    with ctx.db.read() as session:
        rows = session.scalars(asked.order_by(JobEvent.step.desc(), JobEvent.seq.desc()).limit(PAGE + 1)).all()
    shown = [(row, numbers(row.data.get("scores")), row.data.get("provenance") or {}) for row in rows[:PAGE]]
    names = list(dict.fromkeys(name for _, values, _ in shown for name in values if not name.endswith("_spread")))
    following = paging.encode(rows[PAGE - 1].step) if len(rows) > PAGE else None
    return {"scores": shown, "names": names, "following": following}


def saved(ctx: Context, head: Head, cursor: str | None) -> dict[str, Any]:
    """A page of its checkpoints. Raises Invalid."""
    page = keeping.page(ctx, checkpoints.owner(ctx, head.row), PAGE, cursor)
    return {"saved": page, "following": page.next_cursor}


def family(ctx: Context, head: Head, cursor: str | None) -> dict[str, Any]:
    """Where it comes from and what went on with it. Raises NotFound, Invalid."""
    with ctx.db.read() as session:
        found = lineage.of(session, head.run.id, JOB, limit=PAGE, cursor=cursor)
        stretches = descent.descent(session, head.row).stretches if head.row.fork else ()
    return {"lineage": found, "stretches": stretches, "following": found.next_cursor}


def used(ctx: Context, head: Head, cursor: str | None) -> dict[str, Any]:
    """What it has used and was to use, and what happened."""
    with ctx.db.read() as session:
        found = accounts.of(session, Asked(By.RUN, lineage=head.run.id), 1, prices(ctx.settings))
        return {"together": found.total, "prices": found.prices, "history": happened.history(session, head.row)}

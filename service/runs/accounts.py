"""What runs have used, and were to use, added up. What was deleted stays in it: by owner, kind and family, without its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from service.bodies.usage import Account, Accounts, By, Prices
from service.db.session import insert_into
from service.db.tables import DeletedUsage, Job

HOUR = 3600.0
SECONDS = ("queue_seconds", "run_seconds", "cpu_seconds", "accelerator_seconds")
PLANNED = ("planned_runs", "planned_cpu_seconds", "planned_accelerator_seconds")
DELETED = "(deleted)"
"""In place of a name or an id that is gone."""


@dataclass(frozen=True)
class Asked:
    """Whose usage. lineage: of the run of that id, of all that it goes back to and of all that goes back to it. since: of runs that were
    submitted from then on; nothing of deleted ones is told for these two."""

    by: By
    owner: str | None = None
    lineage: str | None = None
    since: datetime | None = None


def of(session: Session, asked: Asked, limit: int, prices: Prices | None) -> Accounts:
    """The accounts, by GPU-hours, then CPU-hours; at most `limit`."""
    parts = [_kept(asked)]
    if asked.lineage is None and asked.since is None:
        parts.append(_deleted(asked))
    every = union_all(*parts).subquery()
    sums = [func.sum(every.c[name]) for name in ("runs", *SECONDS, *PLANNED)]
    grouped = select(every.c.name, *sums).group_by(every.c.name)
    most = grouped.order_by(sums[4].desc(), sums[3].desc(), sums[2].desc(), every.c.name).limit(limit)
    items = tuple(_account(row[0], row[1:], prices) for row in session.execute(most))
    return Accounts(items=items, total=_account("total", session.execute(select(*sums)).one(), prices), prices=prices)


def remember(session: Session, job: Job) -> None:
    """Keep what a run has used that is deleted now, in the same transaction."""
    key = {"owner": job.owner, "kind": job.kind, "family": job.family}
    plan = (job.planned_cpu_seconds, job.planned_accelerator_seconds)
    used = {"runs": 1, **{name: getattr(job, name) for name in SECONDS}}
    used |= zip(PLANNED, (int(plan[0] is not None), *(each or 0.0 for each in plan)), strict=True)
    added = {name: getattr(DeletedUsage, name) + value for name, value in used.items()}
    write = insert_into(session, DeletedUsage).values(**key, **used)
    session.execute(write.on_conflict_do_update(index_elements=list(key), set_=added))


def _kept(asked: Asked) -> Select[Any]:
    columns = {By.OWNER: Job.owner, By.NAME: Job.name, By.FAMILY: Job.family, By.KIND: Job.kind, By.RUN: Job.id}
    of_runs = [getattr(Job, name).label(name) for name in (*SECONDS, *PLANNED[1:])]
    of_runs.insert(len(SECONDS), case((Job.planned_cpu_seconds.is_not(None), 1), else_=0).label(PLANNED[0]))
    wanted: list[ColumnElement[bool]] = []
    if asked.owner is not None:
        wanted.append(Job.owner == asked.owner)
    if asked.since is not None:
        wanted.append(Job.created_at >= asked.since)
    if asked.lineage is not None:
        wanted.append(or_(*(Job.id.in_(tree) for tree in _lineage(asked.lineage))))
    return select(columns[asked.by].label("name"), literal(1).label("runs"), *of_runs).where(*wanted)


def _deleted(asked: Asked) -> Select[Any]:
    gone = DeletedUsage
    columns: dict[By, Any] = {By.OWNER: gone.owner, By.FAMILY: gone.family, By.KIND: gone.kind}
    of_runs = [getattr(gone, name).label(name) for name in (*SECONDS, *PLANNED)]
    found = select(columns.get(asked.by, literal(DELETED)).label("name"), gone.runs.label("runs"), *of_runs)
    return found if asked.owner is None else found.where(gone.owner == asked.owner)


def _lineage(run: str) -> tuple[Select[Any], Select[Any]]:
    """Ids of the run and all that it goes back to; and of all that goes back to it. UNION ends what would go round."""
    up = select(Job.id, Job.parent).where(Job.id == run).cte("ancestors", recursive=True)
    up = up.union(select(Job.id, Job.parent).join(up, Job.id == up.c.parent))
    down = select(Job.id).where(Job.id == run).cte("descendants", recursive=True)
    down = down.union(select(Job.id).join(down, Job.parent == down.c.id))
    return select(up.c.id), select(down.c.id)


def _account(name: str, sums: Sequence[Any], prices: Prices | None) -> Account:
    runs, queue, run, cpu, gpu, plans, planned_cpu, planned_gpu = (float(value or 0.0) for value in sums)
    cost = None if prices is None else (cpu * prices.cpu_hour + gpu * prices.gpu_hour) / HOUR
    return Account(
        name=name,
        runs=int(runs),
        queue_hours=queue / HOUR,
        run_hours=run / HOUR,
        cpu_hours=cpu / HOUR,
        gpu_hours=gpu / HOUR,
        planned_runs=int(plans),
        planned_cpu_hours=planned_cpu / HOUR if plans else None,
        planned_gpu_hours=planned_gpu / HOUR if plans else None,
        cost=cost,
    )

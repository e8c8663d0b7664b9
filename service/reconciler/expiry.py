"""Ends what waits or is paused and has used up one of its limits, and warns it before. On the cluster the keeper does the same."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import LIMITED, Job
from service.runs import limits
from service.runs import store as jobs
from service.runs.lifecycle import Trigger

MOST = 100
"""Looked at in one round, each in a transaction of its own."""


def look(db: Database, now: datetime) -> list[int]:
    """Those whose time has come; the numbers of all that were told something."""
    with db.read() as session:
        due = select(Job.number).where(text(LIMITED), Job.limit_at <= now).order_by(Job.limit_at).limit(MOST)
        numbers = session.scalars(due).all()
    told = []
    for number in numbers:
        with db.begin() as session:
            job = session.scalar(select(Job).where(Job.number == number).with_for_update())
            if job is not None and _look(session, job, now):
                told.append(number)
    return told


def _look(session: Session, job: Job, now: datetime) -> bool:
    """Whether it was told something. One that is leaving anyway, or was started meanwhile, is left to whoever sees to that."""
    waits = State(job.state) in (State.SUBMITTED, State.QUEUED)
    if waits and job.desired != "run":
        job.limit_at = None
        return False
    resting = waits or job.state == State.PAUSED
    spent = limits.over(job, now) if resting else None
    if spent is not None:
        job.desired, job.revision = "stop", job.revision + 1
        jobs.move(session, job, Trigger.CANCEL, spent["reason"])
        job.spent = spent
        return True
    warnings = list(limits.warnings(job, now)) if resting else []
    for warning in warnings:
        jobs.note(session, job, warning)
    limits.watch(job, now)
    return bool(warnings)

"""The part of a job's row that decides."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, cast

from service.bodies.states import State
from service.db.tables import Job
from service.reconciler.decide import View
from service.runs import limits
from service.runs.kinds import kind_of


def view_of(job: Job, now: datetime) -> View:
    """What the pure decision needs of the row."""
    over = limits.over(job, now)
    told = job.outcome if job.outcome and job.outcome["attempt"] == job.attempt else None
    return View(
        state=State(job.state),
        desired=cast(Literal["run", "stop", "pause"], job.desired),
        attempt=job.attempt,
        attempts=job.attempts_before + kind_of(job).attempts(job.spec),
        confirmed=job.submitted_at is not None,
        started=job.attempt > 0 and job.started_attempt == job.attempt,
        outcome=told,
        stop_at=job.stop_at,
        waiting=job.waiting,
        tries=job.tries,
        spent=job.spent["reason"] if job.spent else "",
        over=over["reason"] if over else "",
        yields_to=job.yields_to or "",
        yields_priority=job.yields_priority,
    )

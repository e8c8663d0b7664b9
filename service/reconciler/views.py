"""The part of a job's row that decides."""

from __future__ import annotations

from typing import Literal, cast

from service.db.tables import Job
from service.jobs.kinds import kind_of
from service.jobs.lifecycle import State
from service.reconciler.decide import View


def view_of(job: Job) -> View:
    """What the pure decision needs of the row."""
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
    )

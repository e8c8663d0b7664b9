"""What Prometheus hears of a run's changes of state (`service.tallies`)."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from service import tallies
from service.bodies.states import State
from service.db.tables import Job
from service.runs import limits
from service.runs.lifecycle import Trigger, advance

GOES_ON = {Trigger.YIELD: "room", Trigger.RESUME: "resumed", Trigger.TRY_AGAIN: "retried", Trigger.EXTEND: "extended"}
"""By which trigger a run comes back into the queue, and what its next attempt is counted as; one that was lost says why."""


def moved(
    session: Session, job: Job, trigger: Trigger, now: datetime, *, failure: str | None, cause: str | None
) -> None:
    """Count a change of the row, which is still as it was. failure: its kind. cause: of a retry, why the attempt was lost."""
    count = partial(tallies.once_committed, session)
    count(tallies.TRANSITIONS.labels(advance(State(job.state), trigger).value).inc)
    if trigger is Trigger.ADMIT and (waited := limits.waited(job, now)) is not None:
        count(partial(tallies.QUEUED.observe, waited))
    elif trigger is Trigger.START and job.submitted_at is not None:
        count(partial(tallies.STARTED.observe, max(0.0, (now - job.submitted_at).total_seconds())))
    elif trigger is Trigger.FAIL:
        count(tallies.FAILURES.labels(failure or "unknown").inc)
    if again := cause or GOES_ON.get(trigger):
        count(tallies.RESTARTS.labels(again).inc)

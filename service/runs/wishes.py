"""What people ask of a run that there is: cancel, pause, resume, retry. It is written into the row, and the reconciler sees to it.

Whoever asks twice, because the answer was lost, has asked once. Every call holds the row's lock. A run that goes on is queued at
its first place, by its arrival and priority: while it was paused the others had the room, and the queue has one order that nobody has to
guess.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import Job, JobChange
from service.errors import Conflict
from service.runs import limits
from service.runs.kinds import JOB, Kind
from service.runs.lifecycle import Trigger
from service.runs.store import get, put_back, want


def cancel(session: Session, run_id: str, kind: Kind = JOB) -> Job:
    """Write that the run shall stop. Raises NotFound, Conflict once it has ended."""
    job = get(session, run_id, kind, lock=True)
    if State(job.state).ended:
        raise Conflict(f"{kind.name} {run_id} {_has_ended(State(job.state))} already")
    if job.state == State.PAUSED:
        put_back(session, job, Trigger.CANCEL, "cancelled while it was paused", "stop")
    elif job.desired != "stop":
        want(job, "stop")
    return job


def pause(session: Session, run_id: str, kind: Kind = JOB) -> Job:
    """Write that the run shall save its work and leave the cluster for now. Raises NotFound, Conflict.

    Of one that is paused nothing changes.
    """
    job = get(session, run_id, kind, lock=True)
    state = State(job.state)
    if state.ended:
        only = "only one that waits or runs can be paused"
        raise Conflict(f"{kind.name} {run_id} {_has_ended(state)}; {only}{_instead(kind, state)}")
    if job.desired == "stop":
        raise Conflict(_is_being_cancelled(kind, run_id))
    if job.desired != "pause":
        want(job, "pause")
    return job


def resume(session: Session, run_id: str, kind: Kind = JOB) -> Job:
    """Put a run that is paused, or of which the kind allows it has failed, back into the queue. Raises NotFound, Conflict.

    Of one that waits or runs, and shall, nothing changes: what makes room for another goes on by itself. One that was still in the
    queue when its pause was asked for stays there.
    """
    job = get(session, run_id, kind, lock=True)
    state = State(job.state)
    if state in kind.resumable:
        limits.refuse_spent(kind, job, datetime.now(UTC))
        put_back(session, job, Trigger.RESUME, "resumed", "run")
    elif state.ended:
        late = "; it ended before it could be paused" if job.desired == "pause" else ""
        only = f"only one that {_words(kind.resumable)} can be resumed"
        raise Conflict(f"{kind.name} {run_id} {_has_ended(state)}; {only}{late}{_instead(kind, state)}")
    elif job.desired == "stop":
        raise Conflict(_is_being_cancelled(kind, run_id))
    elif job.desired == "pause":
        if state.on_ray and job.yields_to is None:  # else it was leaving already, and will go on by itself
            raise Conflict(f"{kind.name} {run_id} is still saving {kind.saves}: try again once it is paused")
        want(job, "run")
    return job


def retry(session: Session, job_id: str) -> Job:
    """Put a job that has failed or was cancelled back into the queue, for its next attempt with as many tries as the first.

    Asked again before that attempt trains, nothing changes. Raises NotFound, Conflict in another state.
    """
    job = get(session, job_id, lock=True)
    state = State(job.state)
    if state in (State.FAILED, State.CANCELLED):
        limits.refuse_spent(JOB, job, datetime.now(UTC))
        put_back(session, job, Trigger.TRY_AGAIN, TRIED_AGAIN, "run")
    elif state is State.RUNNING or state is State.STOPPING or not _is_tried_again(session, job):
        raise Conflict(f"job {job_id} {_why_not_retried(job, state)}")
    return job


TRIED_AGAIN = "tried again"
"""Reason of the change by which a job that had ended goes on."""
NOT_RETRIED = {
    State.SUCCEEDED: "has succeeded, so there is nothing to try again; submit a new job with more train.images",
    State.RUNNING: "is running; it can be tried again once it has failed or was cancelled",
    State.STOPPING: "is being cancelled; try it again once it is cancelled",
    State.PAUSED: "is paused; resume lets it go on",
}


def _why_not_retried(job: Job, state: State) -> str:
    if job.desired == "pause" and state is not State.PAUSED and not state.ended:
        return "is being paused; resume lets it go on once it is paused"
    if state is State.STOPPING and job.desired == "run":
        return "makes room for another; it goes on by itself"
    return NOT_RETRIED.get(state, "has not ended; it is tried for the first time")


def _is_tried_again(session: Session, job: Job) -> bool:
    """Whether it is where a retry has put it: nobody asked for its end since, and its attempt doesn't train yet."""
    statement = select(JobChange.reason, JobChange.state).where(JobChange.job_number == job.number)
    for reason, state in session.execute(statement.order_by(JobChange.id.desc())):
        if State(state).ended:
            return False
        if reason == TRIED_AGAIN:
            return job.desired == "run"
    return False


def _has_ended(state: State) -> str:
    return "is cancelled" if state is State.CANCELLED else f"has {state}"


def _instead(kind: Kind, state: State) -> str:
    """What to do with a run in this state, as the end of a sentence."""
    return f"; {kind.goes_on[state]}" if state in kind.goes_on else ""


def _is_being_cancelled(kind: Kind, run_id: str) -> str:
    return f"{kind.name} {run_id} is being cancelled; once it is cancelled, {kind.goes_on[State.CANCELLED]}"


def _words(states: tuple[State, ...]) -> str:
    return " or ".join("has failed" if state is State.FAILED else f"is {state}" for state in states)

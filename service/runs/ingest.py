"""Takes in the events that a run reports: at-least-once, in any order, with gaps; each counts once and in order.

Every event is stored when it comes, but applied only when all before it are there (`acked`). So a late batch can't
overwrite what a newer one said, and applying twice is impossible. A gap fills: the job sends again from `acked`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from service.access.tokens import Principal
from service.bodies.states import State
from service.db.session import insert_into
from service.db.tables import AT_ONCE, Job, JobEvent, TapeEntry
from service.errors import Invalid
from service.runs import marks, store, trials
from service.runs.fold import Report, fold
from service.runs.kinds import kind_of
from trainer.spec import FieldError
from trainer.strict import MAX_INTEGER
from trainer.wire import EventKind, EventReply, WireEvent

WINDOW = 500
"""Stored events that are read at once."""


def accept(
    session: Session, caller: Principal, job_id: str, events: Sequence[WireEvent], late: datetime | None = None
) -> tuple[EventReply, bool, int]:
    """Store a batch from the job's own token: the reply, whether the reconciler should look, and the job's number.

    An attempt that a newer one has replaced is told to stop, and what it says is not stored. late: runs that wait for nodes since before
    that keep no search's trials waiting. Raises Invalid.
    """
    job = store.get(session, job_id, None, lock=True)
    if caller.attempt < job.attempt:
        return reply(session, job, caller.attempt, late), False, job.number
    _check(job, events)
    urgent = take(session, job, events)
    return reply(session, job, caller.attempt, late), urgent, job.number


def reply(session: Session, job: Job, attempt: int, late: datetime | None = None) -> EventReply:
    """What is wanted of that attempt. It hears of a pause as of a stop."""
    stop = job.desired != "run" or job.yields_to is not None or State(job.state).ended or attempt < job.attempt
    wanted: Literal["stop", "run"] = "stop" if stop else "run"
    if not kind_of(job).has_trials:
        return EventReply(acked=job.acked, desired=wanted)
    stopped, hold = trials.to_stop(session, job), store.others_wait(session, job, late)
    return EventReply(acked=job.acked, desired=wanted, stop_trials=tuple(stopped), hold=hold)


def take(session: Session, job: Job, events: Iterable[WireEvent]) -> bool:
    """Store events and apply those that are complete; whether something changed that the reconciler decides by.

    The caller holds the row's lock.
    """
    new = [event for event in events if event.seq > job.acked]
    if not new:
        return False
    alone = session.scalar(_AHEAD, {"of_number": job.number, "acked": job.acked}) is None
    _insert(session, job, new)
    # What comes in order, as nearly all does, is known as it was stored; else that is read.
    in_order = alone and all(event.seq == seq for seq, event in enumerate(new, job.acked + 1))
    ready = [_as_stored(event) for event in new] if in_order else _contiguous(session, job)
    if not ready:
        return False
    ended = State(job.state).ended
    report = _report(job, ended)
    told = fold(report, ready)
    if kind_of(job).has_trials and not ended:
        if trials.take(session, job, ready):
            marks.write_scores(session, job, trials.best_score(session, job))
    elif (scores := _scores(told.progress)) and scores != _scores(job.progress):
        marks.write_scores(session, job, scores)
    urgent = (told.started_attempt, told.outcome) != (job.started_attempt, job.outcome)
    session.add(TapeEntry(job_number=job.number, first=ready[0].seq, last=ready[-1].seq))
    job.acked = ready[-1].seq
    job.started_attempt, job.progress, job.model = told.started_attempt, told.progress, told.model
    job.mlflow_run_id, job.outcome, job.waiting = told.mlflow_run_id, told.outcome, told.waiting
    job.training_workers = min(told.workers, _most_workers(job))
    if told.spent is not None and job.desired == "run" and not ended:
        job.spent, job.desired, urgent = told.spent, "stop", True
    if urgent:
        job.revision, job.due_at = job.revision + 1, AT_ONCE
    return urgent


def _report(job: Job, ended: bool) -> Report:
    """What the job has said so far."""
    known = {name: getattr(job, name) for name in ("attempt", "started_attempt", "progress", "model", "mlflow_run_id")}
    return Report(**known, outcome=job.outcome, waiting=job.waiting, workers=job.training_workers, ended=ended)


def _most_workers(job: Job) -> int:
    """Of a training; a search says how many trials it may run at once, which is something else."""
    return 0 if kind_of(job).has_trials else int(job.spec.get("resources", {}).get("workers", 0))


def _scores(progress: dict[str, Any] | None) -> dict[str, Any]:
    return dict((progress or {}).get("scores", {}))


def _check(job: Job, events: Sequence[WireEvent]) -> None:
    """Raises Invalid that names every wrong field."""
    if wrong := [
        error for index, event in enumerate(events) for error in _wrong(job.attempt, event, f"events.{index}")
    ]:
        raise Invalid(wrong)


def storable(event: WireEvent) -> bool:
    """Whether the database can hold it."""
    return not any(_wrong(event.attempt, event, ""))


def _wrong(newest: int, event: WireEvent, path: str) -> Iterator[FieldError]:
    for name in ("seq", "attempt", "step", "images"):
        if (value := getattr(event, name)) > MAX_INTEGER:
            yield FieldError(path=f"{path}.{name}", message="does not fit 64 bits", value=str(value)[:40])
    if event.time.tzinfo is None:
        yield FieldError(path=f"{path}.time", message="has no time zone", fix="send UTC, e.g. …Z")
    else:
        try:
            event.time.astimezone(UTC)
        except OverflowError:
            message = "lies outside of the calendar in UTC"
            yield FieldError(path=f"{path}.time", message=message, value=event.time.isoformat())
    if event.attempt > newest:
        message = f"is newer than the job's attempt ({newest})"
        yield FieldError(path=f"{path}.attempt", message=message, value=str(event.attempt)[:40])


_AHEAD = (
    select(JobEvent.seq)
    .where(JobEvent.job_number == bindparam("of_number"), JobEvent.seq > bindparam("acked"))
    .limit(1)
)
"""Whether anything is stored that is not applied."""


def _as_stored(event: WireEvent) -> WireEvent:
    """As it would be read: times are UTC there."""
    return event if not event.time.utcoffset() else event.replace(time=event.time.astimezone(UTC))


def _insert(session: Session, job: Job, events: Iterable[WireEvent]) -> None:
    """An event that is known already is left as it is."""
    rows: list[dict[str, Any]] = [
        {
            "job_number": job.number,
            **event.model_dump(exclude={"data", "kind"}),
            "kind": event.kind.value,
            "data": event.data,
        }
        for event in events
    ]
    session.execute(insert_into(session, JobEvent).on_conflict_do_nothing(), rows)


def _contiguous(session: Session, job: Job) -> list[WireEvent]:
    """The stored events behind `acked`, up to the first gap. What lies far behind a gap is not read, however much it is."""
    ready: list[WireEvent] = []
    while True:
        last = job.acked + len(ready)
        part = select(JobEvent).where(JobEvent.job_number == job.number, JobEvent.seq.between(last + 1, last + WINDOW))
        rows = session.scalars(part.order_by(JobEvent.seq)).all()
        for seq, row in enumerate(rows, last + 1):
            if row.seq != seq:
                return ready
            ready.append(wire(row))
        if len(rows) < WINDOW:
            return ready


def wire(row: JobEvent) -> WireEvent:
    """The event as it was sent."""
    return WireEvent(**fields(row))


def fields(row: JobEvent) -> dict[str, Any]:
    """Of the event as it was sent."""
    return {
        "seq": row.seq,
        "attempt": row.attempt,
        "time": row.time,
        "kind": EventKind(row.kind),
        "step": row.step,
        "images": row.images,
        "data": row.data,
    }

"""The event stream. Works across processes, because the database is what is polled; a change made in this process is noticed
at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job, JobChange, JobEvent
from service.runs import store
from service.runs.hub import Followed
from service.runs.ingest import wire
from service.runs.tape import state_of

PAGE = 500
Mark = tuple[int, int]
"""What a job's stream has reached: (acked seq, newest change of state)."""


class Hub(Followed[int, Mark]):
    """Of jobs, by number."""

    def marks(self, session: Session, followed: Sequence[int]) -> dict[int, Mark]:
        """What their streams have reached."""
        changes = (
            select(func.coalesce(func.max(JobChange.id), 0)).where(JobChange.job_number == Job.number).scalar_subquery()
        )
        found: dict[int, Mark] = {}
        for begin in range(0, len(followed), PAGE):
            chunk = followed[begin : begin + PAGE]
            rows = session.execute(select(Job.number, Job.acked, changes).where(Job.number.in_(chunk)))
            found.update((number, (acked, change)) for number, acked, change in rows)
        return found


@dataclass
class _Batch:
    messages: list[ServerSentEvent]
    seq: int
    change: int
    mark: Mark
    full: bool
    ended: bool


async def follow(hub: Hub, db: Database, job_number: int, after: int, ticket: Ticket) -> AsyncIterator[ServerSentEvent]:
    """The state now, all events behind `after`, then what comes; ends after the job has ended and all is told.

    ticket: the follower's; the stream ends when it is over.
    """
    hub.enter(job_number, ticket)
    try:
        seq, change = after, -1
        while not ticket.over:
            batch = await run_in_threadpool(_read, db, job_number, seq, change)
            for message in batch.messages:
                yield message
            seq, change = batch.seq, batch.change
            if batch.full:
                continue
            if batch.ended:
                return
            await hub.changed(job_number, batch.mark, ticket)
    finally:
        hub.leave(job_number, ticket)


def _read(db: Database, job_number: int, seq: int, change: int) -> _Batch:
    """One read of what is new. `change` -1: the follower has just come and gets the state as it is."""
    with db.read() as session:
        job = session.get(Job, job_number)
        if job is None:  # deleted: there is no more to tell
            return _Batch([], seq, change, (seq, change), full=False, ended=True)
        changes = store.changes_after(session, job, change)
        events = store.events_after(session, job, seq, PAGE)
    mark = (job.acked, changes[-1].id if changes else change)
    full = len(events) == PAGE
    ended = State(job.state).ended and not full
    states = list(changes[-1:] if change < 0 else changes)
    last = states.pop() if ended and states else None  # an ended job's state is the last thing that its stream says
    if full:
        states, mark = [], (mark[0], change)
    messages = [_state(job, item) for item in states] + [_event(item) for item in events]
    if last is not None:
        messages.append(_state(job, last))
    return _Batch(messages, events[-1].seq if events else seq, mark[1], mark, full, ended)


def _event(row: JobEvent) -> ServerSentEvent:
    return ServerSentEvent(id=str(row.seq), event=row.kind, data=wire(row).model_dump_json())


def _state(job: Job, change: JobChange) -> ServerSentEvent:
    """Without an id: `Last-Event-ID` counts the job's own events, and a stream begins with the state anyway."""
    return ServerSentEvent(event="state", data=json.dumps(state_of(change, job.failure)))

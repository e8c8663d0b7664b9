"""The event stream. Works across processes, because the database is what is polled; a change made in this process is noticed
at once. Followers that have come equally far share what is read for them, as the bytes that they are sent."""

from __future__ import annotations

import asyncio
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
from service.runs.tape import event_of, state_of
from trainer import trace

PAGE = 500
FOLLOWERS_A_SECOND = 5000
"""So many are told something: the more follow, the more is gathered for each."""
SHARED = 8
"""Reads of one run that are kept for others, while nothing new is known of it."""
Mark = tuple[int, int]
"""What a job's stream has reached: (acked seq, newest change of state)."""


@dataclass(frozen=True)
class Batch:
    """What a follower is sent next, and how far it has come then."""

    content: bytes
    seq: int
    change: int
    mark: Mark
    full: bool
    ended: bool


class Hub(Followed[int, Mark]):
    """Of jobs, by number."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._reads: dict[int, tuple[Mark, dict[Mark, asyncio.Future[Batch]]]] = {}
        """Of a job: its mark when they were begun, and by how far a follower had come."""

    def pause(self) -> float:
        """Seconds between two looks."""
        return self._woken / FOLLOWERS_A_SECOND

    async def read(self, number: int, seq: int, change: int) -> Batch:
        """What lies behind; change -1: the follower has just come and gets the state as it is.

        A read is shared until something new is known of the job: until then nobody would be woken for what a later one finds.
        """
        mark = self._marks.get(number)
        if mark is None:
            return await run_in_threadpool(_read, self._db, number, seq, change)
        known, reads = self._reads.get(number, (mark, {}))
        if known != mark:
            reads = {}
        self._reads[number] = mark, reads
        if (seq, change) not in reads:
            if len(reads) >= SHARED:
                del reads[next(iter(reads))]
            reads[seq, change] = asyncio.ensure_future(run_in_threadpool(_read, self._db, number, seq, change))
            reads[seq, change].add_done_callback(lambda done: _keep_if_newest(reads, (seq, change), done))
        return await asyncio.shield(reads[seq, change])

    async def changed(self, followed: int, seen: Mark, ticket: Ticket) -> None:
        """See Followed. A follower may have read more than the poller has seen: that is no news."""
        while not self._is_behind(followed, seen) and not ticket.over:
            await super().changed(followed, self._marks.get(followed, seen), ticket)

    def _is_behind(self, followed: int, seen: Mark) -> bool:
        acked, change = self._marks.get(followed, seen)
        return acked > seen[0] or change > max(0, seen[1])

    def leave(self, followed: int, ticket: Ticket) -> None:
        """See Followed."""
        super().leave(followed, ticket)
        if followed not in self._followers:
            self._reads.pop(followed, None)

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


def _keep_if_newest(reads: dict[Mark, asyncio.Future[Batch]], key: Mark, done: asyncio.Future[Batch]) -> None:
    """Forget a read that failed, and one that is not the end of what there is: of a long past nothing is kept."""
    failed = done.cancelled() or done.exception() is not None
    if (failed or done.result().full) and reads.get(key) is done:
        del reads[key]


async def follow(hub: Hub, job_number: int, after: int, ticket: Ticket) -> AsyncIterator[bytes]:
    """The state now, all events behind `after`, then what comes, in pieces of whole messages; ends after the job has ended and all is told.

    ticket: the follower's; the stream ends when it is over.
    """
    hub.enter(job_number, ticket)
    try:
        seq, change = after, -1
        while not ticket.over:
            batch = await hub.read(job_number, seq, change)
            if batch.content:
                yield batch.content
            seq, change = batch.seq, batch.change
            if batch.full:
                continue
            if batch.ended:
                return
            await hub.changed(job_number, batch.mark, ticket)
    finally:
        hub.leave(job_number, ticket)


def _read(db: Database, job_number: int, seq: int, change: int) -> Batch:
    """One read of what is new. `change` -1: the follower has just come and gets the state as it is."""
    with db.read() as session:
        job = session.get(Job, job_number)
        if job is None:  # deleted: there is no more to tell
            return Batch(b"", seq, change, (seq, change), full=False, ended=True)
        changes = store.changes_after(session, job, change)
        events = store.events_after(session, job, seq, PAGE)
    mark = (job.acked, changes[-1].id if changes else change)
    full = len(events) == PAGE
    ended = State(job.state).ended and not full
    states = list(changes[-1:] if change < 0 else changes)
    last = states.pop() if ended and states else None  # an ended job's state is the last thing that its stream says
    if full:
        states, mark = [], (mark[0], change)
    of = trace.id_of(job.traceparent)
    messages = [_state(job, item, of) for item in states] + [_event(item, of) for item in events]
    if last is not None:
        messages.append(_state(job, last, of))
    content = b"".join(message.encode() for message in messages)
    return Batch(content, events[-1].seq if events else seq, mark[1], mark, full, ended)


def _event(row: JobEvent, trace_id: str | None) -> ServerSentEvent:
    return ServerSentEvent(id=str(row.seq), event=row.kind, data=event_of(row, trace_id).model_dump_json())


def _state(job: Job, change: JobChange, trace_id: str | None) -> ServerSentEvent:
    """Without an id: `Last-Event-ID` counts the job's own events, and a stream begins with the state anyway."""
    return ServerSentEvent(event="state", data=json.dumps(state_of(change, job.failure, trace_id)))

"""The event stream. One poller a process looks for changes of all jobs that anyone follows; a follower costs no thread and
no connection while nothing happens. Works across processes, because the database is what is polled; a change made in this
process is noticed at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.auth.store import valid_digests
from service.db.session import Database
from service.db.tables import Job, JobChange, JobEvent
from service.jobs import store
from service.jobs.ingest import wire
from service.jobs.lifecycle import State

POLL_SECONDS = 0.5
PAGE = 500
Mark = tuple[int, int]
"""What a job's stream has reached: (acked seq, newest change of state)."""


class Hub:
    """Tells followers that there is something new. All methods but `poke` belong to the event loop."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._followers: Counter[int] = Counter()
        self._marks: dict[int, Mark] = {}
        self._tokens: Counter[str] = Counter()
        self._revoked: set[str] = set()
        self._news = asyncio.Condition()
        self._poked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Poll for as long as the application lives; idle while nobody follows."""
        self._loop = asyncio.get_running_loop()
        while True:
            if not self._followers:
                await self._poked.wait()
            self._poked.clear()
            await self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), POLL_SECONDS)

    def poke(self, job_number: int) -> None:
        """From any thread: this job changed just now."""
        if self._loop is not None and job_number in self._followers:
            self._loop.call_soon_threadsafe(self._poked.set)

    async def changed(self, job_number: int, seen: Mark, token: str = "") -> None:
        """Return once the job's mark is not `seen`, or the token is revoked."""
        async with self._news:
            await self._news.wait_for(lambda: self._marks.get(job_number, seen) != seen or token in self._revoked)

    def is_revoked(self, token: str) -> bool:
        """Whether the follower may hear no more."""
        return token in self._revoked

    def enter(self, job_number: int, token: str = "") -> None:
        """A follower came, with a token of that digest."""
        self._followers[job_number] += 1
        if token:
            self._tokens[token] += 1
        self._poked.set()

    def leave(self, job_number: int, token: str = "") -> None:
        """A follower went."""
        self._followers[job_number] -= 1
        if self._followers[job_number] <= 0:
            del self._followers[job_number]
            self._marks.pop(job_number, None)
        self._tokens[token] -= 1
        if self._tokens[token] <= 0:
            del self._tokens[token]
            self._revoked.discard(token)

    async def _look(self) -> None:
        numbers, tokens = list(self._followers), set(self._tokens)
        try:
            found, valid = await run_in_threadpool(self._load, numbers, tokens)
        except Exception:
            return
        revoked = (tokens - valid) & self._tokens.keys()
        async with self._news:
            if revoked != self._revoked or any(self._marks.get(number) != mark for number, mark in found.items()):
                self._revoked = revoked
                self._marks.update((number, mark) for number, mark in found.items() if number in self._followers)
                self._news.notify_all()

    def _load(self, numbers: list[int], tokens: set[str]) -> tuple[dict[int, Mark], set[str]]:
        """Marks by job, and those of the tokens that are still known."""
        changes = (
            select(func.coalesce(func.max(JobChange.id), 0)).where(JobChange.job_number == Job.number).scalar_subquery()
        )
        found: dict[int, Mark] = {}
        with self._db.read() as session:
            valid = valid_digests(session, tokens)
            for begin in range(0, len(numbers), PAGE):
                chunk = numbers[begin : begin + PAGE]
                rows = session.execute(select(Job.number, Job.acked, changes).where(Job.number.in_(chunk)))
                found.update((number, (acked, change)) for number, acked, change in rows)
        return found, valid


@dataclass
class _Batch:
    messages: list[ServerSentEvent]
    seq: int
    change: int
    mark: Mark
    full: bool
    ended: bool


async def follow(
    hub: Hub, db: Database, job_number: int, after: int, token: str = ""
) -> AsyncIterator[ServerSentEvent]:
    """The state now, all events behind `after`, then what comes; ends after the job has ended and all is told.

    token: digest of the follower's; the stream ends when it is revoked.
    """
    hub.enter(job_number, token)
    try:
        seq, change = after, -1
        while not hub.is_revoked(token):
            batch = await run_in_threadpool(_read, db, job_number, seq, change)
            for message in batch.messages:
                yield message
            seq, change = batch.seq, batch.change
            if batch.full:
                continue
            if batch.ended:
                return
            await hub.changed(job_number, batch.mark, token)
    finally:
        hub.leave(job_number, token)


def _read(db: Database, job_number: int, seq: int, change: int) -> _Batch:
    """One read of what is new. `change` -1: the follower has just come and gets the state as it is."""
    with db.read() as session:
        job = session.get_one(Job, job_number)
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
    data: dict[str, Any] = {
        "state": change.state,
        "attempt": change.attempt,
        "reason": change.reason,
        "time": change.time.isoformat(),
    }
    if change.state == State.FAILED:
        data["failure"] = job.failure
    return ServerSentEvent(event="state", data=json.dumps(data))

"""A log as it grows, sent on to whoever follows it: from attempt to attempt, until its run has ended and all is told.

What is polled is the file and the run's row, so it works from any process. Nothing is read for a follower before it has taken
what it was sent: a slow one costs one piece of memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job, Trial
from service.runs import logs
from service.runs.hub import Followed
from service.runs.logs import Log, Piece
from trainer.search import TrialState

PIECE = 64 * 1024
"""Bytes of one message."""
PAGE = 500
LAST_SECONDS = 1.0
"""How long more is waited for once the run has ended: a worker's last lines may come a little late to a shared disk."""


class Standing(NamedTuple):
    """What the run's row says."""

    attempt: int
    """The newest."""
    state: str
    """The run's, or the trial's."""
    ended: bool
    """Whether nothing more is printed."""


Mark = tuple[Standing, int, int]
"""What a follower has seen: the row, the size of the part that it reads, and when a file came into its folder."""
GONE = Standing(0, "", True)


@dataclass(frozen=True)
class Reading:
    """What is followed: a log, from the part on that a follower has come to."""

    number: int
    """Of the run."""
    log: Log
    part: int = 1
    trial: str | None = None
    """Of a search: its trial, whose end is the end."""

    def mark(self, standing: Standing) -> Mark:
        """As it is now."""
        size = moment = 0
        with suppress(OSError):
            moment = self.log.path().parent.stat().st_mtime_ns
            size = self.log.path(self.part).lstat().st_size
        return standing, size, moment


class LogHub(Followed[Reading, Mark]):
    """Of logs."""

    def marks(self, session: Session, followed: Sequence[Reading]) -> dict[Reading, Mark]:
        """How far each has come."""
        found: dict[Reading, Mark] = {}
        for begin in range(0, len(followed), PAGE):
            standings = _standings(session, followed[begin : begin + PAGE])
            found.update((reading, reading.mark(standing)) for reading, standing in standings.items())
        return found


def _standings(session: Session, followed: Sequence[Reading]) -> dict[Reading, Standing]:
    numbers = {reading.number for reading in followed}
    rows = session.execute(select(Job.number, Job.attempt, Job.state, Job.watched).where(Job.number.in_(numbers)))
    runs = {row.number: Standing(row.attempt, row.state, State(row.state).ended and not row.watched) for row in rows}
    names = {reading.trial for reading in followed if reading.trial is not None}
    trials: dict[tuple[int, str], str] = {}
    if names:
        of = select(Trial.job_number, Trial.id, Trial.state).where(Trial.job_number.in_(numbers), Trial.id.in_(names))
        trials = {(row.job_number, row.id): row.state for row in session.execute(of)}
    found: dict[Reading, Standing] = {}
    for reading in followed:
        standing = runs.get(reading.number, GONE)
        if reading.trial is not None and (state := trials.get((reading.number, reading.trial))) is not None:
            standing = Standing(standing.attempt, state, standing.ended or TrialState(state).ended)
        found[reading] = standing
    return found


@dataclass
class _Step:
    """One read of what is new."""

    reading: Reading
    offset: int
    mark: Mark
    message: ServerSentEvent | None = None


async def follow(
    hub: LogHub, db: Database, reading: Reading, offset: int, ticket: Ticket, tail: int | None = None
) -> AsyncIterator[ServerSentEvent]:
    """What lies behind the offset, or the last lines, then what comes. A message's id is `ATTEMPT-OFFSET`, where it ends.

    ticket: the follower's; the stream ends when it is over.
    """
    drained = False
    hub.enter(reading, ticket)
    try:
        while not ticket.over:
            step = await run_in_threadpool(_read, db, reading, offset, tail)
            if step.reading != reading:
                hub.enter(step.reading, ticket)
                hub.leave(reading, ticket)
            reading, offset, tail = step.reading, step.offset, None
            if step.message is not None:
                drained = False
                yield step.message
                continue
            standing = step.mark[0]
            if drained:
                yield _message("state", reading.log, state=standing.state)
                return
            drained = standing.ended
            with suppress(TimeoutError):
                await asyncio.wait_for(hub.changed(reading, step.mark, ticket), LAST_SECONDS if drained else None)
    finally:
        hub.leave(reading, ticket)


def _read(db: Database, reading: Reading, offset: int, tail: int | None) -> _Step:
    """The next piece; of an attempt that is over and told, the beginning of the next."""
    with db.read() as session:
        standing = _standings(session, [reading])[reading]
    mark, log = reading.mark(standing), reading.log
    piece = logs.tail(log, tail) if tail is not None else logs.piece(log, offset, PIECE)
    if piece.text:
        behind = replace(reading, part=logs.split(piece.end)[0])
        return _Step(behind, piece.end, mark, _text(log, piece))
    if standing.attempt > log.attempt:
        following = replace(log, attempt=log.attempt + 1)
        begins = _message("attempt", following, id=f"{following.attempt}-0")
        return _Step(replace(reading, log=following, part=1), 0, mark, begins)
    return _Step(reading, offset, mark)


def _text(log: Log, piece: Piece) -> ServerSentEvent:
    return _message("log", log, id=f"{log.attempt}-{piece.end}", text=piece.text)


def _message(event: str, log: Log, id: str | None = None, **fields: Any) -> ServerSentEvent:
    data = {"attempt": log.attempt, "rank": log.rank, **fields}
    return ServerSentEvent(id=id, event=event, data=json.dumps(data))

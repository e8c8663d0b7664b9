"""What runs tell, sent on to everyone who follows all of them. One reader of the tape a process; what it has read of late is kept
once, as the bytes that followers are sent, so a follower costs no thread, no query and no copy while it keeps up.

One who comes with an older mark reads from the database until it has caught up, few at a time. One who had, and falls further behind
than what is kept, is cut off with the mark to go on from.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy.orm import Session
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.access.live import Ticket
from service.db.session import Database
from service.runs import tape
from service.runs.hub import Followed
from service.runs.tape import Mark, Told, Wanted

ALL = "tape"
"""What is followed."""
KEPT, KEPT_BYTES = 5000, 16 * 2**20
"""The newest messages that a process keeps for those who follow, and how much of them."""
PIECE = 64 * 1024
"""Bytes that a follower is sent at once, or one message."""
PAGE = 200
AT_ONCE = 4
"""So many read from the database at a time to catch up."""
GATHER, FOLLOWERS_A_SECOND = 0.05, 5000
"""Between two looks pass so many seconds, and more the more are to be told: each is sent what came meanwhile in one piece."""


class Part(NamedTuple):
    """What a follower is sent next."""

    content: bytes
    mark: Mark
    more: bool


@dataclass(eq=False)
class Ring:
    """The newest messages; never changed, but replaced."""

    begin: Mark
    """Of what lies up to here nothing is kept."""
    end: Mark
    told: Sequence[Told] = ()
    frames: Sequence[bytes] = ()
    marks: Sequence[Mark] = ()
    _parts: dict[tuple[Mark, Wanted], Part] = field(default_factory=dict)

    def behind(self, mark: Mark, wanted: Wanted) -> Part:
        """What lies behind a mark that is not before `begin`. Made once for all that are there and want the same."""
        key = (mark, wanted)
        if key not in self._parts:
            self._parts[key] = self._made(mark, wanted)
        return self._parts[key]

    def _made(self, mark: Mark, wanted: Wanted) -> Part:
        chosen: list[bytes] = []
        size = 0
        for index in range(bisect_right(self.marks, mark), len(self.marks)):
            if wanted.takes(self.told[index]):
                chosen.append(self.frames[index])
                size += len(self.frames[index])
                if size >= PIECE:
                    return Part(b"".join(chosen), self.marks[index], True)
        return Part(b"".join(chosen), max(mark, self.end), False)

    def grown(self, told: Sequence[Told], end: Mark) -> Ring:
        """With these, and without what is too much then."""
        every = [*self.told, *told]
        frames = [*self.frames, *map(frame, told)]
        size, first = 0, len(every)
        while first > 0 and len(every) - first < KEPT and size + len(frames[first - 1]) <= KEPT_BYTES:
            first -= 1
            size += len(frames[first])
        begin = self.begin if first == 0 else every[first - 1].mark
        kept = every[first:]
        return Ring(begin, end, kept, frames[first:], [one.mark for one in kept])


class Broadcast(Followed[str, Ring]):
    """Of the tape."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.catching_up = asyncio.Semaphore(AT_ONCE)

    @property
    def ring(self) -> Ring | None:
        """None: nobody followed until now."""
        return self._marks.get(ALL)

    def poke_all(self) -> None:
        """From any thread: something was told just now."""
        self.poke(ALL)

    def pause(self) -> float:
        """Seconds between two looks."""
        return GATHER + self._followers[ALL] / FOLLOWERS_A_SECOND

    def marks(self, session: Session, followed: Sequence[str]) -> dict[str, Ring]:
        """The ring with what is new."""
        ring = self.ring
        if ring is None:
            now = tape.end(session)
            return {ALL: Ring(now, now)}
        stretch = tape.read(session, ring.end, KEPT)
        if stretch.more:
            self.poke_all()
        return {ALL: ring if stretch.mark == ring.end else ring.grown(stretch.told, stretch.mark)}

    def _load(self, followed: Sequence[str], tickets: Sequence[Ticket]) -> tuple[dict[str, Ring], list[Ticket]]:
        if tape.place(self._db) == tape.MOST:
            self.poke_all()
        return super()._load(followed, tickets)

    def page(self, mark: Mark, wanted: Wanted) -> Part:
        """What lies behind a mark of which nothing is kept; in a thread."""
        with self._db.read() as session:
            stretch = tape.read(session, mark, PAGE, wanted)
        return Part(b"".join(map(frame, stretch.told)), stretch.mark, stretch.more)


@dataclass
class Follower:
    """One stream."""

    broadcast: Broadcast
    wanted: Wanted
    mark: Mark | None
    """How far it has come; None: it begins with what comes."""
    ticket: Ticket
    """The stream ends when it is over."""

    def heartbeat(self) -> ServerSentEvent:
        """An id alone: whoever wants little of the tape goes on from here, too."""
        return ServerSentEvent(comment="ping") if self.mark is None else ServerSentEvent(id=str(self.mark))

    async def follow(self) -> AsyncIterator[bytes]:
        """Where it is, all that lies behind it, then what comes; without an end."""
        hub = self.broadcast
        hub.enter(ALL, self.ticket)
        try:
            if self.mark is None:
                self.mark = await self._now()
            yield self.heartbeat().encode()
            kept_up = False
            while not self.ticket.over:
                ring = hub.ring
                if ring is not None and self.mark >= ring.begin:
                    kept_up, part = True, ring.behind(self.mark, self.wanted)
                elif kept_up:
                    yield self._cut()
                    return
                else:
                    async with hub.catching_up:
                        part = await run_in_threadpool(hub.page, self.mark, self.wanted)
                if part.content:
                    yield part.content
                self.mark = part.mark
                if kept_up and not part.more and ring is not None:
                    await hub.changed(ALL, ring, self.ticket)
        finally:
            hub.leave(ALL, self.ticket)

    async def _now(self) -> Mark:
        """The end of the tape, once it is known."""
        nothing = Ring(Mark(), Mark())
        while (ring := self.broadcast.ring) is None and not self.ticket.over:
            await self.broadcast.changed(ALL, nothing, self.ticket)
        return Mark() if ring is None else ring.end

    def _cut(self) -> bytes:
        reason = "you read more slowly than runs tell; go on with this id as Last-Event-ID"
        return ServerSentEvent(id=str(self.mark), event="cut", data=json.dumps({"reason": reason})).encode()


def frame(told: Told) -> bytes:
    """The message that tells it."""
    run = {"id": told.run, "kind": told.kind, "name": told.name, "owner": told.owner}
    data = json.dumps({"run": run, **told.data}, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(id=str(told.mark), event=told.event, data=data).encode()

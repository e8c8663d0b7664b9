"""The queue as one reconciler sees it: reads who waits, decides without holding anything, writes what differs.

Between two rounds it keeps the line as it was decided of. As long as the cluster, our jobs on it and those in line are the
same, the same would be decided again; so only those that came since are looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from service.db.session import Database
from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.reconciler import rows
from service.reconciler.admission import Line, Need, Verdict
from service.reconciler.rows import Waiting

MAX_STARTS = 8
"""Started in one round: each is handed to Ray, one after another, under a lease that began with the round."""
COUNTED_EVERY = timedelta(seconds=1)
"""How often the line is counted, to see whether anyone came back into it or left it by another reconciler: this reads it all."""
ANEW_SECONDS = 30.0
"""After that long the whole line is decided of again, whether or not anything was seen to change."""


class Queue:
    """One per reconciler. `changed` is told of every job whose state it changes."""

    def __init__(
        self,
        db: Database,
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
        changed: Callable[[int], None],
    ) -> None:
        self.db, self.owner, self.lease, self.clock, self.changed = db, owner, lease, clock, changed
        self.unfinished = False
        """Whether the next round has more to do at once."""
        self._line: Line | _Closed = _Closed("")
        self._waiting: list[Waiting] = []
        """Those that were decided of, and wait."""
        self._mark: rows.Mark = (0, 0, 0)
        self._counted = datetime.min.replace(tzinfo=UTC)
        self._turns = 0
        """How often anyone had started jobs, as far as this one knows."""
        self._same: object = None
        """Cluster and our jobs on it, as they were decided for."""
        self._began = 0.0
        self._told: dict[tuple[int, int], Verdict] = {}
        """What was written last, by number and attempt."""

    def look(self, nodes: Sequence[Node] | str) -> list[Job]:
        """Have those leave that shall, start those that fit, say of the rest what they wait for. The started ones, owned.

        nodes: the cluster, or why nothing is known of it.
        """
        gone = rows.leave(self.db)
        if gone:
            left = set(gone)
            self._waiting, self._same = [item for item in self._waiting if item.number not in left], None
            self._mark = rows.mark(self._waiting)
        now = self.clock()
        with self.db.read() as session:
            last = self._waiting[-1].number if self._waiting else 0
            count = not timedelta() <= now - self._counted < COUNTED_EVERY
            pulse = rows.pulse(session, now, last if count else None)
            same = pulse.turns == self._turns and pulse.mark in (None, self._mark)
            known = same and bool(self._waiting) and time.monotonic() - self._began < ANEW_SECONDS
            came = rows.line(session, now, last if known else 0)
        before = self._waiting if known else []
        kept = known and self._same == (_facts(nodes), pulse.active)
        if not kept:
            self._line = _Closed(nodes) if isinstance(nodes, str) else Line(nodes, pulse.active)
        if not known:
            self._began = time.monotonic()
        self._counted = now if count or not known else self._counted
        self._turns = pulse.turns
        self._waiting, self._same = [], None  # whatever fails from here on, the next round decides anew
        chosen, told = self._decide(came if kept else [*before, *came])
        started = rows.start(self.db, pulse.turns, chosen, self.owner, now, self.lease) if chosen else []
        self._turns += bool(chosen and started is not None)
        fresh = rows.explain(
            self.db, [(item, verdict) for item, verdict in told if self._told.get(_key(item)) != verdict]
        )
        written = {_key(item): verdict for item, verdict in told}
        if kept:  # what is kept of a long line is not copied
            self._told.update(written)
        else:
            self._told = written
        # Of some that were to start others were faster, or they were cancelled: what the line kept for them is not so.
        self.unfinished = started is None or len(started) < len(chosen) or len(chosen) == MAX_STARTS
        if not self.unfinished:
            decided = [item for item, _ in told]
            self._waiting = before if kept else decided
            if kept:
                before += decided
            mark = rows.mark(decided)
            self._mark = (mark[0] + self._mark[0], mark[1] + self._mark[1], mark[2] + self._mark[2]) if kept else mark
            self._same = (_facts(nodes), tuple(sorted((*pulse.active, *(item.need for item in chosen)))))
        for number in (*gone, *fresh):
            self.changed(number)
        return started or []

    def _decide(self, waiting: Sequence[Waiting]) -> tuple[list[Waiting], list[tuple[Waiting, Verdict]]]:
        """Who starts, and what the others are told."""
        chosen: list[Waiting] = []
        told: list[tuple[Waiting, Verdict]] = []
        for item in waiting:
            verdict = self._line.next(item.need)
            if not verdict.starts:
                told.append((item, verdict))
            elif len(chosen) < MAX_STARTS - 1:
                chosen.append(item)
            else:
                return [*chosen, item], told
        return chosen, told


def _key(item: Waiting) -> tuple[int, int]:
    return item.number, item.attempt


class _Closed:
    """The line while nothing is known of the cluster."""

    def __init__(self, reason: str) -> None:
        self._verdict = Verdict(False, reason)

    def next(self, _mine: Need) -> Verdict:
        """Nobody starts."""
        return self._verdict


def _facts(nodes: Sequence[Node] | str) -> object:
    """What of the cluster decides: its free memory changes all the time, and doesn't."""
    if isinstance(nodes, str):
        return nodes
    return tuple((node.id, node.cpus, node.cpus_free, node.gpus, node.gpus_free) for node in nodes)

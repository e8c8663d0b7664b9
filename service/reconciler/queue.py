"""The queue as one reconciler sees it: reads who waits, decides without holding anything, writes what differs.

Between two rounds it keeps the line as it was decided of (`service.runs.standing`), so that only what changed is looked at: those that
came since are read, and the others if anyone else may have changed who waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from service.db.session import Database
from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.reconciler import rows
from service.reconciler.displacing import Displacer
from service.reconciler.rows import Waiting
from service.runs.beside import Beside, Moves
from service.runs.queue import Head, Verdict, head_of
from service.runs.room import Need
from service.runs.standing import Standing

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
        self._standing: Standing[Waiting] | None = None
        """Those that were decided of, and wait; None: nobody was."""
        self._last = 0
        """The highest number among them."""
        self._mark: rows.Mark = (0, 0, 0, 0)
        self._promised: Mapping[int, object] = {}
        """Those of them that others make room for."""
        self._displacer = Displacer(db, clock)
        self._counted = datetime.min.replace(tzinfo=UTC)
        self._turns = 0
        """How often anyone had started jobs, as far as this one knows."""
        self._began = 0.0
        self._capped: object = None
        """Caps, whose jobs are on the cluster, and what is said of spent hours, as they were decided for; None: there are no caps."""
        self._beside: Beside[Waiting] | None = None
        """All that wait, as caps have them stand; None: there are no caps."""
        self._told: dict[tuple[int, int], Verdict] = {}
        """What was written last, by number and attempt."""

    @property
    def line(self) -> list[Need] | None:
        """What those take that wait and that the cluster can hold, in order; None: that was not decided of."""
        return None if self._standing is None else [item.need for item in self._standing.waiting]

    def look(self, nodes: Sequence[Node] | str, late: datetime | None = None, drivers: int | None = None) -> list[Job]:
        """Have those leave that shall, start those that fit, say of the rest what they wait for. The started ones, owned.

        nodes: the cluster, or why nothing is known of it. late: runs that wait for nodes since before that keep nothing from others.
        drivers: for how many Ray's head has memory; None: for any number.
        """
        gone = set(rows.leave(self.db))
        if gone and self._standing is not None:
            waiting = self._standing if self._beside is None else self._beside
            self._mark = rows.mark(item for item in waiting if item.number not in gone)
        now = self.clock()
        with self.db.read() as session:
            count = not timedelta() <= now - self._counted < COUNTED_EVERY
            pulse = rows.pulse(session, now, self._last if count else None, late)
            same = pulse.turns == self._turns and pulse.mark in (None, self._mark)
            known = same and time.monotonic() - self._began < ANEW_SECONDS
            standing = self._standing if known else None
            came = rows.line(session, now, self._last if standing else 0, pulse.promised)
            moves = Moves(came, [], [])
            if pulse.caps or self._capped is not None:
                standing, came, moves = self._within_caps(session, standing, pulse, came, gone, now)
        self._counted = now if count or not standing else self._counted
        self._turns = pulse.turns
        room = head_of(drivers, len(pulse.running))
        started, fresh = self._decide(standing, nodes, room, pulse, came, moves, gone, now)
        displaced = () if started or self.unfinished else self._displace(nodes, pulse, drivers)
        for number in (*gone, *fresh, *displaced):
            self.changed(number)
        return started

    def _decide(
        self,
        standing: Standing[Waiting] | None,
        nodes: Sequence[Node] | str,
        head: Head,
        pulse: rows.Pulse,
        read: Sequence[Waiting],
        moves: Moves[Waiting],
        gone: Collection[int],
        now: datetime,
    ) -> tuple[list[Job], list[int]]:
        """Those that were started, and the numbers of those that nobody had looked at before.

        read: those that nobody had decided of. moves: who comes into the line, leaves it, or stands beside it.
        """
        self._standing = None  # whatever fails from here on, the next round decides anew
        anew, standing = standing is None, standing or Standing()
        if anew:
            self._began, self._last, self._mark = time.monotonic(), 0, rows.mark(())
        moved = [item for item in self._turned(standing, pulse) if item.number not in gone]
        turned = [item._replace(behind=not item.behind) for item in moved]
        left = {*gone, *moves.left, *(item.number for item in moved)}
        decision = standing.decide(nodes, pulse.active, [*moves.came, *turned], left, MAX_STARTS, pulse.served, head)
        chosen, told = decision.chosen, [(item, _of_room(item, verdict, pulse)) for item, verdict in decision.told]
        told += [(item, Verdict(False, reason)) for item, reason in moves.held]
        started = rows.start(self.db, pulse.turns, chosen, self.owner, now, self.lease) if chosen else []
        self._turns += bool(chosen and started is not None)
        fresh = rows.explain(
            self.db, [(item, verdict) for item, verdict in told if self._told.get(_key(item)) != verdict]
        )
        written = {_key(item): verdict for item, verdict in told}
        if anew:
            self._told = written
        else:  # what is kept of a long line is not copied
            self._told.update(written)
        # Of some that were to start others were faster, or they were cancelled: what the line kept for them is not so.
        self.unfinished = started is None or len(started) < len(chosen) or not decision.whole
        if not self.unfinished:
            self._standing, self._promised = standing, pulse.promised
            self._last = max([self._last, *(item.number for item in read)])
            self._mark = rows.added(self._mark, rows.mark(read), rows.mark(chosen))
            if self._beside is not None:
                self._beside.forget({item.number for item in chosen})
        return started or [], fresh

    def _within_caps(
        self,
        session: Session,
        standing: Standing[Waiting] | None,
        pulse: rows.Pulse,
        came: list[Waiting],
        gone: Collection[int],
        now: datetime,
    ) -> tuple[Standing[Waiting] | None, list[Waiting], Moves[Waiting]]:
        """The standing (None: all is to be decided anew), those that nobody had decided of, and who stands where now."""
        spent = {owner: each.words(owner) for owner, each in pulse.spent.items()}
        facts = (dict(pulse.caps), pulse.owned, spent) if pulse.caps else None
        if standing is not None and not came and not gone and facts == self._capped:
            return standing, came, Moves([], [], [])
        if standing is None or self._beside is None or pulse.promised.keys() != self._promised.keys():
            came = came if standing is None else rows.line(session, now, 0, pulse.promised)
            standing, self._beside = None, Beside()
        moves = self._beside.look(pulse.caps, pulse.owned, pulse.spent, came, gone)
        self._capped = facts
        if facts is None:  # there are no caps any more
            self._beside = None
        return standing, came, moves

    def _turned(self, standing: Standing[Waiting], pulse: rows.Pulse) -> list[Waiting]:
        """Those of the standing that others make room for now, or don't any more."""
        if pulse.promised.keys() == self._promised.keys():
            return []
        return [item for item in standing if item.behind == (item.number in pulse.promised)]

    def _displace(self, nodes: Sequence[Node] | str, pulse: rows.Pulse, drivers: int | None) -> Sequence[int]:
        """The numbers of those that make room for others from now on."""
        if isinstance(nodes, str) or self._standing is None:
            return ()
        self._turns, numbers = self._displacer.look(
            self._turns, nodes, pulse.running, self._standing.waiting, pulse.served, drivers
        )
        self.unfinished = bool(numbers)
        return numbers


def _of_room(item: Waiting, verdict: Verdict, pulse: rows.Pulse) -> Verdict:
    """The same; of one that others make room for, with their names."""
    names = pulse.promised.get(item.number)
    if not names:
        return verdict
    return verdict._replace(
        reason=f"waits for {item.need.words}; {' and '.join(names)} {'makes' if len(names) == 1 else 'make'} room for it"
    )


def _key(item: Waiting) -> tuple[int, int]:
    return item.number, item.attempt

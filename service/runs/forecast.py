"""When one that waits will start: the queue's own function, run forward over the expected ends of what runs. Pure.

Twice: once with every run as short as it may be, once as long, and as though those came, too, who came of late and would be ahead. Who
makes room for another is in the line again once it has left. Whom others will make room for nobody knows, so that isn't in it.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from service.bodies.owners import Caps
from service.gateway.ray_jobs import Node
from service.runs.caps import Ledger
from service.runs.queue import Line, head_of
from service.runs.room import Need, minus_unseen, put

MOST_ENDS = 400
"""Ends of runs that are looked ahead over; what starts later than that has no forecast."""
ANY = Need(1, 1.0)


class Span(NamedTuple):
    """How long, in seconds from now: at least, and at most (infinite: nobody knows)."""

    early: float
    late: float
    guess: bool = False
    """Whether it isn't the run itself that told so."""


OPEN = Span(0.0, math.inf, True)


Turn = tuple[bool, int]
"""By what the line is sorted: first those that others make room for, each by its place (`service.runs.order`)."""


class Queued(NamedTuple):
    """One that waits."""

    owner: str
    need: Need
    lasts: Span
    """Once it has started."""
    after: float = 0.0
    """Seconds until it is in the line: it lost an attempt, or will come."""
    turn: Turn = (False, 0)


class Busy(NamedTuple):
    """A run on the cluster."""

    owner: str
    need: Need
    left: Span
    back: Queued | None = None
    """As it will wait again when it has left; None: it won't."""
    driver: bool = True
    """Whether it has one on Ray's head; what answers questions to models has none."""


class Start(NamedTuple):
    """When it starts, in seconds from now; infinite: not within what is looked ahead over."""

    early: float
    late: float
    guess: bool
    """Whether that follows from an end that no run told of itself."""


def forecast(
    nodes: Sequence[Node],
    busy: Sequence[Busy],
    line: Sequence[Queued],
    caps: Mapping[str, Caps] | None = None,
    likely: Iterable[Queued] = (),
    drivers: int | None = None,
) -> Start:
    """Of the last in line, which is in order. likely: those that may come yet and would be ahead of it.

    drivers: for how many runs Ray's head has memory; None: for any number.
    """
    early, one = _run(_World(nodes, busy, drivers, late=False), line, line[-1], caps or {})
    whole = sorted([*line, *likely], key=_turn)
    late, other = _run(_World(nodes, busy, drivers, late=True), whole, line[-1], caps or {})
    return Start(min(early, late), max(early, late), one or other)


def _run(world: _World, line: Sequence[Queued], mine: Queued, caps: Mapping[str, Caps]) -> tuple[float, bool]:
    """When that one of the line starts, and whether that is a guess."""
    now, guess, ends = 0.0, False, 0
    waiting = [item for item in line if item.after <= 0]
    later = deque(sorted((item for item in line if item.after > 0), key=lambda item: item.after))
    while ends < MOST_ENDS:
        ledger = Ledger(caps, ((owner, need) for owner, need in world.owned())) if caps else None
        for item in world.starting(waiting, ledger):
            if item is mine:
                return now, guess
            waiting.remove(item)
            world.start(item, now)
        following = min(world.next_end(), later[0].after if later else math.inf)
        if following == math.inf:
            return math.inf, True
        now = following
        while later and later[0].after <= now:
            insort(waiting, later.popleft(), key=_turn)
        for run in world.end(now):
            guess, ends = guess or run.guess, ends + 1
            if run.back is not None:
                insort(waiting, run.back, key=_turn)
    return (math.inf if world.late else now), True


def _turn(item: Queued) -> Turn:
    return item.turn


class _Run(NamedTuple):
    """On the cluster."""

    ends: float
    order: int
    owner: str
    need: Need
    held: tuple[tuple[int, int], ...]
    """So many workers on which node."""
    guess: bool
    back: Queued | None = None
    driver: bool = True


class _World:
    """The cluster as time passes."""

    def __init__(self, nodes: Sequence[Node], busy: Sequence[Busy], drivers: int | None, *, late: bool) -> None:
        """late: every run takes as long as it may."""
        nodes = [node for node in nodes if node.state != "late"]
        free = minus_unseen(nodes, [item.need for item in busy])
        used = [[node.cpus - cpus, node.gpus - gpus] for node, (cpus, gpus) in zip(nodes, free, strict=True)]
        self._nodes, self.late, self._drivers, self._count = nodes, late, drivers, 0
        self._free = [list(node) for node in free]
        self._runs: list[_Run] = []
        # The widest first: whose worker is on which node isn't known, and these have the fewest places where they can be.
        for item in sorted(busy, key=lambda item: (-item.need.gpus, -item.need.cpus)):
            self._add(item, put(used, item.need), item.left, 0.0, item.back, driver=item.driver)

    def starting(self, waiting: Sequence[Queued], ledger: Ledger | None) -> list[Queued]:
        """Those of the line that start now."""
        queue = Line(
            [
                replace(node, cpus_free=cpus, gpus_free=gpus)
                for node, (cpus, gpus) in zip(self._nodes, self._free, strict=True)
            ],
            (),
            head=head_of(self._drivers, sum(run.driver for run in self._runs)),
        )
        found = []
        for item in waiting:
            if queue.nothing_for(ANY):
                break
            if ledger is not None:
                if ledger.refuses(item.owner, item.need) is not None:
                    continue
                ledger.take(item.owner, item.need)
            if queue.next(item.need).starts:
                found.append(item)
        return found

    def start(self, item: Queued, now: float) -> None:
        """It takes its place."""
        self._add(item, put(self._free, item.need), item.lasts, now)

    def next_end(self) -> float:
        """When the next run ends."""
        return self._runs[0].ends if self._runs else math.inf

    def end(self, now: float) -> list[_Run]:
        """Those leave that end by then."""
        ended = []
        while self._runs and self._runs[0].ends <= now:
            run = heapq.heappop(self._runs)
            ended.append(run)
            for index, count in run.held:
                self._free[index][0] += count * run.need.cpus
                self._free[index][1] += count * run.need.gpus
        return ended

    def owned(self) -> Iterable[tuple[str, Need]]:
        """Whose runs are there, and what they take."""
        return [(run.owner, run.need) for run in self._runs]

    def _add(
        self,
        item: Busy | Queued,
        held: tuple[tuple[int, int], ...],
        lasts: Span,
        now: float,
        back: Queued | None = None,
        *,
        driver: bool = True,
    ) -> None:
        ends = now + (lasts.late if self.late else lasts.early)
        self._count += 1
        heapq.heappush(self._runs, _Run(ends, self._count, item.owner, item.need, held, lasts.guess, back, driver))

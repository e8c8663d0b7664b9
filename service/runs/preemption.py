"""Whom to pause so that another can start: pure. Nothing is lost by it, since it is a pause, and who was paused goes on by itself.

Who waits may have those paused that allow it and have a lower priority. Both priorities are those that people gave: by age a run comes
to its turn, and not at another's expense. A run that all of a higher priority have let pass in the line is not paused: it would come back
to its place before them, start, and be paused again. One that came since may have it paused; the room is then for the first in line of
all that have a higher priority, so that no younger one is served before an older. And who was paused for another before is left alone
for `SLICE` once it goes on, so that it gets ahead however many come. So everyone comes to their end.

Of those that would do, the lowest priority is paused first, and of one priority who came last. None is paused that isn't needed, and
nobody if it would not let the one who waits start, with all that is kept for others that are ahead. What is freed is for that one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeVar

from service.gateway.ray_jobs import Node
from service.runs.queue import Line, head_of
from service.runs.room import Need, fit
from trainer.spec.queue import MOST_PRIORITY

SLICE = timedelta(minutes=10)
"""So long a run that made room once goes on before it makes room again."""
MOST = 8
"""So many have others paused for them at once."""
LOOKS = 50
"""So many that wait are looked at, the first in line."""


class Waiter(Protocol):
    """One that waits."""

    @property
    def number(self) -> int:
        """Its own."""

    @property
    def place(self) -> int:
        """In the line (`service.runs.order`)."""

    @property
    def arrived(self) -> int:
        """When it was submitted, which its place may count as later."""

    @property
    def priority(self) -> int:
        """As it was given."""

    @property
    def need(self) -> Need:
        """What it takes."""


class Running(NamedTuple):
    """One on the cluster."""

    number: int
    place: int
    priority: int
    need: Need
    """At least so much it takes."""
    preemptible: bool = False
    began: int | None = None
    """When Ray took its attempt, as arrivals are counted; None while that isn't certain: then it isn't paused."""
    paused_before: bool = False
    """Whether it made room for another since it was submitted."""
    leaving: bool = False
    """Whether it is to end already, or to make room."""
    late: bool = False
    """Whether it waits for nodes that haven't come: it takes nothing of what is there but memory on Ray's head."""


W = TypeVar("W", bound=Waiter)


class Displacement(NamedTuple):
    """Who is paused for whom."""

    waiter: int
    runs: tuple[Running, ...]


class Wanted:
    """Which runs may be paused for anyone, as far as those that wait are concerned."""

    def __init__(self, line: Iterable[Waiter]) -> None:
        """line: those that wait and that the cluster can hold."""
        foremost, latest = [math.inf] * MOST_PRIORITY, [-math.inf] * MOST_PRIORITY
        for waiter in line:
            if waiter.priority:
                below = waiter.priority - 1
                foremost[below] = min(foremost[below], waiter.place)
                latest[below] = max(latest[below], waiter.arrived)
        for priority in reversed(range(MOST_PRIORITY - 1)):
            foremost[priority] = min(foremost[priority], foremost[priority + 1])
            latest[priority] = max(latest[priority], latest[priority + 1])
        self._foremost, self._latest = foremost, latest
        """By priority of a run: of those that wait with a higher one, the first place and the last arrival."""

    def may_be_paused(self, run: Running, now: int) -> bool:
        """Whether it may be, for the first in line that has a higher priority; whether it would be of any use isn't asked."""
        if not run.preemptible or run.leaving or run.began is None or run.priority >= MOST_PRIORITY:
            return False
        resting = run.paused_before and now - run.began < SLICE / timedelta(microseconds=1)
        return not resting and not self._all_let_it_pass(run.priority, run.place, run.began)

    def _all_let_it_pass(self, priority: int, place: int, began: int) -> bool:
        """Whether all that have a higher priority stood behind it in the line when it began; also if there are none."""
        return self._foremost[priority] > place and self._latest[priority] <= began


def plan(
    nodes: Sequence[Node],
    running: Sequence[Running],
    coming: Sequence[Need],
    line: Sequence[W],
    now: int,
    served: Sequence[Need] = (),
    drivers: int | None = None,
) -> list[Displacement]:
    """Whom to pause now, for whom. What is kept for what answers questions to models (served) stays.

    coming: what has left the cluster so lately that Ray may not report it free yet. line: those that wait and don't start now, in order.
    What those take that leave already counts as free: it is waited for. drivers: for how many runs Ray's head has memory; None: for any
    number.
    """
    active = [run.need for run in running if not run.late]
    freed = [*coming, *(run.need for run in running if run.leaving and not run.late)]
    staying = sum(not run.leaving for run in running)
    wanted = Wanted(_possible(nodes, line))
    spare = sorted((run for run in running if wanted.may_be_paused(run, now)), key=_first_to_go)
    found: list[tuple[W, tuple[Running, ...]]] = []
    while spare and len(found) < MOST:
        first = [waiter for waiter, _ in found]
        following = _next(Line(nodes, active, freed, served, head_of(drivers, staying)), first, line, spare)
        if following is None:
            break
        found.append(following)
        freed += [run.need for run in following[1] if not run.late]
        staying -= len(following[1])
        spare = [run for run in spare if run not in following[1]]
    return [Displacement(waiter.number, runs) for waiter, runs in found]


def _possible(nodes: Sequence[Node], line: Iterable[W]) -> Iterator[W]:
    """Those that such a cluster can hold at all."""
    queue = Line(nodes, ())
    return (waiter for waiter in line if queue.never(waiter.need) is None)


def _next(
    queue: Line, first: Sequence[W], line: Iterable[W], spare: Sequence[Running]
) -> tuple[W, tuple[Running, ...]] | None:
    """The first in line that starts if some of those that may be paused for it are."""
    for waiter in first:
        queue.next(waiter.need)
    promised, lowest, looks = {waiter.number for waiter in first}, spare[0].priority, 0
    for waiter in line:
        if waiter.number in promised:
            continue
        if waiter.priority > lowest and queue.never(waiter.need) is None and not queue.holds(waiter.need):
            theirs = [run for run in spare if run.priority < waiter.priority]
            if theirs and (chosen := fewest(queue, waiter.need, theirs)):
                return waiter, chosen
            looks += bool(theirs)
            if looks == LOOKS:
                return None
        if not queue.nothing_for(waiter.need):
            queue.next(waiter.need)
    return None


def fewest(queue: Line, need: Need, runs: Sequence[Running]) -> tuple[Running, ...]:
    """Those of the runs, the first to go first, whose room together with what is left holds the need, and not without one of them.

    Empty if all together don't do.
    """
    if not _holds(queue, need, runs):
        return ()
    count = bisect_left(range(len(runs)), True, key=lambda last: _holds(queue, need, runs[: last + 1])) + 1
    chosen = list(runs[:count])
    for run in reversed(chosen[:-1]):  # without the last it was not enough
        without = [other for other in chosen if other is not run]
        if _holds(queue, need, without):
            chosen = without
    return tuple(chosen)


def _holds(queue: Line, need: Need, runs: Sequence[Running]) -> bool:
    """As `service.runs.room.with_coming` has it: of a single node all adds up, else each worker makes room for what fits into its own.

    Each of them leaves the place of its driver, too.
    """
    if queue.drivers + len(runs) <= 0:
        return False
    runs = [run for run in runs if not run.late]
    size, left = (need.cpus, need.gpus), queue.left
    if len(left.nodes) == 1:
        (cpus, gpus), (used_cpus, used_gpus) = left.nodes[0], queue.used[0]
        cpus += min(used_cpus, sum(run.need.total_cpus for run in runs))
        gpus += min(used_gpus, sum(run.need.total_gpus for run in runs))
        return fit((cpus, gpus), need.workers, size) == need.workers
    theirs = sum(run.need.workers * fit((run.need.cpus, run.need.gpus), need.workers, size) for run in runs)
    return left.places(need) + theirs >= need.workers


def _first_to_go(run: Running) -> tuple[int, int, int]:
    return run.priority, -run.place, -run.number

"""A trace on a cluster in which time is only counted: decided by the queue's own functions, and asked for its forecasts.

Nothing of the queue is written anew here: order, line, preemption, lengths and forecasts are those of `service.runs`. What is simulated is
the world: jobs come, train for as long as the trace says, tell how long they will take yet, and leave when they are paused.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from benchmarks.queue.trace import HOUR, Drawn
from service.gateway.ray_jobs import Node
from service.runs import order, preemption, spans
from service.runs.kinds import JOB
from service.runs.lines import LENGTHS
from service.runs.order import SECOND
from service.runs.queue import Line
from service.runs.room import Need, put
from service.runs.spans import DAY, Came, Length
from service.runs.telling import AHEAD, Around, Teller

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STARTS, LEAVES = (3.0, 20.0), (5.0, 40.0)
"""Seconds from a decision until the job trains, and from a pause until its checkpoint is written and its place free."""
TOLD_AFTER = 60.0
"""Seconds of training after which a job can say how long it will take."""
WRONG = 0.05
"""Standard deviation of the logarithm of what a job says of that."""


class Forecast(NamedTuple):
    """What was told, in seconds from the beginning."""

    number: int
    asked: float
    early: float
    late: float
    """Infinite: nobody knows."""
    sure: str


@dataclass
class Life:
    """One job of the trace."""

    number: int
    drawn: Drawn
    arrived: int
    """Microseconds of Unix time."""
    place: int
    left: float
    """Seconds that it has to train yet."""
    begins: float | None = None
    """When its attempt takes its place; None: it has none."""
    ends: float = math.inf
    held: tuple[tuple[int, int], ...] = ()
    first_start: float | None = None
    yields_to: int | None = None
    yields: int = 0
    ran: float = 0.0
    ended: float | None = None

    @property
    def need(self) -> Need:
        """What it takes."""
        return self.drawn.need

    @property
    def priority(self) -> int:
        """As it was given."""
        return self.drawn.priority

    @property
    def leaving(self) -> bool:
        """Whether it makes room."""
        return self.begins is not None and self.yields_to is not None


@dataclass
class World:
    """The cluster, the line and the time."""

    nodes: int
    cpus: float
    gpus: float
    chance: random.Random
    now: float = 0.0
    lives: list[Life] = field(default_factory=list)
    waiting: list[Life] = field(default_factory=list)
    running: list[Life] = field(default_factory=list)
    lengths: dict[str, list[Length]] = field(default_factory=dict)
    """By family, of those that have ended, the newest first."""
    forecasts: list[Forecast] = field(default_factory=list)
    arrivals: int = 0

    def __post_init__(self) -> None:
        self.free = [[self.cpus, self.gpus] for _ in range(self.nodes)]
        self._events: list[tuple[float, int, str, int]] = []
        self._count = 0

    # -- time

    def play(self, trace: Sequence[Drawn], every: float) -> None:
        """To the end of the last job; a waiting job is asked for its forecast when it comes, and so many seconds later again and again."""
        for index, drawn in enumerate(trace):
            arrived = int((BEGAN.timestamp() + drawn.arrives) * SECOND)
            place = order.place(arrived, drawn.priority)
            self.lives.append(Life(index, drawn, arrived, place, drawn.seconds))
            self._at(drawn.arrives, "comes", index)
        while self._events:
            self.now, _, what, number = heapq.heappop(self._events)
            life = self.lives[number]
            if what == "comes":
                self.waiting.append(life)
                self.arrivals = number + 1
            elif what == "ends" and life.ends == self.now and life.begins is not None:
                self._leaves(life)
            elif what == "ends":
                continue  # it was paused, or goes on
            self._decide()
            if what in ("comes", "asked") and life.begins is None and life.first_start is None:
                self._ask(life)
                self._at(self.now + every, "asked", number)

    def _at(self, time: float, what: str, number: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, what, number))

    # -- the queue

    @property
    def cluster(self) -> list[Node]:
        """As Ray reports it."""
        return [Node(f"n{i}", self.cpus, cpus, self.gpus, gpus) for i, (cpus, gpus) in enumerate(self.free)]

    def line(self) -> list[Life]:
        """In order."""
        promised = self._promised()
        return sorted(self.waiting, key=lambda life: (life.number not in promised, life.place, life.number))

    def _promised(self) -> dict[int, tuple[str, ...]]:
        waits = {life.number for life in self.waiting}
        return {
            life.yields_to: (str(life.number),)
            for life in (*self.running, *self.waiting)
            if life.yields_to is not None and life.yields_to in waits
        }

    def _decide(self) -> None:
        line = self.line()
        queue = Line(self.cluster, ())
        chosen = [life for life in line if queue.next(life.need).starts]
        for life in chosen:
            self.waiting.remove(life)
            life.held = put(self.free, life.need)
            life.begins = self.now + self.chance.uniform(*STARTS)
            life.first_start = self.now if life.first_start is None else life.first_start
            life.yields_to, life.ends = None, life.begins + life.left
            self.running.append(life)
            self._at(life.ends, "ends", life.number)
        self._displace([life for life in line if life.begins is None])

    def _displace(self, line: Sequence[Life]) -> None:
        running = [
            preemption.Running(
                life.number,
                life.place,
                life.priority,
                life.need,
                preemptible=life.drawn.preemptible,
                began=None if life.begins is None or life.begins > self.now else self._as_arrival(life.begins),
                paused_before=life.yields > 0,
                leaving=life.leaving,
            )
            for life in self.running
        ]
        for found in preemption.plan(self.cluster, running, [], line, self._as_arrival(self.now)):
            for run in found.runs:
                life = self.lives[run.number]
                assert life.begins is not None
                gone = self.now + self.chance.uniform(*LEAVES)
                if gone < life.ends:
                    life.ends = gone
                    self._at(gone, "ends", life.number)
                life.yields_to = found.waiter

    def _leaves(self, life: Life) -> None:
        assert life.begins is not None
        self.running.remove(life)
        for index, count in life.held:
            self.free[index][0] += count * life.need.cpus
            self.free[index][1] += count * life.need.gpus
        trained = max(0.0, self.now - life.begins)
        life.left, life.ran, life.begins, life.held = life.left - trained, life.ran + trained, None, ()
        if life.left > 1e-6:
            life.yields += 1
            self.waiting.append(life)
            return
        life.ended, life.yields_to = self.now, None
        known = self.lengths.setdefault(life.drawn.family, [])
        known.insert(0, Length(life.drawn.name, life.drawn.images, life.ran))
        del known[LENGTHS:]

    def _as_arrival(self, seconds: float) -> int:
        return int((BEGAN.timestamp() + seconds) * SECOND)

    # -- what it is asked

    def _ask(self, life: Life) -> None:
        line = self.line()
        before = line.index(life)
        now = BEGAN + timedelta(seconds=self.now)
        around: Any = Around(
            nodes=self.cluster,
            running=[self._row(one) for one in self.running],
            ahead=[self._row(one) for one in line[: min(before, AHEAD + 1)]],
            before=before,
            first=self._promised(),
            caps={},
            trials={},
            came=[self._came(one) for one in self.lives[: self.arrivals][::-1] if self._is_likely(one, life)],
        )
        pace = cache(lambda family, name: spans.pace(self.lengths.get(family, []), name))
        job: Any = self._row(life)
        eta = Teller(job, around, pace, now).tell().eta
        if eta is not None:
            late = math.inf if eta.late is None else (eta.late - BEGAN).total_seconds()
            early = (eta.early - BEGAN).total_seconds()
            self.forecasts.append(Forecast(life.number, self.now, early, late, eta.sure))

    def _is_likely(self, one: Life, life: Life) -> bool:
        return one.drawn.arrives > self.now - DAY.total_seconds() and one.priority > life.priority

    def _came(self, one: Life) -> Came:
        seconds = one.ran if one.ended is not None else max(one.ran, HOUR)
        return Came(one.drawn.owner, one.need, one.priority, BEGAN + timedelta(seconds=one.drawn.arrives), seconds)

    def _row(self, life: Life) -> Any:
        """As the database has it."""
        drawn, need = life.drawn, life.need
        trains = life.begins is not None and self.now >= life.begins + TOLD_AFTER
        ran = life.ran + (max(0.0, self.now - life.begins) if life.begins is not None else 0.0)
        told = math.exp(self.chance.gauss(0, WRONG)) * max(0.0, life.left - (self.now - (life.begins or 0.0)))
        return SimpleNamespace(
            number=life.number,
            id=str(life.number),
            kind=JOB.name,
            name=drawn.name,
            family=drawn.family,
            owner=drawn.owner,
            workers=need.workers,
            worker_cpus=need.cpus,
            worker_gpus=need.gpus,
            state="running" if life.begins is not None else "queued",
            desired="run",
            yields_to=None if life.yields_to is None or life.begins is None else str(life.yields_to),
            progress={"eta_seconds": told} if trains else None,
            spec={"train": {"images": drawn.images}},
            run_seconds=ran,
            training_workers=need.workers,
            due_at=BEGAN,
            place=life.place,
            priority=life.priority,
            lacks="gpu",
            reason="",
        )

"""What is told of a run that waits: by the functions that the queue itself uses, from what was read of the runs around it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row

from service.bodies.owners import Caps
from service.bodies.states import State
from service.bodies.waiting import Cheaper, Eta, For, Free, Needs, Waiting
from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.runs import order, spans
from service.runs.caps import NOBODY, Ledger
from service.runs.cheaper import smaller
from service.runs.forecast import OPEN, Busy, Queued, Span, Start, Turn, forecast
from service.runs.hours import Spent
from service.runs.kinds import SEARCH, kind_of, need_of
from service.runs.limits import limits_of
from service.runs.queue import Line, head_of, why_never
from service.runs.room import Need
from service.runs.spans import DAY, Came, Pace

AHEAD = 200
"""Behind more runs than that nothing is said of when one starts."""
SHOWN = 5
"""So many of those ahead are named."""
LAG = 15.0
"""Seconds that may pass between the end of one run and the start of the next: Ray's report is some old, and rounds are some apart."""
LEAVES = 60.0
"""Seconds in which a run that is leaving is gone, mostly."""
DAYS = 3
"""For so many days those with a higher priority are expected to come as they did within the last one."""
SOON = 1.0
"""What starts within so many seconds starts now."""


class Around(NamedTuple):
    """What one that waits waits for."""

    nodes: Sequence[Node] | str | None
    """The cluster; why nothing is known of it; None: nobody has looked of late."""
    running: Sequence[Row[Any]]
    ahead: Sequence[Row[Any]]
    """The first in line."""
    before: int
    """How many are ahead, with those that weren't read."""
    first: Mapping[int, tuple[str, ...]]
    """Those that others make room for."""
    caps: Mapping[str, Caps]
    trials: Mapping[int, int]
    """How many trials of each search run."""
    came: Sequence[Came] = ()
    """Those that were submitted within the last `DAY` with a higher priority."""
    spent: Mapping[str, Spent] = NOBODY
    """Who has used their GPU-hours of the week."""
    served: Sequence[Need] = ()
    """What is kept for what answers questions to models."""
    drivers: int | None = None
    """For how many runs Ray's head has memory; None: for any number."""


def waits(job: Job) -> bool:
    """Whether there is anything to tell."""
    return State(job.state) in (State.SUBMITTED, State.QUEUED) and job.desired == "run"


def brief(
    job: Job, nodes: Sequence[Node] | str | None, first: Mapping[int, object], place: int | None, now: datetime
) -> Waiting:
    """As far as its row tells it."""
    need = need_of(job)
    what = For.TURN if job.lacks == "any" else For(job.lacks or For.LOOK)
    if isinstance(nodes, str):
        what = For.CLUSTER
    elif job.due_at > now:
        what = For.TRY
    elif first.get(job.number):
        what = For.ROOM
    elif nodes and not job.lacks and job.state == State.QUEUED:
        capped = job.reason.startswith("waits for")  # of one whose owner has enough, no resource lacks
        what = For.NODES if why_never(nodes, need) is not None else For.CAP if capped else For.LOOK
    free = [node for node in nodes or () if isinstance(node, Node) and node.state == "there"]
    return Waiting(
        **{"for": what},
        needs=Needs(workers=need.workers, cpus=need.total_cpus, gpus=need.total_gpus),
        free=Free(cpus=sum(node.cpus_free for node in free), gpus=sum(node.gpus_free for node in free))
        if free
        else None,
        position=None if what in (For.TRY, For.NODES, For.CAP) else place,
    )


class Teller:
    """Of one that waits."""

    def __init__(self, job: Job, around: Around, pace: Callable[[str, str], Pace | None], now: datetime) -> None:
        """pace: of a family and a name."""
        self.job, self.around, self.pace, self.now = job, around, pace, now
        self.need = need_of(job)
        self._caps = self._ledger()

    def tell(self, *, cheaper: bool = True) -> Waiting:
        """All of it. cheaper: with what would start it sooner."""
        around, job = self.around, self.job
        told = brief(job, around.nodes, around.first, around.before + 1, self.now)
        ids = tuple(row.id for row in around.ahead[:SHOWN])
        if around.nodes is None or isinstance(around.nodes, str):
            return _with(told, ahead=ids)
        what = self._waits_for(around.nodes, told.for_)
        if what is For.NODES:
            return _with(told, for_=what, position=None)
        start = self._start(around.nodes, self.need)
        return _with(
            told,
            for_=what,
            position=None if what in (For.CAP, For.TRY) else told.position,
            ahead=ids,
            eta=self._eta(start),
            cheaper=tuple(self._cheaper(around.nodes, start)) if cheaper else (),
        )

    def _waits_for(self, nodes: Sequence[Node], known: For) -> For:
        """By the queue's own decision."""
        queue, ledger = self._line(nodes), self._ledger()
        if queue.never(self.need) is not None:
            return For.NODES
        if known in (For.TRY, For.ROOM):
            return known
        for row in self.around.ahead:
            need = need_of_row(row)
            if ledger.refuses(row.owner, need) is None:
                ledger.take(row.owner, need)
                queue.next(need)
        if ledger.refuses(self.job.owner, self.need) is not None:
            return For.CAP
        fits, (cpus, gpus) = queue.free.holds(self.need), queue.free.sums()
        verdict = queue.next(self.need)
        if verdict.starts:
            return For.LOOK
        if verdict.lacks == "memory":
            return For.MEMORY
        if fits:
            return For.TURN
        return For.GPU if self.need.total_gpus > gpus else For.CPU if self.need.total_cpus > cpus else For.PLACE

    def _line(self, nodes: Sequence[Node]) -> Line:
        around = self.around
        head = head_of(around.drivers, len(around.running))
        return Line(nodes, [need_of_row(row) for row in around.running], served=around.served, head=head)

    def _ledger(self) -> Ledger:
        active = ((row.owner, need_of_row(row)) for row in self.around.running)
        return Ledger(self.around.caps, active, self.around.spent)

    def _start(self, nodes: Sequence[Node], need: Need) -> Start | None:
        """When it starts if it takes that; None: that is too far ahead to tell."""
        if len(self.around.ahead) > AHEAD:
            return None
        busy = [
            Busy(row.owner, taken(row, self.around.trials), self._left(row), self._back(row))
            for row in self.around.running
        ]
        busy += [Busy("", kept, OPEN, driver=False) for kept in self.around.served]  # as long as someone asks
        line = [self._queued(row) for row in self.around.ahead]
        held = self._held(self.job.owner, need)
        after = max(held, (self.job.due_at - self.now).total_seconds())
        mine = Queued(self.job.owner, need, Span(0.0, 0.0), after, self._turn(self.job))
        likely = self._likely(mine.turn)
        found = forecast(nodes, busy, [*line, mine], self.around.caps, likely, self.around.drivers)
        if held and any(row.owner == self.job.owner and row.worker_gpus for row in self.around.running):
            found = found._replace(late=math.inf)  # these use up what becomes free
        return None if found.early == math.inf else found

    def _held(self, owner: str, need: Need) -> float:
        """Seconds until the owner has GPU-hours again, if the run takes GPUs."""
        spent = self._caps.spent(owner) if need.total_gpus else None
        if spent is None:
            return 0.0
        return math.inf if spent.free_at is None else max(0.0, (spent.free_at - self.now).total_seconds())

    def _queued(self, row: Row[Any]) -> Queued:
        need = need_of_row(row)
        return Queued(row.owner, need, self._lasts(row), self._held(row.owner, need), self._turn(row))

    def _turn(self, row: Row[Any] | Job) -> Turn:
        return row.number not in self.around.first, row.place

    def _back(self, row: Row[Any]) -> Queued | None:
        """One that makes room for another waits again, at its place."""
        makes_room = row.yields_to is not None and row.desired == "run"
        return self._queued(row) if makes_room else None

    def _likely(self, turn: Turn) -> Iterator[Queued]:
        """Those that will be ahead if every day is like the last one."""
        for came in self.around.came:
            for day in range(1, DAYS + 1):
                arrives = came.created_at + day * DAY
                theirs = (True, order.place(int(arrives.timestamp() * order.SECOND), came.priority))
                if theirs < turn:
                    after = (arrives - self.now).total_seconds()
                    yield Queued(came.owner, came.need, Span(came.seconds, came.seconds, True), after, theirs)

    def _eta(self, start: Start | None) -> Eta | None:
        if start is None:
            return None
        late = None if start.late == math.inf else self.now + timedelta(seconds=start.late + LAG)
        sure = "open" if late is None else "likely" if start.guess else "told"
        return Eta(early=self.now + timedelta(seconds=start.early), late=late, sure=sure)

    def _cheaper(self, nodes: Sequence[Node], start: Start | None) -> list[Cheaper]:
        """With the most workers with which it would start now; else with which it would start sooner."""
        if start is not None and start.late <= SOON:
            return []
        sooner: list[Cheaper] = []
        for found in smaller(kind_of(self.job), self.job.spec):
            other = self._start(nodes, found.need)
            if other is None or not _sooner(other, start):
                continue
            eta = self._eta(other)
            if eta is not None and (not sooner or other.late <= SOON):
                sooner.append(Cheaper(change={found.path: found.workers}, starts=eta))
            if other.late <= SOON:
                break
        return sooner

    def _left(self, row: Row[Any]) -> Span:
        """How long it stays on the cluster."""
        if row.state == State.STOPPING or row.desired != "run" or row.yields_to is not None:
            return Span(0.0, LEAVES)
        return self._span(row, spans.told(row.progress))

    def _lasts(self, row: Row[Any]) -> Span:
        """How long it runs once it has started. One that ran before goes on where it was."""
        return self._span(row, spans.told({**row.progress, "eta_seconds": None} if row.progress else None))

    def _span(self, row: Row[Any], seconds: float | None) -> Span:
        job = row.kind != SEARCH.name
        images = float(row.spec["train"]["images"]) if job else None
        limit = limits_of(row.spec).run
        most = None if limit is None else max(0.0, limit - row.run_seconds)
        likely = self.pace(row.family, row.name) if job and seconds is None else None
        return spans.left(seconds, likely, images, row.run_seconds, most)


def need_of_row(row: Row[Any] | Job) -> Need:
    """What it starts with."""
    return Need(row.workers, row.worker_cpus, row.worker_gpus)


def taken(row: Row[Any] | Job, trials: Mapping[int, int]) -> Need:
    """What it takes now: an elastic job may have more than it began with, a search has many trials. trials: of each search, those that run."""
    need = need_of_row(row)
    if row.kind == SEARCH.name:
        return need._replace(workers=need.workers * max(1, trials.get(row.number, 1)))
    return need._replace(workers=row.training_workers or need.workers)


def _sooner(one: Start, other: Start | None) -> bool:
    """Whether by its early and by its late time it starts no later, and by one of them sooner."""
    if other is None:
        return True
    return one.early <= other.early and one.late <= other.late and (one.early, one.late) != (other.early, other.late)


def _with(told: Waiting, *, for_: For | None = None, **changes: Any) -> Waiting:
    return told.model_copy(update={**changes, **({} if for_ is None else {"for_": for_})})

"""Which waiting jobs the cluster can hold now: pure. Jobs start in the order in which they came.

A later job may pass an earlier one only in what the earlier one leaves free even if it were placed now; so a large job
never starves, and a job that waits for a GPU doesn't keep idle CPUs from others.

What is left for the next in line is carried from job to job, and only ever shrinks. So a node that can't hold another worker
of some size never can again in the same line, and is not looked at again: ten thousand jobs cost little more than reading them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from service.gateway.ray_jobs import Node

NEAR = 10
"""So many are counted one by one; a job behind more of them waits for these, whatever is free at the moment."""
Lack = Literal["", "cpu", "gpu", "any"]
"""Of which resource too little is free; empty: it isn't that which it waits for. Far behind in the line: the scarcer one that it takes."""


class Need(NamedTuple):
    """What a job takes: `workers` bundles, each on one node."""

    workers: int
    cpus: float
    """CPUs of one worker."""
    gpus: float = 0.0
    """GPUs of one worker."""

    @property
    def total_cpus(self) -> float:
        """Over all workers."""
        return self.workers * self.cpus

    @property
    def total_gpus(self) -> float:
        """Over all workers."""
        return self.workers * self.gpus

    @property
    def words(self) -> str:
        """For a person: `4 CPUs and 2 GPUs`."""
        parts = [_count(self.total_cpus, "CPU")] if self.cpus else []
        parts += [_count(self.total_gpus, "GPU")] if self.gpus else []
        return " and ".join(parts)


class Verdict(NamedTuple):
    """What is decided of one waiting job."""

    starts: bool
    reason: str = ""
    """For a person: why it doesn't start. It changes seldom while others come and go, because every change is written."""
    lacks: Lack = ""


STARTS = Verdict(True)


def admit(nodes: Sequence[Node], active: Iterable[Need], line: Iterable[Need]) -> list[Verdict]:
    """Of each job in the line whether it starts now.

    nodes: what Ray reports, which lags behind. active: our jobs on the cluster. line: those that wait, the earliest first.
    """
    queue = Line(nodes, active)
    return [queue.next(need) for need in line]


class Line:
    """The same, job by job: what one takes, or what is kept for it, the next ones don't find."""

    def __init__(self, nodes: Sequence[Node], active: Iterable[Need]) -> None:
        self._empty = _Room((node.cpus, node.gpus) for node in nodes)
        free = _minus_unseen(nodes, active)
        self._free, self._left = _Room(free), _Room(free)
        self._waiting, self._earlier, self._until = 0, "", 1
        self._never: dict[Need, Verdict | None] = {}
        self._told: dict[Need, Verdict] = {}
        """What was said of such a job, as long as another one would hear the same."""

    def next(self, mine: Need) -> Verdict:
        """Decide of the next in line."""
        if mine not in self._never:
            self._never[mine] = self._refused(mine)
        if (never := self._never[mine]) is not None:
            return never  # nothing is kept for it
        left = self._left
        spent = left.spent(mine)
        if not spent and left.holds(mine):
            left.take(mine)
            self._free.take(mine)
            self._told.clear()
            return STARTS
        verdict = self._told.get(mine)
        if verdict is None:
            verdict = self._told[mine] = self._waits(mine)
        if not spent:
            left.reserve(mine)
        self._waiting += 1
        if self._waiting >= self._until:
            self._earlier, self._until = _earlier(self._waiting)
            self._told.clear()
        return verdict

    def _refused(self, mine: Need) -> Verdict | None:
        if not self._empty.nodes:
            return Verdict(False, f"waits for {mine.words}; the cluster has no nodes", "any")
        reason = _why_never(self._empty, mine)
        return None if reason is None else Verdict(False, f"{reason}; {_never_fix(mine)}")

    def _waits(self, mine: Need) -> Verdict:
        first = f"waits for {mine.words}, which {self._earlier} will take first"
        if self._waiting > NEAR:  # nothing of what is free at the moment: thousands of reasons would change with it
            return Verdict(False, first, "gpu" if mine.gpus else "cpu" if mine.cpus else "any")
        if self._waiting and self._free.holds(mine):
            return Verdict(False, first, "any")
        lacks = _lack(self._free, mine)
        return Verdict(False, f"waits for {mine.words}; {_shown(self._empty, self._free, mine)}", lacks)


def _never_fix(mine: Need) -> str:
    """What can be done about a job that the cluster can never hold: the fields that make it large."""
    asked = {"workers": mine.workers > 1, "cpus_per_worker": mine.cpus > 0, "gpus_per_worker": mine.gpus > 0}
    fields = " or ".join(f"resources.{name}" for name, large in asked.items() if large)
    return f"it starts once such nodes are there; or cancel it and lower {fields}"


def why_never(nodes: Sequence[Node], mine: Need) -> str | None:
    """Why these nodes can't hold it even when nothing else runs; None if they can."""
    return _why_never(_Room((node.cpus, node.gpus) for node in nodes), mine)


class _Room:
    """What is free on each node: only ever less. Remembers which nodes can't hold one more worker of a size."""

    def __init__(self, nodes: Iterable[tuple[float, float]]) -> None:
        self.nodes = [[cpus, gpus] for cpus, gpus in nodes]
        self._first: dict[tuple[float, float], int] = {}
        """Size of a worker → the first node that may hold one."""
        self._bare = [0, 0]
        """The first node that may have CPUs left, and GPUs."""
        self._sums: tuple[float, float] | None = None

    def spent(self, need: Need) -> bool:
        """Whether it was noticed that nothing at all is left of what such a job takes."""
        wants = need.cpus > 0, need.gpus > 0
        return any(wants) and all(self._bare[kind] == len(self.nodes) for kind in (0, 1) if wants[kind])

    def sums(self) -> tuple[float, float]:
        """Free CPUs and GPUs over all nodes."""
        if self._sums is None:
            self._sums = sum(node[0] for node in self.nodes), sum(node[1] for node in self.nodes)
        return self._sums

    def holds(self, need: Need) -> bool:
        """Whether all workers find a place."""
        wanted, size = need.workers, (need.cpus, need.gpus)
        for index in range(self._begin(size), len(self.nodes)):
            wanted -= _fit(self.nodes[index], wanted, size)
            if wanted <= 0:
                return True
        return wanted <= 0

    def take(self, need: Need) -> int:
        """Place as many workers as possible; how many found no place."""
        wanted, size = need.workers, (need.cpus, need.gpus)
        for index in range(self._begin(size), len(self.nodes)):
            if wanted <= 0:
                break
            node = self.nodes[index]
            if count := _fit(node, wanted, size):
                node[0], node[1], wanted = node[0] - count * need.cpus, node[1] - count * need.gpus, wanted - count
                self._sums = None
        return wanted

    def reserve(self, need: Need) -> None:
        """Keep for a job what is there of its need; what is not there yet, it waits for."""
        missing = self.take(need)
        for kind, amount in enumerate((missing * need.cpus, missing * need.gpus)):
            while amount > 0 and (index := self._spare(kind)) < len(self.nodes):
                taken = min(amount, self.nodes[index][kind])
                amount -= taken
                self.nodes[index][kind] -= taken
                self._sums = None

    def _spare(self, kind: int) -> int:
        """The first node with anything of that kind left."""
        index = self._bare[kind]
        while index < len(self.nodes) and self.nodes[index][kind] <= 0:
            index += 1
        self._bare[kind] = index
        return index

    def _begin(self, size: tuple[float, float]) -> int:
        index = max(self._first.get(size, 0), *(self._spare(kind) for kind in (0, 1) if size[kind]), 0)
        while index < len(self.nodes) and not _fit(self.nodes[index], 1, size):
            index += 1
        self._first[size] = index
        return index


def _fit(node: Sequence[float], workers: int, size: tuple[float, float]) -> int:
    """How many of so many workers the node can take now."""
    limit = float(workers)
    if size[0]:
        limit = min(limit, node[0] / size[0] + 1e-9)
    if size[1]:
        limit = min(limit, node[1] / size[1] + 1e-9)
    return int(limit)


def _why_never(empty: _Room, mine: Need) -> str | None:
    if empty.holds(mine):
        return None
    cpus, gpus = empty.sums()
    if mine.total_cpus > cpus or mine.total_gpus > gpus:
        pool = _count(cpus, "CPU") + (f", {_count(gpus, 'GPU')}" if mine.gpus else "")
        return f"needs {mine.words}, more than the whole cluster has ({pool})"
    one = mine._replace(workers=1).words
    return f"needs {_count(mine.workers, 'worker')} with {one} each, which no set of the cluster's nodes can hold"


def _minus_unseen(nodes: Sequence[Node], active: Iterable[Need]) -> list[tuple[float, float]]:
    """Jobs that just started don't show in Ray's report yet: take what they need and nobody uses off the freest nodes."""
    needs = list(active)
    cpus = sum(need.total_cpus for need in needs) - sum(node.cpus - node.cpus_free for node in nodes)
    gpus = sum(need.total_gpus for need in needs) - sum(node.gpus - node.gpus_free for node in nodes)
    free = [(node.cpus_free, node.gpus_free) for node in nodes]
    for index in sorted(range(len(free)), key=lambda i: (-free[i][1], -free[i][0])):
        take_cpus, take_gpus = min(max(cpus, 0.0), free[index][0]), min(max(gpus, 0.0), free[index][1])
        free[index] = (free[index][0] - take_cpus, free[index][1] - take_gpus)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
    return free


def _lack(free: _Room, mine: Need) -> Lack:
    cpus, gpus = free.sums()
    few_cpus, few_gpus = mine.total_cpus > cpus, mine.total_gpus > gpus
    return "any" if few_cpus == few_gpus else "cpu" if few_cpus else "gpu"


def _shown(empty: _Room, free: _Room, mine: Need) -> str:
    (cpus, gpus), (all_cpus, all_gpus) = free.sums(), empty.sums()
    parts = []
    if mine.total_cpus > cpus or mine.total_gpus <= gpus:
        parts.append(f"{_amount(cpus)} of {_amount(all_cpus)} CPUs free")
    if mine.total_gpus > gpus:
        parts.append(f"{_amount(gpus)} of {_amount(all_gpus)} GPUs free")
    spread = ", but not on the same nodes" if mine.total_cpus <= cpus and mine.total_gpus <= gpus else ""
    return ", ".join(parts) + spread


def _earlier(count: int) -> tuple[str, int]:
    """How a job hears of so many before it, and up to how many the next ones hear the same: `3 earlier jobs`, `over 200 earlier jobs`."""
    if count <= NEAR:
        return _count(count, "earlier job"), count + 1
    scale = 10 ** (len(str(count - 1)) - 1)
    rounded = max(step * scale for step in (1, 2, 5) if step * scale < count)
    following = min(step * scale for step in (2, 5, 10) if step * scale >= count)
    return f"over {rounded:,} earlier jobs", following + 1


def _amount(value: float) -> str:
    return f"{value:g}"


def _count(value: float, noun: str) -> str:
    return f"{_amount(value)} {noun}" + ("" if value == 1 else "s")

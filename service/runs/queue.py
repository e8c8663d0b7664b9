"""Which waiting jobs the cluster can hold now: pure. Jobs start in the order in which they stand (`service.runs.order`).

A later job may pass an earlier one only in what the earlier one leaves free even if it were placed now; so a large job
never starves, and a job that waits for a GPU doesn't keep idle CPUs from others.

What is left for the next in line is carried from job to job, and only ever shrinks. So a node that can't hold another worker
of some size never can again in the same line, and is not looked at again: ten thousand jobs cost little more than reading them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal, NamedTuple

from service.gateway.ray_jobs import Node
from service.runs.room import Need, Room, amount, counted, minus_unseen, with_coming

NEAR = 10
"""So many are counted one by one; a job behind more of them waits for these, whatever is free at the moment."""
NOT_COME = "nodes for it were asked for and haven't come; it starts once they have"
STARTED = ", those of nodes that may still be started included"
Lack = Literal["", "cpu", "gpu", "any", "memory"]
"""Of which resource too little is free; empty: it isn't that which it waits for. Far behind in the line: the scarcer one that it takes."""


class Head(NamedTuple):
    """The drivers that Ray's head has memory for (`service.runs.head`)."""

    room: float
    left: float

    @property
    def words(self) -> str:
        """For a person: why one waits that would fit otherwise."""
        return f"waits for memory on Ray's head node, which has room for {counted(self.room, 'run')}"


ANY_NUMBER = Head(inf, inf)


def head_of(drivers: int | None, running: int) -> Head:
    """With so many runs' drivers on it: each run has one, a search, too. drivers: for how many it has memory; None: for any number."""
    return ANY_NUMBER if drivers is None else Head(drivers, drivers - running)


class Verdict(NamedTuple):
    """What is decided of one waiting job."""

    starts: bool
    reason: str = ""
    """For a person: why it doesn't start. It changes seldom while others come and go, because every change is written."""
    lacks: Lack = ""


STARTS = Verdict(True)


def admit(nodes: Sequence[Node], active: Iterable[Need], line: Iterable[Need]) -> list[Verdict]:
    """Of each job in the line whether it starts now.

    nodes: what Ray reports, which lags behind. active: our jobs on the cluster. line: those that wait, in order.
    """
    queue = Line(nodes, active)
    return [queue.next(need) for need in line]


class Line:
    """The same, job by job: what one takes, or what is kept for it, the next ones don't find."""

    def __init__(
        self,
        nodes: Sequence[Node],
        active: Iterable[Need],
        coming: Iterable[Need] = (),
        served: Sequence[Need] = (),
        head: Head = ANY_NUMBER,
    ) -> None:
        """coming: what counts as free although others have it, because they are about to leave. served: what is kept for what answers
        questions to models, beside the active ones. head: for how many drivers it has memory."""
        self._head = head
        self.drivers = head.left
        """For so many more the head has memory; below zero: for as many too few."""
        self._served, self._all = served, nodes
        self._ever = Room((node.cpus, node.gpus) for node in nodes)
        nodes = [node for node in nodes if node.state != "late"]
        self._empty = Room((node.cpus, node.gpus) for node in nodes)
        free = with_coming(nodes, minus_unseen(nodes, [*active, *served]), coming)
        self.used = [(node.cpus - cpus, node.gpus - gpus) for node, (cpus, gpus) in zip(nodes, free, strict=False)]
        """Of each node, what can become free at all."""
        self.free = Room(free)
        """What is free, less what those take that start."""
        self.left = Room(free)
        """What is left for the next."""
        self.waiting = 0
        """So many wait that a place is kept for, or that nothing is left for."""
        self.front = NEAR + 1
        """Of these, so many up to the last for which anything was kept, or whose words tell what is free."""
        self._ahead, self._until = "", 1
        self._never: dict[Need, Verdict | None] = {}
        self._told: dict[Need, Verdict] = {}
        """What was said of such a job, as long as another one would hear the same."""

    def next(self, mine: Need) -> Verdict:
        """Decide of the next in line."""
        if (never := self.never(mine)) is not None:
            return never  # nothing is kept for it
        left = self.left
        spent = self.nothing_for(mine)
        if not spent and left.holds(mine):
            self.drivers -= 1
            left.take(mine)
            self.free.take(mine)
            self.front = max(self.front, self.waiting)
            self._told.clear()
            return STARTS
        verdict = self._told.get(mine)
        if verdict is None:
            verdict = self._told[mine] = self._waits(mine)
        self.drivers -= not self.waiting  # the first that waits has a place on the head, too, when the rest is free
        self.waiting += 1
        if not spent:
            left.reserve(mine)
            self.front = max(self.front, self.waiting)
        if self.waiting >= self._until:
            self.stand_behind(self.waiting)
        return verdict

    def never(self, mine: Need) -> Verdict | None:
        """What is said of one that these nodes can't hold even when nothing else runs; None if they can."""
        if mine not in self._never:
            self._never[mine] = self._refused(mine)
        return self._never[mine]

    def nothing_for(self, mine: Need) -> bool:
        """Whether nothing at all is left of what such a job takes: then it makes no difference to those behind it."""
        return self.drivers <= 0 or self.left.spent(mine)

    def holds(self, mine: Need) -> bool:
        """Whether what is left is enough for such a job."""
        return self.drivers > 0 and self.left.holds(mine)

    def far(self, mine: Need, ahead: int) -> Verdict:
        """What `next` says of one that nothing is left for, behind so many others, which are more than `NEAR`."""
        return _far(mine, _ahead(ahead)[0])

    def stand_behind(self, ahead: int) -> None:
        """Go on behind so many others, of which those behind the front make no difference."""
        self.waiting = ahead
        self._ahead, self._until = _ahead(ahead)
        self._told.clear()

    def _refused(self, mine: Need) -> Verdict | None:
        if not self._ever.nodes:
            return Verdict(False, f"waits for {mine.words}; the cluster has no nodes", "any")
        if self._empty.holds(mine):
            return None
        if self._ever.holds(mine):
            return Verdict(False, f"needs {mine.words}: {NOT_COME}")
        reason = _why_never(self._ever, mine, grows=_grows(self._all))
        return None if reason is None else Verdict(False, f"{reason}; {_never_fix(mine)}")

    def _waits(self, mine: Need) -> Verdict:
        if self.waiting > NEAR:
            return _far(mine, self._ahead)
        if self.drivers <= 0 and self.left.holds(mine):
            return Verdict(False, self._head.words, "memory")
        if self.waiting and self.free.holds(mine):
            return Verdict(False, _first(mine, self._ahead), "any")
        lacks = _lack(self.free, mine)
        kept = _kept(self._served, lacks)
        shown = (
            _shown(self._empty, self.free, mine)
            + (STARTED if any(node.state == "spare" for node in self._all) else "")
            + (f", {kept}" if kept else "")
        )
        return Verdict(False, f"waits for {mine.words}; {shown}", lacks)


def _first(mine: Need, ahead: str) -> str:
    return f"waits for {mine.words}, which {ahead} will take first"


def _far(mine: Need, ahead: str) -> Verdict:
    """Nothing of what is free at the moment: thousands of reasons would change with it."""
    return Verdict(False, _first(mine, ahead), "gpu" if mine.gpus else "cpu" if mine.cpus else "any")


def _never_fix(mine: Need) -> str:
    """What can be done about a job that the cluster can never hold: the fields that make it large."""
    asked = {"workers": mine.workers > 1, "cpus_per_worker": mine.cpus > 0, "gpus_per_worker": mine.gpus > 0}
    fields = " or ".join(f"resources.{name}" for name, large in asked.items() if large)
    return f"it starts once such nodes are there; or cancel it and lower {fields}"


def why_never(nodes: Sequence[Node], mine: Need) -> str | None:
    """Why these nodes can't hold it even when nothing else runs; None if they can."""
    if Room((node.cpus, node.gpus) for node in nodes if node.state != "late").holds(mine):
        return None
    ever = Room((node.cpus, node.gpus) for node in nodes)
    if ever.holds(mine):
        return f"needs {mine.words}: {NOT_COME}"
    return _why_never(ever, mine, grows=_grows(nodes))


def _grows(nodes: Sequence[Node]) -> bool:
    """Whether an autoscaler may start more."""
    return any(node.grows for node in nodes)


def _why_never(empty: Room, mine: Need, *, grows: bool) -> str | None:
    if empty.holds(mine):
        return None
    cpus, gpus = empty.sums()
    if mine.total_cpus > cpus or mine.total_gpus > gpus:
        pool = counted(cpus, "CPU") + (f", {counted(gpus, 'GPU')}" if mine.gpus else "")
        most = "the cluster can ever have" if grows else "the whole cluster has"
        return f"needs {mine.words}, more than {most} ({pool})"
    one = mine._replace(workers=1).words
    return f"needs {counted(mine.workers, 'worker')} with {one} each, which no set of the cluster's nodes can hold"


def _lack(free: Room, mine: Need) -> Lack:
    cpus, gpus = free.sums()
    few_cpus, few_gpus = mine.total_cpus > cpus, mine.total_gpus > gpus
    return "any" if few_cpus == few_gpus else "cpu" if few_cpus else "gpu"


def _shown(empty: Room, free: Room, mine: Need) -> str:
    (cpus, gpus), (all_cpus, all_gpus) = free.sums(), empty.sums()
    parts = []
    if mine.total_cpus > cpus or mine.total_gpus <= gpus:
        parts.append(f"{amount(cpus)} of {amount(all_cpus)} CPUs free")
    if mine.total_gpus > gpus:
        parts.append(f"{amount(gpus)} of {amount(all_gpus)} GPUs free")
    spread = ", but not on the same nodes" if mine.total_cpus <= cpus and mine.total_gpus <= gpus else ""
    return ", ".join(parts) + spread


def _kept(served: Sequence[Need], lacks: Lack) -> str:
    """What is kept of the resource that a run lacks: `1 CPU kept for questions to models`; empty: nothing."""
    cpus, gpus = sum(need.total_cpus for need in served), sum(need.total_gpus for need in served)
    parts = [counted(cpus, "CPU")] if cpus and lacks != "gpu" else []
    parts += [counted(gpus, "GPU")] if gpus and lacks != "cpu" else []
    return f"{' and '.join(parts)} kept for questions to models" if parts else ""


def _ahead(count: int) -> tuple[str, int]:
    """How a job hears of so many before it, and up to how many the next ones hear the same: `3 jobs ahead`, `over 200 jobs ahead`."""
    if count <= NEAR:
        return f"{counted(count, 'job')} ahead", count + 1
    scale = 10 ** (len(str(count - 1)) - 1)
    rounded = max(step * scale for step in (1, 2, 5) if step * scale < count)
    following = min(step * scale for step in (2, 5, 10) if step * scale >= count)
    return f"over {rounded:,} jobs ahead", following + 1

"""A long line as it was decided of, and what of that changes when some come or go: pure.

Whoever stands where nothing at all is left waits, whatever those around need: one that comes in there shifts those behind by one, no
more. So only the front is decided of again: those up to the last for which anything is kept of what is free.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.gateway.ray_jobs import Node
from service.runs.queue import ANY_NUMBER, Head, Line, Verdict
from service.runs.room import Need

STEPS = (1, 2, 5)
"""Behind ten times as many, a hundred times, …, a job hears of the next round number."""


class Item(Protocol):
    """One in the line; they sort as they stand in it."""

    @property
    def number(self) -> int:
        """Its own."""

    @property
    def need(self) -> Need:
        """What it takes."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Item)


class Decision(NamedTuple, Generic[T]):
    """What to do now."""

    chosen: list[T]
    """They start."""
    told: list[tuple[T, Verdict]]
    """What these hear, who may have heard something else before."""
    whole: bool
    """Whether all were decided of. If not, the standing is of no use any more."""


class Standing(Generic[T]):
    """Who waits, in order. One that no such cluster can hold keeps nobody waiting, and stands aside."""

    def __init__(self) -> None:
        self._head: list[T] = []
        """Those for whom something is kept, or who hear what is free."""
        self._tail: list[T] = []
        self._aside: list[T] = []
        self._line: Line | _Closed = _Closed("")
        self._facts: object = None
        """Cluster and jobs on it, as they were decided for."""
        self._sizes: object = None
        self._kinds: dict[tuple[bool, bool], Need] = {}
        """A need of each kind among those that wait: with CPUs, with GPUs."""

    def __iter__(self) -> Iterator[T]:
        """All of them, in no order."""
        yield from self._head
        yield from self._tail
        yield from self._aside

    @property
    def waiting(self) -> list[T]:
        """Those that don't stand aside, in order."""
        return [*self._head, *self._tail]

    def decide(
        self,
        nodes: Sequence[Node] | str,
        active: Sequence[Need],
        came: Iterable[T],
        gone: Collection[int],
        most: int,
        served: Sequence[Need] = (),
        memory: Head = ANY_NUMBER,
    ) -> Decision[T]:
        """Of all of them, when some came and some have gone. At most so many start.

        nodes: the cluster, or why nothing is known of it. active: the runs that take place there, in an order of its own. served: what
        is kept there for what answers questions to models. memory: for how many drivers Ray's head has it.
        """
        new, before = sorted(came), (len(self._head), len(self._tail))
        head, tail, aside = (_without(items, gone) for items in (self._head, self._tail, self._aside))
        if self._sizes != (sizes := _sizes(nodes)):  # who is too big for the cluster may be others now
            new, head, tail, aside = list(merge(head, tail, sorted([*aside, *new]))), [], [], []
        last = tail[0] if tail else head[-1] if head else None
        split = 0 if last is None else bisect_left(new, last)
        early, late = new[:split], new[split:]
        kept = not early and len(head) == before[0] and self._facts == _facts(nodes, active, served, memory)
        self._head, self._tail, self._aside, self._sizes = head, tail, aside, sizes
        turn = _Turn[T](most)
        if not kept:
            self._line = _Closed(nodes) if isinstance(nodes, str) else Line(nodes, active, served=served, head=memory)
            late = self._begin(turn, list(merge(head, early)), late)
        self._line.stand_behind(len(self._head) + len(self._tail))
        self._come_in(turn, late)
        fewer = memory._replace(left=memory.left - len(turn.chosen))
        self._facts = _facts(nodes, [*active, *(item.need for item in turn.chosen)], served, fewer)
        moved = abs(len(self._head) - before[0]) + len(new) + len(gone)
        self._tell_others(turn, moved)
        self._split()
        return Decision(turn.chosen, turn.told, turn.whole)

    def _begin(self, turn: _Turn[T], front: Iterable[T], late: list[T]) -> list[T]:
        """Decide anew of those in front, and on until it makes no difference. Who of the late ones comes in behind that."""
        self._head, tail, self._tail = [], self._tail, []
        if not tail:
            self._kinds = {}
        self._walk(turn, front)
        at = came = 0
        while at < len(tail) and turn.whole and not self._makes_no_difference():
            ahead = came < len(late) and late[came] < tail[at]
            self._put(turn, late[came] if ahead else tail[at], self._head)
            came, at = came + ahead, at + (not ahead)
        self._tail = tail[at:]
        return late[came:]

    def _makes_no_difference(self) -> bool:
        """Whether all behind those that were decided of hear the same, whatever they need."""
        line = self._line
        return line.waiting >= line.front and all(map(line.nothing_for, self._kinds.values()))

    def _come_in(self, turn: _Turn[T], late: Sequence[T]) -> None:
        """Those that stand behind the front."""
        for index, item in enumerate(late):
            if not turn.whole:
                return
            at = bisect_left(self._tail, item)
            if at < len(self._tail) and self._line.never(item.need) is None:
                if not self._line.nothing_for(item.need):
                    rest, self._tail = list(merge(self._tail, late[index:])), []
                    self._line.stand_behind(len(self._head))
                    self._walk(turn, rest)
                    return
                self._tail.insert(at, item)
                self._kinds.setdefault(_kind(item.need), item.need)
                turn.told.append((item, self._line.far(item.need, len(self._head) + at)))
                self._line.stand_behind(len(self._head) + len(self._tail))
            else:
                self._put(turn, item, self._tail if self._tail else self._head)

    def _walk(self, turn: _Turn[T], items: Iterable[T]) -> None:
        """One after the other, behind all that were decided of."""
        for item in items:
            if not turn.whole:
                return
            self._put(turn, item, self._head)

    def _put(self, turn: _Turn[T], item: T, among: list[T]) -> None:
        """Decide of the one behind all others."""
        verdict = self._line.next(item.need)
        if verdict.starts:
            turn.chosen.append(item)
            return
        turn.told.append((item, verdict))
        if self._line.never(item.need) is not None:
            self._aside.append(item)
            return
        among.append(item)
        self._kinds.setdefault(_kind(item.need), item.need)

    def _tell_others(self, turn: _Turn[T], moved: int) -> None:
        """Who stands behind another number of others than before, and so near to a round number that the words may be others."""
        first, count = len(self._head), len(self._head) + len(self._tail)
        scale = 10
        while scale < count:
            for step in STEPS:
                for ahead in range(max(first, step * scale + 1 - moved), min(count, step * scale + 1 + moved)):
                    item = self._tail[ahead - first]
                    turn.told.append((item, self._line.far(item.need, ahead)))
            scale *= 10

    def _split(self) -> None:
        front = self._line.front
        if front != len(self._head):
            everyone = [*self._head, *self._tail]
            self._head, self._tail = everyone[:front], everyone[front:]


class _Turn(Generic[T]):
    """What is decided in one go."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.chosen: list[T] = []
        self.told: list[tuple[T, Verdict]] = []

    @property
    def whole(self) -> bool:
        """Whether others may start, too."""
        return len(self.chosen) < self.most


class _Closed:
    """The line while nothing is known of the cluster: nobody starts, and all hear why."""

    front = 0

    def __init__(self, reason: str) -> None:
        self._verdict, self.waiting = Verdict(False, reason), 0

    def next(self, _mine: Need) -> Verdict:
        """As of everyone."""
        return self._verdict

    def never(self, _mine: Need) -> None:
        """Nobody is too big for it."""

    def nothing_for(self, _mine: Need) -> bool:
        """There is nothing for anyone."""
        return True

    def far(self, _mine: Need, _ahead: int) -> Verdict:
        """As of everyone."""
        return self._verdict

    def stand_behind(self, ahead: int) -> None:
        """It makes no difference."""


def _without(items: list[T], gone: Collection[int]) -> list[T]:
    return [item for item in items if item.number not in gone] if gone else items


def _kind(need: Need) -> tuple[bool, bool]:
    return need.cpus > 0, need.gpus > 0


def _sizes(nodes: Sequence[Node] | str) -> object:
    return nodes if isinstance(nodes, str) else [(node.cpus, node.gpus, node.state, node.grows) for node in nodes]


def _facts(nodes: Sequence[Node] | str, active: Sequence[Need], served: Sequence[Need], head: Head) -> object:
    """What of the cluster decides: its free memory changes all the time, and doesn't."""
    if isinstance(nodes, str):
        return nodes
    used = [(node.id, node.state, node.cpus, node.cpus_free, node.gpus, node.gpus_free) for node in nodes]
    return used, sorted(active), served, head

"""What is free on each node, and what is taken of it: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.gateway.ray_jobs import Node


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
        parts = [counted(self.total_cpus, "CPU")] if self.cpus else []
        parts += [counted(self.total_gpus, "GPU")] if self.gpus else []
        return " and ".join(parts)


class Room:
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
        bare, count = self._bare, len(self.nodes)
        if need.cpus > 0:
            return bare[0] == count and (need.gpus <= 0 or bare[1] == count)
        return need.gpus > 0 and bare[1] == count

    def sums(self) -> tuple[float, float]:
        """Free CPUs and GPUs over all nodes."""
        if self._sums is None:
            self._sums = sum(node[0] for node in self.nodes), sum(node[1] for node in self.nodes)
        return self._sums

    def holds(self, need: Need) -> bool:
        """Whether all workers find a place."""
        wanted, size = need.workers, (need.cpus, need.gpus)
        for index in range(self._begin(size), len(self.nodes)):
            wanted -= fit(self.nodes[index], wanted, size)
            if wanted <= 0:
                return True
        return wanted <= 0

    def places(self, need: Need) -> int:
        """For how many of its workers there is a place; more than it has, if there are many nodes."""
        return sum(fit(node, need.workers, (need.cpus, need.gpus)) for node in self.nodes)

    def take(self, need: Need) -> int:
        """Place as many workers as possible; how many found no place."""
        wanted, size = need.workers, (need.cpus, need.gpus)
        for index in range(self._begin(size), len(self.nodes)):
            if wanted <= 0:
                break
            node = self.nodes[index]
            if count := fit(node, wanted, size):
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
        while index < len(self.nodes) and not fit(self.nodes[index], 1, size):
            index += 1
        self._first[size] = index
        return index


def fit(node: Sequence[float], workers: int, size: tuple[float, float]) -> int:
    """How many of so many workers a node can take that has so much free."""
    limit = float(workers)
    if size[0]:
        limit = min(limit, node[0] / size[0] + 1e-9)
    if size[1]:
        limit = min(limit, node[1] / size[1] + 1e-9)
    return int(limit)


def put(room: list[list[float]], need: Need) -> tuple[tuple[int, int], ...]:
    """Take the place of its workers, the first nodes first: how many on which node. Those that find no place are nowhere."""
    left, held = need.workers, list[tuple[int, int]]()
    for index, node in enumerate(room):
        if not left:
            break
        if count := fit(node, left, (need.cpus, need.gpus)):
            node[0], node[1], left = node[0] - count * need.cpus, node[1] - count * need.gpus, left - count
            held.append((index, count))
    return tuple(held)


def minus_unseen(nodes: Sequence[Node], active: Iterable[Need]) -> list[tuple[float, float]]:
    """Jobs that just started don't show in Ray's report yet: take what they need and nobody uses off the freest nodes.

    Nor do those whose nodes are still to be started: their workers take the places there that were kept for them.
    """
    needs = list(active)
    cpus = sum(need.total_cpus for need in needs) - sum(node.cpus - node.cpus_free for node in nodes)
    gpus = sum(need.total_gpus for need in needs) - sum(node.gpus - node.gpus_free for node in nodes)
    free = [(node.cpus_free, node.gpus_free) for node in nodes]
    if any(node.state == "spare" for node in nodes):
        free, cpus, gpus = _placed(free, needs, cpus, gpus)
    for index in sorted(range(len(free)), key=lambda i: (-free[i][1], -free[i][0])):
        take_cpus, take_gpus = min(max(cpus, 0.0), free[index][0]), min(max(gpus, 0.0), free[index][1])
        free[index] = (free[index][0] - take_cpus, free[index][1] - take_gpus)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
    return free


def _placed(
    free: Sequence[tuple[float, float]], needs: Sequence[Need], cpus: float, gpus: float
) -> tuple[list[tuple[float, float]], float, float]:
    """What is left when whole workers took so much that nobody uses, the widest first, as admission placed them; and of it the rest."""
    room = Room(free)
    for need in sorted(needs, key=lambda need: (-need.gpus, -need.cpus)):
        workers = fit((max(cpus, 0.0), max(gpus, 0.0)), need.workers, (need.cpus, need.gpus))
        if workers:
            placed = workers - room.take(need._replace(workers=workers))
            cpus, gpus = cpus - placed * need.cpus, gpus - placed * need.gpus
    return [(node[0], node[1]) for node in room.nodes], cpus, gpus


def with_coming(
    nodes: Sequence[Node], free: Sequence[tuple[float, float]], coming: Iterable[Need]
) -> list[tuple[float, float]]:
    """What is free, with what these will leave behind.

    On which node whose worker is isn't known: each makes room for what fits into its own. Of a single node all adds up.
    """
    if len(nodes) != 1:
        return [*free, *((need.cpus, need.gpus) for need in coming for _ in range(need.workers))]
    (cpus, gpus), all_of_it = free[0], list(coming)
    cpus += sum(need.total_cpus for need in all_of_it)
    gpus += sum(need.total_gpus for need in all_of_it)
    return [(min(cpus, nodes[0].cpus), min(gpus, nodes[0].gpus))]


def amount(value: float) -> str:
    """As a person writes it."""
    return f"{value:g}"


def counted(value: float, noun: str) -> str:
    """`1 CPU`, `2 CPUs`."""
    return f"{amount(value)} {noun}" + ("" if value == 1 else "s")

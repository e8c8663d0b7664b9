"""Whether the cluster can hold a job now: pure. Jobs start in the order in which they came.

A later job may pass an earlier one only in what the earlier one leaves free even if it were placed now; so a large job
never starves, and a job that waits for a GPU doesn't keep idle CPUs from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.gateway.ray_jobs import Node

WAITS = "waits for "
"""How the reason of a run begins that this cluster can hold, but not now."""
NEVER_FIX = "it starts once such nodes are there; or cancel it and lower resources.workers or resources.cpus_per_worker"


@dataclass(frozen=True)
class Need:
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


def why_wait(nodes: Sequence[Node], active: Sequence[Need], ahead: Sequence[Need], mine: Need) -> str | None:
    """None if the job may start now, else the reason for a person.

    nodes: what Ray reports, which lags behind. active: our jobs on the cluster. ahead: jobs that wait and came earlier.
    """
    if not nodes:
        return f"{WAITS}{mine.words}; the cluster has no nodes"
    if (reason := why_never(nodes, mine)) is not None:
        return f"{reason}; {NEVER_FIX}"
    empty = _idle(nodes)
    free = _minus_unseen(list(nodes), active)
    left, waiting = free, 0
    for other in ahead:
        if _place(empty, other) is None:
            continue  # can't ever start on this cluster, so nothing is kept for it
        left, waiting = _reserve(left, other), waiting + 1
    if _place(left, mine) is not None:
        return None
    if waiting and _place(free, mine) is not None:
        return f"{WAITS}{mine.words}, which {_count(waiting, 'earlier job')} will take first"
    return _later(nodes, free, mine)


def why_never(nodes: Sequence[Node], mine: Need) -> str | None:
    """Why these nodes can't hold it even when nothing else runs; None if they can."""
    if _place(_idle(nodes), mine) is not None:
        return None
    has = Need(1, sum(node.cpus for node in nodes), sum(node.gpus for node in nodes))
    if mine.total_cpus > has.cpus or mine.total_gpus > has.gpus:
        return f"needs {mine.words}, more than the whole cluster has ({_pool(has.cpus, has.gpus, mine)})"
    one = replace(mine, workers=1).words
    return f"needs {_count(mine.workers, 'worker')} with {one} each, which no set of the cluster's nodes can hold"


def _idle(nodes: Sequence[Node]) -> list[Node]:
    return [replace(node, cpus_free=node.cpus, gpus_free=node.gpus) for node in nodes]


def _later(nodes: Sequence[Node], free: Sequence[Node], mine: Need) -> str:
    cpus, gpus = sum(node.cpus_free for node in free), sum(node.gpus_free for node in free)
    parts = []
    if mine.total_cpus > cpus or mine.total_gpus <= gpus:
        parts.append(f"{_amount(cpus)} of {_amount(sum(node.cpus for node in nodes))} CPUs free")
    if mine.total_gpus > gpus:
        parts.append(f"{_amount(gpus)} of {_amount(sum(node.gpus for node in nodes))} GPUs free")
    spread = ", but not on the same nodes" if mine.total_cpus <= cpus and mine.total_gpus <= gpus else ""
    return f"{WAITS}{mine.words}; {', '.join(parts)}{spread}"


def _minus_unseen(nodes: list[Node], active: Sequence[Need]) -> list[Node]:
    """Jobs that just started don't show in Ray's report yet: take what they need and nobody uses off the freest nodes."""
    used_cpus = sum(node.cpus - node.cpus_free for node in nodes)
    used_gpus = sum(node.gpus - node.gpus_free for node in nodes)
    cpus = sum(need.total_cpus for need in active) - used_cpus
    gpus = sum(need.total_gpus for need in active) - used_gpus
    for index in sorted(range(len(nodes)), key=lambda i: (-nodes[i].gpus_free, -nodes[i].cpus_free)):
        node = nodes[index]
        take_cpus, take_gpus = min(max(cpus, 0.0), node.cpus_free), min(max(gpus, 0.0), node.gpus_free)
        nodes[index] = replace(node, cpus_free=node.cpus_free - take_cpus, gpus_free=node.gpus_free - take_gpus)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
    return nodes


def _fit(node: Node, need: Need) -> int:
    """Workers that the node can take now."""
    limits = [float(need.workers)]
    limits += [node.cpus_free / need.cpus + 1e-9] if need.cpus else []
    limits += [node.gpus_free / need.gpus + 1e-9] if need.gpus else []
    return int(min(limits))


def _take(nodes: Sequence[Node], need: Need) -> tuple[list[Node], int]:
    """Place as many workers as possible; the nodes after that, and how many found no place."""
    left, after = need.workers, []
    for node in nodes:
        count = min(left, _fit(node, need))
        left -= count
        after.append(
            replace(node, cpus_free=node.cpus_free - count * need.cpus, gpus_free=node.gpus_free - count * need.gpus)
        )
    return after, left


def _place(nodes: Sequence[Node], need: Need) -> list[Node] | None:
    """The nodes after placing all workers; None if they don't fit."""
    after, left = _take(nodes, need)
    return None if left else after


def _reserve(nodes: Sequence[Node], need: Need) -> list[Node]:
    """Keep for an earlier job what is there of its need; what is not there yet, it waits for."""
    after, left = _take(nodes, need)
    if not left:
        return after
    cpus, gpus = left * need.cpus, left * need.gpus
    kept = []
    for node in after:
        take_cpus, take_gpus = min(cpus, node.cpus_free), min(gpus, node.gpus_free)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
        kept.append(replace(node, cpus_free=node.cpus_free - take_cpus, gpus_free=node.gpus_free - take_gpus))
    return kept


def _pool(cpus: float, gpus: float, mine: Need) -> str:
    return _count(cpus, "CPU") + (f", {_count(gpus, 'GPU')}" if mine.gpus else "")


def _amount(value: float) -> str:
    return f"{value:g}"


def _count(value: float, noun: str) -> str:
    return f"{_amount(value)} {noun}" + ("" if value == 1 else "s")

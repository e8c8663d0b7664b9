"""Admission as plainly as it can be written: for each job the whole line before it is gone through again, node by node.

What `service.runs.queue` is held against; far too slow for a long line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from service.gateway.ray_jobs import Node
from service.runs.room import Need


def starting(nodes: Sequence[Node], active: Sequence[Need], line: Sequence[Need]) -> list[bool]:
    """Of each in line whether it starts."""
    decided: list[bool] = []
    for mine in line:
        left = minus_unseen(list(nodes), active)
        for other, started in zip(line, decided, strict=False):
            if started:
                left, _ = take(left, other)
            elif ever(nodes, other):
                left = reserve(left, other)
        decided.append(ever(nodes, mine) and not take(left, mine)[1])
    return decided


def ever(nodes: Sequence[Node], need: Need) -> bool:
    """Whether nodes that nobody uses can hold it."""
    idle = [replace(node, cpus_free=node.cpus, gpus_free=node.gpus) for node in nodes]
    return bool(nodes) and not take(idle, need)[1]


def minus_unseen(nodes: list[Node], active: Sequence[Need]) -> list[Node]:
    """What Ray reports, less what jobs take that it doesn't report yet: off the freest nodes."""
    cpus = sum(need.total_cpus for need in active) - sum(node.cpus - node.cpus_free for node in nodes)
    gpus = sum(need.total_gpus for need in active) - sum(node.gpus - node.gpus_free for node in nodes)
    for index in sorted(range(len(nodes)), key=lambda i: (-nodes[i].gpus_free, -nodes[i].cpus_free)):
        node = nodes[index]
        take_cpus, take_gpus = min(max(cpus, 0.0), node.cpus_free), min(max(gpus, 0.0), node.gpus_free)
        nodes[index] = replace(node, cpus_free=node.cpus_free - take_cpus, gpus_free=node.gpus_free - take_gpus)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
    return nodes


def fit(node: Node, need: Need) -> int:
    """Workers that the node can take."""
    limits = [float(need.workers)]
    limits += [node.cpus_free / need.cpus + 1e-9] if need.cpus else []
    limits += [node.gpus_free / need.gpus + 1e-9] if need.gpus else []
    return int(min(limits))


def take(nodes: Sequence[Node], need: Need) -> tuple[list[Node], int]:
    """The nodes after placing as many workers as possible, and how many found no place."""
    left, after = need.workers, []
    for node in nodes:
        count = min(left, fit(node, need))
        left -= count
        cpus, gpus = node.cpus_free - count * need.cpus, node.gpus_free - count * need.gpus
        after.append(replace(node, cpus_free=cpus, gpus_free=gpus))
    return after, left


def reserve(nodes: Sequence[Node], need: Need) -> list[Node]:
    """The nodes without what is kept for that job: its place, or as much of its need as there is."""
    after, left = take(nodes, need)
    cpus, gpus, kept = left * need.cpus, left * need.gpus, []
    for node in after:
        take_cpus, take_gpus = min(cpus, node.cpus_free), min(gpus, node.gpus_free)
        cpus, gpus = cpus - take_cpus, gpus - take_gpus
        kept.append(replace(node, cpus_free=node.cpus_free - take_cpus, gpus_free=node.gpus_free - take_gpus))
    return kept

"""Nodes that an autoscaler may start: how many of which size there may be, and how many a job waits for. Pure, no Ray."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

MAX_NODES = 10_000
GIB = 1 << 30
ACCELERATOR = "accelerator_type:"
GROUP = "ray.io/node-group"
"""Ray's label of a node with the name of its group: in Kubernetes the `groupName` of the RayCluster."""
EXAMPLE = "4:16,gpu-8=2:64:8:512:H100"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class NodeShape(NamedTuple):
    """So many nodes of one size, at most."""

    nodes: int
    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    """Bytes of one; 0: it isn't known."""
    gpu: str = ""
    """Ray's name of its GPUs' kind (`accelerator_type:NAME`); empty: it isn't known."""
    name: str = ""
    """Of the group of nodes, as Ray has it (`ray.io/node-group`); empty: nodes are known by their size."""

    @classmethod
    def parse(cls, text: str) -> NodeShape:
        """`[NAME=]COUNT:CPUS[:GPUS[:MEMORY[:KIND]]]`, memory in GiB. Raises ValueError."""
        name, equals, sizes = text.strip().rpartition("=")
        try:
            count, cpus, *rest = sizes.split(":", 4)
            gpus, memory = (float(part or 0) for part in (*rest[:2], "0", "0")[:2])
            found = cls(int(count), float(cpus), gpus, memory * GIB, "".join(rest[2:]), name)
        except ValueError:
            found = cls(0, 0.0)
        named = not equals or _NAME.fullmatch(name)
        kind = not found.gpu or (found.gpus > 0 and _NAME.fullmatch(found.gpu))
        sized = 0 < found.cpus < inf and 0 <= found.gpus < inf and 0 <= found.memory < inf
        if 0 < found.nodes <= MAX_NODES and sized and named and kind:
            return found
        raise ValueError(
            f"{text!r} is no [NAME=]COUNT:CPUS[:GPUS[:MEMORY[:KIND]]], memory in GiB; write e.g. {EXAMPLE}"
        )

    @property
    def title(self) -> str:
        """For a person: its name, else its size."""
        gpus = f" and {self.gpus:g} GPU{'' if self.gpus == 1 else 's'}" if self.gpus else ""
        return self.name or f"{self.cpus:g} CPU{'' if self.cpus == 1 else 's'}{gpus} each"

    @property
    def resources(self) -> dict[str, float]:
        """Of one node, as Ray counts them, as far as they are known."""
        known = {"memory": self.memory} if self.memory else {}
        return {"CPU": self.cpus, "GPU": self.gpus, **known, **({f"{ACCELERATOR}{self.gpu}": 1.0} if self.gpu else {})}

    def is_one(self, group: str, cpus: float, gpus: float) -> bool:
        """Whether a node that is there is one of these. group: as Ray has it; empty: it has none."""
        return self.name == group if self.name and group else (self.cpus, self.gpus) == (cpus, gpus)


def of_ray(node: Mapping[str, Any]) -> tuple[str, float, float]:
    """Of one of `ray.nodes()` its group, CPUs and GPUs."""
    resources = node["Resources"]
    return (node.get("Labels") or {}).get(GROUP, ""), resources.get("CPU", 0.0), resources.get("GPU", 0.0)


def missing(shapes: Sequence[NodeShape], there: Sequence[tuple[str, float, float]]) -> list[NodeShape]:
    """What may still be started. there: of each node that is there its group, CPUs and GPUs."""
    found = []
    for shape in shapes:
        left = shape.nodes - sum(shape.is_one(*node) for node in there)
        if left > 0:
            found.append(shape._replace(nodes=left))
    return found


def to_start(
    workers: int, each: Mapping[str, float], free: Sequence[Mapping[str, float]], more: Sequence[NodeShape]
) -> list[NodeShape]:
    """Which nodes, and how many of each, have to start before so many workers find a place; none if not even then.

    each: what one worker needs. free: of each node that is there. more: what may still be started, in the order in which it is counted.
    """
    left = workers - sum(fit(each, node) for node in free)
    found = []
    for shape in more:
        held = fit(each, shape.resources)
        if left > 0 and held:
            count = min(shape.nodes, -(-left // held))
            left -= count * held
            found.append(shape._replace(nodes=count))
    return found if left <= 0 else []


def fit(each: Mapping[str, float], node: Mapping[str, float]) -> int:
    """Workers that need so much and that a node holds, which has so much."""
    counts = [int((node.get(name, 0.0) + 1e-9) // amount) for name, amount in each.items() if amount]
    return min(counts, default=MAX_NODES)


def words(shapes: Sequence[NodeShape], late: float | None = None) -> str:
    """For a person: `waits for 2 nodes that are being started (gpu-8)`.

    late: so many seconds ago they were asked for, which is too long; None: it isn't.
    """
    count = sum(shape.nodes for shape in shapes)
    kinds = ", ".join(f"{shape.nodes} {shape.title}" if len(shapes) > 1 else shape.title for shape in shapes)
    nodes = f"waits for {count} node{'' if count == 1 else 's'}"
    if late is None:
        return f"{nodes} that {'is' if count == 1 else 'are'} being started ({kinds})"
    return (
        f"{nodes} ({kinds}), asked for over {_span(late)} ago: nothing has started {'it' if count == 1 else 'them'} yet"
    )


def _span(seconds: float) -> str:
    """Rounded down, and seldom another one: every change of a reason is written."""
    for scale, unit, steps in (
        (86_400, "day", range(1, 366)),
        (3600, "hour", (1, 2, 6, 12)),
        (60, "minute", (1, 5, 15, 30)),
    ):
        if seconds >= scale:
            count = max(step for step in steps if step * scale <= seconds)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "some seconds"

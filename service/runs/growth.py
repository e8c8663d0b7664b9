"""Nodes that an autoscaler may still add: pure. Ray asks for them only for a job that it was handed, so admission counts them in.

A cloud may have none to give. Runs that were handed over and wait for theirs for too long (`AGON_NODES_SECONDS`) stay on Ray, which goes
on asking; but nodes such as theirs count no more until some come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from service.gateway.ray_jobs import Node
from service.runs.room import Need, put
from trainer.nodes import NodeShape, missing


def grown(nodes: Sequence[Node], shapes: Sequence[NodeShape], late: Iterable[Need] = ()) -> list[Node]:
    """The nodes, and behind them those that are not there yet: of each shape so many, less those of it that are.

    late: what runs need that wait for nodes for too long.
    """
    if not shapes:
        return list(nodes)
    more = missing(shapes, [(node.group, node.cpus, node.gpus) for node in nodes])
    spare = [node for shape in more for node in _nodes_of(shape)]
    room = [[node.cpus, node.gpus] for node in spare]
    stalled = {spare[index].id for need in late for index, _ in put(room, need)}
    there = (replace(node, grows=True) for node in nodes)
    return [*there, *(replace(node, state="late") if node.id in stalled else node for node in spare)]


def _nodes_of(shape: NodeShape) -> list[Node]:
    """All of one shape have one id: it is a kind that comes or doesn't."""
    name = f"another-{shape.name or f'{shape.cpus:g}-{shape.gpus:g}'}"
    one = Node(name, shape.cpus, shape.cpus, shape.gpus, shape.gpus, shape.memory, shape.memory, shape.gpu)
    return [replace(one, group=shape.name, state="spare", grows=True)] * shape.nodes


def kinds(nodes: Sequence[Node]) -> list[tuple[NodeShape, bool]]:
    """What of these may still be started, by kind, and whether it is late."""
    counts = Counter(node for node in nodes if node.state != "there")
    return [
        (NodeShape(count, node.cpus, node.gpus, node.memory, node.gpu, node.group), node.state == "late")
        for node, count in counts.items()
    ]

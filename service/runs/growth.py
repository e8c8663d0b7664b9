"""Nodes that an autoscaler may still add: pure. Ray asks for them only for a job that it was handed, so admission counts them in."""

from __future__ import annotations

from collections.abc import Sequence

from service.gateway.ray_jobs import Node
from service.settings import NodeShape


def grown(nodes: Sequence[Node], shapes: Sequence[NodeShape]) -> list[Node]:
    """The nodes, and behind them those that are not there yet: of each shape so many, less those of its size that are."""
    found, here = list(nodes), [(node.cpus, node.gpus) for node in nodes]
    for shape in shapes:
        missing = shape.nodes - here.count((shape.cpus, shape.gpus))
        name = f"another-{shape.cpus:g}-{shape.gpus:g}"
        found += [Node(name, shape.cpus, shape.cpus, shape.gpus, shape.gpus)] * missing
    return found

"""How many runs Ray's head has memory for: pure.

A run's driver (131 MB), the supervisor that Ray's Jobs API gives it (74), Ray Train's controller (123) and two actors of that (113, 110)
take no CPU but memory, all on the head: 0.55 GB a run, measured as proportional set sizes in ray 2.60. Who is killed when that is used up
is anyone: the GCS, and with it the whole cluster, or the driver of another run. Drivers on the workers would be no remedy: with the
worker's node its run's driver would die, and a run that loses a node goes on today.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.gateway.ray_jobs import Node

OWN = 3 << 29
"""Bytes for the head's own processes, 1.5 GiB: GCS, dashboard, agents and autoscaler take half of it at first, and grow."""


def drivers(nodes: Sequence[Node], each: int) -> int | None:
    """How many runs' drivers it holds, one at least; None: that isn't counted, or isn't known.

    each: bytes of one; 0: it isn't counted. On a single machine that trains, too, all share its memory, and its CPUs limit the runs.
    """
    heads = [node for node in nodes if node.head]
    alone = len(nodes) == 1 and (nodes[0].cpus or nodes[0].gpus)
    if not each or not heads or not heads[0].memory or alone:
        return None
    return max(1, int((heads[0].memory - OWN) // each))

"""What a job waits for on a Ray cluster, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import ray
from ray.util.placement_group import placement_group_table

from trainer import nodes
from trainer.launch.ray_internals import find
from trainer.nodes import NodeShape
from trainer.spec import Resources


def shortage(
    resources: Resources, shapes: Sequence[NodeShape] = (), waited: float = 0.0, patience: float = inf
) -> str | None:
    """Why this driver's workers, which have not started, don't get their place yet; None if nothing of it waits.

    shapes: nodes that an autoscaler may start. waited: seconds so far; patience: seconds after which these should have come.
    Ray Train asks for a placement group, which waits. Only while fewer than an elastic job's smallest group fit does its
    policy (`ElasticScalingPolicy.make_decision_for_non_running_worker_group`) ask for none: then the cluster tells.
    """
    mine = ray.get_runtime_context().get_job_id()
    # A placement group's id ends with the id of the job that made it.
    groups = [group for identity, group in placement_group_table().items() if identity.endswith(mine)]
    free, total = ray.available_resources(), ray.cluster_resources()
    for group in groups:
        if group["state"] in ("PENDING", "RESCHEDULING"):
            workers = len(group["bundles"])
            starts = coming(resources, workers, shapes, waited, patience)
            return starts or explain(resources, free, total, workers=workers)
    if resources.min_workers is None or any(group["state"] == "CREATED" for group in groups):
        return None
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits = places(resources, alive) >= resources.min_workers and not _lacking(
        resources, free, total, resources.min_workers
    )
    if fits:
        return None
    return coming(resources, resources.min_workers, shapes, waited, patience) or explain(resources, free, total)


def coming(
    resources: Resources, workers: int, shapes: Sequence[NodeShape], waited: float, patience: float
) -> str | None:
    """For which nodes so many workers wait that an autoscaler starts; None: for none."""
    if not shapes:
        return None
    alive = [node for node in ray.nodes() if node["Alive"]]
    left = find("state").available_resources_per_node()
    more = nodes.missing(shapes, [nodes.of_ray(node) for node in alive])
    free = [left.get(node["NodeID"], {}) for node in alive]
    found = nodes.to_start(workers, _each(resources), free, more)
    return nodes.words(found, waited if waited >= patience else None) if found else None


def places(resources: Resources, there: Iterable[Mapping[str, float]]) -> int:
    """Workers that nodes with these resources hold; a worker lies on one node."""
    each = _each(resources)
    return sum(min(int(node.get(name, 0.0) // amount) for name, amount in each.items()) for node in there)


def explain(
    resources: Resources, free: Mapping[str, float], total: Mapping[str, float], workers: int | None = None
) -> str:
    """`needs 4 CPUs; 1 of 8 is free`, for the resources that lack.

    workers: size of the group that waits; by default the smallest that the job may have.
    """
    count = workers or resources.min_workers or resources.workers
    wanted = " and ".join(f"{amount:g} {name}{_plural(amount)}" for name, amount in _each(resources).items())
    return "; ".join(_lacking(resources, free, total, count)) or (
        f"needs {count} × {wanted}, each on one node; enough is free, but not together"
    )


def _lacking(resources: Resources, free: Mapping[str, float], total: Mapping[str, float], workers: int) -> list[str]:
    found = []
    for name, amount in _each(resources).items():
        need, have, most = amount * workers, free.get(name, 0.0), total.get(name, 0.0)
        if need > most:
            found.append(f"needs {need:g} {name}{_plural(need)}; the cluster has {most:g} in all")
        elif need > have:
            verb = "is" if have == 1 else "are"
            found.append(f"needs {need:g} {name}{_plural(need)}; {have:g} of {most:g} {verb} free")
    return found


def _each(resources: Resources) -> dict[str, float]:
    """What one worker needs, without what it doesn't."""
    each = {"CPU": resources.cpus_per_worker, "GPU": float(resources.gpus_per_worker)}
    return {name: amount for name, amount in each.items() if amount}


def _plural(amount: float) -> str:
    return "" if amount == 1 else "s"

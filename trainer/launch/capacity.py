"""What a job waits for on a Ray cluster, in words."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray.util.placement_group import placement_group_table

from trainer.spec import Resources


def shortage(resources: Resources) -> str | None:
    """Why this driver's workers don't get their place yet; None if nothing of it waits."""
    mine = ray.get_runtime_context().get_job_id()
    # A placement group's id ends with the id of the job that made it.
    waiting = any(
        group["state"] in ("PENDING", "RESCHEDULING") and identity.endswith(mine)
        for identity, group in placement_group_table().items()
    )
    return explain(resources, ray.available_resources(), ray.cluster_resources()) if waiting else None


def explain(resources: Resources, free: Mapping[str, float], total: Mapping[str, float]) -> str:
    """`needs 4 CPUs; 1 of 8 is free`, for the resources that lack. An elastic job needs its smallest worker count."""
    workers = resources.min_workers or resources.workers
    each = {"CPU": resources.cpus_per_worker, "GPU": float(resources.gpus_per_worker)}
    lacking = []
    for name, amount in each.items():
        need, have, most = amount * workers, free.get(name, 0.0), total.get(name, 0.0)
        if need <= have:
            continue
        plural = "" if need == 1 else "s"
        if need > most:
            lacking.append(f"needs {need:g} {name}{plural}; the cluster has {most:g} in all")
        else:
            lacking.append(f"needs {need:g} {name}{plural}; {have:g} of {most:g} {'is' if have == 1 else 'are'} free")
    wanted = " and ".join(f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in each.items() if amount)
    return "; ".join(lacking) or f"needs {workers} × {wanted}, each on one node; enough is free, but not together"

"""Which worker counts an elastic job may have: those that divide the lanes (DESIGN, decision 4)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.train import ScalingConfig

from trainer.launch import ray_internals
from trainer.launch.ray_internals import ElasticScalingPolicy, NoopDecision, ResizeDecision
from trainer.launch.stop import GROWS
from trainer.nodes import fit
from trainer.spec import JobSpec

RESIZE_SECONDS = 60.0
"""Time between two looks at whether a healthy group could be larger. A resize restarts it from the newest checkpoint.
AGON_RESIZE_SECONDS in the driver's environment says otherwise."""


def scaling(spec: JobSpec) -> ScalingConfig:
    """What the spec's `resources` ask of Ray Train: a fixed group, or a range from `min_workers` to `workers`."""
    resources = spec.resources
    needs: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        needs["GPU"] = resources.gpus_per_worker
    least, most = resources.min_workers or resources.workers, resources.workers
    return ScalingConfig(
        num_workers=most if least == most else (least, most),
        use_gpu=resources.gpus_per_worker > 0,
        resources_per_worker=needs,
        elastic_resize_monitor_interval_s=float(os.environ.get("AGON_RESIZE_SECONDS") or RESIZE_SECONDS),
    )


PLACE_SECONDS = 20.0
"""How long a group waits for its places before the policy counts them anew. Ray believes in a lost node for some ten
seconds: a group that was asked for in that time waits for a place that won't come."""


class LanePolicy(ElasticScalingPolicy):  # type: ignore[misc]
    """Ray's elastic policy over `sizes` (ascending) alone: 7 free places are 4 workers when there are 8 lanes."""

    def __init__(self, scaling_config: ScalingConfig, sizes: tuple[int, ...], grow: Path) -> None:
        """grow: the file that asks the workers to save their work and end."""
        super().__init__(scaling_config)
        self._sizes, self._grow = sizes, grow

    def after_controller_start(self, train_run_context: Any) -> None:
        """In the controller's process, which is this job's alone: a group of another size may fit where this one waits."""
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(PLACE_SECONDS)
        super().after_controller_start(train_run_context)

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        """Never ends a group that runs, which would lose its steps since the checkpoint. Where more would fit, its workers
        are asked to save their work and end, and the next group has the size that fits then. Of a node that goes the
        workers hear themselves (`preempt`), or they die."""
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        if isinstance(decision, ResizeDecision) and decision.num_workers > worker_group_state.num_workers:
            self._grow.write_text(GROWS)
        return NoopDecision()

    def _get_num_workers_for_resource_request(self) -> int:
        each = self.scaling_config._resources_per_worker_not_none
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return asked_for(self._sizes, sum(fit(each, node) for node in there))

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        possible = super()._count_possible_workers(_still_there(reserved_resources))
        return max((size for size in self._sizes if size <= possible), default=0)


def asked_for(sizes: Sequence[int], held: int) -> int:
    """For how many workers an autoscaler is asked for nodes, when those that are there hold so many: for the next size.

    Ray's autoscaler of the second version starts what all runs ask for together, or nothing of it. If each asked for its largest group, none
    might ever get its smallest.
    """
    return next((size for size in sizes if size > held), sizes[-1])


def _still_there(reserved: dict[str, Any]) -> dict[str, Any]:
    """Without nodes that died or are taken away since the resources were shared out, which Ray does every 20 seconds."""
    leaving = ray_internals.find("state").get_draining_nodes()
    there = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - set(leaving)
    return {node: resources for node, resources in reserved.items() if node in there}

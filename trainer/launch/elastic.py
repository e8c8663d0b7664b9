"""Which worker counts an elastic job may have: those that divide the lanes (DESIGN, decision 4)."""

from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from trainer.spec import JobSpec

RESIZE_SECONDS = 60.0
"""Time between two looks at whether a healthy group could be larger. A resize restarts it from the newest checkpoint."""


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
        elastic_resize_monitor_interval_s=RESIZE_SECONDS,
    )


class LanePolicy(ElasticScalingPolicy):  # type: ignore[misc]
    """Ray's elastic policy over `sizes` (ascending) alone: 7 free places are 4 workers when there are 8 lanes."""

    def __init__(self, scaling_config: ScalingConfig, sizes: tuple[int, ...]) -> None:
        super().__init__(scaling_config)
        self._sizes = sizes

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        possible = super()._count_possible_workers(reserved_resources)
        return max((size for size in self._sizes if size <= possible), default=0)

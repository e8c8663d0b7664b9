"""What a RayCluster's spec says of its groups, and a cluster of its own for one run, made after it. Pure.

Read in KubeRay's `ray.io/v1` (RayCluster, RayJob) of 1.6 and 1.7.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

GPU = "nvidia.com/gpu"
TOLD = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
"""What KubeRay says to each container by `authOptions`."""
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?", re.ASCII)
_UNITS = {"": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, **{unit: 1e3 ** (1 + at) for at, unit in enumerate("kMGTPE")}} | {
    f"{unit}i": 1024.0 ** (1 + at) for at, unit in enumerate("KMGTPE")
}


class Group(NamedTuple):
    """A group of workers: what a pod of it offers Ray, and how many there may be."""

    name: str
    cpus: float
    gpus: float
    memory: float
    """Bytes."""
    most: int

    def fits(self, cpus: float, gpus: float) -> int:
        """How many workers of that size one pod holds."""
        limits = [self.cpus / cpus] if cpus else []
        limits += [self.gpus / gpus] if gpus else []
        return int(min(limits, default=1) + 1e-9)


class Wanted(NamedTuple):
    """What a run takes."""

    workers: int
    cpus: float
    gpus: float


def quantity(text: object) -> float:
    """A Kubernetes quantity that is no less than 0: `500m`, `2`, `8Gi`, `1e3`. Raises ValueError."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * (10.0 ** int(found[3]) if found[3] else _UNITS[found[2] or ""])


def groups(spec: Mapping[str, Any]) -> list[Group]:
    """Of a RayCluster's spec. What `rayStartParams` say of CPUs and GPUs counts before the container's requests and limits, as for KubeRay."""
    found = []
    for group in spec.get("workerGroupSpecs") or ():
        container = group["template"]["spec"]["containers"][0]
        resources = container.get("resources") or {}
        asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
        requests, told = resources.get("requests") or {}, group.get("rayStartParams") or {}
        cpus = told.get("num-cpus", requests.get("cpu", asked.get("cpu", 0)))
        gpus = told.get("num-gpus", asked.get(GPU, 0))
        most = int(group.get("maxReplicas", group.get("replicas", 1)))
        found.append(Group(group["groupName"], quantity(cpus), quantity(gpus), quantity(asked.get("memory", 0)), most))
    return found


def choose(known: list[Group], wanted: Wanted) -> tuple[Group, int] | None:
    """The group whose pods hold the workers with the least left over, and how many pods that takes; None: none can."""
    able: list[tuple[float, float, int, Group]] = []
    for group in known:
        each = group.fits(wanted.cpus, wanted.gpus)
        pods = math.ceil(wanted.workers / each) if each else 0
        if each and pods <= group.most:
            spare = pods * group.gpus - wanted.workers * wanted.gpus, pods * group.cpus - wanted.workers * wanted.cpus
            able.append((*spare, pods, group))
    if not able:
        return None
    *_, pods, group = min(able)
    return group, pods


def own_cluster(spec: Mapping[str, Any], group: Group, pods: int, secret: str) -> dict[str, Any]:
    """The spec of a cluster for one run: the pattern's head, and so many pods of one group, all of them from the first on.

    secret: the Secret with Ray's token. KubeRay must know it, since it is KubeRay that hands the driver over.
    """
    found = copy.deepcopy(dict(spec))
    found.pop("gcsFaultToleranceOptions", None)  # a head that is lost loses the run's attempt alone
    found["enableInTreeAutoscaling"] = False
    found.pop("autoscalerOptions", None)
    (chosen,) = (one for one in found["workerGroupSpecs"] if one["groupName"] == group.name)
    chosen |= {"replicas": pods, "minReplicas": pods, "maxReplicas": pods}
    found["workerGroupSpecs"] = [chosen]
    found["authOptions"] = {"mode": "token", "secretName": secret}  # sets these two in every container
    for part in (found["headGroupSpec"], chosen):
        for container in part["template"]["spec"]["containers"]:
            container["env"] = [one for one in container.get("env") or () if one["name"] not in TOLD]
    return found

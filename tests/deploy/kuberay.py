"""What KubeRay makes of a RayCluster, and which fields it knows since when: facts read in its source at 1.6 and 1.7.

No registry that the project reaches has KubeRay's CRDs, so this table stands for them: the fields that our manifests use, and a
few that are too new. What is not in it counts as unknown.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

OLDEST, NEWEST = (1, 6), (1, 7)
"""Versions that the manifests are for; docs/deploy.md names them."""
CORE = "io.k8s.api.core.v1."
AUTOSCALER_CPU, AUTOSCALER_MEMORY = "500m", "512Mi"
AGENT_PORT = 52365
GROUP = {
    "template": ((1, 0), CORE + "PodTemplateSpec"),
    "rayStartParams": ((1, 0), "strings"),
}
FIELDS: dict[str, Any] = {
    "rayVersion": ((1, 0), "string"),
    "suspend": ((1, 0), "boolean"),
    "enableInTreeAutoscaling": ((1, 0), "boolean"),
    "upgradeStrategy": ((1, 6), {"type": ((1, 6), ("Recreate", "None"))}),
    "historyServerOptions": ((1, 7), {}),
    "gcsFaultToleranceOptions": (
        (1, 3),
        {
            "redisAddress": ((1, 3), "string"),
            "redisUsername": ((1, 3), {"value": ((1, 3), "string"), "valueFrom": ((1, 3), CORE + "EnvVarSource")}),
            "redisPassword": ((1, 3), {"value": ((1, 3), "string"), "valueFrom": ((1, 3), CORE + "EnvVarSource")}),
            "externalStorageNamespace": ((1, 3), "string"),
            "backend": ((1, 7), ("redis", "rocksdb")),
        },
    ),
    "autoscalerOptions": (
        (1, 0),
        {
            "version": ((1, 4), ("v1", "v2")),
            "idleTimeoutSeconds": ((1, 0), "integer"),
            "upscalingMode": ((1, 0), ("Default", "Aggressive", "Conservative")),
            "resources": ((1, 0), CORE + "ResourceRequirements"),
            "securityContext": ((1, 0), CORE + "SecurityContext"),
            "env": ((1, 0), [CORE + "EnvVar"]),
            "envFrom": ((1, 0), [CORE + "EnvFromSource"]),
            "volumeMounts": ((1, 0), [CORE + "VolumeMount"]),
        },
    ),
    "headGroupSpec": ((1, 0), GROUP),
    "workerGroupSpecs": (
        (1, 0),
        [
            {
                **GROUP,
                "groupName": ((1, 0), "string"),
                "replicas": ((1, 0), "integer"),
                "minReplicas": ((1, 0), "integer"),
                "maxReplicas": ((1, 0), "integer"),
                "numOfHosts": ((1, 1), "integer"),
                "idleTimeoutSeconds": ((1, 3), "integer"),
            }
        ],
    ),
}


def schema(version: tuple[int, int], definitions: str) -> dict[str, Any]:
    """JSON Schema of a RayCluster's spec for KubeRay of a version; what is Kubernetes' own is looked up in these definitions."""

    def of(kind: Any) -> dict[str, Any]:
        match kind:
            case dict():
                known = {name: of(inner) for name, (since, inner) in kind.items() if since <= version}
                return {"type": "object", "properties": known, "additionalProperties": False}
            case list():
                return {"type": "array", "items": of(kind[0])}
            case tuple():
                return {"enum": list(kind)}
            case "strings":
                return {"type": "object", "additionalProperties": {"type": "string"}}
            case str() if kind.startswith("io.k8s."):
                return {"$ref": f"{definitions}#/$defs/{kind}"}
        return {"type": kind}

    return {**of(FIELDS), "required": ["headGroupSpec"]}


def made(cluster: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(group, template) of the pods that the operator makes of a RayCluster, with the containers that it adds."""
    spec = cluster["spec"]
    head = _ray(spec["headGroupSpec"]["template"], cluster, "head", "headgroup")
    if spec.get("enableInTreeAutoscaling"):
        head["spec"]["containers"].append(_autoscaler(head["spec"], spec.get("autoscalerOptions", {})))
    if options := spec.get("gcsFaultToleranceOptions"):
        env = head["spec"]["containers"][0].setdefault("env", [])
        env.append({"name": "RAY_REDIS_ADDRESS", "value": options["redisAddress"]})
        env.append({"name": "REDIS_PASSWORD", **options.get("redisPassword", {})})
        yield "redis-cleanup", _cleanup(head)
    yield "head", head
    for group in spec.get("workerGroupSpecs", ()):
        worker = _ray(group["template"], cluster, "worker", group["groupName"])
        worker["spec"].setdefault("initContainers", []).append(_waiting(worker["spec"]["containers"][0]))
        yield group["groupName"], worker


def _ray(template: dict[str, Any], cluster: dict[str, Any], kind: str, group: str) -> dict[str, Any]:
    """With labels, a port of metrics, shared memory and probes. KubeRay's labels give way to ours, but for these three."""
    pod = copy.deepcopy(template)
    labels = pod["metadata"].setdefault("labels", {})
    labels |= {"ray.io/cluster": cluster["metadata"]["name"], "ray.io/node-type": kind, "ray.io/group": group}
    container = pod["spec"]["containers"][0]
    ports = container.setdefault("ports", [])
    if all(port.get("name") != "metrics" for port in ports):
        ports.append({"name": "metrics", "containerPort": 8080})
    if all(mount["mountPath"] != "/dev/shm" for mount in container.get("volumeMounts", ())):
        container.setdefault("volumeMounts", []).append({"name": "shared-mem", "mountPath": "/dev/shm"})
        pod["spec"].setdefault("volumes", []).append({"name": "shared-mem", "emptyDir": {"medium": "Memory"}})
    health = {"httpGet": {"path": "/api/healthz", "port": AGENT_PORT}}  # from 1.6 and Ray 2.53 on; before, wget
    container.setdefault("livenessProbe", health)
    container.setdefault("readinessProbe", health)
    return pod


def _autoscaler(head: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Beside the head, from its image. It shares Ray's logs, in a volume of a fixed name."""
    ours = head["containers"][0]
    amounts = {"cpu": AUTOSCALER_CPU, "memory": AUTOSCALER_MEMORY}
    mounts = list(options.get("volumeMounts", ()))
    if all(volume["name"] != "ray-logs" for volume in head["volumes"]):
        head["volumes"].append({"name": "ray-logs", "emptyDir": {}})
    for container in (ours, {"volumeMounts": mounts}):
        if all(mount["mountPath"] != "/tmp/ray" for mount in container["volumeMounts"]):
            container["volumeMounts"].append({"name": "ray-logs", "mountPath": "/tmp/ray"})
    made = {
        "name": "autoscaler",
        "image": ours["image"],
        "env": list(options.get("env", ())),
        "resources": options.get("resources", {"requests": amounts, "limits": amounts}),
        "volumeMounts": mounts,
    }
    return made | ({"securityContext": options["securityContext"]} if "securityContext" in options else {})


def _waiting(ours: dict[str, Any]) -> dict[str, Any]:
    """Before a worker: waits for the head, from the worker's image."""
    amounts = {"cpu": "200m", "memory": "256Mi"}
    kept = {key: copy.deepcopy(ours[key]) for key in ("image", "env", "volumeMounts", "securityContext") if key in ours}
    return {"name": "wait-gcs-ready", **kept, "resources": {"requests": amounts, "limits": amounts}}


def _cleanup(head: dict[str, Any]) -> dict[str, Any]:
    """When a cluster goes: the head's first container forgets it in Redis."""
    pod = copy.deepcopy(head)
    container = pod["spec"]["containers"][0]
    amounts = {"cpu": "200m", "memory": "256Mi"}
    for key in ("livenessProbe", "readinessProbe"):
        container.pop(key, None)
    container["resources"] = {"requests": amounts, "limits": amounts}
    pod["spec"] |= {"containers": [container], "restartPolicy": "Never"}
    pod["metadata"]["labels"]["ray.io/node-type"] = "redis-cleanup"
    return pod

"""Rules that every pod keeps, those that operators add included: it may do little, takes no more than it says, and is looked after."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from manifests import EVERYTHING, OVERLAYS, Pod, composed, named, pods, quantity, rendered, walk

from service.settings import Settings

each_variant = pytest.mark.parametrize("variant", [*OVERLAYS, EVERYTHING])
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOST = ("hostNetwork", "hostPID", "hostIPC")
RAY_ITSELF, A_DRIVER = 1.5e9, 0.55e9
"""Bytes on the head: for Ray, and for each job that runs there (measured: supervisor, driver, controller)."""
END_SECONDS = 6.0
"""For Ray to end on a node, after its trainings have left it: a grace period has room for both."""


def breaches(pod: Pod) -> list[str]:
    """Of Kubernetes' `restricted` standard (v1.37), and of what a numeric user and a read-only root add to it."""
    spec, found = pod.spec, []
    context = spec.get("securityContext", {})
    found += [key for key in HOST if spec.get(key)]
    found += [f"volume {item['name']}" for item in spec.get("volumes", ()) if not set(item) - {"name"} <= VOLUMES]
    for container in pod.containers:
        own = container.get("securityContext", {})
        both = {**context, **own}
        refused = {
            "privileged": own.get("privileged", False),
            "escalates": own.get("allowPrivilegeEscalation") is not False,
            "may be root": both.get("runAsNonRoot") is not True or not both.get("runAsUser"),
            "no seccomp profile": both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "keeps capabilities": "ALL" not in own.get("capabilities", {}).get("drop", ()),
            "adds capabilities": not set(own.get("capabilities", {}).get("add", ())) <= {"NET_BIND_SERVICE"},
            "port of the host": any("hostPort" in port for port in container.get("ports", ())),
            "writes to its root": own.get("readOnlyRootFilesystem") is not True,
        }
        found += [f"{container['name']}: {what}" for what, is_so in refused.items() if is_so]
    return found


@each_variant
def test_no_pod_may_do_more_than_restricted_allows_or_write_to_its_image(variant: str) -> None:
    assert {pod.owner: found for pod in pods(rendered(variant)) if (found := breaches(pod))} == {}


@pytest.mark.parametrize(
    "change",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]},
        {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}},
        {"securityContext": {"runAsNonRoot": True, "runAsUser": 10001}},
        {"containers": [{"name": "x"}]},
        {"initContainers": [{"name": "x", "securityContext": {"privileged": True}}]},
    ],
)
def test_what_restricted_refuses_is_seen(change: dict[str, Any]) -> None:
    pod = next(pods(rendered("dev")))
    assert breaches(pod) == []
    assert breaches(Pod(pod.owner, pod.labels, {**pod.spec, **change}))


def test_the_autoscaler_without_a_context_of_its_own_is_seen() -> None:
    cluster = copy.deepcopy(named(rendered("prod"), "RayCluster")["agon-ray"])
    del cluster["spec"]["autoscalerOptions"]["securityContext"]
    head = next(pod for pod in pods((cluster,)) if pod.owner == "agon-ray/head")
    assert any(found.startswith("autoscaler:") for found in breaches(head))


@each_variant
def test_the_namespace_enforces_that(variant: str) -> None:
    labels = named(rendered(variant), "Namespace")["agon"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@each_variant
def test_every_container_says_what_it_needs_and_is_held_to_its_memory(variant: str) -> None:
    for pod in pods(rendered(variant)):
        for container in pod.containers:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert {"cpu", "memory"} <= set(requests), (pod.owner, container["name"])
            assert quantity(limits["memory"]) >= quantity(requests["memory"]), (pod.owner, container["name"])
            extended = {key for key in limits if "/" in key}
            assert all(requests[key] == limits[key] for key in extended), "Kubernetes refuses other amounts"


@each_variant
def test_what_runs_is_probed_and_servers_before_they_get_requests(variant: str) -> None:
    for pod in pods(rendered(variant)):
        if pod.spec.get("restartPolicy") == "Never":
            continue
        for container in pod.spec["containers"]:
            if container["name"] != "autoscaler":  # which serves nothing, and ends itself if it can't go on
                assert {"readinessProbe", "livenessProbe"} <= set(container), (pod.owner, container["name"])


@each_variant
def test_images_have_a_version(variant: str) -> None:
    images = {container["image"] for pod in pods(rendered(variant)) for container in pod.containers}
    assert all(re.search(r"(:[\w.-]+|@sha256:[0-9a-f]{64})$", image) for image in images), images
    assert not any(image.endswith(":latest") for image in images)


@each_variant
def test_no_volume_of_a_node_grows_without_a_limit_and_shared_memory_is_within_the_containers(variant: str) -> None:
    for pod in pods(rendered(variant)):
        if pod.spec.get("restartPolicy") == "Never":  # the clean-up of KubeRay's, which mounts what it doesn't fill
            continue
        empty = {item["name"]: item["emptyDir"] for item in pod.spec.get("volumes", ()) if "emptyDir" in item}
        assert all("sizeLimit" in found for found in empty.values()), pod.owner
        memory = quantity(pod.spec["containers"][0]["resources"]["limits"]["memory"])
        in_memory = [quantity(found["sizeLimit"]) for found in empty.values() if found.get("medium") == "Memory"]
        assert sum(in_memory) <= memory / 2, pod.owner


@each_variant
def test_no_secret_is_an_argument(variant: str) -> None:
    """Where `$(NAME)` or a shell's `$NAME` of a secret would be one."""
    for pod in pods(rendered(variant)):
        for container in pod.containers:
            secret = {item["name"] for item in container.get("env", ()) if "secretKeyRef" in item.get("valueFrom", {})}
            for word in (*container.get("command", ()), *container.get("args", ())):
                before = word.partition("<<")[0]  # what follows is standard input
                assert not any(f"$({name})" in word or f"${name}" in before for name in secret), pod.owner


@each_variant
def test_only_the_autoscaler_has_a_token_of_the_kubernetes_api(variant: str) -> None:
    items = rendered(variant)
    assert all(item["automountServiceAccountToken"] is False for item in named(items, "ServiceAccount").values())
    for pod in pods(items):
        assert not pod.spec.get("automountServiceAccountToken")
        tokens = {
            volume["name"]
            for volume in pod.spec.get("volumes", ())
            for node in walk(volume)
            if "serviceAccountToken" in node
        }
        holders = {
            container["name"]
            for container in pod.containers
            for mount in container.get("volumeMounts", ())
            if mount["name"] in tokens
        }
        assert holders <= {"autoscaler"}, pod.owner


@each_variant
def test_no_budget_keeps_a_machine_from_being_drained(variant: str) -> None:
    """Budgets that are told of an unavailable pod work only over controllers that Kubernetes knows; over Ray's they would block."""
    items = rendered(variant)
    replicas = {item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]: item["spec"]["replicas"]
                for kind in ("Deployment", "StatefulSet") for item in named(items, kind).values()}  # fmt: skip
    for budget in named(items, "PodDisruptionBudget").values():
        over = budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
        assert over in replicas
        assert budget["spec"].get("maxUnavailable", 0) >= 1 or budget["spec"]["minAvailable"] < replicas[over]
    for pod in pods(items):
        assert all(
            rule["whenUnsatisfiable"] == "ScheduleAnyway" for rule in pod.spec.get("topologySpreadConstraints", ())
        )


# -- Ray


def ray(variant: str) -> dict[str, Any]:
    """Spec of the RayCluster."""
    return named(rendered(variant), "RayCluster")["agon-ray"]["spec"]


@each_variant
def test_ray_asks_for_the_token_and_everyone_uses_the_same(variant: str) -> None:
    for pod in pods(rendered(variant)):
        if not pod.name.startswith("agon-ray"):
            continue
        for container in pod.containers:
            env = {item["name"]: item for item in container["env"]}
            assert env["RAY_AUTH_MODE"]["value"] == "token", (pod.owner, container["name"])
            assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "agon-ray-token"


@each_variant
def test_the_head_trains_nothing_and_has_memory_for_drivers(variant: str) -> None:
    head = ray(variant)["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    memory = quantity(head["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])
    jobs = (memory - RAY_ITSELF) / A_DRIVER
    assert jobs >= (50 if variant == "prod" else 4)


@each_variant
def test_the_object_store_fits_into_shared_memory(variant: str) -> None:
    """Else Ray puts it on the disk, with a warning that nobody reads."""
    groups = [ray(variant)["headGroupSpec"], *ray(variant)["workerGroupSpecs"]]
    for group in groups:
        store = int(group["rayStartParams"]["object-store-memory"])
        volumes = {item["name"]: item for item in group["template"]["spec"]["volumes"]}
        assert store <= 0.9 * quantity(volumes["shm"]["emptyDir"]["sizeLimit"])


@each_variant
def test_ray_nodes_leave_within_the_time_that_they_are_given(variant: str) -> None:
    for group in ray(variant)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        *command, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command == ["python", "-m", "trainer.launch.leave", "--seconds"]
        grace = pod["terminationGracePeriodSeconds"]
        assert float(seconds) + END_SECONDS <= grace
        assert grace <= 30 or "preemptible" not in group["groupName"], "clouds give half a minute"


@each_variant
def test_nothing_is_changed_behind_the_autoscaler(variant: str) -> None:
    """A number of replicas in the manifest would be set again at every `kubectl apply`."""
    for group in ray(variant)["workerGroupSpecs"]:
        assert "replicas" not in group
        assert 0 <= group["minReplicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("variant", OVERLAYS)
def test_the_queue_is_told_the_bounds_of_the_groups(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for found in named(rendered(variant), "ConfigMap").values():
        for key, value in found["data"].items():
            if key.startswith("AGON_"):
                monkeypatch.setenv(key, value)
    bounds = {group["groupName"]: size(group) for group in ray(variant)["workerGroupSpecs"]}
    scales = ray(variant).get("enableInTreeAutoscaling", False)
    told = {found.name: (found.nodes, found.cpus, found.gpus, found.memory) for found in Settings().max_nodes}
    assert told == (bounds if scales else {})
    assert scales or all(group["minReplicas"] == group["maxReplicas"] for group in ray(variant)["workerGroupSpecs"])


def size(group: dict[str, Any]) -> tuple[float, ...]:
    """Upper bound of a group, and CPUs, GPUs and bytes of memory that KubeRay tells Ray of each of its pods."""
    amounts = group["template"]["spec"]["containers"][0]["resources"]
    cpus, memory = quantity(amounts["requests"]["cpu"]), quantity(amounts["limits"]["memory"])
    return group["maxReplicas"], cpus, float(gpus(group)), memory


def test_the_autoscaler_is_the_one_that_tells_what_is_free() -> None:
    """The gateway reads each node's use from what autoscaler v1 writes; v2 writes nothing there (ray 2.60, reporter_agent.py)."""
    assert ray("prod")["autoscalerOptions"]["version"] == "v1"


def test_gpu_groups_come_from_none_with_room_to_match_and_land_on_machines_with_gpus() -> None:
    groups = {group["groupName"]: group for group in ray(EVERYTHING)["workerGroupSpecs"]}
    assert {name: gpus(group) for name, group in groups.items()} == {
        "workers": 0, "gpu-1": 1, "gpu-4": 4, "gpu-8": 8, "gpu-1-preemptible": 1
    }  # fmt: skip
    for name, group in groups.items():
        if not gpus(group):
            continue
        pod = group["template"]["spec"]
        amounts = pod["containers"][0]["resources"]["requests"]
        assert group["minReplicas"] == 0
        assert quantity(amounts["cpu"]) >= 6 * gpus(group)
        assert quantity(amounts["memory"]) >= 24 * 2**30 * gpus(group)
        assert pod["nodeSelector"], name
        assert {"nvidia.com/gpu"} <= {item["key"] for item in pod["tolerations"]}


def gpus(group: dict[str, Any]) -> int:
    """Of a pod of the group."""
    return int(group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))


def test_rdma_goes_to_the_group_with_eight_gpus_or_says_that_it_is_elsewhere() -> None:
    with_rdma = [
        group["groupName"]
        for group in ray(EVERYTHING)["workerGroupSpecs"]
        if any(key.startswith("rdma/") for key in group["template"]["spec"]["containers"][0]["resources"]["limits"])
    ]
    assert with_rdma == ["gpu-8"]
    with pytest.raises(AssertionError, match="test operation does not apply"):
        composed([], ["rdma"])


def test_the_quota_has_room_for_what_the_cluster_may_become() -> None:
    hard = named(rendered(EVERYTHING), "ResourceQuota")["agon"]["spec"]["hard"]
    needed = {"requests.cpu": 0.0, "requests.memory": 0.0, "requests.nvidia.com/gpu": 0.0, "pods": 0.0}
    counts = {f"agon-ray/{group['groupName']}": group["maxReplicas"] for group in ray("prod")["workerGroupSpecs"]}
    for pod in pods(rendered("prod")):
        count = counts.get(pod.owner, 2)
        needed["pods"] += count
        for container in pod.spec["containers"]:
            for key, amount in container["resources"]["requests"].items():
                needed[f"requests.{key}"] += count * quantity(amount)
    assert all(needed[key] <= quantity(hard[key]) for key in needed), needed


def test_pull_secrets_reach_every_pod_of_ours() -> None:
    items = rendered("base+pull-secret")
    accounts = named(items, "ServiceAccount")
    assert all(item["imagePullSecrets"] == [{"name": "agon-pull"}] for item in accounts.values())
    assert {pod.spec["serviceAccountName"] for pod in pods(items)} <= set(accounts)

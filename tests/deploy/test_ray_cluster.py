"""The RayCluster fits the Ray of the images, offers what it says, grows within its bounds, and its nodes leave in time."""

from __future__ import annotations

import re
from importlib.metadata import files, version
from typing import Any

import pytest
from manifests import EVERYTHING, K8S, OVERLAYS, composed, named, pods, quantity, rendered

from service.runs.head import OWN
from service.settings import Settings

each_variant = pytest.mark.parametrize("variant", [*OVERLAYS, EVERYTHING])
END_SECONDS = 6.0
"""For Ray to end on a node, after its trainings have left it: a grace period has room for both."""


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
    room = int((memory - OWN) // Settings.model_fields["driver_memory"].default)
    told = re.search(rf"for (\d+) in `{variant}`", (K8S.parent / "docs" / "deploy.md").read_text())
    assert room >= 4
    assert variant == EVERYTHING or int(told[1]) == room


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
def test_the_head_stays_while_the_nodes_that_go_with_it_write_their_checkpoints(variant: str) -> None:
    pod = ray(variant)["headGroupSpec"]["template"]["spec"]
    stays = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert stays >= 30, "Python and Ray start on the nodes, a step ends, a checkpoint is written"
    assert stays + END_SECONDS <= pod["terminationGracePeriodSeconds"]


@each_variant
def test_shards_are_kept_on_a_disk_of_each_nodes_own_that_tells_how_full_it_is(variant: str) -> None:
    """No emptyDir: its limit is no file system's, so what is kept would grow until Kubernetes ends the pod."""
    maps = named(rendered(variant), "ConfigMap").values()
    (folder,) = (found["data"]["AGON_SHARD_CACHE_DIR"] for found in maps if "AGON_SHARD_CACHE_DIR" in found["data"])
    for group in ray(variant)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (name,) = (
            item["name"] for item in pod["containers"][0]["volumeMounts"] if folder.startswith(f"{item['mountPath']}/")
        )
        (volume,) = (item for item in pod["volumes"] if item["name"] == name)
        assert "ephemeral" in volume, group["groupName"]


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
    needed = dict.fromkeys(("requests.cpu", "requests.memory", "requests.nvidia.com/gpu", "pods"), 0.0)
    needed |= {"persistentvolumeclaims": 4.0, "requests.storage": quantity("1100Gi")}  # what pods share, and databases
    counts = {f"agon-ray/{group['groupName']}": group["maxReplicas"] for group in ray("prod")["workerGroupSpecs"]}
    for pod in pods(rendered("prod")):
        count = counts.get(pod.owner, 2)
        needed["pods"] += count
        for volume in pod.spec.get("volumes", ()):
            if "ephemeral" in volume:
                needed["persistentvolumeclaims"] += count
                asked = volume["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
                needed["requests.storage"] += count * quantity(asked)
        for container in pod.spec["containers"]:
            for key, amount in container["resources"]["requests"].items():
                needed[f"requests.{key}"] += count * quantity(amount)
    assert all(needed[key] <= quantity(hard[key]) for key in needed), needed


@each_variant
def test_the_cluster_is_of_the_version_of_ray_that_the_images_have(variant: str) -> None:
    (locked,) = re.findall(r"^ray==(.+)$", (K8S.parent / "requirements.lock").read_text(), re.MULTILINE)
    assert ray(variant)["rayVersion"] == locked == version("ray")


def sources(*names: str) -> str:
    """Text of installed files of Ray whose paths end so."""
    found = [path for path in files("ray") or () if str(path).endswith(names)]
    assert len(found) >= len(names)
    return "".join(path.read_text() for path in found)


@each_variant
def test_ray_takes_the_options_and_reads_the_variables_that_it_is_given(variant: str) -> None:
    options = sources("ray/scripts/scripts.py")
    for group in (ray(variant)["headGroupSpec"], *ray(variant)["workerGroupSpecs"]):
        assert all(f'"--{name}"' in options for name in group["rayStartParams"])
    reads = sources(
        "ray/_private/node.py", "modules/job/job_supervisor.py", "authentication/authentication_token_setup.py"
    )
    elsewhere = {"RAY_AUTH_TOKEN", "RAY_REDIS_ADDRESS"}  # in Ray's C++
    named_ray = {
        item["name"] for pod in pods(rendered(variant)) for found in pod.containers for item in found.get("env", ())
        if item["name"].startswith("RAY_")
    }  # fmt: skip
    assert {name for name in named_ray - elsewhere if name not in reads} == set()

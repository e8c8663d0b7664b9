"""Rules that every pod keeps, those that operators add included: it may do little, takes no more than it says, and is looked after."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from manifests import EVERYTHING, OVERLAYS, Pod, named, pods, quantity, rendered, walk

each_variant = pytest.mark.parametrize("variant", [*OVERLAYS, EVERYTHING])
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOST = ("hostNetwork", "hostPID", "hostIPC")


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
def test_only_who_asks_the_kubernetes_api_has_a_token_of_it(variant: str) -> None:
    items = rendered(variant)
    asking = {"autoscaler"} | ({"api"} if "agon-rayjobs" in named(items, "Role") else set())
    assert all(item["automountServiceAccountToken"] is False for item in named(items, "ServiceAccount").values())
    for pod in pods(items):
        assert pod.spec["automountServiceAccountToken"] is False, pod.owner
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
        assert holders <= asking, pod.owner


@each_variant
def test_the_api_may_do_with_rayjobs_what_its_gateway_does_and_nothing_else(variant: str) -> None:
    roles = named(rendered(variant), "Role")
    if "agon-rayjobs" not in roles:
        assert roles == {}, "nobody has rights"
        return
    rules = {
        rule["resources"][0]: (set(rule["verbs"]), rule.get("resourceNames")) for rule in roles["agon-rayjobs"]["rules"]
    }
    assert rules == {"rayjobs": ({"create", "get", "list", "delete"}, None), "rayclusters": ({"get"}, ["agon-ray"])}
    (binding,) = named(rendered(variant), "RoleBinding").values()
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "agon-api", "namespace": "agon"}]


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


def test_pull_secrets_reach_every_pod_of_ours() -> None:
    items = rendered("base+pull-secret")
    accounts = named(items, "ServiceAccount")
    assert all(item["imagePullSecrets"] == [{"name": "agon-pull"}] for item in accounts.values())
    assert {pod.spec["serviceAccountName"] for pod in pods(items)} <= set(accounts)

"""The manifests are what Kubernetes and KubeRay of the oldest and newest supported version take, and every name in them leads somewhere."""

from __future__ import annotations

import copy
import re
from typing import Any

import kuberay
import pytest
import yaml
from jsonschema import Draft202012Validator
from manifests import (
    COMPONENTS,
    EVERYTHING,
    K8S,
    KUBERNETES,
    OTHERS,
    OVERLAYS,
    TEMPLATE,
    definitions,
    faults,
    named,
    pods,
    rendered,
    validator,
    walk,
)
from referencing import Registry, Resource

from service.settings import Settings

KUSTOMIZATIONS = sorted(K8S.rglob("kustomization.yaml"))
VARIANTS = [*OVERLAYS, EVERYTHING]
each_variant = pytest.mark.parametrize("variant", VARIANTS)
OPTIONAL = {"agon-s3"}
"""Only with the s3 component."""


def secret_keys() -> dict[str, set[str]]:
    """Secret → its keys, as `k8s/secrets.sh` makes them."""
    keys: dict[str, set[str]] = {}
    waiting: set[str] = set()
    for line in (K8S / "secrets.sh").read_text().splitlines():
        if line.startswith(("field", "{", " ", "}", "[")):
            waiting |= set(re.findall(r"\bfield ([\w-]+) ", line))
            if made := re.search(r"\| make ([\w-]+)$", line):
                keys[made[1]], waiting = waiting, set()
    return keys


@pytest.mark.parametrize("version", KUBERNETES)
@each_variant
def test_kubernetes_of_the_oldest_and_newest_version_knows_every_field(variant: str, version: str) -> None:
    wrong = {
        f"{item['kind']} {item['metadata']['name']}": found
        for item in rendered(variant)
        if item["kind"] not in {"RayCluster", *OTHERS} and (found := faults(item, version))
    }
    assert wrong == {}


def cluster_faults(cluster: dict[str, Any], version: tuple[int, int], kubernetes: str) -> list[str]:
    """What KubeRay's schema of a version would refuse, with the pod templates as Kubernetes of a version has them."""
    own = definitions(kubernetes)
    registry = Resource.from_contents(own) @ Registry()
    check = Draft202012Validator(kuberay.schema(version, own["$id"]), registry=registry)
    return [f"{error.json_path}: {error.message[:200]}" for error in check.iter_errors(cluster["spec"])]


@pytest.mark.parametrize(("version", "kubernetes"), [(kuberay.OLDEST, KUBERNETES[0]), (kuberay.NEWEST, KUBERNETES[1])])
@each_variant
def test_kuberay_of_the_oldest_and_newest_version_knows_every_field(variant, version, kubernetes) -> None:
    for cluster in named(rendered(variant), "RayCluster").values():
        assert cluster_faults(cluster, version, kubernetes) == []
        for _, template in kuberay.made(cluster):
            assert [error.message for error in validator(kubernetes, TEMPLATE).iter_errors(template)] == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"historyServerOptions": {}}, "$"),
        ({"gcsFaultToleranceOptions": {"backend": "rocksdb"}}, "$.gcsFaultToleranceOptions"),
        ({"upgradeStrategy": {"type": "Rolling"}}, "$.upgradeStrategy.type"),
        ({"autoscalerOptions": {"securityContext": {"readOnlyRootFileSystem": True}}}, "$.autoscalerOptions"),
        ({"headGroupSpec": {"rayStartParams": {"num-cpus": 0}, "template": {}}}, "$.headGroupSpec.rayStartParams"),
        ({"headGroupSpec": {"template": {"spec": {"containers": [{"name": "x", "iamge": "y"}]}}}}, "$.headGroupSpec"),
    ],
)
def test_what_the_oldest_kuberay_does_not_know_is_seen(change: dict[str, Any], path: str) -> None:
    cluster = copy.deepcopy(named(rendered("prod"), "RayCluster")["agon-ray"])
    cluster["spec"] |= change
    assert any(fault.startswith(path) for fault in cluster_faults(cluster, kuberay.OLDEST, KUBERNETES[0]))


def test_a_field_that_kubernetes_does_not_know_is_seen() -> None:
    deployment = copy.deepcopy(named(rendered("dev"), "Deployment")["agon-api"])
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert any("livenesProbe" in fault for fault in faults(deployment, KUBERNETES[1]))


def test_every_manifest_belongs_to_a_kustomization() -> None:
    listed = set()
    for path in KUSTOMIZATIONS:
        found = yaml.safe_load(path.read_text())
        files = [*found.get("resources", ()), *(patch["path"] for patch in found.get("patches", ()) if "path" in patch)]
        listed |= {(path.parent / name).resolve() for name in files}
    for path in K8S.rglob("*.yaml"):
        assert path.name == "kustomization.yaml" or path.resolve() in listed, path


def test_the_document_names_every_overlay_and_component() -> None:
    text = (K8S.parent / "docs" / "deploy.md").read_text()
    assert [name for name in (*OVERLAYS, *COMPONENTS) if f"`{name}`" not in text] == []


def test_the_document_names_the_versions_that_are_checked() -> None:
    text = (K8S.parent / "docs" / "deploy.md").read_text()
    assert f"| Kubernetes | {KUBERNETES[0]} to {KUBERNETES[1]} |" in text
    assert "| {}.{} or {}.{} |".format(*kuberay.OLDEST, *kuberay.NEWEST) in text


@each_variant
def test_names_of_resources_are_there_once(variant: str) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered(variant)]
    assert len(names) == len(set(names))


@each_variant
def test_secrets_configuration_claims_accounts_and_classes_that_pods_use_exist(variant: str) -> None:
    items, keys = rendered(variant), secret_keys()
    assert set(keys) >= {"agon-token", "agon-ray-token", "agon-database", "agon-valkey", "agon-s3"}
    for pod in pods(items):
        assert pod.spec["priorityClassName"] in named(items, "PriorityClass"), pod.owner
        if "serviceAccountName" in pod.spec:
            assert pod.spec["serviceAccountName"] in named(items, "ServiceAccount"), pod.owner
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        for node in walk(pod.spec):
            if reference := node.get("secretKeyRef"):
                assert reference["key"] in keys[reference["name"]], pod.owner
            if "secretRef" in node:
                assert node["secretRef"]["name"] in keys, pod.owner
                assert (node["secretRef"]["name"] in OPTIONAL) == node["secretRef"].get("optional", False), pod.owner
            if "secretName" in node:
                assert node["secretName"] in keys, pod.owner
            for kind in ("configMapRef", "configMap"):
                if kind in node and node[kind]["name"] != "kube-root-ca.crt":  # which is in every namespace
                    assert node[kind]["name"] in named(items, "ConfigMap"), pod.owner
            if node.get("claimName"):
                assert node["claimName"] in named(items, "PersistentVolumeClaim"), pod.owner
            assert {mount["name"] for mount in node.get("volumeMounts", ())} <= volumes, pod.owner


@each_variant
def test_every_claim_that_is_made_is_used(variant: str) -> None:
    items = rendered(variant)
    used = {node["claimName"] for pod in pods(items) for node in walk(pod.spec) if node.get("claimName")}
    assert used == set(named(items, "PersistentVolumeClaim"))


@each_variant
def test_settings_in_the_configuration_are_settings_with_values_that_the_api_takes(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = rendered(variant)
    configured = {key: value for found in named(items, "ConfigMap").values() for key, value in found["data"].items()}
    given = {key: value for key, value in configured.items() if key.startswith("AGON_")}
    by_pod = {
        node["name"] for pod in pods(items) for node in walk(pod.spec) if str(node.get("name", "")).startswith("AGON_")
    }
    assert {*given, *by_pod} <= {f"AGON_{name.upper()}" for name in Settings.model_fields}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    read = Settings()
    assert f"http://{read.allowed_hosts[0]}:8700" == read.api_url
    assert {f"agon-api{end}" for end in ("", ".agon", ".agon.svc", ".agon.svc.cluster.local")} <= set(
        read.allowed_hosts
    )
    services = set(named(items, "Service")) | {f"{name}-head-svc" for name in named(items, "RayCluster")}
    for url in (read.ray_address, read.serve_url, str(read.mlflow_uri), read.api_url):
        assert url.split("//")[1].split(":")[0] in services
    mlflow = named(items, "Deployment")["agon-mlflow"]["spec"]["template"]["spec"]["containers"][0]["command"]
    allowed = next(word for word in mlflow if word.startswith("--allowed-hosts=")).removeprefix("--allowed-hosts=")
    assert str(read.mlflow_uri).split("//")[1] in allowed.split(","), "MLflow would answer 403"


@each_variant
def test_selectors_of_services_policies_budgets_and_monitors_match_pods(variant: str) -> None:
    items = rendered(variant)
    there = [pod.labels for pod in pods(items)]
    strangers = {"k8s-app", "kubernetes.io/metadata.name", "app.kubernetes.io/component"}
    for item in items:
        if item["kind"] not in (
            "Service",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "PodMonitor",
            "Deployment",
            "StatefulSet",
        ):
            continue
        for node in walk(item["spec"]):
            wanted = node.get("matchLabels") or (node.get("selector") if item["kind"] == "Service" else None)
            if wanted and not strangers & set(wanted):
                assert any(wanted.items() <= have.items() for have in there), (item["metadata"]["name"], wanted)
            if "namespaceSelector" in node:
                continue
            for expression in node.get("matchExpressions", ()):
                if not strangers & {expression["key"]} and not any(
                    "kuberay" in value for value in expression["values"]
                ):
                    assert set(expression["values"]) <= {have.get(expression["key"]) for have in there}


@each_variant
def test_services_and_policies_name_ports_that_containers_open(variant: str) -> None:
    items = rendered(variant)
    opened = {port["name"] for pod in pods(items) for item in pod.spec["containers"] for port in item.get("ports", ())}
    for service in named(items, "Service").values():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened
    for policy in named(items, "NetworkPolicy").values():
        for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())):
            names = {port["port"] for port in rule.get("ports", ()) if isinstance(port["port"], str)}
            assert names <= opened, policy["metadata"]["name"]
    for ingress in named(items, "Ingress").values():
        for node in walk(ingress):
            assert "service" not in node or node["service"]["name"] in named(items, "Service")


def test_the_ingress_takes_bodies_as_large_as_the_api_does() -> None:
    notes = named(rendered("prod"), "Ingress")["agon-api"]["metadata"]["annotations"]
    assert int(notes["nginx.ingress.kubernetes.io/proxy-body-size"]) == Settings.model_fields["max_body_bytes"].default


def test_the_token_of_metrics_goes_to_the_api_alone() -> None:
    monitor = named(rendered(EVERYTHING), "ServiceMonitor")["agon"]["spec"]["selector"]["matchLabels"]
    matched = [
        name for name, item in named(rendered(EVERYTHING), "Service").items()
        if monitor.items() <= item["metadata"].get("labels", {}).items()
    ]  # fmt: skip
    assert matched == ["agon-api"]

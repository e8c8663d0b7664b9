"""The manifests hold together: every name that one refers to is made by another, and variants only patch."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
KUSTOMIZATIONS = sorted(path for path in K8S.rglob("kustomization.yaml"))
SECRETS_SCRIPT = (K8S / "secrets.sh").read_text()


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    """The plain resources of a kustomization, of its resources and components (patches not applied)."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    for name in (*kustomization.get("resources", ()), *kustomization.get("components", ())):
        target = folder / name
        if target.is_dir():
            yield from _documents(target.resolve())
        else:
            yield from (item for item in yaml.safe_load_all(target.read_text()) if item)
    for generator in kustomization.get("configMapGenerator", ()):
        yield {"kind": "ConfigMap", "metadata": {"name": generator["name"]}}


OVERLAYS = {name: list(_documents(K8S / "overlays" / name)) for name in ("dev", "prod")}
overlays = pytest.mark.parametrize("resources", OVERLAYS.values(), ids=OVERLAYS.keys())


def _named(resources: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in resources if item["kind"] == kind}


def _pods(resources: list[dict[str, Any]]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """(labels, pod spec) of everything that runs pods."""
    for item in resources:
        if item["kind"] in ("Deployment", "StatefulSet"):
            yield item["spec"]["template"]["metadata"]["labels"], item["spec"]["template"]["spec"]
        if item["kind"] == "RayCluster":
            for group in (item["spec"]["headGroupSpec"], *item["spec"]["workerGroupSpecs"]):
                yield group["template"]["metadata"]["labels"], group["template"]["spec"]


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=lambda path: str(path.parent.relative_to(K8S)))
def test_what_a_kustomization_names_exists(path: Path) -> None:
    kustomization = yaml.safe_load(path.read_text())
    for name in (*kustomization.get("resources", ()), *kustomization.get("components", ())):
        assert (path.parent / name).exists(), name


def test_every_manifest_belongs_to_a_kustomization() -> None:
    listed = {
        (path.parent / name).resolve()
        for path in KUSTOMIZATIONS
        for name in yaml.safe_load(path.read_text()).get("resources", ())
    }
    for path in K8S.rglob("*.yaml"):
        assert path.name == "kustomization.yaml" or path.resolve() in listed, path


@overlays
def test_patches_hit_something(resources: list[dict[str, Any]]) -> None:
    known = {(item["kind"], item["metadata"]["name"]) for item in resources}
    for path in KUSTOMIZATIONS:
        for patch in yaml.safe_load(path.read_text()).get("patches", ()):
            target = (patch["target"]["kind"], patch["target"]["name"])
            assert target in known, f"{path}: {target}"


@overlays
def test_selectors_match_pods(resources: list[dict[str, Any]]) -> None:
    labels = [pod_labels for pod_labels, _ in _pods(resources)]
    for item in resources:
        for node in _walk(item):
            wanted = node.get("matchLabels") or (node.get("selector") if item["kind"] == "Service" else None)
            if wanted and "kubernetes.io/metadata.name" not in wanted:
                assert any(wanted.items() <= have.items() for have in labels), (item["metadata"]["name"], wanted)
            for expression in node.get("matchExpressions", ()):
                values = {have.get(expression["key"]) for have in labels}
                assert set(expression["values"]) <= values, item["metadata"]["name"]


@overlays
def test_secrets_config_claims_and_accounts_that_pods_use_exist(resources: list[dict[str, Any]]) -> None:
    made_secrets = {
        name: set(re.findall(r"--from-literal=([\w-]+)=", rest))
        for name, rest in re.findall(r"^make ([\w-]+) ((?:.*\\\n)*.*)$", SECRETS_SCRIPT, re.MULTILINE)
    }
    for labels, pod in _pods(resources):
        volumes = {volume["name"] for volume in pod.get("volumes", ())} | {"data"}
        for node in _walk(pod):
            if "secretKeyRef" in node:
                assert node["secretKeyRef"]["key"] in made_secrets[node["secretKeyRef"]["name"]], labels
            if "secretName" in node:
                assert node["secretName"] in made_secrets, labels
            if "configMapRef" in node:
                assert node["configMapRef"]["name"] in _named(resources, "ConfigMap"), labels
            if "configMap" in node:
                assert node["configMap"]["name"] in _named(resources, "ConfigMap"), labels
            if "claimName" in node:
                assert node["claimName"] in _named(resources, "PersistentVolumeClaim"), labels
            for mount in node.get("volumeMounts", ()):
                assert mount["name"] in volumes, labels
        if "serviceAccountName" in pod:
            assert pod["serviceAccountName"] in _named(resources, "ServiceAccount"), labels


@overlays
def test_services_and_policies_name_ports_that_containers_open(resources: list[dict[str, Any]]) -> None:
    opened = {
        port["name"] for _, pod in _pods(resources) for item in pod["containers"] for port in item.get("ports", ())
    }
    for service in _named(resources, "Service").values():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= opened
    for policy in _named(resources, "NetworkPolicy").values():
        for rule in policy["spec"].get("ingress", ()):
            assert {port["port"] for port in rule.get("ports", ())} <= opened
    for ingress in _named(resources, "Ingress").values():
        for node in _walk(ingress):
            if "service" in node:
                assert node["service"]["name"] in _named(resources, "Service")


@overlays
def test_addresses_in_the_configuration_are_services(resources: list[dict[str, Any]]) -> None:
    literals = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    config = dict(literal.split("=", 1) for literal in literals)
    services = set(_named(resources, "Service")) | {f"{name}-head-svc" for name in _named(resources, "RayCluster")}
    for key in ("AGON_RAY_ADDRESS", "AGON_SERVE_URL", "AGON_MLFLOW_URI", "AGON_API_URL"):
        host = config[key].split("//")[1].split(":")[0]
        assert host in services, key
    ray = _named(resources, "RayCluster")["agon-ray"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    opened = {port["name"]: port["containerPort"] for port in ray["ports"]}
    for key, name in (("AGON_RAY_ADDRESS", "dashboard"), ("AGON_SERVE_URL", "serve")):
        assert int(config[key].rpartition(":")[2]) == opened[name], key
    assert config["AGON_API_URL"].split("//")[1].split(":")[0] in config["AGON_ALLOWED_HOSTS"].split(",")
    mlflow = _named(resources, "Deployment")["agon-mlflow"]["spec"]["template"]["spec"]["containers"][0]["command"]
    allowed = next(word for word in mlflow if word.startswith("--allowed-hosts=")).removeprefix("--allowed-hosts=")
    assert config["AGON_MLFLOW_URI"].split("//")[1] in allowed.split(","), "MLflow would answer 403"


@overlays
def test_no_pod_runs_as_root_or_can_become_it(resources: list[dict[str, Any]]) -> None:
    for labels, pod in _pods(resources):
        assert pod["securityContext"]["runAsNonRoot"] is True, labels
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", labels
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, labels
            assert security["capabilities"]["drop"] == ["ALL"], labels
            assert "memory" in container["resources"]["limits"], labels


@overlays
def test_servers_are_probed_before_they_get_requests(resources: list[dict[str, Any]]) -> None:
    for kind in ("Deployment", "StatefulSet"):
        for item in _named(resources, kind).values():
            assert all("readinessProbe" in container for container in item["spec"]["template"]["spec"]["containers"])


@overlays
def test_ray_asks_for_the_token_and_everyone_uses_the_same(resources: list[dict[str, Any]]) -> None:
    for labels, pod in _pods(resources):
        if not labels["app.kubernetes.io/name"].startswith("agon-ray"):
            continue
        env = {item["name"]: item for item in pod["containers"][0]["env"]}
        assert env["RAY_AUTH_MODE"]["value"] == "token"
        assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "agon-ray-token"


def test_nothing_is_reachable_that_no_policy_lists() -> None:
    deny = _named(OVERLAYS["prod"], "NetworkPolicy")["agon-deny-ingress"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress"]}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", ["base", "overlays/dev", "overlays/prod"])
def test_kustomize_builds_it(name: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(K8S / name)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    images = {node["image"] for item in built for node in _walk(item) if isinstance(node.get("image"), str)}
    assert all(":" in image for image in images), images

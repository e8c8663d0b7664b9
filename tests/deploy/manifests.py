"""The manifests as a cluster would get them: rendered once, checked against Kubernetes' own schemas, and every pod that comes of them."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import kuberay
import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

Item = dict[str, Any]
K8S = Path(__file__).parents[2] / "k8s"
COMPONENTS = sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml"))
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
EVERYTHING = "everything"
"""The base with every component and the ingress: no overlay, but every rule at once."""
KUBERNETES = ("1.31", "1.37")
"""Oldest and newest version that the manifests are for; docs/deploy.md names them."""
TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
OTHERS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, whose schemas no package has."""


def kubectl() -> str:
    """The one of the development packages, so that all render with the same; else the machine's."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        missing = "there is no kubectl here, which renders the manifests: make setup"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return found


@cache
def rendered(name: str) -> tuple[Item, ...]:
    """Of an overlay, `everything`, `base`, or `base+COMPONENT`. Not to be changed."""
    if name in OVERLAYS:
        return built(K8S / "overlays" / name)
    parts = COMPONENTS if name == EVERYTHING else [part for part in name.split("+") if part != "base"]
    return composed([*([K8S / "overlays/prod/ingress.yaml"] if name == EVERYTHING else [])], parts)


def composed(plain: list[Path], components: list[str]) -> tuple[Item, ...]:
    """The base with components in the order of their needs, and plain files beside them."""
    order = sorted(components, key=lambda part: (part in ("gpu-preemptible", "rdma"), part))
    with TemporaryDirectory(prefix="agon-manifests-") as made:
        folder = Path(made)
        for path in plain:
            shutil.copy(path, folder)
        here = os.path.relpath(K8S, folder.resolve())
        kustomization = {
            "namespace": "agon",
            "resources": [f"{here}/base", *(path.name for path in plain)],
            "components": [f"{here}/components/{part}" for part in order],
            "images": [{"name": f"agon-{part}", "newTag": "dev"} for part in ("control", "trainer", "mlflow")],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return built(folder)


def built(folder: Path) -> tuple[Item, ...]:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(item for item in yaml.load_all(done.stdout, Loader=loader) if item)


def named(items: tuple[Item, ...], kind: str) -> dict[str, Item]:
    """Those of one kind, by name."""
    return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}


# -- schemas


@cache
def definitions(version: str) -> Item:
    """Kubernetes' own, in which a field that it doesn't know is an error."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / "_definitions.json").read_text())


@cache
def validator(version: str, definition: str) -> Draft202012Validator:
    """Of one of these definitions."""
    registry = Resource.from_contents(definitions(version)) @ Registry()
    return Draft202012Validator({"$ref": f"{definitions(version)['$id']}#/$defs/{definition}"}, registry=registry)


@cache
def definition_of(version: str, api_version: str, kind: str) -> str:
    """Name of the definition of a kind. Raises KeyError."""
    group, _, release = api_version.rpartition("/")
    for name, schema in definitions(version)["$defs"].items():
        for found in schema.get("x-kubernetes-group-version-kind", ()):
            if (found["group"], found["version"], found["kind"]) == (group, release, kind):
                return name
    raise KeyError(f"Kubernetes {version} has no {api_version} {kind}")


def faults(item: Item, version: str) -> list[str]:
    """What Kubernetes of this version would refuse of a resource, strictly."""
    check = validator(version, definition_of(version, item["apiVersion"], item["kind"]))
    return [f"{error.json_path}: {error.message[:200]}" for error in check.iter_errors(item)]


# -- pods


@dataclass(frozen=True)
class Pod:
    """One kind of pod that a cluster will run, with what operators add to it."""

    owner: str
    labels: dict[str, str]
    spec: Item

    @property
    def name(self) -> str:
        """What policies know it by."""
        return self.labels["app.kubernetes.io/name"]

    @property
    def containers(self) -> list[Item]:
        """Those that start first, too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def pods(items: tuple[Item, ...]) -> Iterator[Pod]:
    """All that these resources make, by Kubernetes and by KubeRay."""
    for item in items:
        name = item["metadata"]["name"]
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = item["spec"]["template"]
            spec = copy.deepcopy(template["spec"])
            spec.setdefault("volumes", []).extend(
                {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": ""}}
                for claim in item["spec"].get("volumeClaimTemplates", ())
            )
            yield Pod(name, template["metadata"]["labels"], spec)
        elif item["kind"] == "RayCluster":
            for group, template in kuberay.made(item):
                yield Pod(f"{name}/{group}", template["metadata"]["labels"], template["spec"])


def walk(node: Any) -> Iterator[Item]:
    """Every mapping within."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def quantity(text: str | float) -> float:
    """Kubernetes' `500m`, `8Gi`, `1Ti`, `2`: in units, or bytes."""
    word = str(text)
    for end, factor in {
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
        "m": 1e-3,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
    }.items():
        if word.endswith(end):
            return float(word.removesuffix(end)) * factor
    return float(word)

"""Installing goes as docs/deploy.md says: an overlay of one's own, one file for each overlay, Secrets that nobody else reads."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests import EVERYTHING, K8S, OVERLAYS, built, kubectl, named, pods, quantity, rendered
from sqlalchemy import make_url

from trainer.nodes import NodeShape

DOCUMENT = K8S.parent / "docs" / "deploy.md"
KUBECTL = """#!/bin/sh
printf '%s\\n' "$*" >> "$SAID/arguments"
case "$*" in
  *" get secret $HAVE") [ -n "$HAVE" ] ;;
  *"get "*) exit 1 ;;
  *"create -f -") { cat; echo ---; } >> "$SAID/created" ;;
esac
"""


def test_the_overlay_in_the_document_builds_and_names_every_image_by_its_digest(tmp_path: Path) -> None:
    (example,) = re.findall(r"```text\n(apiVersion: kustomize.*?)```", DOCUMENT.read_text(), re.DOTALL)
    here = os.path.relpath(K8S, tmp_path.resolve())
    written = example.replace("../../components", f"{here}/components").replace("../prod", f"{here}/overlays/prod")
    (tmp_path / "kustomization.yaml").write_text(written)
    items = built(tmp_path)
    ours = {container["image"] for pod in pods(items) for container in pod.containers if "agon-" in container["image"]}
    assert len(ours) == 3
    assert all(re.fullmatch(r"registry\.example\.com/team/agon-\w+@sha256:0{64}", image) for image in ours), ours
    ingress = named(items, "Ingress")["agon-api"]["spec"]
    config = next(iter(named(items, "ConfigMap").values()))["data"]
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0]
    assert ingress["rules"][0]["host"] in config["AGON_ALLOWED_HOSTS"].split(",")
    groups = named(items, "RayCluster")["agon-ray"]["spec"]["workerGroupSpecs"]
    told = [NodeShape.parse(part) for part in config["AGON_MAX_NODES"].split(",")]
    assert {shape.name: shape.nodes for shape in told} == {group["groupName"]: group["maxReplicas"] for group in groups}
    assert {"s3://gan-models"} <= {
        env.get("value") for pod in pods(items) for container in pod.containers for env in container.get("env", ())
    }


def test_the_document_says_what_an_idle_installation_takes() -> None:
    section = DOCUMENT.read_text().partition("## What it costs while nothing runs")[2]
    told = {
        name: (float(cpus), float(size))
        for name, cpus, size in re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) GiB", section, re.MULTILINE)
    }
    taken = {}
    for name in OVERLAYS:
        items = rendered(name)
        counts = {
            item["metadata"]["name"]: item["spec"]["replicas"]
            for kind in ("Deployment", "StatefulSet")
            for item in named(items, kind).values()
        }
        cluster = named(items, "RayCluster")["agon-ray"]["spec"]
        counts |= {"agon-ray/head": 1} | {
            f"agon-ray/{group['groupName']}": group["minReplicas"] for group in cluster["workerGroupSpecs"]
        }
        amounts = [
            (counts.get(pod.owner, 0), container["resources"]["requests"])
            for pod in pods(items)
            for container in pod.spec["containers"]
        ]
        taken[name] = tuple(
            sum(count * quantity(requests[what]) for count, requests in amounts) / unit
            for what, unit in (("cpu", 1), ("memory", 2**30))
        )
    assert told == {name: pytest.approx(amounts, abs=0.06) for name, amounts in taken.items()}


def test_each_overlay_becomes_one_file_with_the_images_that_were_asked_for(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    environment = {**os.environ, "KUBECTL": kubectl(), "REGISTRY": "registry.example.com/team", "TAG": "1.4.0"}
    script = tmp_path / "k8s" / "manifests.sh"
    done = subprocess.run([script, "dev"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / done.stdout.strip()).read_text()
    images = {item["image"] for pod in pods(tuple(yaml.safe_load_all(text))) for item in pod.containers}
    assert images == {
        "postgres:17.6-alpine",
        *(f"registry.example.com/team/agon-{part}:1.4.0" for part in ("control", "trainer", "mlflow")),
    }
    wrong = subprocess.run([script, "prd"], env=environment, capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "no overlay prd" in wrong.stderr and "prod" in wrong.stderr


@pytest.fixture
def secrets(tmp_path):
    """Runs `k8s/secrets.sh` with a kubectl that writes down what it is told → (result, arguments, what was created)."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)

    def run(*arguments: str, have: str = "", **environment: str):
        settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(tmp_path), "HAVE": have, **environment}
        done = subprocess.run(
            [K8S / "secrets.sh", *arguments], env=settings, capture_output=True, text=True, timeout=30
        )
        created = tmp_path / "created"
        items = [item for item in yaml.safe_load_all(created.read_text()) if item] if created.exists() else []
        said = (tmp_path / "arguments").read_text() if (tmp_path / "arguments").exists() else ""
        return done, said, {item["metadata"]["name"]: item["stringData"] for item in items}

    return run


def test_secrets_are_random_and_no_argument_has_one(secrets) -> None:
    done, arguments, made = secrets()
    assert done.returncode == 0, done.stderr
    assert set(made) == {"agon-token", "agon-ray-token", "agon-valkey", "agon-database"}
    password = made["agon-database"]["password"]
    assert make_url(made["agon-database"]["api-url"]).password == password
    assert make_url(made["agon-database"]["mlflow-url"]).password == password
    values = [value for fields in made.values() for value in fields.values()]
    assert len({*values, password}) == len(values) and all(len(value) >= 64 for value in values)
    assert not any(value in arguments for value in values)


def test_secrets_that_are_there_stay(secrets) -> None:
    done, _, made = secrets(have="agon-ray-token")
    assert done.returncode == 0
    assert "agon-ray-token" not in made and "agon-ray-token is there" in done.stdout


def test_databases_and_buckets_of_ones_own_are_taken_as_they_are(secrets) -> None:
    odd = "postgresql://a:it's'%24{x}@db/agon?sslmode=require"
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a/b+c'", "AWS_ENDPOINT_URL": "https://s3.lan"}
    done, arguments, made = secrets(API_DATABASE_URL=odd, MLFLOW_DATABASE_URL="postgresql://m", **keys)
    assert done.returncode == 0, done.stderr
    assert (made["agon-database"]["api-url"], made["agon-database"]["mlflow-url"]) == (odd, "postgresql://m")
    assert made["agon-s3"] == {**keys, "MLFLOW_S3_ENDPOINT_URL": "https://s3.lan"}
    assert "a/b+c" not in arguments and odd not in arguments


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        ((), {"API_DATABASE_URL": "postgresql://a"}, "MLFLOW_DATABASE_URL is not"),
        ((), {"MLFLOW_DATABASE_URL": "postgresql://a"}, "API_DATABASE_URL is not"),
        ((), {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not"),
        (("other",), {}, "namespace agon"),
    ],
)
def test_half_a_secret_and_another_namespace_are_refused(secrets, arguments, environment, told) -> None:
    done, _, made = secrets(*arguments, **environment)
    assert done.returncode == 2 and told in done.stderr and made == {}


def test_secrets_that_somebody_must_make_are_in_the_document() -> None:
    text = DOCUMENT.read_text() + (K8S.parent / "docs" / "monitoring.md").read_text()
    accounts = named(rendered(EVERYTHING), "ServiceAccount").values()
    needed = {secret["name"] for item in accounts for secret in item["imagePullSecrets"]} | {"agon-metrics"}
    assert all(f"`{name}`" in text or f"generic {name} " in text for name in needed)


@pytest.mark.long
def test_mlflow_makes_its_schema_at_the_first_start_and_takes_it_as_it_is_at_the_next(tmp_path: Path) -> None:
    """The init container's own command, on SQLite."""
    template = named(rendered("prod"), "Deployment")["agon-mlflow"]["spec"]["template"]["spec"]
    (upgrade,) = template["initContainers"]
    assert upgrade["command"][0] == "python"
    database = tmp_path / "mlflow.db"
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}"}
    for _ in range(2):
        command = [sys.executable, *upgrade["command"][1:]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        with sqlite3.connect(database) as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)

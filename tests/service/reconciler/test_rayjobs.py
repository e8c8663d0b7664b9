"""Jobs whose attempts are RayJobs of KubeRay's: from the submission to the end, over an API server that plays Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from kubernetes_api import Kubernetes as Server

from service.app import create_app
from service.db.session import Database
from service.gateway.fake_registry import FakeRegistry
from service.gateway.kuberay import KubeRayJobs
from service.gateway.kubernetes import Kubernetes
from service.reconciler.loop import Reconciler
from service.settings import Settings

PATTERN = yaml.safe_load((Path(__file__).parents[3] / "k8s" / "base" / "ray.yaml").read_text())["spec"]


class Cluster:
    """The API and its reconciler on it."""

    def __init__(self, client: TestClient, server: Server, reconciler: Reconciler) -> None:
        self.client, self.server, self.reconciler = client, server, reconciler

    def submit(self, **resources: Any) -> str:
        body = {"recipe": "dcgan-digits", "set": {f"resources.{name}": value for name, value in resources.items()}}
        reply = self.client.post("/v1/jobs", json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        self.reconciler.round()
        return dict(self.client.get(f"/v1/jobs/{job}").json())

    def rayjobs(self) -> list[str]:
        return sorted(name for kind, name in self.server.objects if kind == "RayJob")


@pytest.fixture
def cluster(settings: Settings, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    server = Server()
    server.put("RayCluster", "agon-ray", PATTERN)
    ray = KubeRayJobs(
        Kubernetes(server.url, server.account(tmp_path / "account")), "agon-ray", dashboard="http://127.0.0.1:1"
    )
    settings = settings.model_copy(update={"stop_grace_seconds": 0.0, "poll_seconds": 1e-6})
    with TestClient(create_app(settings, ray, FakeRegistry())) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield Cluster(client, server, Reconciler(db, ray, settings, "r1"))
    server.close()


def test_each_attempt_is_a_rayjob_of_its_own_and_a_lost_one_is_followed_by_the_next(cluster: Cluster) -> None:
    job = cluster.submit(workers=2)
    assert cluster.job(job)["state"] == "starting"
    first = f"agon-{job}-1"
    assert cluster.rayjobs() == [first]
    spec = cluster.server.objects["RayJob", first]["spec"]
    assert spec["entrypoint"].endswith(f"{job}/job.json") and spec["metadata"]["agon_workers"] == "2"
    cluster.server.operate(first, jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="agon-x")
    cluster.job(job)
    cluster.server.operate(
        first, jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", message="the head was lost"
    )
    for _ in range(4):
        shown = cluster.job(job)
    assert "the head was lost" in shown["reason"] and shown["state"] in ("queued", "starting")


def test_what_the_groups_can_never_hold_is_said_and_handed_to_nobody(cluster: Cluster) -> None:
    job = cluster.submit(workers=2, cpus_per_worker=8)
    shown = cluster.job(job)
    assert shown["state"] == "queued" and "which no set of the cluster's nodes can hold" in shown["reason"]
    assert cluster.rayjobs() == []


def test_a_cancelled_one_that_has_not_begun_is_gone_from_kubernetes(cluster: Cluster) -> None:
    job = cluster.submit(workers=1)
    cluster.job(job)
    assert cluster.client.post(f"/v1/jobs/{job}/cancel").status_code == 202
    for _ in range(5):
        shown = cluster.job(job)
    assert shown["state"] == "cancelled" and cluster.rayjobs() == []


def test_an_outage_of_kubernetes_loses_nothing(cluster: Cluster) -> None:
    job = cluster.submit(workers=1)
    cluster.server.answers = [(503, "etcd has no leader")] * 20
    shown = cluster.job(job)
    assert shown["state"] == "queued" and "etcd has no leader" in shown["reason"]
    cluster.server.answers = []
    assert cluster.job(job)["state"] == "starting" and len(cluster.rayjobs()) == 1

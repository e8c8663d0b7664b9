"""`POST /v1/plans`, and that a job which can't fit is refused at submit without making any submit slow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.gateway.fake_ray import FakeRay
from service.gateway.ray_jobs import Node
from service.plans.fake import FakeMake
from service.plans.planner import Planner
from service.settings import Settings
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import GIB, GPUS
from trainer.spec import FieldError, SpecError

SPEC = {
    "name": "small",
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
    "train": {"images": 1000},
}
LARGE = {**SPEC, "data": {"lanes": 1}, "train": {"images": 1000, "batch": 1_000_000}}


@dataclass
class World:
    client: TestClient
    ray: FakeRay
    maker: FakeMake

    def plan(self, **body: Any) -> Any:
        return self.client.post("/v1/plans", json={"recipe": "dcgan-digits", **body})

    def submit(self, spec: Any = LARGE) -> Any:
        return self.client.post("/v1/jobs", json={"spec": spec})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = Settings(
        home=tmp_path, allowed_hosts=("testserver",), reconciler=False, api_url="http://127.0.0.1:1",
        plan_seconds=5.0, preflight_seconds=0.5,
    )  # fmt: skip
    ray, maker = FakeRay(cpus=4), FakeMake()
    with TestClient(create_app(settings, ray, planner=Planner(settings.plan_seconds, maker))) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield World(client, ray, maker)


def memory(ray: FakeRay, size: float) -> None:
    ray.cluster = [replace(ray.cluster[0], memory=size, memory_free=size)]


def test_a_plan_is_made_once_for_the_same_question(world: World) -> None:
    first, again = world.plan(gpus=8, gpu="v100"), world.plan(gpus=8, gpu="v100")
    assert first.status_code == 200, first.text
    assert again.json() == first.json()
    assert world.maker.asked == [(8, GPUS["v100"])]
    assert world.plan(gpus=4, gpu="v100").json()["workers"] == 4
    assert world.plan(gpus=8, gpu="v100", set={"train.batch": 128}).json()["batch"] == 128
    assert len(world.maker.asked) == 3


def test_without_a_name_the_clusters_device_is_planned_for(world: World) -> None:
    world.ray.cluster = [Node("n", 8, 8, 8, 8, gpu="A100-40G")]
    reply = world.plan(set={"resources.gpus_per_worker": 1})
    assert reply.json()["device"] == "a100-40"
    world.ray.unreachable = True
    assert world.plan().json()["device"] == "cpu"


def test_wrong_questions_are_problems_that_name_the_field(world: World) -> None:
    unknown = world.plan(gpu="b9000")
    assert (unknown.status_code, unknown.json()["errors"][0]["path"]) == (422, "gpu")
    assert world.plan(gpus=0).status_code == 422
    assert world.plan(set={"train.batch": -1}).status_code == 422
    world.maker.error = SpecError([FieldError(path="resources.workers", message="does not divide data.lanes (8)")])
    lanes = world.plan(gpus=7, gpu="h100")
    assert (lanes.status_code, lanes.json()["errors"][0]["path"]) == (422, "resources.workers")
    assert world.client.post("/v1/plans", json={"recipe": "gan"}, headers={"Authorization": ""}).status_code == 401


def test_a_plan_that_fails_or_is_late_is_a_problem_and_is_tried_again(world: World) -> None:
    world.maker.error = TimeoutError("no plan after 5 s")
    late = world.plan()
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    world.maker.error = PlanFailedError("killed")
    assert world.plan().status_code == 500
    world.maker.error = None
    assert world.plan().status_code == 200


def test_a_job_that_cannot_fit_is_refused_with_the_micro_batch_that_would(world: World) -> None:
    memory(world.ray, 8 * GIB)
    world.maker.fits = False
    refused = world.submit()
    assert refused.status_code == 422, refused.text
    (error,) = refused.json()["errors"]
    assert (error["path"], error["fix"]) == ("train.micro_batch", "use 128")
    assert world.client.get("/v1/jobs").json()["items"] == []
    assert world.maker.asked[0][1].memory == 8 * GIB
    world.maker.fits = True
    assert world.submit({**LARGE, "name": "other"}).status_code == 201


def test_small_jobs_and_unknown_machines_ask_for_no_plan(world: World) -> None:
    world.maker.fits = False
    assert world.submit().status_code == 201, "nothing is known of this cluster's memory"
    memory(world.ray, 8 * GIB)
    assert world.submit(SPEC).status_code == 201, "8 GiB are plainly enough"
    asked = len(world.ray.calls)
    assert world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"}).status_code == 201
    assert len(world.ray.calls) == asked, "plainly small: not even the cluster is asked"
    world.ray.unreachable = True
    assert world.submit({**LARGE, "name": "away"}).status_code == 201
    assert world.maker.asked == []


def test_a_late_or_failed_plan_lets_the_job_in_and_a_late_one_is_kept(world: World) -> None:
    memory(world.ray, 8 * GIB)
    world.maker.fits = False
    world.maker.gate.clear()
    assert world.submit().status_code == 201, "taken while the plan is still being made"
    world.maker.gate.set()
    deadline = time.monotonic() + 60
    while world.submit().status_code != 422:
        assert time.monotonic() < deadline
    assert len(world.maker.asked) == 1
    world.maker.error = PlanFailedError("killed")
    assert world.submit({**LARGE, "name": "other"}).status_code == 201


def test_a_job_is_planned_by_the_plan_that_was_made_of_it_for_the_cluster_alone(world: World) -> None:
    memory(world.ray, 16 * GIB)

    def planned(**sets: Any) -> tuple[float | None, str]:
        usage = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": sets}).json()["usage"]
        return usage["planned_cpu_seconds"], usage["planned_by"]

    assert world.plan(gpu="h100").status_code == 200
    assert planned() == (None, ""), "that was of another device"
    assert world.plan(gpus=1).status_code == 200
    assert planned() == (None, ""), "that was of other workers"
    assert world.plan().status_code == 200
    assert planned() == (2 * 3600.0, "plan")
    assert planned(**{"train.images": 777}) == (None, ""), "that is another job"
    job = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"]

    def edited(**sets: Any) -> tuple[float | None, str]:
        usage = world.client.patch(f"/v1/jobs/{job}", json={"set": sets}).json()["usage"]
        return usage["planned_cpu_seconds"], usage["planned_by"]

    assert edited(**{"limits.run": "2h"}) == (2 * 3600.0, "plan"), "it doesn't come to that limit"
    assert edited(**{"limits.run": "30m"}) == (3600.0, "limit")
    assert edited(**{"resources.workers": 1, "limits.run": None}) == (None, ""), "the plan was of two workers"

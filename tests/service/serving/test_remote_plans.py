"""Plans where the API has no torch: made on the cluster, remembered here, and refused as they are where there is torch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from askers import House, refuses

from service.gateway.ray_serve import Answer
from service.plans.fake import FakeMake
from service.plans.planner import Planner
from service.serving import asker
from trainer.plan.devices import Device
from trainer.serve.questions import PlanQuestion
from trainer.serve.wire import PLANS, Reason
from trainer.spec import FieldError, JobSpec

BODY = {"recipe": "dcgan-digits", "gpu": "h100", "gpus": 2}


async def makes(path: str, body: bytes, _headers: Any) -> Answer:
    assert path == f"/{PLANS}"
    asked = PlanQuestion.model_validate_json(body)
    plan = FakeMake()(asked.spec, world=asked.world, device=asked.device)
    return Answer(200, plan.model_dump_json().encode(), {"content-type": "application/json"})


@pytest.fixture
def house(build: Any) -> House:
    """Of a process without torch."""
    planner = Planner(5.0)
    planner.able = False
    found: House = build(planner)
    found.serve.answer = makes
    return found


def test_a_plan_is_made_on_the_cluster_and_remembered(house: House) -> None:
    house.ready(PLANS)
    replies = [house.client.post("/v1/plans", json=BODY) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200], replies[0].text
    assert replies[0].json() == replies[1].json()
    assert (replies[0].json()["device"], replies[0].json()["workers"]) == ("h100", 2)
    assert len(house.serve.asked) == 1
    assert house.client.post("/v1/plans", json={**BODY, "gpus": 4}).json()["workers"] == 4
    assert len(house.serve.asked) == 2


def test_it_gets_a_place_of_its_own_and_until_then_the_reason_is_told(house: House) -> None:
    reply = house.client.post("/v1/plans", json=BODY)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "what answers plans" in reply.json()["detail"]
    house.round(2)
    assert house.place(PLANS).phase == "ready"
    assert not house.place().held
    assert house.client.post("/v1/plans", json=BODY).status_code == 200


def test_a_spec_that_cant_run_so_names_its_fields(house: House) -> None:
    house.ready(PLANS)

    async def refused(*_: Any) -> Answer:
        return refuses(Reason.WRONG, errors=(FieldError(path="train.batch", message="is too odd"),))

    house.serve.answer = refused
    reply = house.client.post("/v1/plans", json=BODY)
    assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "train.batch")


def test_what_is_no_plan_is_a_fault_and_not_remembered(house: House) -> None:
    house.ready(PLANS)

    async def other(*_: Any) -> Answer:
        return Answer(200, json.dumps({"plan": 1}).encode())

    house.serve.answer = other
    assert house.client.post("/v1/plans", json=BODY).status_code == 500
    house.serve.answer = makes
    assert house.client.post("/v1/plans", json=BODY).status_code == 200


def test_a_plan_may_take_as_long_as_plans_may_and_not_as_answers_may(build: Any) -> None:
    planner = Planner(5.0)
    planner.able = False
    house = build(planner, plan_seconds=500.0, serve_seconds=1.0, serve_start_seconds=0.0)
    house.ready(PLANS)
    house.serve.answer = makes
    assert house.client.post("/v1/plans", json=BODY).status_code == 200
    assert house.serve.limits == [500.0 + asker.MARGIN_SECONDS]


def test_switched_off_it_says_who_can(build: Any) -> None:
    planner = Planner(5.0)
    planner.able = False
    house = build(planner, serve=False)
    reply = house.client.post("/v1/plans", json=BODY)
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "3600")
    assert "agon plan" in reply.json()["detail"]


def test_where_torch_is_nobody_on_the_cluster_is_asked(build: Any) -> None:
    def make(spec: JobSpec, *, world: int, device: Device, **_: Any) -> Any:
        return FakeMake()(spec, world=world, device=device)

    house = build(Planner(5.0, make))
    house.ready(PLANS)
    assert house.client.post("/v1/plans", json=BODY).status_code == 200
    assert house.serve.asked == []

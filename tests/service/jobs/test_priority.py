"""Whose turn it is: priority at submission, and another one later."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from service.db.tables import Job
from service.gateway.ray_jobs import Node, RayStatus
from service.runs import store

HOUR = 3600 * 1_000_000


def prior(priority: int, preemptible: bool = False) -> dict[str, Any]:
    """Of a job that takes the whole cluster."""
    return {
        "queue": {"priority": priority, "preemptible": preemptible},
        "resources": {"workers": 1, "cpus_per_worker": 4},
    }


def busy(world: Any) -> None:
    """Others use the cluster."""
    world.ray.cluster = [Node("n", 4, 0)]


def free(world: Any) -> None:
    """They have gone."""
    world.ray.cluster = [Node("n", 4, 4)]


def starts(world: Any) -> list[str]:
    """Jobs in the order in which they started, each ending at once."""
    seen: list[str] = []
    reconciler = world.reconciler()
    free(world)
    for _ in range(8):
        world.clock.forward(3)
        reconciler.round()
        for name in world.ray.starts[len(seen) :]:
            job = name.removeprefix("agon-").rpartition("-")[0]
            seen.append(job)
            world.tell(job, "started")
            world.tell(job, "finished", outcome="completed")
            world.ray.move(name, RayStatus.SUCCEEDED)
    return seen


def turn(world: Any, run: str, **wish: Any) -> dict[str, Any]:
    """The run with another turn."""
    kind, base = ("searches", "base.") if run.startswith("s-") else ("jobs", "")
    changes = {f"{base}queue.{name}": value for name, value in wish.items()}
    reply = world.client.patch(f"/v1/{kind}/{run}", json={"set": changes})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.databases
def test_a_higher_priority_starts_sooner_and_of_equal_ones_the_first_to_come(world: Any) -> None:
    busy(world)
    low, usual, high, other = (world.submit(**prior(value)) for value in (10, 50, 90, 50))
    assert world.job(high)["priority"] == 90
    assert world.job(low)["preemptible"] is False
    world.round()
    assert starts(world) == [high, usual, other, low]


def test_an_hour_of_waiting_is_worth_one_of_priority(world: Any) -> None:
    busy(world)
    patient, urgent = world.submit(**prior(20)), world.submit(**prior(50))
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == patient).values(place=Job.place - 31 * HOUR))
    assert starts(world) == [patient, urgent]


@pytest.mark.databases
def test_another_priority_counts_at_once_and_keeps_the_arrival(world: Any) -> None:
    busy(world)
    first, second, third = (world.submit(**prior(50)) for _ in range(3))
    reconciler = world.reconciler()
    reconciler.round()
    turn(world, third, priority=60)
    turn(world, second, priority=60)
    world.clock.forward(2)
    free(world)
    reconciler.round()
    assert world.ray.starts == [f"agon-{second}-1"], "of equal priority the one that came first"
    assert world.job(third)["spec"]["queue"] == {"priority": 60, "preemptible": False}
    assert world.job(first)["state"] == "queued"


def test_a_search_has_the_turn_of_its_base(world: Any) -> None:
    search = {"base": {"recipe": "dcgan-digits", "set": {"queue.priority": 70, "queue.preemptible": True}},
              "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}  # fmt: skip
    reply = world.client.post("/v1/searches", json={"search": search})
    assert (reply.json()["priority"], reply.json()["preemptible"]) == (70, True)
    shown = turn(world, reply.json()["id"], priority=0)
    assert (shown["search"]["base"]["queue"]["priority"], shown["priority"], shown["preemptible"]) == (0, 0, True)


def test_a_row_from_before_there_were_turns_has_the_usual_one_and_can_get_another(world: Any) -> None:
    busy(world)
    job = world.submit()
    with world.db.begin() as session:
        row = store.get(session, job)
        row.spec = {key: value for key, value in row.spec.items() if key != "queue"}
    assert world.job(job)["priority"] == 50
    assert turn(world, job, priority=51)["spec"]["queue"] == {"priority": 51, "preemptible": False}


def test_what_is_resumed_has_its_first_place_and_what_has_ended_gets_none(world: Any) -> None:
    busy(world)
    first, second = world.submit(**prior(50)), world.submit(**prior(50))
    world.client.post(f"/v1/jobs/{first}/pause")
    world.round()
    assert world.job(first)["state"] == "paused"
    turn(world, first, priority=40)
    turn(world, first, priority=50)
    world.client.post(f"/v1/jobs/{first}/resume")
    assert starts(world) == [first, second]
    reply = world.client.patch(f"/v1/jobs/{first}", json={"set": {"queue.priority": 99}})
    assert (reply.status_code, "has succeeded" in reply.text) == (409, True)


@pytest.mark.parametrize("value", [-1, 101, 0.5, "high", None])
def test_a_priority_that_is_none_is_refused_with_its_field(world: Any, value: Any) -> None:
    reply = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": {"queue.priority": value}})
    assert reply.status_code == 422, value
    assert reply.json()["errors"][0]["path"] == "queue.priority"


def test_a_search_does_not_vary_its_turn(world: Any) -> None:
    search = {"base": {"recipe": "dcgan-digits"}, "space": {"queue.priority": [1, 2]}, "algorithm": "random"}
    reply = world.client.post("/v1/searches", json={"search": search})
    assert reply.status_code == 422
    assert "how a trial is run" in reply.text

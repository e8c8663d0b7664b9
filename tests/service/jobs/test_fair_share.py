"""A fair share of the cluster, as people see it: who used little comes sooner, and everyone can read why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.db.tables import Job
from service.gateway.ray_jobs import Node, RayStatus
from service.runs import hours, order

WHOLE = {"resources": {"workers": 1, "cpus_per_worker": 4}}


def token(world: Any, name: str) -> dict[str, str]:
    """Headers of a new token."""
    return {"Authorization": f"Bearer {world.client.post('/v1/tokens', json={'name': name}).json()['token']}"}


def full(world: Any) -> None:
    """Others use all of it, and the control plane has seen the cluster."""
    world.ray.cluster = [Node("n", 4, 0)]
    seen = world.submit(headers=token(world, "other"), **WHOLE)
    world.round()
    world.client.post(f"/v1/jobs/{seen}/cancel")
    world.round()


def starts(world: Any, count: int) -> list[str]:
    """Jobs in the order in which they start, each ending at once."""
    reconciler = world.reconciler()
    world.ray.cluster = [Node("n", 4, 4)]
    for index in range(count):
        world.clock.forward(3)
        reconciler.round()
        name = world.ray.starts[index]
        job = name.removeprefix("agon-").rpartition("-")[0]
        world.tell(job, "started")
        world.tell(job, "finished", outcome="completed")
        world.ray.move(name, RayStatus.SUCCEEDED)
        world.clock.forward(3)
        reconciler.round()
    return [name.removeprefix("agon-").rpartition("-")[0] for name in world.ray.starts]


def row(world: Any, job: str) -> Job:
    with world.db.read() as session:
        found: Job = session.scalars(select(Job).where(Job.id == job)).one()
        return found


@pytest.mark.databases
def test_two_who_submit_a_batch_each_take_turns_and_read_why(world: Any) -> None:
    full(world)
    ada, bob = token(world, "ada"), token(world, "bob")
    first = [world.submit(headers=ada, **WHOLE) for _ in range(3)]
    second = [world.submit(headers=bob, **WHOLE) for _ in range(3)]
    world.round()
    last = world.job(first[2])["waiting"]
    assert last["position"] == 5
    assert last["delay"]["hours"] == pytest.approx(24 * 2 / 26, abs=1e-3), "two of theirs fill the cluster twice"
    assert (last["delay"]["held_hours"], last["delay"]["used_hours"], last["delay"]["passed_by"]) == (2.0, 0.0, 2)
    assert world.job(first[0])["waiting"]["delay"] is None
    assert starts(world, 6) == [job for pair in zip(first, second, strict=True) for job in pair]


@pytest.mark.databases
def test_who_has_used_much_of_late_comes_after_who_has_not(world: Any) -> None:
    full(world)
    ada, bob = token(world, "ada"), token(world, "bob")
    with world.db.begin() as session:
        for days in (1, 8):
            hours.add(session, "ada", world.clock() - timedelta(days=days), 3600.0, 40.0, 0.0)
    mine, theirs = world.submit(headers=ada, **WHOLE), world.submit(headers=bob, **WHOLE)
    share = world.client.get("/v1/owners/me", headers=ada).json()["share"]
    assert share["cpu_hours"] == pytest.approx(40 * (0.5 ** (1 / 7) + 0.5 ** (8 / 7)), rel=0.06)
    assert share["used_hours"] == pytest.approx(share["cpu_hours"] / 4)
    assert (share["gpu_hours"], share["held_hours"]) == (0.0, 1.0)
    load = share["used_hours"] + 1
    assert share["delay_hours"] == pytest.approx(24 * load / (24 + load), rel=1e-3)
    assert world.client.get("/v1/owners/bob").json()["share"]["used_hours"] == 0.0
    assert starts(world, 2) == [theirs, mine]


def test_another_priority_keeps_the_delay_and_what_came_is_known_as_it_came(world: Any) -> None:
    full(world)
    ada = token(world, "ada")
    jobs = [world.submit(headers=ada, **WHOLE) for _ in range(2)]
    before = row(world, jobs[1])
    assert before.delay > 0
    arrived = order.arrived(before.place, before.priority, before.delay)
    assert abs(arrived / order.SECOND - before.created_at.timestamp()) < 5, "not by as much later as it counts"
    reply = world.client.patch(f"/v1/jobs/{jobs[1]}", json={"set": {"queue.priority": 70}}, headers=ada)
    assert reply.status_code == 200
    after = row(world, jobs[1])
    assert (after.delay, after.place) == (before.delay, before.place - 20 * order.POINT)
    third = row(world, world.submit(headers=token(world, "bob"), **WHOLE))
    assert third.delay == 0
    assert abs(third.place + 50 * order.POINT - third.created_at.timestamp() * order.SECOND) < 5 * order.SECOND


def test_switched_off_nobody_is_delayed(world: Any) -> None:
    object.__setattr__(world.settings, "fair_share_hours", 0.0)
    full(world)
    ada, bob = token(world, "ada"), token(world, "bob")
    jobs = [world.submit(headers=ada, **WHOLE) for _ in range(2)] + [world.submit(headers=bob, **WHOLE)]
    assert [row(world, job).delay for job in jobs] == [0, 0, 0]
    assert world.client.get("/v1/owners/me", headers=ada).json()["share"] is None
    assert starts(world, 3) == jobs


def test_before_the_cluster_was_ever_seen_nobody_is_delayed_and_while_it_is_away_its_last_size_counts(
    world: Any,
) -> None:
    ada = token(world, "ada")
    jobs = [world.submit(headers=ada, **WHOLE) for _ in range(2)]
    assert [row(world, job).delay for job in jobs] == [0, 0]
    world.ray.cluster = [Node("n", 4, 0)]
    reconciler = world.reconciler()
    reconciler.round()
    world.ray.unreachable = True
    world.clock.forward(2)
    reconciler.round()
    assert world.job(jobs[0])["waiting"]["for"] == "cluster"
    assert row(world, world.submit(headers=ada, **WHOLE)).delay == int(24 * order.POINT * 2 / 26)

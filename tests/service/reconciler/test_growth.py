"""Clusters that an autoscaler makes larger when a job waits on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from service.gateway.ray_jobs import Node, RayStatus
from service.reconciler.loop import Reconciler
from service.runs.growth import grown
from service.runs.head import OWN
from service.runs.room import Need
from service.settings import Settings
from trainer.nodes import GIB, NodeShape


def sizes(nodes: list[Node]) -> list[tuple[float, float, str]]:
    return [(node.cpus_free, node.gpus_free, node.state) for node in nodes]


def test_nodes_that_are_there_are_not_counted_twice() -> None:
    nodes = [Node("head", 2, 2), Node("a", 16, 0, 1, 0)]
    found = grown(nodes, [NodeShape(3, 16, 1), NodeShape(1, 64, 8)])
    assert found[:2] == [replace(node, grows=True) for node in nodes]
    assert sizes(found[2:]) == [(16, 1, "spare"), (16, 1, "spare"), (64, 8, "spare")]
    more = [*nodes, *[Node("b", 16, 16, 1, 1)] * 5]
    assert len(grown(more, [NodeShape(3, 16, 1)])) == len(more)
    assert grown(more, []) == more


def test_nodes_of_a_kind_that_a_run_has_waited_for_too_long_are_late_and_the_others_are_not() -> None:
    shapes = [NodeShape(2, 16), NodeShape(2, 64, 8)]
    assert sizes(grown([], shapes, [Need(1, 8, 8)])) == [(16, 0, "spare")] * 2 + [(64, 8, "late")] * 2
    assert sizes(grown([], shapes, [Need(1, 8)])) == [(16, 0, "late")] * 2 + [(64, 8, "spare")] * 2
    assert {state for *_, state in sizes(grown([], shapes, [Need(5, 16)]))} == {"late"}


def test_the_setting_names_how_many_of_which_size() -> None:
    assert Settings(max_nodes="4:16, 2:64:8").max_nodes == (NodeShape(4, 16.0, 0.0), NodeShape(2, 64.0, 8.0))
    assert Settings().max_nodes == ()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [("4:0", "4:16,gpu-8=2:64:8"), ("a=1:2,a=1:4", "a is there twice"), ("1:2,3:2", "2 CPUs each is there")],
)
def test_a_wrong_setting_is_refused_with_what_is_right(wrong: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(max_nodes=wrong)


def test_a_job_that_only_a_larger_cluster_can_hold_is_handed_over_so_that_the_cluster_grows(world: Any) -> None:
    world.ray.cluster = [Node("head", 2, 2)]
    large, larger = (world.submit(resources={"workers": 4, "cpus_per_worker": cpus}) for cpus in (4, 16))
    world.round()
    assert [world.job(job)["state"] for job in (large, larger)] == ["queued", "queued"], "this cluster stays as it is"
    settings = world.settings.model_copy(update={"max_nodes": (NodeShape(2, 16, 0),)})
    for _ in range(2):
        world.clock.forward(2)
        Reconciler(world.db, world.ray, settings, "r", clock=world.clock).round()
    assert [world.job(job)["state"] for job in (large, larger)] == ["starting", "queued"]
    assert "more than the cluster can ever have (34 CPUs)" in world.job(larger)["reason"]


class Growing:
    """A cluster without nodes, of which it may have two of 16 CPUs and two with GPUs, and its reconciler."""

    def __init__(self, world: Any) -> None:
        world.ray.cluster = [Node("head", 0, 0, head=True)]
        self.world = world
        shapes = (NodeShape(2, 16, name="cpu"), NodeShape(2, 64, 4, name="gpu"))
        settings = world.settings.model_copy(update={"max_nodes": shapes})
        self.reconciler = Reconciler(world.db, world.ray, settings, "r", clock=world.clock)

    def submit(self, workers: int, cpus: float = 1, gpus: float = 0) -> str:
        resources = {"workers": workers, "cpus_per_worker": cpus, "gpus_per_worker": gpus}
        return str(self.world.submit(resources=resources))

    def rounds(self, count: int = 2, seconds: float = 2) -> None:
        for _ in range(count):
            self.world.clock.forward(seconds)
            self.reconciler.round()

    def states(self, *jobs: str) -> list[str]:
        return [self.world.job(job)["state"] for job in jobs]


@pytest.fixture
def growing(world: Any) -> Growing:
    return Growing(world)


def test_runs_are_handed_over_for_as_many_nodes_as_there_may_be_and_the_others_wait_in_order(growing: Growing) -> None:
    jobs = [growing.submit(*need) for need in ((2, 16), (4, 1, 1), (4, 1, 1), (4, 1, 1), (1, 32), (1, 4))]
    growing.rounds()
    assert growing.states(*jobs) == ["starting"] * 3 + ["queued", "starting", "starting"]
    assert growing.world.job(jobs[3])["reason"] == (
        "waits for 4 CPUs and 4 GPUs; 0 of 8 GPUs free, those of nodes that may still be started included"
    )
    growing.world.ray.cluster.append(Node("a", 64, 64, 4, 4, group="gpu"))
    growing.rounds()
    assert growing.states(jobs[3]) == ["queued"], "the node is the one that another waits for"


def test_a_run_whose_nodes_do_not_come_holds_up_none_and_says_so(growing: Growing) -> None:
    world = growing.world
    waiting = growing.submit(8, 1, 1)
    growing.rounds()
    world.tell(waiting, "waiting", reason="waits for 2 nodes that are being started (gpu)")
    growing.rounds()
    assert world.job(waiting)["reason"] == "waits for 2 nodes that are being started (gpu)"
    world.ray.cluster.append(Node("a", 64, 64, 4, 4, group="gpu"))
    small, other = growing.submit(4, 1, 1), growing.submit(1, 16)
    growing.rounds()
    assert growing.states(small, other) == ["queued", "starting"], (
        "the first node is kept for the one that waits for both"
    )
    growing.rounds(seconds=450)
    another = growing.submit(8, 1, 1)
    growing.rounds()
    assert growing.states(small, another) == ["starting", "queued"], "one fits; nobody else is handed over to wait"
    assert "nodes for it were asked for and haven't come" in world.job(another)["reason"]
    assert world.job(another)["waiting"]["for"] == "nodes"
    world.tell(waiting, "started", workers=2, resumed_from=None, device="cuda")
    growing.rounds()
    assert growing.states(waiting, another) == ["running", "queued"]
    assert "asked for" not in world.job(another)["reason"], "they come after all"


@pytest.mark.parametrize(("call", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_run_that_waits_for_nodes_can_be_cancelled_and_paused(growing: Growing, call: str, state: str) -> None:
    world = growing.world
    job = growing.submit(8, 1, 1)
    growing.rounds()
    world.tell(job, "waiting", reason="waits for 2 nodes that are being started (gpu)")
    assert world.client.post(f"/v1/jobs/{job}/{call}").status_code == 202
    growing.rounds()
    world.tell(job, "finished", outcome="stopped")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    growing.rounds()
    assert growing.states(job) == [state]


def test_the_time_in_which_nodes_start_counts_for_no_limit(growing: Growing) -> None:
    world = growing.world
    job = world.submit(resources={"workers": 2, "cpus_per_worker": 16}, limits={"run": 3600})
    growing.rounds()
    world.tell(job, "waiting", reason="waits for 2 nodes that are being started (cpu)")
    growing.rounds()
    growing.rounds(seconds=3000)
    assert growing.states(job) == ["starting"]


def test_runs_beyond_the_memory_of_the_head_wait_until_another_has_ended(world: Any) -> None:
    worker = Node("worker", 64, 64)
    world.ray.cluster = [Node("head", 0, 0, memory=3 * GIB, head=True), worker]
    first, second, third = (world.submit() for _ in range(3))
    reconciler = world.reconciler()
    for _ in range(2):
        reconciler.round()
    assert [world.job(job)["state"] for job in (first, second, third)] == ["starting", "starting", "queued"]
    waits = world.job(third)
    assert waits["reason"] == "waits for memory on Ray's head node, which has room for 2 runs"
    assert (waits["waiting"]["for"], waits["waiting"]["position"]) == ("memory", 1)
    world.tell(first, "finished", outcome="completed")
    world.ray.move(f"agon-{first}-1", RayStatus.SUCCEEDED)
    for _ in range(2):
        world.clock.forward(2)
        reconciler.round()
    assert world.job(third)["state"] == "starting"


def head(drivers: int) -> list[Node]:
    """A cluster that has enough for anyone but for memory on its head."""
    memory = OWN + drivers * Settings.model_fields["driver_memory"].default
    return [Node("head", 0, 0, memory=memory, head=True), Node("worker", 64, 64, memory=64 * GIB)]


def test_what_is_foretold_of_one_that_waits_for_memory_is_when_another_driver_leaves(world: Any) -> None:
    world.ray.cluster = head(1)
    first = world.running()
    world.tell(first, "progress", total_images=1000, images_per_second=1.0, eta_seconds=600.0)
    second = world.submit()
    world.round()
    spec = world.client.get(f"/v1/jobs/{second}").json()["spec"]
    for told in (world.job(second)["waiting"], world.client.post("/v1/forecast", json={"spec": spec}).json()):
        assert told["for"] == "memory"
        early = datetime.fromisoformat(told["eta"]["early"])
        assert (early - datetime.now(UTC)).total_seconds() > 500


def test_room_is_made_for_one_that_waits_for_memory_on_the_head(world: Any) -> None:
    world.ray.cluster = head(1)
    low = world.running(queue={"priority": 0, "preemptible": True})
    high = world.submit(queue={"priority": 90})
    reconciler = world.reconciler()
    for _ in range(2):
        world.clock.forward(6)
        reconciler.round()
    assert world.job(low)["state"] == "stopping"
    assert world.job(high)["waiting"]["for"] == "room"
    world.tell(low, "finished", outcome="stopped")
    world.ray.move(f"agon-{low}-1", RayStatus.SUCCEEDED)
    for _ in range(2):
        world.clock.forward(6)
        reconciler.round()
    assert [world.job(job)["state"] for job in (low, high)] == ["queued", "starting"]

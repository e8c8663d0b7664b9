"""Clusters that an autoscaler makes larger when a job waits on them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.gateway.ray_jobs import Node
from service.reconciler.loop import Reconciler
from service.runs.growth import grown
from service.settings import NodeShape, Settings


def test_nodes_that_are_there_are_not_counted_twice() -> None:
    nodes = [Node("head", 2, 2), Node("a", 16, 0, 1, 0)]
    found = grown(nodes, [NodeShape(3, 16, 1), NodeShape(1, 64, 8)])
    assert found[:2] == nodes
    assert [(node.cpus, node.cpus_free, node.gpus, node.gpus_free) for node in found[2:]] == [
        (16, 16, 1, 1), (16, 16, 1, 1), (64, 64, 8, 8),
    ]  # fmt: skip
    assert grown([*nodes, *[Node("b", 16, 16, 1, 1)] * 5], [NodeShape(3, 16, 1)])[2:] == [Node("b", 16, 16, 1, 1)] * 5


def test_the_setting_names_how_many_of_which_size() -> None:
    assert Settings(max_nodes="4:16, 2:64:8").max_nodes == (NodeShape(4, 16.0, 0.0), NodeShape(2, 64.0, 8.0))
    assert Settings().max_nodes == ()


@pytest.mark.parametrize("wrong", ["4", "x:16", "4:16:1:2", "-1:16", "4:nan", "4:0", "1000000:1"])
def test_a_wrong_size_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ValidationError, match="4:16,2:64:8"):
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
    assert "more than the whole cluster has (34 CPUs)" in world.job(larger)["reason"]

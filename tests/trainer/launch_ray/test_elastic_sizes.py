"""An elastic job only ever has worker counts that divide its lanes, and says what it waits for at its smallest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.v2._internal.execution.scaling_policy import NoopDecision

from trainer.families.table import recipes
from trainer.launch import capacity, elastic
from trainer.launch.capacity import explain, places, shortage
from trainer.launch.elastic import LanePolicy, scaling
from trainer.nodes import NodeShape
from trainer.spec import JobSpec, Resources, with_overrides


@pytest.fixture
def spec() -> JobSpec:
    return with_overrides(
        recipes()["gan-digits"](), ["resources.workers=8", "resources.min_workers=2", "data.lanes=8", "train.batch=64"]
    )


@pytest.mark.parametrize(("free", "workers"), [(1, 0), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (50, 8)])
def test_places_that_do_not_divide_the_lanes_are_left_free(
    spec: JobSpec, free: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "_still_there", lambda nodes: nodes)  # it asks Ray
    policy = LanePolicy(scaling(spec), spec.world_sizes(), tmp_path / "grow")
    assert policy._count_possible_workers({"a": {"CPU": 1.0}, "b": {"CPU": free - 1.0}}) == workers


@pytest.mark.parametrize(("free", "asked"), [(2, False), (4, False), (8, True)])
def test_a_group_that_runs_is_never_ended_but_asked_to_make_room_for_a_larger_one(
    spec: JobSpec, free: int, asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "_still_there", lambda nodes: nodes)
    policy = LanePolicy(scaling(spec), spec.world_sizes(), tmp_path / "grow")
    monkeypatch.setattr(policy, "_maybe_send_resource_request", lambda: None)
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: {"a": {"CPU": float(free)}})
    state: Any = SimpleNamespace(start_time=float("-inf"), num_workers=4)
    assert isinstance(policy.make_decision_for_running_worker_group(state, None), NoopDecision)
    assert (tmp_path / "grow").exists() == asked


def test_a_job_without_a_minimum_has_a_fixed_size(spec: JobSpec) -> None:
    assert scaling(with_overrides(spec, ["resources.min_workers=null"])).num_workers == 8
    assert scaling(spec).num_workers == (2, 8)


def test_an_elastic_job_waits_for_its_smallest_group(spec: JobSpec) -> None:
    assert explain(spec.resources, {"CPU": 1.0}, {"CPU": 8.0}) == "needs 2 CPUs; 1 of 8 is free"


ELASTIC, FIXED = Resources(workers=8, min_workers=4, cpus_per_worker=2), Resources(workers=4, cpus_per_worker=2)
SIX_CPUS = "needs 8 CPUs; 6 of 16 are free"


def group(state: str, workers: int) -> dict[str, Any]:
    return {"state": state, "bundles": {number: {"CPU": 2.0} for number in range(workers)}}


@pytest.mark.parametrize(
    ("resources", "free", "groups", "words"),
    [
        pytest.param(ELASTIC, 6, {}, SIX_CPUS, id="no-group-while-too-few-fit"),
        pytest.param(ELASTIC, 6, {"aa07": group("REMOVED", 4)}, SIX_CPUS, id="after-a-group-that-was-given-up"),
        pytest.param(ELASTIC, 6, {"aa09": group("CREATED", 4)}, SIX_CPUS, id="another-jobs-group"),
        pytest.param(ELASTIC, 6, {"aa07": group("CREATED", 5)}, None, id="its-workers-hold-what-is-missing"),
        pytest.param(ELASTIC, 10, {}, None, id="the-group-is-about-to-be-asked-for"),
        pytest.param(
            ELASTIC, 10, {"aa07": group("PENDING", 8)}, "needs 16 CPUs; 10 of 16 are free", id="a-larger-group-waits"
        ),
        pytest.param(FIXED, 6, {"aa07": group("PENDING", 4)}, SIX_CPUS, id="fixed"),
        pytest.param(FIXED, 6, {}, None, id="fixed-before-its-group"),
    ],
)
def test_a_job_says_what_it_waits_for_with_and_without_a_placement_group(
    monkeypatch: pytest.MonkeyPatch, resources: Resources, free: int, groups: dict[str, Any], words: str | None
) -> None:
    cluster(monkeypatch, free, groups, nodes=[8, 8])
    assert shortage(resources) == words


def test_nodes_that_are_too_small_for_the_smallest_group_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, 12, {}, nodes=[3, 3, 3, 3])
    assert places(Resources(cpus_per_worker=2), [{"CPU": 3.0}] * 4) == 4
    large = Resources(workers=4, min_workers=2, cpus_per_worker=4)
    assert shortage(large) == "needs 2 × 4 CPUs, each on one node; enough is free, but not together"


SMALL = NodeShape(4, 4, name="small")
PENDING = {"a07": {"state": "PENDING", "bundles": {0: {}, 1: {}, 2: {}}}}


@pytest.mark.parametrize(
    ("resources", "groups", "waited", "words"),
    [
        (Resources(workers=3, cpus_per_worker=3), PENDING, 5.0, "waits for 2 nodes that are being started (small)"),
        (Resources(workers=8, min_workers=2, cpus_per_worker=3), {}, 5.0, "waits for 1 node that is being started (small)"),
        (
            Resources(workers=8, min_workers=2, cpus_per_worker=3), {}, 61.0,
            "waits for 1 node (small), asked for over 1 minute ago: nothing has started it yet",
        ),
        (Resources(workers=3, cpus_per_worker=5), PENDING, 5.0, "needs 15 CPUs; the cluster has 4 in all"),
    ],
)  # fmt: skip
def test_a_job_says_for_which_nodes_it_waits_that_an_autoscaler_starts(
    monkeypatch: pytest.MonkeyPatch, resources: Resources, groups: dict[str, Any], waited: float, words: str
) -> None:
    """Of the one that is there all is free; an elastic job asks for no placement group, and waits for its smallest one."""
    cluster(monkeypatch, 4, groups, nodes=[4])
    free = SimpleNamespace(get_draining_nodes=dict, available_resources_per_node=lambda: {"n0": {"CPU": 4.0}})
    monkeypatch.setattr(ray._private.state, "state", free)
    assert shortage(resources, [SMALL], waited, patience=60.0) == words


def cluster(monkeypatch: pytest.MonkeyPatch, free: int, groups: dict[str, Any], nodes: list[int]) -> None:
    """What Ray tells the driver of job 07."""
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "07"))
    monkeypatch.setattr(capacity, "placement_group_table", lambda: groups)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": float(free)})
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(sum(nodes))})
    alive = [{"NodeID": f"n{at}", "Alive": True, "Resources": {"CPU": float(cpus)}} for at, cpus in enumerate(nodes)]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0}}])

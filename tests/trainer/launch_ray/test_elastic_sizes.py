"""An elastic job only ever has worker counts that divide its lanes, and says what it waits for at its smallest."""

from __future__ import annotations

import pytest

from trainer.families.table import recipes
from trainer.launch.capacity import explain
from trainer.launch.elastic import LanePolicy, scaling
from trainer.spec import JobSpec, with_overrides


@pytest.fixture
def spec() -> JobSpec:
    return with_overrides(
        recipes()["gan-digits"](), ["resources.workers=8", "resources.min_workers=2", "data.lanes=8", "train.batch=64"]
    )


@pytest.mark.parametrize(("free", "workers"), [(1, 0), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (50, 8)])
def test_places_that_do_not_divide_the_lanes_are_left_free(spec: JobSpec, free: int, workers: int) -> None:
    policy = LanePolicy(scaling(spec), spec.world_sizes())
    assert policy._count_possible_workers({"a": {"CPU": 1.0}, "b": {"CPU": free - 1.0}}) == workers


def test_a_job_without_a_minimum_has_a_fixed_size(spec: JobSpec) -> None:
    assert scaling(with_overrides(spec, ["resources.min_workers=null"])).num_workers == 8
    assert scaling(spec).num_workers == (2, 8)


def test_an_elastic_job_waits_for_its_smallest_group(spec: JobSpec) -> None:
    assert explain(spec.resources, {"CPU": 1.0}, {"CPU": 8.0}) == "needs 2 CPUs; 1 of 8 is free"

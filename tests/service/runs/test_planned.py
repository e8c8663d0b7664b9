"""What a run will use: by its plan, by runs like it, by its limits; never more than these allow, and nothing where nothing is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import spec as spec_of

from service.runs.planned import Planned, planned
from service.runs.spans import Pace

PACE = Pace(0.5, 2.0)
"""A second for an image, in the middle."""
SECONDS = st.none() | st.floats(1, 1e6)


def job(workers: int = 2, gpus: float = 0.0, images: int = 1000, **limits: Any) -> dict[str, Any]:
    spec = spec_of("job")
    resources = {**spec["resources"], "workers": workers, "cpus_per_worker": 3.0, "gpus_per_worker": gpus}
    return {**spec, "resources": resources, "train": {**spec["train"], "images": images}, "limits": limits}


def search(trials: int = 10, at_once: int = 4, base: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    given = {"trials": trials, "max_concurrent": at_once, "algorithm": "random", **fields}
    return {**spec_of("search"), "base": base or job(), **given}


def test_a_plan_counts_before_runs_like_it_and_these_before_limits() -> None:
    assert planned(job(), None, None) is None
    assert planned(job(), PACE, 600.0) == Planned(600 * 2 * 3, 0, "plan")
    assert planned(job(), PACE, None) == Planned(pytest.approx(1000 * 2 * 3), 0, "runs")
    assert planned(job(run=3600), None, None) == Planned(3600 * 2 * 3, 0, "limit")
    assert planned(job(run=3600), PACE, None) == planned(job(), PACE, None), "it doesn't come to its limit"
    assert planned(job(run=60), PACE, None) == Planned(60 * 2 * 3, 0, "limit")
    assert planned(job(wall=60), None, 600.0) == Planned(60 * 2 * 3, 0, "limit")


def test_gpu_hours_are_those_of_all_workers_and_no_more_than_their_limit() -> None:
    assert planned(job(gpus=2.0), None, 900.0) == Planned(900 * 6, 900 * 4, "plan")
    assert planned(job(gpus=2.0, accelerator_hours=0.5), None, 900.0) == Planned(450 * 6, 1800, "limit")
    assert planned(job(gpus=0.0, accelerator_hours=0.5), None, 900.0) == Planned(900 * 6, 0, "plan")


def test_a_fork_that_goes_on_is_planned_from_where_it_begins() -> None:
    assert planned(job(), None, 600.0, begun=750) == Planned(150 * 6, 0, "plan")
    assert planned(job(), None, 600.0, begun=2000) == Planned(0, 0, "plan")


def test_a_search_is_all_its_trials_to_their_end_unless_its_budget_or_limits_end_it() -> None:
    assert planned(search(), PACE, None) == Planned(pytest.approx(10 * 1000 * 6), 0, "runs")
    few = search(budget={"images": 2500, "seconds": None})
    assert planned(few, PACE, None) == Planned(pytest.approx(2.5 * 1000 * 6), 0, "runs")
    short = search(budget={"images": None, "seconds": 100.0})
    assert planned(short, PACE, None) == Planned(4 * 100 * 6, 0, "limit"), "four train at once"
    assert planned(search(algorithm="pbt", limits={"run": 100}), None, None) == Planned(10 * 100 * 6, 0, "limit")


@given(st.integers(1, 8), st.sampled_from([0.0, 1.0]), SECONDS, SECONDS, SECONDS, SECONDS)
def test_nothing_is_planned_beyond_what_limits_allow(
    workers: int, gpus: float, run: float | None, hours: float | None, plan: float | None, pace: float | None
) -> None:
    limits = {"run": run, "accelerator_hours": hours}
    found = planned(job(workers, gpus, **limits), None if pace is None else Pace(pace, pace), plan)
    if found is None:
        assert (plan, pace, run) == (None, None, None)
        assert not gpus or hours is None
        return
    assert found.accelerator_seconds == pytest.approx(found.cpu_seconds / 3 * gpus)
    if run is not None:
        assert found.cpu_seconds <= run * workers * 3 * 1.000001
    if hours is not None:
        assert found.accelerator_seconds <= hours * 3600 * 1.000001

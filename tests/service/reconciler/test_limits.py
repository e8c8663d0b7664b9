"""Limits of runs, and what they go by: time in the queue and on the cluster, counted over attempts, pauses and restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select

from service.bodies.states import State
from service.db.tables import Job, JobChange
from service.gateway.ray_jobs import Node, RayStatus
from service.reconciler.meter import Meter

SEARCH = {"base": {"recipe": "dcgan-digits"}, "space": {"train.seed": [1, 2, 3]}, "algorithm": "random", "trials": 3}


def call(world: Any, run: str, verb: str = "", **changes: Any) -> Any:
    """An edit, or what else is asked of a run."""
    path = f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}"
    return world.client.post(f"{path}/{verb}") if verb else world.client.patch(path, json={"set": changes})


def shown(world: Any, run: str) -> dict[str, Any]:
    return dict(world.client.get(f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}").json())


def used(world: Any, run: str) -> float:
    return float(shown(world, run)["usage"]["run_seconds"])


def notes(world: Any, run: str) -> list[str]:
    """All that was told of it."""
    with world.db.read() as session:
        number = session.scalar(select(Job.number).where(Job.id == run))
        found = select(JobChange.reason).where(JobChange.job_number == number).order_by(JobChange.id)
        return list(session.scalars(found))


def stopped(world: Any, run: str, attempt: int = 1) -> None:
    """The driver says that it has stopped, and is gone."""
    world.tell(run, "finished", attempt, outcome="stopped")
    world.ray.move(f"agon-{run}-{attempt}", RayStatus.SUCCEEDED)
    world.round()


@pytest.mark.databases
def test_time_on_the_cluster_ends_a_run_with_a_checkpoint_after_a_warning(world: Any) -> None:
    job = world.running(limits={"run": "1h"})
    world.round(3000)
    assert notes(world, job)[-1] == ""
    assert 3000 <= used(world, job) < 3100
    world.round(300)
    (warning,) = [note for note in notes(world, job) if note.startswith("limits.")]
    assert warning.startswith("limits.run: 92% of 1h are used; it ends in about 4m")
    world.round(10)
    ends = datetime.fromisoformat(shown(world, job)["ends_at"])
    assert timedelta(minutes=3) < ends - world.clock() < timedelta(minutes=6)
    assert world.tell(job, "progress")["desired"] == "run"
    world.round(300)
    world.round()
    assert world.tell(job, "progress")["desired"] == "stop"
    world.round()
    now = shown(world, job)
    assert (now["state"], now["limit"], now["desired"]) == ("stopping", "run", "stop")
    assert now["reason"] == "limits.run: its 1h on the cluster are used up; saves a checkpoint and ends"
    assert now["stop_at"] is not None
    stopped(world, job)
    now = shown(world, job)
    assert (now["state"], now["limit"], now["failure"]) == ("cancelled", "run", None)
    assert now["reason"] == "limits.run: its 1h on the cluster are used up"
    assert (now["ends_at"], now["stop_at"]) == (None, None)
    assert len([note for note in notes(world, job) if "are used; it ends" in note]) == 1


def test_what_has_used_up_a_limit_goes_on_once_it_is_raised(world: Any) -> None:
    job = world.running(limits={"run": 100})
    world.round(200)
    world.round()
    stopped(world, job)
    refused = call(world, job, "retry")
    assert refused.status_code == 409
    assert (
        f"would end at once (limits.run: its 1m 40s on the cluster are used up); raise it first: PATCH /v1/jobs/{job}"
        in (refused.json()["detail"])
    )
    before = used(world, job)
    assert call(world, job, **{"limits.run": "1h"}).status_code == 200
    assert call(world, job, "retry").status_code == 202
    world.round()
    now = shown(world, job)
    assert (now["state"], now["limit"], now["attempt"]) == ("starting", None, 2)
    world.ray.move(f"agon-{job}-2", RayStatus.RUNNING)
    world.tell(job, "started", 2, total_images=1000, workers=1)
    world.round()
    world.round(100)
    assert before + 100 <= used(world, job) < before + 150, "all attempts together"
    world.tell(job, "finished", 2, outcome="completed")
    world.round()
    assert (shown(world, job)["state"], shown(world, job)["limit"]) == ("succeeded", None)


@pytest.mark.databases
def test_a_wait_ends_what_waits_too_long_at_a_stretch(world: Any) -> None:
    world.ray.unreachable = True
    job = world.submit(limits={"wait": "10m"})
    world.round(500)
    assert not [note for note in notes(world, job) if note.startswith("limits.")]
    world.round(60)
    assert [note for note in notes(world, job) if note.startswith("limits.wait: 9")]
    assert shown(world, job)["reason"].startswith("Ray at"), "what it waits for is still told"
    with world.db.read() as session:
        due = session.scalar(select(Job.limit_at).where(Job.id == job))
        assert due is not None
        assert due > world.clock(), "nobody looks until it is time"
    world.round(60)
    now = shown(world, job)
    assert (now["state"], now["limit"], now["reason"]) == (
        "cancelled",
        "wait",
        "limits.wait: it waited 10m in the queue",
    )
    world.ray.unreachable = False
    world.round(100)
    assert world.ray.starts == []
    world.clock.ahead = timedelta()  # the API writes down the time that it is
    assert call(world, job, "retry").status_code == 202, "another stretch"
    world.round()
    assert shown(world, job)["state"] == "starting"


@pytest.mark.long
def test_what_has_started_waits_no_more(world: Any) -> None:
    job = world.running(limits={"wait": "10s"})
    world.round(1000)
    assert shown(world, job)["state"] == "running"


@pytest.mark.parametrize(
    "state", ["paused", *(pytest.param(state, marks=pytest.mark.long) for state in ("queued", "running"))]
)
def test_time_since_the_submission_ends_a_run_whatever_it_does(world: Any, state: str) -> None:
    world.ray.unreachable = state != "running"
    if state == "running":
        job = world.running(limits={"wall": "1h"})
    else:
        job = world.submit(limits={"wall": "1h"})
        world.round()
    if state == "paused":
        call(world, job, "pause")
        world.round()
    assert shown(world, job)["state"] == state
    world.round(3400)
    assert [note for note in notes(world, job) if note.startswith("limits.wall: 9")]
    world.round(300)
    if state == "running":
        world.round()
        stopped(world, job)
    now = shown(world, job)
    assert (now["state"], now["limit"]) == ("cancelled", "wall")
    assert now["reason"] == "limits.wall: 1h have passed since its submission"


def test_gpus_times_hours_end_a_run(world: Any) -> None:
    world.ray.cluster = [Node("a", 8, 8, 8, 8)]
    job = world.running(
        limits={"accelerator_hours": 1}, resources={"workers": 4, "gpus_per_worker": 1, "min_workers": 2}
    )
    with world.db.begin() as session:  # as many as the job said that train, not as many as it may have
        session.scalar(select(Job).where(Job.id == job)).training_workers = 4
    world.round(800)
    world.round(60)
    usage = shown(world, job)["usage"]
    assert usage["accelerator_seconds"] == pytest.approx(usage["cpu_seconds"])
    assert usage["accelerator_seconds"] == pytest.approx(4 * usage["run_seconds"], rel=0.02)
    assert [note for note in notes(world, job) if note.startswith("limits.accelerator_hours: 9")]
    world.round(60)
    world.round()
    stopped(world, job)
    now = shown(world, job)
    assert (now["limit"], now["reason"]) == (
        "accelerator_hours",
        "limits.accelerator_hours: its 1 GPU-hours are used up",
    )


def test_pauses_waits_and_an_unconfirmed_start_count_as_no_time_on_the_cluster(world: Any) -> None:
    job = world.running(limits={"run": "1h"})
    world.round(100)
    call(world, job, "pause")
    world.round()
    stopped(world, job)
    before = used(world, job)
    world.round(10_000)
    assert (used(world, job), shown(world, job)["state"]) == (before, "paused")
    world.ray.unreachable = True
    call(world, job, "resume")
    world.round(10_000)
    assert (used(world, job), shown(world, job)["state"]) == (before, "queued")
    assert shown(world, job)["queued_at"] is not None
    world.ray.unreachable = False
    world.round()
    world.tell(job, "waiting", 2, reason="needs 4 CPUs")
    world.round()
    world.round(10_000)
    assert used(world, job) < before + 10, "it waits for what it needs"
    world.ray.move(f"agon-{job}-2", RayStatus.RUNNING)
    world.tell(job, "started", 2, total_images=1000, workers=1)
    world.round()
    world.round(50)
    assert before + 50 <= used(world, job) < before + 70


@pytest.mark.long
def test_an_attempt_that_nobody_looked_at_counts_to_the_end_that_it_told(world: Any) -> None:
    job = world.running()
    before = used(world, job)
    world.tell(job, "finished", outcome="completed")
    world.round(50_000)  # the reconciler was away
    assert shown(world, job)["state"] == "succeeded"
    assert used(world, job) < before + 30


@pytest.mark.long
def test_a_lost_attempt_of_a_run_that_is_over_its_limit_is_not_tried_again(world: Any) -> None:
    job = world.running(limits={"run": "1h"})
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round(4000)
    world.round(100)
    world.round()
    now = shown(world, job)
    assert (now["state"], now["limit"], len(world.ray.starts)) == ("cancelled", "run", 1)


@pytest.mark.long
def test_a_limit_that_is_lowered_ends_what_runs_and_one_that_is_raised_warns_anew(world: Any) -> None:
    job = world.running(limits={"run": 1000})
    world.round(950)
    assert len([note for note in notes(world, job) if note.startswith("limits.run")]) == 1
    call(world, job, **{"limits.run": 2000})
    world.round(900)
    assert len([note for note in notes(world, job) if note.startswith("limits.run")]) == 2
    call(world, job, limits={"run": None})
    world.round(5000)
    assert (shown(world, job)["state"], shown(world, job)["ends_at"]) == ("running", None)
    call(world, job, **{"limits.run": "1m"})
    world.round()
    world.round()
    assert (shown(world, job)["state"], shown(world, job)["limit"]) == ("stopping", "run")
    assert call(world, job, **{"limits.run": None}).status_code == 200
    stopped(world, job)
    assert shown(world, job)["state"] == "cancelled", "what stops is not called back"
    assert call(world, job, "retry").status_code == 202


@pytest.mark.long
def test_who_was_asked_to_pause_or_completes_first_is_not_ended_by_a_limit(world: Any) -> None:
    one, two = world.running(limits={"run": 100}), world.running(limits={"run": 100})
    call(world, one, "pause")
    world.tell(two, "finished", outcome="completed")
    world.round(1000)
    world.round()
    stopped(world, one)
    assert (shown(world, one)["state"], shown(world, one)["limit"]) == ("paused", None)
    assert (shown(world, two)["state"], shown(world, two)["limit"]) == ("succeeded", None)
    assert call(world, one, "resume").status_code == 409, "it would end at once"


def test_a_run_that_ends_itself_by_a_limit_is_told_apart_from_one_that_was_stopped(world: Any) -> None:
    job = world.running()
    reason = "limits.no_better_after: fid has not been better than 12.3 for 500 of 500 images"
    assert world.tell(job, "limit", limit="no_better_after", reason=reason)["desired"] == "stop"
    world.tell(job, "finished", outcome="stopped")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    now = shown(world, job)
    assert (now["state"], now["limit"], now["reason"]) == ("cancelled", "no_better_after", reason)
    other = world.running()
    call(world, other, "pause")
    assert world.tell(other, "limit", limit="no_better_after", reason=reason)["desired"] == "stop"
    stopped(world, other)
    assert (shown(world, other)["state"], shown(world, other)["limit"]) == ("paused", None)
    asking = world.running(evaluation={"every_steps": 10})
    refused = call(world, asking, **{"limits.no_better_after": 500})
    assert refused.status_code == 409, "its training would not hear of it"
    assert "limits.no_better_after can change only while it waits or is paused" in refused.json()["detail"]
    world.tell(asking, "finished", outcome="completed")
    world.ray.move(f"agon-{asking}-1", RayStatus.SUCCEEDED)
    old = world.running()
    world.ray.move(f"agon-{old}-1", RayStatus.FAILED)
    world.round()
    world.round(100)
    world.tell(old, "limit", 1, limit="run", reason="of an attempt that was replaced")
    assert (shown(world, old)["desired"], shown(world, old)["limit"]) == ("run", None)


def test_a_searchs_limits_are_its_own_and_its_gpus_those_of_all_trials_that_run(world: Any) -> None:
    world.ray.cluster = [Node("a", 8, 8, 8, 8)]
    base = {"recipe": "dcgan-digits", "set": {"resources": {"workers": 2, "gpus_per_worker": 1}}}
    given = {**SEARCH, "base": base, "limits": {"run": "1h", "wait": "1h"}}
    reply = world.client.post("/v1/searches", json={"search": given})
    assert reply.status_code == 201, reply.text
    search = reply.json()["id"]
    world.round()
    world.ray.move(f"agon-{search}-1", RayStatus.RUNNING)
    world.tell(search, "started", workers=3, total_images=None)
    for number in range(2):
        told = {
            "id": f"t-{number:05d}",
            "number": number,
            "state": "running",
            "values": {"train.seed": 1},
            "result": None,
        }
        world.tell(search, "trial", **told)
    world.round()
    world.round(3000)
    usage = shown(world, search)["usage"]
    assert usage["accelerator_seconds"] == pytest.approx(4 * usage["run_seconds"], rel=0.02)
    world.round(700)
    world.round()
    stopped(world, search)
    now = shown(world, search)
    assert (now["state"], now["limit"]) == ("cancelled", "run")
    extend = f"/v1/searches/{search}/extend"
    assert world.client.post(extend, json={"budget": {"images": 10**9}}).status_code == 409
    assert call(world, search, **{"limits.run": "5h"}).status_code == 200
    assert world.client.post(extend, json={"budget": {"images": 10**9}}).status_code == 202
    base = {"recipe": "dcgan-digits", "set": {"limits.run": "1h"}}
    refused = world.client.post("/v1/searches", json={"search": {**SEARCH, "base": base}})
    assert [(error["path"], error["fix"]) for error in refused.json()["errors"]] == [
        ("search.base.limits.run", "set limits.run of the search")
    ]


def test_the_next_try_is_told_while_it_is_waited_for(world: Any) -> None:
    job = world.running()
    assert shown(world, job)["next_try_at"] is None
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    told = datetime.fromisoformat(shown(world, job)["next_try_at"])
    assert timedelta() < told - datetime.now(UTC) < timedelta(minutes=2)
    world.round(100)
    assert (shown(world, job)["state"], shown(world, job)["next_try_at"]) == ("starting", None)


class Times:
    """A database's clock, and a reconciler's."""

    def __init__(self) -> None:
        self.base, self.steady = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
        self.of_owner = 0.0

    def meter(self) -> Meter:
        return Meter(lambda: self.steady, lambda _: self.base, self.add)

    def add(self, _session: Any, owner: str, _until: datetime, seconds: float, cpus: float, gpus: float) -> None:
        assert (owner, gpus) == ("ada", 2 * cpus)
        self.of_owner += seconds

    def passes(self, seconds: float, jump: float = 0.0) -> None:
        self.steady += timedelta(seconds=seconds)
        self.base += timedelta(seconds=seconds + jump)


def counted(row: Any, meter: Meter) -> None:
    meter.mark(row, meter.count(None, row))  # type: ignore[arg-type]


def row() -> Any:
    usage = {"run_seconds": 0.0, "cpu_seconds": 0.0, "accelerator_seconds": 0.0, "counted_at": None}
    place = {"workers": 1, "worker_cpus": 1.0, "worker_gpus": 2.0, "training_workers": 0}
    return SimpleNamespace(
        number=1,
        kind="job",
        owner="ada",
        state="running",
        submitted_at=1,
        waiting="",
        outcome=None,
        attempt=1,
        **usage,
        **place,
    )


@examples(40)
@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(-5000, 5000)), max_size=20))
def test_steps_of_the_clock_count_for_nothing_while_one_reconciler_counts(steps: list[tuple[float, float]]) -> None:
    times, job = Times(), row()
    meter, passed = times.meter(), 0.0
    counted(job, meter)
    for seconds, jump in steps:
        times.passes(seconds, jump)
        counted(job, meter)
        passed += seconds
    assert job.run_seconds == times.of_owner == pytest.approx(passed, abs=1e-3)
    assert job.accelerator_seconds == pytest.approx(2 * passed, abs=1e-3)


@examples(40)
@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=20))
def test_restarts_and_several_reconcilers_forget_no_time_and_count_none_twice(steps: list[tuple[float, bool]]) -> None:
    times, job = Times(), row()
    meters, passed = [times.meter(), times.meter()], 0.0
    counted(job, meters[0])
    for seconds, restart in steps:
        times.passes(seconds)
        if restart:
            meters.reverse()
            meters[0] = times.meter() if seconds > 500 else meters[0]
        counted(job, meters[0])
        passed += seconds
    assert job.run_seconds == pytest.approx(passed, abs=1e-3)


def test_a_clock_that_was_set_back_during_a_restart_takes_nothing_away() -> None:
    times, job = Times(), row()
    counted(job, times.meter())
    times.passes(10, jump=-5000)
    meter = times.meter()
    counted(job, meter)
    assert job.run_seconds == 0.0
    times.passes(10)
    counted(job, meter)
    assert job.run_seconds == pytest.approx(10)


@examples(4, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(["pause", "resume", "cancel", "retry", "round", "stopped", "lost", "long", "lower", "raise"]),
        max_size=14,
    )
)
def test_whatever_happens_what_was_used_only_grows_and_a_limit_ends_it_as_it_says(world: Any, steps: list[str]) -> None:
    world.clock.ahead = timedelta()
    job, before = world.running(limits={"run": 5000, "wait": 5000}), 0.0
    for step in steps:
        attempt = shown(world, job)["attempt"]
        name = f"agon-{job}-{attempt}"
        if step == "round" or step == "long":
            world.round(2 if step == "round" else 1500)
        elif step == "stopped" and name in world.ray.jobs and not world.ray.jobs[name].status.ended:
            world.tell(job, "finished", attempt, outcome="stopped")
            world.ray.move(name, RayStatus.SUCCEEDED)
        elif step == "lost" and name in world.ray.jobs:
            world.ray.move(name, RayStatus.FAILED)
        elif step in ("lower", "raise"):
            call(world, job, **{"limits.run": 100 if step == "lower" else 50_000})
        elif step not in ("stopped", "lost"):
            call(world, job, step)
        now = shown(world, job)
        usage = now["usage"]["run_seconds"]
        assert usage >= before - 1e-6
        before = usage
        if now["limit"] is not None:
            assert now["state"] in ("running", "starting", "stopping", "cancelled")
            assert now["desired"] == "stop"
            assert now["reason"].startswith("limits.") or now["state"] != "cancelled"
        with world.db.read() as session:
            stored = session.scalar(select(Job).where(Job.id == job))
            assert (stored.counted_at is not None) <= State(stored.state).on_ray
            assert (stored.limit_at is not None) <= (stored.state in ("submitted", "queued", "paused"))
            assert (stored.queued_at is not None) == (stored.state in ("submitted", "queued"))
    call(world, job, "cancel")
    for name in list(world.ray.jobs):
        world.ray.move(name, RayStatus.STOPPED)
    world.round()
    world.round()

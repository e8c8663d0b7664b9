"""A job that has failed or was cancelled goes on: the same job, its next attempt."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples

from service.bodies.states import State
from service.gateway.ray_jobs import Node, RayStatus
from service.runs.lifecycle import TABLE, Trigger


def retry(world: Any, job: str) -> Any:
    return world.client.post(f"/v1/jobs/{job}/retry")


def failed(world: Any, **sections: Any) -> str:
    """A job whose first attempt ended for good."""
    job = world.running(**sections)
    world.tell(job, "failed", kind="disk-full", reason="no space left on /data")
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    assert world.job(job)["state"] == "failed"
    return str(job)


def test_a_failed_job_goes_on_with_its_next_attempt_under_the_same_id_and_its_events_go_on(world: Any) -> None:
    job = failed(world)
    reply = retry(world, job)
    assert reply.status_code == 202
    shown = reply.json()
    assert (shown["id"], shown["state"], shown["desired"], shown["attempt"]) == (job, "queued", "run", 1)
    assert shown["failure"] is None
    assert shown["finished_at"] is None
    world.round()
    assert world.ray.jobs[f"agon-{job}-2"].status is not None
    assert world.job(job)["attempt"] == 2
    world.tell(job, "started", 2, total_images=1000, workers=1)
    world.round()
    assert world.job(job)["state"] == "running"
    world.tell(job, "finished", 2, outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded"


def test_a_cancelled_job_goes_on_also_one_that_never_started(world: Any) -> None:
    world.ray.unreachable = True
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    assert world.job(job)["state"] == "cancelled"
    world.ray.unreachable = False
    assert retry(world, job).status_code == 202
    world.round()
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("starting", 1)


def test_a_cancelled_job_is_no_longer_asked_to_stop(world: Any) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    world.tell(job, "finished", outcome="stopped")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == "cancelled"
    assert retry(world, job).json()["desired"] == "run"
    world.round()
    assert world.tell(job, "started", 2, total_images=1000, workers=1)["desired"] == "run"


def test_it_has_as_many_attempts_again_as_at_first(world: Any) -> None:
    job = failed(world, retry={"attempts": 2, "worker_failures": 0})
    retry(world, job)
    for attempt in (2, 3):
        world.round(60)
        world.tell(job, "failed", attempt, kind="worker-lost", reason="died")
        world.ray.move(f"agon-{job}-{attempt}", RayStatus.FAILED)
        world.round(60)
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("failed", 3)


def test_asked_twice_it_is_tried_again_once(world: Any) -> None:
    job = failed(world)
    first, second = retry(world, job), retry(world, job)
    assert (first.status_code, second.status_code) == (202, 202)
    world.round()
    assert retry(world, job).status_code == 202  # an answer that was lost while it starts
    assert world.job(job)["attempt"] == 2
    assert f"agon-{job}-3" not in world.ray.jobs


def test_every_other_state_is_refused_with_the_reason(world: Any) -> None:
    waiting = world.submit()
    assert "first time" in retry(world, waiting).json()["detail"]
    running = world.running()
    assert "is running" in retry(world, running).json()["detail"]
    world.client.post(f"/v1/jobs/{running}/cancel")
    world.round()
    assert "once it is cancelled" in retry(world, running).json()["detail"]
    done = world.running()
    world.tell(done, "finished", outcome="completed")
    world.round()
    reply = retry(world, done)
    assert reply.status_code == 409
    assert "has succeeded" in reply.json()["detail"]
    assert "train.images" in reply.json()["detail"]
    assert retry(world, "j-ffffffffffff").status_code == 404


def test_one_that_is_cancelled_while_it_waits_to_be_tried_again_is_cancelled(world: Any) -> None:
    job = failed(world)
    world.ray.unreachable = True
    retry(world, job)
    world.client.post(f"/v1/jobs/{job}/cancel")
    assert retry(world, job).status_code == 409
    world.round()
    assert world.job(job)["state"] == "cancelled"
    assert retry(world, job).status_code == 202


@examples(10, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["cancel", "retry", "round", "fail", "finish"]), max_size=12))
def test_whatever_is_asked_in_any_order_every_change_is_of_the_table_and_attempts_only_grow(
    world: Any, steps: list[str]
) -> None:
    world.ray.cluster = [Node("node-1", 1e4, 1e4, 0.0, 0.0)]  # room for the examples before this one
    job = world.submit()
    state, attempt = world.job(job)["state"], 0
    for step in steps:
        if step in ("cancel", "retry"):
            reply = world.client.post(f"/v1/jobs/{job}/{step}")
            assert reply.status_code in (202, 409)
        elif step == "round":
            world.round()
        elif world.job(job)["state"] in ("starting", "running"):
            now = world.job(job)["attempt"]
            told = {
                "fail": ("failed", {"kind": "bad-data", "reason": "x"}),
                "finish": ("finished", {"outcome": "completed"}),
            }
            name, data = told[step]
            world.tell(job, name, now, **data)
            world.ray.move(f"agon-{job}-{now}", RayStatus.FAILED)
            world.round()
        shown = world.job(job)
        if step == "retry" and State(state) in (State.SUBMITTED, State.RUNNING, State.SUCCEEDED):
            assert shown["state"] == state, "refused, so nothing moved"
        if State(state) in (State.FAILED, State.CANCELLED) and shown["state"] != state:
            assert shown["state"] == TABLE[State(state)][Trigger.TRY_AGAIN]
            assert step == "retry"
        assert shown["attempt"] >= attempt
        state, attempt = shown["state"], shown["attempt"]

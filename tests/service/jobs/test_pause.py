"""Pause and resume, of jobs and, as far as it is the same for both, of searches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select

from service.app import create_app
from service.db.tables import Job, JobChange
from service.gateway.ray_jobs import Node, RayStatus, RayUnreachableError
from service.reconciler import actions
from service.runs.lifecycle import TABLE, State
from trainer.wire import JobFile

SEARCH = {"base": {"recipe": "dcgan-digits"}, "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}


def call(world: Any, run: str, verb: str) -> Any:
    return world.client.post(f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}/{verb}")


def asked(world: Any, run: str, verb: str) -> dict[str, Any]:
    """The run as it is after a call that is allowed."""
    reply = call(world, run, verb)
    assert reply.status_code == 202, reply.text
    return dict(reply.json())


def saved(world: Any, job: str, attempt: int = 1) -> None:
    """The driver says that it has stopped, and is gone."""
    world.tell(job, "finished", attempt, outcome="stopped")
    world.ray.move(f"agon-{job}-{attempt}", RayStatus.SUCCEEDED)
    world.round()


def paused(world: Any, **sections: Any) -> str:
    """A job that has trained a while."""
    job = world.running(**sections)
    asked(world, job, "pause")
    world.round()
    saved(world, job)
    assert world.job(job)["state"] == "paused"
    return str(job)


def test_a_running_job_saves_leaves_the_cluster_and_goes_on_as_the_next_attempt(world: Any) -> None:
    job = world.running()
    world.tell(job, "progress", total_images=1000)
    shown = asked(world, job, "pause")
    assert (shown["state"], shown["desired"]) == ("running", "pause")
    assert world.tell(job, "progress")["desired"] == "stop", "the driver knows no pause"
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["reason"]) == ("stopping", "paused: saves a checkpoint and ends")
    world.tell(job, "finished", outcome="stopped")
    world.round()
    assert world.job(job)["state"] == "stopping", "its driver is still there"
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["reason"], shown["finished_at"], shown["failure"]) == ("paused", "paused", None, None)
    assert shown["progress"]["total_images"] == 1000, "how far it is stays known"
    world.round(1000)
    assert world.ray.starts == [f"agon-{job}-1"]
    shown = asked(world, job, "resume")
    assert (shown["state"], shown["desired"], shown["reason"]) == ("queued", "run", "resumed")
    world.round()
    assert world.ray.starts == [f"agon-{job}-1", f"agon-{job}-2"]
    assert JobFile.model_validate_json((world.folder(job) / "job.json").read_text()).attempt == 2
    assert world.tell(job, "started", 2, total_images=1000, workers=1)["desired"] == "run"
    world.tell(job, "finished", 2, outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded"


def test_a_job_that_waits_is_paused_without_starting_and_without_ray(world: Any) -> None:
    world.ray.unreachable = True
    job = world.submit()
    asked(world, job, "pause")
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["reason"], shown["attempt"]) == ("paused", "paused before it started", 0)
    world.ray.unreachable = False
    world.round(1000)
    assert world.ray.starts == []
    asked(world, job, "resume")
    world.round()
    assert (world.ray.starts, world.job(job)["attempt"]) == ([f"agon-{job}-1"], 1)


def test_a_starting_job_has_nothing_to_save_and_is_stopped_without_grace(world: Any) -> None:
    job = world.submit()
    world.round()
    assert world.job(job)["state"] == "starting"
    asked(world, job, "pause")
    for _ in range(3):
        world.round()
    assert ("stop", f"agon-{job}-1") in world.ray.calls
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("paused", "paused")


def test_one_that_waits_for_its_next_attempt_is_paused_and_goes_on_with_that_attempt(world: Any) -> None:
    job = world.running()
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    assert world.job(job)["state"] == "queued"
    asked(world, job, "pause")
    world.round(100)
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("paused", "paused between attempts")
    asked(world, job, "resume")
    world.round()
    assert world.ray.starts == [f"agon-{job}-1", f"agon-{job}-2"]


def test_a_pause_that_is_taken_back_in_the_queue_changes_nothing(world: Any) -> None:
    job = world.submit()
    asked(world, job, "pause")
    shown = asked(world, job, "resume")
    assert (shown["state"], shown["desired"]) == ("submitted", "run")
    world.round()
    assert world.ray.starts == [f"agon-{job}-1"]


@pytest.mark.parametrize("begin", ["submit", "running"])
def test_pause_and_resume_may_be_repeated(world: Any, begin: str) -> None:
    job = world.submit() if begin == "submit" else world.running()
    if begin == "submit":
        world.ray.unreachable = True
    for _ in range(2):
        assert asked(world, job, "pause")["desired"] == "pause"
    world.round()
    if begin == "running":
        saved(world, job)
    before = world.job(job)
    assert asked(world, job, "pause") == before
    assert before["state"] == "paused"
    first = asked(world, job, "resume")
    assert asked(world, job, "resume") == first
    world.ray.unreachable = False
    world.round()
    starting = world.job(job)
    assert starting["state"] == "starting"
    assert asked(world, job, "resume") == starting
    world.round()
    assert len(world.ray.starts) == (1 if begin == "submit" else 2)
    with world.db.read() as session:
        states = session.scalars(select(JobChange.state).order_by(JobChange.id)).all()
    assert states.count("paused") == 1


def test_a_paused_job_is_cancelled_at_once_and_nothing_is_started_for_it(world: Any) -> None:
    job = paused(world)
    shown = asked(world, job, "cancel")
    assert (shown["state"], shown["reason"]) == ("cancelled", "cancelled while it was paused")
    assert shown["finished_at"] is not None
    world.round(1000)
    assert world.ray.starts == [f"agon-{job}-1"]


def test_a_pause_becomes_a_cancellation_and_not_the_other_way_round(world: Any) -> None:
    job = world.running()
    asked(world, job, "pause")
    world.round()
    asked(world, job, "cancel")
    for verb in ("pause", "resume"):
        refused = call(world, job, verb)
        assert refused.status_code == 409
        assert "is being cancelled; once it is cancelled, retry lets it go on" in refused.json()["detail"]
    saved(world, job)
    assert world.job(job)["state"] == "cancelled"
    for verb in ("pause", "resume"):
        refused = call(world, job, verb)
        assert refused.status_code == 409
        assert f"job {job} is cancelled; " in refused.json()["detail"]
        assert "retry lets it go on" in refused.json()["detail"]


def test_while_it_saves_it_can_not_be_resumed_and_retry_says_what_can(world: Any) -> None:
    job = world.running()
    asked(world, job, "pause")
    assert "is being paused; resume" in call(world, job, "retry").json()["detail"]
    world.round()
    refused = call(world, job, "resume")
    assert refused.status_code == 409
    assert "still saving a checkpoint: try again once it is paused" in refused.json()["detail"]
    assert "is being paused; resume" in call(world, job, "retry").json()["detail"]
    saved(world, job)
    assert "is paused; resume lets it go on" in call(world, job, "retry").json()["detail"]
    assert world.job(job)["state"] == "paused"


def test_a_failed_job_is_retried_and_not_resumed(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="disk-full", reason="no space left")
    world.round()
    refused = call(world, job, "resume")
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith("only one that is paused can be resumed; retry lets it go on")
    assert world.job(job)["state"] == "failed"


def test_a_job_that_completes_while_it_is_paused_has_succeeded(world: Any) -> None:
    job = world.running()
    asked(world, job, "pause")
    world.round()
    world.tell(job, "finished", outcome="completed")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == "succeeded"
    assert "it ended before it could be paused; submit a new job" in call(world, job, "resume").json()["detail"]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("seen", [False, True], ids=["before the reconciler looked", "while it saves"])
def test_a_driver_that_dies_while_it_is_paused_is_followed_by_no_other(world: Any, seen: bool, told: bool) -> None:
    job = world.running(retry={"attempts": 5})
    asked(world, job, "pause")
    if seen:
        world.round()
    if told:
        world.tell(job, "failed", kind="worker-lost", reason="a worker died")
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED, exit_code=-9)
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["failure"]) == ("paused", None)
    assert "goes on from its newest checkpoint" in shown["reason"]
    world.round(1000)
    assert world.ray.starts == [f"agon-{job}-1"]
    asked(world, job, "resume")
    world.round()
    assert world.job(job)["attempt"] == 2


def test_one_whose_driver_does_not_listen_is_stopped_by_ray_after_the_grace_period(world: Any) -> None:
    job = world.running()
    asked(world, job, "pause")
    world.round()
    world.round(world.settings.stop_grace_seconds - 10)
    assert ("stop", f"agon-{job}-1") not in world.ray.calls
    world.round(20)
    assert ("stop", f"agon-{job}-1") in world.ray.calls
    world.round()
    assert world.job(job)["state"] == "paused"


def test_while_ray_is_away_the_job_saves_and_is_paused_once_its_driver_is_known_to_be_gone(world: Any) -> None:
    job = world.running()
    world.ray.unreachable = True
    asked(world, job, "pause")
    assert world.tell(job, "progress")["desired"] == "stop"
    world.tell(job, "finished", outcome="stopped")
    world.round()
    shown = world.job(job)
    assert shown["state"] == "running"
    assert shown["reason"].startswith("paused: Ray at")
    world.ray.unreachable = False
    world.round(20)
    assert world.job(job)["state"] == "stopping"
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == "paused"


def test_a_pause_takes_none_of_the_attempts(world: Any) -> None:
    job = paused(world, retry={"attempts": 2})
    asked(world, job, "resume")
    for attempt in (2, 3):
        world.round(100)
        assert world.job(job)["state"] == "starting"
        world.tell(job, "started", attempt)
        world.ray.move(f"agon-{job}-{attempt}", RayStatus.FAILED)
        world.round()
    assert (world.job(job)["state"], len(world.ray.starts)) == ("failed", 3)


def test_a_paused_job_survives_a_restart_of_the_api_and_is_resumed_by_the_next_one(world: Any) -> None:
    job = paused(world)
    with TestClient(create_app(world.settings, world.ray, world.registry)) as other:
        other.headers["Authorization"] = world.client.headers["Authorization"]
        assert other.get(f"/v1/jobs/{job}").json()["state"] == "paused"
        assert [item["id"] for item in other.get("/v1/jobs", params={"state": "paused"}).json()["items"]] == [job]
        assert other.post(f"/v1/jobs/{job}/resume").status_code == 202
    world.round()
    assert world.job(job)["attempt"] == 2


def test_a_paused_job_is_in_nobodys_way_and_comes_back_to_its_first_place(world: Any) -> None:
    """4 CPUs. While it is paused nobody waits for it; what waits when it comes back is behind it, as it came later."""
    first = paused(world, resources={"workers": 4})
    second = world.running(resources={"workers": 4})
    third = world.submit(resources={"workers": 4})
    world.round()
    assert world.job(third)["reason"] == "waits for 4 CPUs; 0 of 4 CPUs free"
    asked(world, first, "resume")
    world.round()
    world.tell(second, "finished", outcome="completed")
    world.ray.move(f"agon-{second}-1", RayStatus.SUCCEEDED)
    world.round()
    world.round()
    assert (world.job(first)["state"], world.job(third)["state"]) == ("starting", "queued")


def test_a_submission_that_arrives_after_the_pause_is_stopped_and_not_joined_by_another(world: Any) -> None:
    """The answer was lost, so Ray seemed not to have it; nobody reports of that driver."""
    job = world.submit()

    def no_answer(name: str, _submission: str) -> None:
        if name == "submit":
            raise RayUnreachableError("timed out")

    world.ray.before = no_answer
    world.round()
    asked(world, job, "pause")
    world.round(20)
    world.ray.before = lambda name, submission: None
    assert world.job(job)["state"] == "paused"
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    reconciler = world.reconciler()
    reconciler.sweep()
    assert ("stop", f"agon-{job}-1") not in world.ray.calls, "it has the grace period to end by itself"
    world.clock.forward(world.settings.stop_grace_seconds + 1)
    reconciler.sweep()
    assert ("stop", f"agon-{job}-1") in world.ray.calls


class KilledError(BaseException):
    """The reconciler's process dies here."""


def die(*_args: Any, **_options: Any) -> Any:
    raise KilledError


def killed(world: Any, point: str) -> None:
    """A round of a reconciler that dies: before or after a call of Ray, or before what it did is written down."""
    with pytest.MonkeyPatch.context() as patch:
        if point == "write":
            patch.setattr(actions.Keeper, "_write", die)
        else:
            when, _, name = point.partition(" ")
            patch.setattr(world.ray, when, lambda call, _submission: die() if call == name else None)
        try:
            world.clock.forward(2)
            world.reconciler("dead").round()
        except KilledError:
            return


DEATHS = ["write", "before submit", "after submit", "before stop", "after stop", "after status"]
DRIVER: dict[str, tuple[str, dict[str, Any], RayStatus]] = {
    "begins": ("started", {"total_images": 1000, "workers": 1}, RayStatus.RUNNING),
    "saves": ("finished", {"outcome": "stopped"}, RayStatus.SUCCEEDED),
    "completes": ("finished", {"outcome": "completed"}, RayStatus.SUCCEEDED),
    "fails": ("failed", {"kind": "bad-data", "reason": "x"}, RayStatus.FAILED),
    "loses a worker": ("failed", {"kind": "worker-lost", "reason": "x"}, RayStatus.FAILED),
    "dies": ("", {}, RayStatus.FAILED),
    "ends slowly": ("finished", {"outcome": "stopped"}, RayStatus.RUNNING),
}
WISHES = ["pause", "resume", "cancel", "retry"]
ROUNDS: dict[str, Callable[[Any], None]] = {
    "round": lambda world: world.round(),
    "long round": lambda world: world.round(70),
    "Ray goes": lambda world: setattr(world.ray, "unreachable", True),
    "Ray comes": lambda world: setattr(world.ray, "unreachable", False),
    "Ray forgets": lambda world: world.ray.forget(),
}


def alive(world: Any, run: str) -> list[str]:
    return [name for name, job in world.ray.jobs.items() if name.startswith(f"agon-{run}-") and not job.status.ended]


def history(world: Any, run: str) -> list[State]:
    """Its states, as everyone who follows it was told."""
    of = select(Job.number).where(Job.id == run).scalar_subquery()
    with world.db.read() as session:
        changes = session.scalars(select(JobChange.state).where(JobChange.job_number == of).order_by(JobChange.id))
        return [State(state) for state in changes]


def act(world: Any, run: str, step: str) -> None:
    """One thing that happens."""
    if step in WISHES:
        assert call(world, run, step).status_code in ((202, 409) if step != "retry" or run[0] == "j" else (404, 405))
    elif step in ROUNDS:
        ROUNDS[step](world)
    elif step in DEATHS:
        killed(world, step)
    elif here := alive(world, run):
        name, data, status = DRIVER[step]
        attempt = int(here[0].rpartition("-")[2])
        if name and attempt == shown(world, run)["attempt"]:
            world.tell(run, name, attempt, **data)
        world.ray.move(here[0], status)


def shown(world: Any, run: str) -> dict[str, Any]:
    return dict(world.client.get(f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}").json())


@pytest.mark.parametrize("kind", ["job", "search"])
def test_whatever_happens_in_any_order_a_pause_holds_and_a_resumed_run_goes_on(world: Any, kind: str) -> None:
    happenings = st.sampled_from([*WISHES, "pause", "resume", *ROUNDS, "round", "round", *DRIVER, *DEATHS])

    @examples(5, suppress_health_check=list(HealthCheck))
    @given(st.lists(happenings, max_size=16))
    def holds(steps: list[str]) -> None:
        world.ray.cluster = [Node("node-1", 1e4, 1e4, 0.0, 0.0)]  # room for the examples before this one
        world.ray.unreachable = False
        run = (
            world.submit()
            if kind == "job"
            else str(world.client.post("/v1/searches", json={"search": SEARCH}).json()["id"])
        )
        for step in steps:
            before = shown(world, run)
            starts = len(world.ray.starts)
            act(world, run, step)
            after = shown(world, run)
            assert len(alive(world, run)) <= 1, "no two drivers at the same checkpoints"
            if after["state"] == "paused":
                assert after["desired"] == "pause"
                assert not alive(world, run)
            if before["desired"] != "run" and after["desired"] == "run":
                assert step in ("resume", "retry"), "someone asked for it"
            if before["desired"] == "pause":
                assert len(world.ray.starts) == starts, "a pause holds"
        states = history(world, run)
        for old, new in pairwise(states):
            assert new in TABLE[old].values(), states

        world.ray.unreachable = False
        reply = call(world, run, "pause")
        if reply.status_code == 202:
            for _ in range(6):
                world.round(70)
            resting = shown(world, run)
            assert resting["state"] in ("paused", "succeeded", "failed"), resting
            if resting["state"] == "paused":
                starts = len(world.ray.starts)
                world.round(1000)
                assert len(world.ray.starts) == starts
                assert call(world, run, "resume").status_code == 202
                world.round()
                assert (shown(world, run)["state"], len(world.ray.starts)) == ("starting", starts + 1)
        call(world, run, "cancel")

    holds()

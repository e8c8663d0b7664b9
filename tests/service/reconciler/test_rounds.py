"""Jobs through the reconciler, with a Ray that does what the test says."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from sqlalchemy.exc import DataError

from service.db.tables import Job
from service.gateway.ray_jobs import Node, RayStatus, RayUnreachableError
from service.reconciler.actions import Keeper
from trainer.wire import JobFile


def states(world: Any, job: str) -> list[str]:
    from sqlalchemy import select

    from service.db.tables import Job, JobChange

    with world.db.read() as session:
        rows = session.scalars(
            select(JobChange).join(Job, Job.number == JobChange.job_number).where(Job.id == job).order_by(JobChange.id)
        )
        return [row.state for row in rows]


def test_a_job_goes_from_submission_to_success(world: Any) -> None:
    job = world.running()
    world.tell(job, "progress", metrics={"g_loss": 1.0}, images_per_second=5.0, eta_seconds=3.0)
    world.tell(job, "published", model="demo", version="1", champion=True, verdict="first")
    world.tell(job, "finished", outcome="completed")
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["model"]["version"], shown["failure"]) == ("succeeded", "1", None)
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"]
    assert states(world, job) == ["submitted", "starting", "running", "succeeded"]
    assert world.ray.starts == [f"agon-{job}-1"]


def test_the_driver_gets_a_job_file_that_only_its_owner_reads_and_nothing_secret_passes_through_ray(world: Any) -> None:
    job = world.submit()
    world.round()
    path = world.folder(job) / "job.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = JobFile.model_validate_json(path.read_text())
    assert (content.job_id, content.attempt, content.api_url) == (job, 1, world.settings.api_url)
    assert content.job_dir == str(path.parent)
    assert content.spec.model_dump(mode="json") == world.job(job)["spec"]
    entrypoint = world.ray.entrypoints[f"agon-{job}-1"]
    assert entrypoint == f"{world.settings.driver_python} -m trainer.launch.driver {path}"
    assert content.token is not None
    assert content.token not in entrypoint
    assert [item.name for item in path.parent.iterdir()] == ["job.json"], "no draft is left"


def test_jobs_wait_in_order_and_say_for_what(world: Any) -> None:
    first = world.submit(resources={"workers": 4})
    world.round()
    large = world.submit(resources={"workers": 4})
    small = world.submit(resources={"workers": 1})
    huge = world.submit(resources={"workers": 8})
    world.round()
    assert world.job(first)["state"] == "starting"
    assert [world.job(job)["state"] for job in (large, small, huge)] == ["queued"] * 3
    assert world.job(large)["reason"] == "waits for 4 CPUs; 0 of 4 CPUs free"
    assert "more than the whole cluster has (4 CPUs)" in world.job(huge)["reason"]
    world.tell(first, "finished", outcome="completed")
    world.round()
    assert (world.job(large)["state"], world.job(small)["state"]) == ("queued", "queued")
    world.round()
    assert (world.job(large)["state"], world.job(small)["state"]) == ("starting", "queued")
    world.ray.cluster = [Node("n", 16, 16)]
    world.round()
    assert (world.job(small)["state"], world.job(huge)["state"]) == ("starting", "starting")


def test_a_waiting_job_is_cancelled_at_once_even_while_ray_is_away(world: Any) -> None:
    world.ray.unreachable = True
    job = world.submit()
    world.round()
    assert world.job(job)["state"] == "queued"
    assert "can't be reached" in world.job(job)["reason"]
    assert world.client.post(f"/v1/jobs/{job}/cancel").status_code == 202
    world.round()
    assert world.job(job)["state"] == "cancelled"
    assert world.client.post(f"/v1/jobs/{job}/cancel").status_code == 409
    assert world.ray.starts == []


def test_a_cancelled_job_is_told_to_stop_and_may_end_by_itself(world: Any) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/cancel")
    assert world.tell(job, "progress")["desired"] == "stop"
    world.round()
    assert world.job(job)["state"] == "stopping"
    world.tell(job, "finished", outcome="stopped")
    world.round()
    assert world.job(job)["state"] == "cancelled"
    assert ("stop", f"agon-{job}-1") not in world.ray.calls


def test_a_cancelled_job_that_does_not_listen_is_stopped_by_ray_after_the_grace_period(world: Any) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    world.round(30)
    assert ("stop", f"agon-{job}-1") not in world.ray.calls
    world.round(40)
    assert ("stop", f"agon-{job}-1") in world.ray.calls
    world.round()
    assert world.job(job)["state"] == "cancelled"


def test_a_job_that_completes_while_it_is_being_cancelled_has_succeeded(world: Any) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    world.tell(job, "finished", outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded"


def test_a_lost_attempt_is_tried_again_and_the_last_one_fails_with_a_reason(world: Any) -> None:
    job = world.running()
    world.ray.output[f"agon-{job}-1"] = "line\n" * 50 + "Killed\n"
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED, exit_code=-9)
    world.round()
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("queued", 1)
    assert "Killed" in world.job(job)["reason"]
    world.round(5)
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("starting", 2)
    assert json.loads((world.folder(job) / "job.json").read_text())["attempt"] == 2
    world.ray.move(f"agon-{job}-2", RayStatus.FAILED, message="head lost")
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["failure"]["kind"]) == ("failed", "start-failed")
    assert "attempt 2 of 2" in shown["failure"]["reason"]
    assert world.ray.starts == [f"agon-{job}-1", f"agon-{job}-2"]


@pytest.mark.databases
@pytest.mark.parametrize("written", [True, False])
def test_what_a_dead_driver_printed_is_told_as_a_database_and_a_terminal_may_have_it(world: Any, written: bool) -> None:
    job = world.running(retry={"attempts": 1})
    text = "fine\n\x1b[31mits last\0 words\x1b[0m\n"
    if written:
        (world.folder(job) / "driver-1.log").write_bytes(text.encode() + b"\xff\n")
    else:
        world.ray.output[f"agon-{job}-1"] = text
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED, message="\0\x1b[31mred")
    world.round()
    assert world.job(job)["state"] == "failed"
    told = world.job(job)["failure"]["reason"]
    assert "fine\nits last words" in told
    assert not [char for char in told if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize(
    ("told", "shown"), [(1, 1), (0, 0), (-1, None), (True, None), ("1", None), (4096, None), (None, None)]
)
def test_a_failure_names_the_worker_whose_log_says_more(world: Any, told: object, shown: int | None) -> None:
    job = world.running(retry={"attempts": 1})
    world.tell(job, "failed", kind="worker-lost", reason="worker 1 was lost", rank=told)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    assert (world.job(job)["state"], world.job(job)["failure"]["rank"]) == ("failed", shown)


def test_a_failure_of_the_jobs_own_is_final(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="non-finite", reason="g_loss is NaN at step 7")
    world.round()
    assert world.job(job)["failure"] == {"kind": "non-finite", "reason": "g_loss is NaN at step 7", "rank": None}
    assert world.ray.starts == [f"agon-{job}-1"]


def test_a_retryable_failure_waits_until_the_old_driver_is_gone(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="worker-lost", reason="worker 1 died 4 times")
    world.round()
    assert world.job(job)["state"] == "running"
    world.round()
    assert world.job(job)["state"] == "queued"
    world.round(5)
    assert world.job(job)["attempt"] == 2


def test_while_ray_is_away_jobs_keep_their_state_and_say_so(world: Any) -> None:
    job = world.running()
    world.ray.unreachable = True
    world.round()
    assert world.job(job)["state"] == "running"
    assert "can't be reached" in world.job(job)["reason"]
    world.ray.unreachable = False
    world.round()
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("running", "")


def test_a_job_that_ray_forgot_is_tried_again(world: Any) -> None:
    job = world.running()
    world.ray.forget()
    world.round()
    world.round(5)
    assert (world.job(job)["attempt"], world.ray.starts) == (2, [f"agon-{job}-1", f"agon-{job}-2"])


def test_a_submission_that_ray_refuses_fails_with_rays_words(world: Any) -> None:
    world.ray.refuse = "entrypoint is odd"
    job = world.submit(retry={"attempts": 1})
    world.round()
    assert world.job(job)["failure"] == {
        "kind": "start-failed",
        "reason": "Ray refused the job: entrypoint is odd",
        "rank": None,
    }


def test_what_a_job_could_not_deliver_is_read_from_its_own_log_when_it_has_ended(world: Any) -> None:
    """The API was away while the job finished: the events are in its folder."""
    job = world.running()
    line = {"attempt": 1, "time": "2026-01-01T00:00:00Z", "step": 9, "images": 9}
    events = [
        {**line, "seq": 2, "kind": "progress", "data": {"metrics": {"loss": 2.0}}},
        {
            **line,
            "seq": 3,
            "kind": "published",
            "data": {"model": "m", "version": "4", "champion": False, "verdict": "worse"},
        },
        {**line, "seq": 4, "kind": "finished", "data": {"outcome": "completed"}},
    ]
    text = "".join(json.dumps(item) + "\n" for item in [{**line, "seq": 1, "kind": "started", "data": {}}, *events])
    (world.folder(job) / "events.jsonl").write_text(text + '{"seq": 5, "att')
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["model"]["version"], shown["progress"]["metrics"]) == (
        "succeeded",
        "4",
        {"loss": 2.0},
    )


def test_a_long_outage_costs_no_event_of_a_job_that_ended_meanwhile(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runs.files.MAX_EVENTS", 5)
    job = world.running()
    line = {"attempt": 1, "time": "2026-01-01T00:00:00Z", "step": 9, "images": 9, "data": {}}
    kinds = ["started", *["progress"] * 21]
    events = [{**line, "seq": seq, "kind": kind} for seq, kind in enumerate(kinds, 1)]
    end = {**line, "seq": 23, "kind": "failed", "data": {"kind": "bad-data", "reason": "shard 3 is altered"}}
    (world.folder(job) / "events.jsonl").write_text("".join(json.dumps(item) + "\n" for item in [*events, end]))
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["failure"]["kind"]) == ("failed", "bad-data")


def test_a_job_ends_though_its_log_cannot_be_had(world: Any) -> None:
    job = world.running()

    def no_log(call: str, submission_id: str) -> None:
        if call == "logs":
            raise RayUnreachableError("the agent hangs")

    world.ray.before = no_log
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.ray.move(f"agon-{job}-1", RayStatus.STOPPED)
    world.round()
    assert world.job(job)["state"] == "cancelled"


def test_a_training_job_that_cannot_reach_the_api_is_followed_through_its_log(world: Any) -> None:
    job = world.submit()
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    path = world.folder(job) / "events.jsonl"
    line = {"attempt": 1, "time": "2026-01-01T00:00:00Z", "step": 1, "images": 64}
    path.write_text(json.dumps({**line, "seq": 1, "kind": "started", "data": {}}) + "\n")
    world.round()
    assert world.job(job)["state"] == "running"
    with path.open("a") as file:
        file.write(json.dumps({**line, "seq": 2, "kind": "progress", "data": {"metrics": {"loss": 2.0}}}) + "\n")
    world.round()
    assert world.job(job)["progress"]["metrics"] == {"loss": 2.0}


def test_what_a_job_waits_for_is_its_reason(world: Any) -> None:
    job = world.submit()
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    world.tell(job, "waiting", reason="needs 2 CPUs, 1 is free")
    world.round()
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("starting", "needs 2 CPUs, 1 is free")
    world.tell(job, "started")
    world.round()
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("running", "")


def test_a_late_submission_of_an_ended_job_is_stopped_by_the_sweep_and_other_ray_jobs_are_left_alone(
    world: Any,
) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    for name in (f"agon-{job}-1", "someone-elses", "agon-j-of-another-install-1"):
        world.ray.submit(name, "x", {})
    reconciler = world.reconciler()
    reconciler.sweep()
    assert not [name for call, name in world.ray.calls if call == "stop"], "it may be about to end"
    world.clock.forward(120)
    reconciler.sweep()
    assert [name for call, name in world.ray.calls if call == "stop"] == [f"agon-{job}-1"]


def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, fine = world.submit(), world.submit()
    look = Keeper.look_after

    def refused(self: Keeper, job: Job) -> None:
        if job.id == broken:
            raise DataError("UPDATE jobs", {}, ValueError("out of range"))
        look(self, job)

    monkeypatch.setattr(Keeper, "look_after", refused)
    world.round()
    assert f"agon-{fine}-1" in world.ray.starts
    assert "problem with this job" in world.job(broken)["reason"]


def test_one_broken_job_does_not_hold_up_the_others(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = world.submit()
    (world.settings.jobs_root).mkdir(exist_ok=True)
    (world.settings.jobs_root / broken).write_text("a file where the folder should be")
    fine = world.submit()
    world.round()
    assert world.job(fine)["state"] == "starting"
    assert f"agon-{fine}-1" in world.ray.starts
    assert "problem with this job" in world.job(broken)["reason"]
    (world.settings.jobs_root / broken).unlink()
    world.round()
    assert f"agon-{broken}-1" in world.ray.starts

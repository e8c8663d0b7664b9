"""What a job leaves: one token an attempt, its log, its last events; and what can't change any more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service.db.tables import Job, JobChange, Token
from service.gateway.ray_jobs import RayStatus, RayUnreachableError


def tokens(world: Any, job: str) -> int:
    with world.db.read() as session:
        return session.scalar(select(func.count()).select_from(Token).where(Token.job_id == job)) or 0


def log(world: Any, job: str) -> str:
    reply = world.client.get(f"/v1/jobs/{job}/logs")
    assert reply.status_code == 200, reply.text
    return str(reply.text)


def end(world: Any, job: str, attempt: int = 1) -> None:
    """The driver says its last word; then, a round later, it is gone."""
    world.tell(job, "finished", attempt, outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded"
    world.ray.move(f"agon-{job}-{attempt}", RayStatus.SUCCEEDED)


# -- tokens


def test_an_attempt_has_one_token_and_one_file_however_often_it_is_handed_over(world: Any) -> None:
    away = True

    def no_agent(call: str, _submission: str) -> None:
        if call == "submit" and away:
            raise RayUnreachableError("the job agent is away")

    world.ray.before = no_agent
    job = world.submit()
    world.round()
    file = world.folder(job) / "job.json"
    written = file.stat().st_mtime_ns
    for _ in range(5):
        world.round()
    assert (tokens(world, job), file.stat().st_mtime_ns) == (1, written)
    away = False
    world.round()
    assert world.ray.starts == [f"agon-{job}-1"]
    assert world.tell(job, "started")["desired"] == "run", "the token of the file is the one that is known"


def test_a_file_that_can_not_be_written_leaves_no_token(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    job = world.submit()
    with monkeypatch.context() as patch:
        patch.setattr("service.runs.files.os.fsync", full)
        for _ in range(3):
            world.round()
    assert tokens(world, job) == 0
    assert "No space left" in world.job(job)["reason"]
    world.round()
    assert (tokens(world, job), world.ray.starts) == (1, [f"agon-{job}-1"])


def test_a_new_attempt_has_a_token_of_its_own_and_the_old_one_still_hears_that_it_shall_stop(world: Any) -> None:
    job = world.running()
    old = world.token(job)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    world.round(5)
    assert world.token(job) != old
    assert tokens(world, job) == 2
    reply = world.client.get(f"/v1/jobs/{job}/desired", headers={"Authorization": f"Bearer {old}"})
    assert reply.json()["desired"] == "stop"


def test_a_run_file_of_an_earlier_database_is_written_anew(world: Any) -> None:
    """Its token is not known here: a driver with it would be refused."""
    job = world.submit()
    world.folder(job).mkdir(parents=True)
    (world.folder(job) / "job.json").write_text(json.dumps({"attempt": 1, "token": "agon_" + "x" * 43}))
    world.round()
    assert world.tell(job, "started")["desired"] == "run"


def test_tokens_of_an_ended_job_are_forgotten_after_a_while(world: Any) -> None:
    job = world.running()
    end(world, job)
    world.round()
    world.reconciler().sweep()
    assert tokens(world, job) == 1, "late events are still taken"
    with world.db.begin() as session:
        session.execute(update(Job).values(finished_at=datetime(2026, 1, 1, tzinfo=UTC)))
    world.reconciler().sweep()
    assert tokens(world, job) == 0
    assert world.client.get(f"/v1/jobs/{job}").status_code == 200, "people's tokens stay"


def test_tokens_of_a_paused_job_are_forgotten_after_a_while_and_it_goes_on_with_a_new_one(world: Any) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/pause")
    world.round()
    world.tell(job, "finished", outcome="stopped")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == "paused"
    world.reconciler().sweep()
    assert tokens(world, job) == 1, "late events are still taken"
    with world.db.begin() as session:
        session.execute(update(JobChange).values(time=datetime(2026, 1, 1, tzinfo=UTC)))
    world.reconciler().sweep()
    assert tokens(world, job) == 0
    assert world.client.post(f"/v1/jobs/{job}/resume").status_code == 202
    world.reconciler().sweep()
    world.round()
    assert tokens(world, job) == 1
    assert world.tell(job, "started", 2)["desired"] == "run"


def test_tokens_are_kept_while_the_driver_of_an_ended_job_may_still_run(world: Any) -> None:
    job = world.running()
    world.tell(job, "finished", outcome="completed")
    world.round()
    with world.db.begin() as session:
        session.execute(update(Job).values(finished_at=datetime(2026, 1, 1, tzinfo=UTC)))
    world.round()
    world.reconciler().sweep()
    assert tokens(world, job) == 1


# -- what is over


@pytest.mark.parametrize("ended", [False, True])
def test_what_has_ended_is_not_changed_by_what_is_said_later(world: Any, ended: bool) -> None:
    job = world.running()
    world.tell(job, "progress", metrics={"loss": 1.0})
    world.tell(job, "published", model="demo", version="1", champion=False, verdict="worse")
    world.tell(job, "finished", outcome="completed")
    if ended:
        world.round()
    for late in (
        {"name": "published", "model": "evil", "version": "2", "champion": True, "verdict": "best"},
        {"name": "progress", "metrics": {"loss": 0.0}},
        {"name": "scores", "scores": {"fid": 0.0}},
        {"name": "failed", "kind": "internal", "reason": "no"},
        {"name": "finished", "outcome": "stopped"},
    ):
        assert world.tell(job, late.pop("name"), 1, **late)["desired"] == ("stop" if ended else "run")
    world.round()
    shown = world.job(job)
    assert (shown["state"], shown["model"]["name"], shown["model"]["champion"]) == ("succeeded", "demo", False)
    assert (shown["progress"]["metrics"], shown["progress"]["scores"], shown["failure"]) == ({"loss": 1.0}, {}, None)


def test_a_run_of_mlflow_that_is_told_after_the_failure_is_linked(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="bad-data", reason="shard 3 is altered")
    world.round()
    world.tell(job, "tracked", mlflow_run_id="abc")
    assert (world.job(job)["state"], world.job(job)["mlflow_run_id"]) == ("failed", "abc")
    world.tell(job, "tracked", mlflow_run_id="other")
    assert world.job(job)["mlflow_run_id"] == "abc"


def test_what_a_driver_wrote_down_after_its_last_word_is_read_once_it_is_gone(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="bad-data", reason="shard 3 is altered")
    world.round()
    line = {"seq": 3, "attempt": 1, "time": "2026-01-01T00:00:00Z", "step": 9, "images": 9}
    (world.folder(job) / "events.jsonl").write_text(
        json.dumps({**line, "kind": "tracked", "data": {"mlflow_run_id": "abc"}}) + "\n"
    )
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    assert world.job(job)["mlflow_run_id"] == "abc"


def test_after_a_restart_progress_shows_nothing_of_the_attempt_before(world: Any) -> None:
    job = world.running()
    world.tell(job, "progress", metrics={"loss": 1.0}, images_per_second=5.0, eta_seconds=100.0)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    assert world.job(job)["progress"]["metrics"] == {"loss": 1.0}, "between attempts it says how far it was"
    world.round(5)
    assert (world.job(job)["state"], world.job(job)["progress"]) == ("starting", None)
    world.tell(job, "started", 2, total_images=1000)
    world.round()
    progress = world.job(job)["progress"]
    assert (progress["total_images"], progress["metrics"]) == (1000, {})
    assert (progress["images_per_second"], progress["eta_seconds"]) == (None, None)


# -- logs


@pytest.mark.parametrize(
    "last",
    [
        ("finished", {"outcome": "completed"}),
        ("failed", {"kind": "non-finite", "reason": "NaN"}),
        ("finished", {"outcome": "stopped"}),
    ],
)
def test_the_log_of_a_job_that_told_its_own_end_outlives_ray(world: Any, last: tuple[str, dict[str, str]]) -> None:
    job = world.running()
    world.tell(job, last[0], 1, **last[1])
    world.round()
    assert world.job(job)["state"] in ("succeeded", "failed", "cancelled")
    world.ray.output[f"agon-{job}-1"] = "to the very end\n"
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    world.ray.forget()
    assert log(world, job) == "to the very end\n"
    assert (world.folder(job) / "driver-1.log").read_text() == "to the very end\n"
    calls = len(world.ray.calls)
    world.round()
    assert not [call for call, _ in world.ray.calls[calls:] if call in ("status", "logs")], "and nobody asks again"


def test_each_attempt_keeps_its_log(world: Any) -> None:
    job = world.running()
    world.ray.output[f"agon-{job}-1"] = "the first\n"
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    world.round(5)
    world.ray.output[f"agon-{job}-2"] = "the second\n"
    world.ray.move(f"agon-{job}-2", RayStatus.RUNNING)
    world.tell(job, "started", 2)
    end(world, job, 2)
    world.round()
    assert [path.read_text() for path in sorted(world.folder(job).glob("driver-*.log"))] == [
        "the first\n",
        "the second\n",
    ]


def test_a_log_that_can_not_be_had_at_the_end_is_asked_for_again(world: Any) -> None:
    job = world.running()
    away = True

    def no_log(call: str, _submission: str) -> None:
        if call == "logs" and away:
            raise RayUnreachableError("the agent hangs")

    world.ray.before = no_log
    world.ray.output[f"agon-{job}-1"] = "all of it\n"
    end(world, job)
    world.round()
    assert not list(world.folder(job).glob("driver-*")), "not an empty file"
    away = False
    world.round()
    assert (world.folder(job) / "driver-1.log").read_text() == "all of it\n"


@pytest.mark.long
@pytest.mark.parametrize("linkless", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("status", [RayStatus.FAILED, RayStatus.STOPPED, RayStatus.SUCCEEDED])
def test_the_log_that_the_driver_writes_itself_is_never_overwritten_by_rays(
    world: Any, monkeypatch: pytest.MonkeyPatch, status: RayStatus, late: bool, linkless: bool
) -> None:
    """Late: Ray takes a driver for gone that is not, and begins to write while Ray is asked for its log."""
    job = world.running(retry={"attempts": 1})
    path = world.folder(job) / "driver-1.log"

    def begins(call: str, _submission: str) -> None:
        if call == "logs":
            path.write_text("its own\n")

    def unsupported(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    if late:
        world.ray.before = begins
    else:
        path.write_text("its own\n")
    if linkless:
        monkeypatch.setattr("service.runs.files.os.link", unsupported)
    world.ray.output[f"agon-{job}-1"] = f"the log goes on in {path}\n"
    world.ray.move(f"agon-{job}-1", status)
    world.round()
    world.round()
    assert path.read_text() == "its own\n"
    assert log(world, job) == "its own\n"
    assert not list(world.folder(job).glob(".driver*")), "no draft is left"


def test_while_ray_is_away_an_ended_job_is_kept_in_mind(world: Any) -> None:
    job = world.running()
    end(world, job)
    world.ray.unreachable = True
    for _ in range(3):
        world.round(15)
    world.ray.unreachable = False
    world.ray.output[f"agon-{job}-1"] = "still here\n"
    world.round(15)
    assert Path(world.folder(job) / "driver-1.log").read_text() == "still here\n"


def test_a_job_that_never_reached_ray_is_done_with_at_once(world: Any) -> None:
    job = world.submit(resources={"workers": 8})
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    calls = len(world.ray.calls)
    world.round()
    assert (world.job(job)["state"], [call for call, _ in world.ray.calls[calls:]]) == ("cancelled", [])

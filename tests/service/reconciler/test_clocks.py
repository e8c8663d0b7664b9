"""Clocks that are set back or forward: nothing stands still for as long as the jump, and nobody's grace is cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.db.times import database_time
from service.gateway.ray_jobs import RayStatus
from service.reconciler.clock import SteadyClock
from service.reconciler.displacing import departed
from service.reconciler.loop import Reconciler

HOUR = 3600.0


class Machine:
    """A machine's two clocks: people set the one, and nobody the other."""

    def __init__(self) -> None:
        self.wall, self.elapsed = datetime.now(UTC), 1000.0

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.wall, self.elapsed = self.wall + timedelta(seconds=seconds), self.elapsed + seconds

    def step(self, seconds: float) -> None:
        """Set the clock."""
        self.wall += timedelta(seconds=seconds)

    def started(self, world: Any) -> Reconciler:
        """A reconciler whose process starts now."""
        clock = SteadyClock(self.wall, lambda: self.elapsed)
        return Reconciler(world.db, world.ray, world.settings, "r", clock=clock)


def test_a_steady_clock_begins_at_a_given_time_and_counts_what_passes() -> None:
    machine = Machine()
    clock, began = SteadyClock(machine.wall, lambda: machine.elapsed), machine.wall
    machine.forward(5)
    machine.step(-HOUR)
    assert clock() == began + timedelta(seconds=5)


def test_the_databases_time_is_the_time(world: Any) -> None:
    assert abs(database_time(world.db) - datetime.now(UTC)) < timedelta(seconds=60)


def test_who_left_before_the_clock_was_set_does_not_count_as_leaving_for_as_long_as_the_step(world: Any) -> None:
    job = world.running()
    world.tell(job, "finished", outcome="completed")
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round(1)
    assert world.job(job)["state"] == "succeeded"
    with world.db.read() as session:
        assert len(departed(session, world.clock())) == 1, "Ray may still show it"
        for step in (-HOUR, HOUR):
            assert departed(session, world.clock() + timedelta(seconds=step)) == []


@pytest.mark.parametrize("step", [-HOUR, -40.0, HOUR])
def test_after_a_step_of_the_clock_a_dead_driver_is_noticed_by_who_runs_and_by_who_starts_then(
    world: Any, step: float
) -> None:
    job = world.running(retry={"attempts": 3})
    world.clock.forward(step)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round(61 if step == -40.0 else 2)
    assert world.job(job)["state"] == "queued", "a pause that lies further ahead than any is over"
    world.clock.forward(step)
    world.round(61 if step == -40.0 else 5)
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("starting", 2)


def test_a_job_submitted_before_the_clock_was_set_back_starts_at_once(world: Any) -> None:
    job = world.submit()
    world.clock.forward(-HOUR)
    world.round()
    assert world.job(job)["state"] == "starting"


def test_a_lease_from_before_the_clock_was_set_back_ends(world: Any) -> None:
    job, die = world.submit(), world.reconciler("dead")
    die.keeper.look_after = lambda job: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        die.round()
    world.clock.forward(-HOUR)
    world.round()
    assert world.ray.starts == [f"agon-{job}-1"]


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR])
def test_the_grace_of_a_cancelled_job_is_as_long_as_ever(world: Any, step: float) -> None:
    job, machine = world.running(), Machine()
    reconciler = machine.started(world)
    world.client.post(f"/v1/jobs/{job}/cancel")
    reconciler.round()
    machine.step(step)
    for _ in range(11):
        machine.forward(5)
        reconciler.round()
    assert ("stop", f"agon-{job}-1") not in world.ray.calls, "55 of 60 seconds"
    machine.forward(10)
    reconciler.round()
    assert ("stop", f"agon-{job}-1") in world.ray.calls


def test_the_grace_of_a_cancelled_job_ends_though_the_clock_was_set_back_and_the_reconciler_restarted(
    world: Any,
) -> None:
    job = world.running()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    world.clock.forward(-HOUR)
    for _ in range(6):
        world.round(15)
    assert ("stop", f"agon-{job}-1") in world.ray.calls


def test_a_worker_whose_clock_is_ahead_is_followed_through_its_log(world: Any) -> None:
    import json

    job = world.submit()
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    line = {"seq": 1, "attempt": 1, "time": ahead, "kind": "started", "step": 0, "images": 0, "data": {}}
    (world.folder(job) / "events.jsonl").write_text(json.dumps(line) + "\n")
    world.round()
    assert world.job(job)["state"] == "running"

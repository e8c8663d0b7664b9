"""A reconciler is held up for longer than its lease, at any of its writes and calls, and goes on when others have gone on."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from processes import Process

from service.gateway.ray_jobs import RayStatus
from trainer.wire import JobFile

pytestmark = pytest.mark.databases


def process(world: Any, name: str) -> Process:
    return Process(world.db, world.ray, world.settings, name, world.clock)


@pytest.mark.long
def test_the_driver_of_the_next_attempt_finds_its_own_file(world: Any) -> None:
    """Attempt 1 is lost and attempt 2 begins, while the one that starts attempt 1 is held up."""
    for point in count():
        job, slow = world.submit(), process(world, f"slow-{point}")
        slow.hold(point)
        if slow.held_since is None:
            assert point > 5, "it had no more than so many"
            return
        world.clock.forward(world.settings.lease_seconds + 1)
        world.round()
        world.round()
        world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
        for _ in range(3):
            world.round(5)
        slow.go_on()
        shown = world.job(job)
        assert (shown["attempt"], shown["state"]) == (2, "starting")
        assert JobFile.model_validate_json((world.folder(job) / "job.json").read_text()).attempt == 2
        assert world.tell(job, "started", 2)["desired"] == "run"
        world.tell(job, "finished", 2, outcome="completed")
        world.ray.move(f"agon-{job}-2", RayStatus.SUCCEEDED)
        world.round()

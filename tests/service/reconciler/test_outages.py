"""A Ray that is away, a Ray whose parts are, and a Ray that answers with errors of its own."""

from __future__ import annotations

from typing import Any

import pytest

from service.gateway.ray_jobs import RayAwayError, RayStatus, RayUnreachableError
from service.reconciler.decide import TRIES

WORDS = "UnicodeEncodeError: 'ascii' codec can't encode '\\xf6'"


def submissions(world: Any) -> list[str]:
    return [name for call, name in world.ray.calls if call == "submit"]


def rounds(world: Any, seconds: int) -> None:
    """So long, looking each second."""
    for _ in range(seconds):
        world.round(1.0)


def test_an_error_that_ray_repeats_is_told_and_ends_the_attempt_then_the_job(world: Any) -> None:
    """Each round is a reconciler of its own, as after a restart or as one of several."""
    world.ray.fail = WORDS
    job = world.submit()
    world.round()
    assert world.job(job)["state"] == "starting"
    assert WORDS in world.job(job)["reason"]
    assert f"1 of {TRIES} tries" in world.job(job)["reason"]
    rounds(world, 60)
    assert 3 < len(submissions(world)) < 8, "with pauses that grow"
    assert world.job(job)["state"] == "starting", "it might have passed"
    rounds(world, 150)
    assert submissions(world).count(f"agon-{job}-1") == TRIES
    assert world.job(job)["attempt"] == 2
    rounds(world, 250)
    shown = world.job(job)
    assert (shown["state"], shown["failure"]["kind"]) == ("failed", "start-failed")
    assert WORDS in shown["failure"]["reason"]
    assert "attempt 2 of 2" in shown["failure"]["reason"]
    assert len(submissions(world)) == 2 * TRIES


def test_an_error_of_rays_that_passes_costs_no_attempt(world: Any) -> None:
    world.ray.fail = WORDS
    job = world.submit()
    rounds(world, 20)
    world.ray.fail = ""
    rounds(world, 40)
    shown = world.job(job)
    assert (shown["state"], shown["attempt"], world.ray.starts) == ("starting", 1, [f"agon-{job}-1"])
    assert "error of its own" not in shown["reason"]


def test_a_job_is_cancelled_at_once_while_ray_answers_with_errors(world: Any) -> None:
    world.ray.fail = WORDS
    job = world.submit()
    rounds(world, 30)
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round(0.0)
    assert world.job(job)["state"] == "cancelled"


@pytest.mark.parametrize("flapping", [False, True])
def test_an_outage_is_waited_out_however_long_it_lasts(world: Any, flapping: bool) -> None:
    """Nobody there, or a head whose job agent comes and goes."""
    away = True

    def no_agent(call: str, _submission: str) -> None:
        if call == "submit" and away:
            raise RayUnreachableError("Ray answered 500: Request failed with status code 503")

    world.ray.before = no_agent if flapping else world.ray.before
    world.ray.unreachable = not flapping
    job = world.submit()
    for _ in range(5 * TRIES):
        world.round(60)
    assert world.job(job)["state"] == ("starting" if flapping else "queued")
    assert ("status code 503" if flapping else "can't be reached") in world.job(job)["reason"]
    away = world.ray.unreachable = False
    world.round()
    assert (world.job(job)["attempt"], world.ray.starts) == (1, [f"agon-{job}-1"])


def test_an_outage_is_met_once_a_round_not_once_a_job(world: Any) -> None:
    jobs = [world.running() for _ in range(4)]
    waiting = world.submit()
    world.ray.unreachable, reconciler = True, world.reconciler()
    world.ray.calls.clear()
    for count in (1, 2):
        world.clock.forward(15)
        reconciler.round()
        assert len(world.ray.calls) == count
    assert all("can't be reached" in world.job(job)["reason"] for job in (*jobs, waiting))
    world.ray.unreachable = False
    world.clock.forward(15)
    reconciler.round()
    assert [world.job(job)["reason"] for job in jobs] == [""] * 4


def test_a_call_left_without_an_answer_is_not_waited_for_again_by_the_next_job_and_others_are_made(world: Any) -> None:
    """A head that waits for its job agent longer than we do still tells states."""
    running = world.running()
    jobs = [world.submit() for _ in range(3)]

    def slow(call: str, _submission: str) -> None:
        if call == "submit":
            raise RayAwayError("Ray can't be reached (timed out)", nobody=False)

    world.ray.before = slow
    world.ray.move(f"agon-{running}-1", RayStatus.FAILED)
    world.ray.calls.clear()
    world.round()
    assert len(submissions(world)) == 1
    assert [world.job(job)["state"] for job in jobs] == ["starting"] * 3
    assert world.job(running)["state"] == "queued"


def test_an_error_about_one_job_keeps_no_other_from_being_asked_for(world: Any) -> None:
    jobs = [world.running() for _ in range(3)]

    def odd(call: str, submission: str) -> None:
        if call == "status" and jobs[0] in submission:
            raise RayUnreachableError("Ray answered 500: KeyError")

    world.ray.before = odd
    for job in jobs:
        world.ray.move(f"agon-{job}-1", RayStatus.STOPPED)
    world.round()
    assert [world.job(job)["state"] for job in jobs] == ["running", "cancelled", "cancelled"]

"""Crashes, races and two reconcilers at once: nothing is lost and nothing starts twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.gateway.ray_jobs import RayStatus, RayUnreachableError
from service.reconciler import actions, loop, store

pytestmark = pytest.mark.databases


class KilledError(BaseException):
    """The process dies here: no handler of the code under test may catch it."""


CRASHES = [
    "after admission",
    "before the token",
    "before job.json",
    "after job.json",
    "before the call",
    "after the call",
    "before the commit",
]


def crash(world: Any, patch: pytest.MonkeyPatch, point: str) -> None:
    def die(*_args: Any, **_options: Any) -> Any:
        raise KilledError

    def die_in(call: str) -> Any:
        return lambda name, _submission: die() if name == call else None

    match point:
        case "after admission":
            patch.setattr(loop.Reconciler, "_look_after", die)
        case "before the token":
            patch.setattr(actions.tokens, "add", die)
        case "before job.json":
            patch.setattr(Path, "replace", die)
        case "after job.json":
            original = Path.replace
            patch.setattr(Path, "replace", lambda *args: die(original(*args)))
        case "before the call":
            patch.setattr(world.ray, "before", die_in("submit"))
        case "after the call":
            patch.setattr(world.ray, "after", die_in("submit"))
        case "before the commit":
            patch.setattr(actions.Keeper, "_write", die)


@pytest.mark.parametrize("point", CRASHES)
def test_a_reconciler_that_dies_at_any_point_of_a_submission_is_followed_by_one_that_starts_exactly_one_driver(
    world: Any, point: str
) -> None:
    job = world.submit()
    with pytest.MonkeyPatch.context() as patch:
        crash(world, patch, point)
        with pytest.raises(KilledError):
            world.reconciler("dead").round()
    world.clock.forward(5)
    world.reconciler("early").round()
    assert len(world.ray.starts) <= 1, "the dead one's lease still holds"
    world.round(60)
    world.round()
    shown = world.job(job)
    assert (world.ray.starts, shown["state"], shown["attempt"]) == ([f"agon-{job}-1"], "starting", 1)
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    world.tell(job, "started")
    world.tell(job, "finished", outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded", "the driver's token is valid whoever wrote it"


@pytest.mark.parametrize("point", CRASHES)
def test_a_job_cancelled_after_a_crash_leaves_nothing_running(world: Any, point: str) -> None:
    job = world.submit()
    with pytest.MonkeyPatch.context() as patch:
        crash(world, patch, point)
        with pytest.raises(KilledError):
            world.reconciler("dead").round()
    world.client.post(f"/v1/jobs/{job}/cancel")
    for _ in range(4):
        world.round(60)
    assert world.job(job)["state"] == "cancelled"
    assert all(item.status.ended for item in world.ray.jobs.values())


def test_a_call_whose_answer_is_lost_is_not_repeated_as_a_second_job(world: Any) -> None:
    def lose(call: str, _submission: str) -> None:
        if call == "submit":
            raise RayUnreachableError("timed out")

    job = world.submit()
    world.ray.after = lose
    world.round()
    assert "handed over" in world.job(job)["reason"]
    world.round()
    assert world.ray.starts == [f"agon-{job}-1"]
    assert world.job(job)["state"] == "starting"


def test_a_reconciler_that_lost_its_lease_while_it_waited_for_ray_writes_nothing(world: Any) -> None:
    """The slow one is inside a call to Ray when its lease runs out and another one moves the job on."""
    job = world.running()
    slow = world.reconciler("slow")
    overtaken = False

    def overtake(call: str, _submission: str) -> None:
        nonlocal overtaken
        if call == "status" and not overtaken:
            overtaken = True
            world.clock.forward(world.settings.lease_seconds + 1)
            world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
            world.reconciler("fast").round()
            assert world.job(job)["state"] == "queued"
            world.clock.forward(5)
            world.reconciler("fast").round()
            assert world.job(job)["attempt"] == 2

    world.ray.after = overtake
    world.clock.forward(2)
    slow.round()
    assert overtaken
    assert (world.job(job)["state"], world.job(job)["attempt"]) == ("starting", 2)
    assert world.ray.starts == [f"agon-{job}-1", f"agon-{job}-2"]


def test_a_report_that_comes_while_ray_is_asked_is_not_overlooked(world: Any) -> None:
    """Ray says FAILED, and between that and the decision the job says that it completed."""
    job = world.running()
    told = False

    def tell(call: str, _submission: str) -> None:
        nonlocal told
        if call == "logs" and not told:
            told = True
            world.tell(job, "finished", outcome="completed")

    world.ray.before = tell
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    world.round()
    assert told
    assert world.job(job)["state"] == "succeeded"


def test_a_cancellation_that_comes_while_the_job_is_admitted_is_not_overlooked(world: Any) -> None:
    job = world.submit()

    def cancel(call: str, _submission: str) -> None:
        if call == "submit":
            world.client.post(f"/v1/jobs/{job}/cancel")

    world.ray.before = cancel
    world.round()
    for _ in range(3):
        world.round()
    assert world.job(job)["state"] == "cancelled"
    assert all(item.status.ended for item in world.ray.jobs.values())


def test_many_reconcilers_at_once_start_each_job_once_and_never_exceed_the_cluster(world: Any) -> None:
    jobs = [world.submit() for _ in range(12)]
    started = threading.Barrier(4)

    def work(name: str) -> None:
        reconciler = world.reconciler(name)
        started.wait()
        for _ in range(6):
            reconciler.round()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, f"r{index}") for index in range(4)]:
            done.result()
    assert sorted(world.ray.starts) == sorted(f"agon-{job}-1" for job in jobs[:4])
    assert [world.job(job)["state"] for job in jobs] == ["starting"] * 4 + ["queued"] * 8


def test_a_lease_has_one_owner_at_a_time(world: Any) -> None:
    job = world.running()
    number = store.due(world.db, world.clock() + timedelta(seconds=5), timedelta(seconds=30), 10)[0]
    now, lease = world.clock() + timedelta(seconds=5), timedelta(seconds=30)
    with ThreadPoolExecutor(8) as pool:
        won = [
            item for item in pool.map(lambda n: store.claim(world.db, number, f"r{n}", now, lease), range(8)) if item
        ]
    assert len(won) == 1
    assert store.claim(world.db, number, "late", now + timedelta(seconds=29), lease) is None
    second = store.claim(world.db, number, "late", now + timedelta(seconds=31), lease)
    assert second is not None
    assert second.fence == won[0].fence + 1
    with pytest.raises(store.LostLeaseError), store.owned(world.db, won[0], as_decided=False):
        pass
    assert world.job(job)["state"] == "running"


def test_a_restarted_api_knows_every_job_and_the_running_one_never_noticed(world: Any, settings: Any) -> None:
    from fastapi.testclient import TestClient

    from service.app import create_app

    job, queued = world.running(), world.submit(resources={"workers": 4})
    world.round()

    def shown() -> list[dict[str, Any]]:
        """But for the forecast, which goes by the time."""
        return [{**world.job(item), "waiting": None} for item in (job, queued)]

    before = shown()
    with TestClient(create_app(settings, world.ray)) as fresh:
        fresh.headers.update(world.client.headers)
        world.client = fresh
        assert shown() == before
        world.tell(job, "finished", outcome="completed")
        world.round()
        world.round()
        assert [world.job(item)["state"] for item in (job, queued)] == ["succeeded", "starting"]
        world.tell(queued, "started")

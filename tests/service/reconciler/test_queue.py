"""The queue's rounds: what they hold up (nothing), what they look at (what changed), and whose decision counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select

from service.db.tables import Job, JobChange
from service.gateway.ray_jobs import Node, RayStatus
from service.reconciler import queue
from service.runs import standing
from service.runs.queue import Line, Verdict
from service.runs.room import Need

pytestmark = pytest.mark.databases


def cpus(count: int) -> dict[str, int]:
    """Of a job that takes so many."""
    return {"workers": 1, "cpus_per_worker": count}


class Watched(Line):
    """Counts whom it decides of, and does something else meanwhile."""

    seen: list[Need]
    meanwhile: Callable[[], object]

    def next(self, mine: Need) -> Verdict:
        self.seen.append(mine)
        Watched.meanwhile, meanwhile = (lambda: None), Watched.meanwhile
        meanwhile()
        return super().next(mine)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """Whom rounds decide of, from now on; and what happens in the middle of the next decision."""
    Watched.seen, Watched.meanwhile = [], lambda: None
    monkeypatch.setattr(standing, "Line", Watched)
    return Watched


@contextmanager
def writes(world: Any) -> Iterator[list[str]]:
    """Statements that change jobs."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(("UPDATE jobs", "INSERT INTO job")):
            found.append(statement)

    event.listen(world.db.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(world.db.engine, "before_cursor_execute", note)


def test_while_a_round_decides_events_submissions_and_cancellations_go_through(world: Any, decided: Any) -> None:
    job = world.running()
    waiting = world.submit(resources=cpus(4))
    others: list[str] = []

    def meanwhile() -> None:
        assert world.tell(job, "progress", metrics={"loss": 1.0})["desired"] == "run"
        others.append(world.submit())
        assert world.client.post(f"/v1/jobs/{waiting}/cancel").status_code == 202

    decided.meanwhile = meanwhile
    world.round()
    assert world.job(job)["progress"]["metrics"] == {"loss": 1.0}
    world.round()
    assert (world.job(waiting)["state"], world.job(others[0])["state"]) == ("cancelled", "starting")


def test_a_job_cancelled_while_it_is_chosen_does_not_start(world: Any, decided: Any) -> None:
    job = world.submit()
    decided.meanwhile = lambda: world.client.post(f"/v1/jobs/{job}/cancel")
    reconciler = world.reconciler()
    reconciler.round()
    assert reconciler.queue.unfinished, "what was kept for it is free again"
    reconciler.round()
    assert (world.job(job)["state"], world.ray.starts) == ("cancelled", [])


def test_a_decision_that_another_reconciler_overtook_starts_nothing(world: Any, decided: Any) -> None:
    """Both see four free CPUs; the slow one chose before it knew of the other's starts."""
    first, second = world.submit(resources=cpus(4)), world.submit(resources=cpus(3))
    slow, fast = world.reconciler("slow"), world.reconciler("fast")
    decided.meanwhile = fast.round
    slow.round()
    assert world.ray.starts == [f"agon-{first}-1"]
    assert slow.queue.unfinished
    slow.round()
    assert (world.job(first)["state"], world.job(second)["state"]) == ("starting", "queued")
    assert world.ray.starts == [f"agon-{first}-1"]


def test_a_reason_is_not_written_over_what_happened_to_the_job_meanwhile(world: Any, decided: Any) -> None:
    job = world.submit(resources=cpus(8))
    decided.meanwhile = lambda: (world.client.post(f"/v1/jobs/{job}/cancel"), world.reconciler("other").round())
    world.round()
    assert (world.job(job)["state"], world.job(job)["reason"]) == ("cancelled", "cancelled before it started")


def test_a_round_decides_of_those_alone_that_came_since_and_writes_only_what_differs(world: Any, decided: Any) -> None:
    world.ray.cluster = [Node("n", 4, 0)]
    jobs = [world.submit(resources=cpus(count)) for count in (1, 2, 3)]
    reconciler = world.reconciler()
    reconciler.round()
    assert [need.cpus for need in decided.seen] == [1, 2, 3]
    decided.seen.clear()
    with writes(world) as written:
        reconciler.round()
        assert decided.seen == []
        assert written == []
        jobs.append(world.submit(resources=cpus(4)))
        written.clear()
        reconciler.round()
        assert [need.cpus for need in decided.seen] == [4]
        assert len(written) == 3, "its state, its reason and the note of the change"
    assert [world.job(job)["state"] for job in jobs] == ["queued"] * 4


@pytest.mark.parametrize("change", ["nodes", "ended", "cancelled"])
def test_a_change_of_the_cluster_or_of_those_before_decides_anew(world: Any, decided: Any, change: str) -> None:
    running = world.running(resources=cpus(4))
    jobs = [world.submit(resources=cpus(count)) for count in (4, 3)]
    reconciler = world.reconciler()
    reconciler.round()
    decided.seen.clear()
    if change == "nodes":
        world.ray.cluster = [Node("n", 4, 0), Node("m", 4, 4)]
    elif change == "ended":
        world.tell(running, "finished", outcome="completed")
        world.clock.forward(2)
        reconciler.round()
    else:
        world.client.post(f"/v1/jobs/{jobs[0]}/cancel")
    reconciler.round()
    assert decided.seen
    assert world.job(jobs[0])["state"] == ("cancelled" if change == "cancelled" else "starting")


def test_a_round_that_failed_halfway_is_made_good_by_the_next(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, reconciler = world.submit(resources=cpus(9)), world.reconciler()
    with monkeypatch.context() as patch:
        patch.setattr(queue.rows, "explain", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reconciler.round()
    reconciler.round()
    assert world.job(job)["state"] == "queued"
    assert "more than the whole cluster" in world.job(job)["reason"]


def test_more_jobs_than_one_round_starts_start_in_the_next_ones_in_order(world: Any) -> None:
    world.ray.cluster = [Node("n", 64, 64)]
    jobs = [world.submit() for _ in range(queue.MAX_STARTS + 2)]
    reconciler = world.reconciler()
    reconciler.round()
    assert (len(world.ray.starts), reconciler.queue.unfinished) == (queue.MAX_STARTS, True)
    reconciler.round()
    assert world.ray.starts == [f"agon-{job}-1" for job in jobs]


def test_each_job_that_begins_to_wait_is_noted_once(world: Any) -> None:
    world.ray.cluster = [Node("n", 4, 0)]
    for _ in range(3):
        world.submit()
    for _ in range(3):
        world.round()
    with world.db.read() as session:
        changes = session.execute(select(JobChange.job_number, JobChange.state)).all()
        lacks = session.scalars(select(Job.lacks)).all()
    assert sorted(changes) == sorted((number, state) for number in (1, 2, 3) for state in ("submitted", "queued"))
    assert lacks == ["cpu"] * 3


def test_who_comes_back_into_the_line_or_starts_elsewhere_is_noticed_within_a_second(world: Any, decided: Any) -> None:
    """A round that only a submission rang for doesn't count thousands; the next one that it is time for does."""
    first = world.running(resources=cpus(4))
    jobs = [world.submit(resources=cpus(4)) for _ in range(2)]
    reconciler = world.reconciler()
    reconciler.round()
    world.ray.move(f"agon-{first}-1", RayStatus.FAILED)
    world.clock.forward(2)
    world.reconciler("another").round()
    decided.seen.clear()
    world.clock.forward(2)
    reconciler.round()
    assert [need.cpus for need in decided.seen][:2] == [4, 4]
    assert world.job(first)["attempt"] == 2, "it has its old place in the line"
    assert [world.job(job)["state"] for job in jobs] == ["queued", "queued"]

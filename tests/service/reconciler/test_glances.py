"""Jobs that go on as they are: looked at together, by nobody who owns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, update

from service.db.tables import Job
from service.gateway.ray_jobs import RayStatus
from service.reconciler import loop, store

FEW = {"resources": {"workers": 1, "cpus_per_worker": 0.1}}


def rows(world: Any) -> list[Job]:
    with world.db.read() as session:
        return list(session.scalars(select(Job).order_by(Job.number)))


@pytest.mark.databases
def test_jobs_that_go_on_as_they_are_are_looked_at_without_an_owner_and_their_time_is_counted(world: Any) -> None:
    for _ in range(3):
        world.running(**FEW)
    world.round()
    before = rows(world)
    world.round(2.0)
    for was, is_ in zip(before, rows(world), strict=True):
        assert is_.fence == was.fence
        assert is_.lease_owner is None
        assert is_.due_at > was.due_at
        assert is_.run_seconds == pytest.approx(was.run_seconds + 2.0, abs=0.5)


def test_the_others_are_owned_and_looked_after(world: Any) -> None:
    stays, ends = world.running(**FEW), world.running(**FEW)
    world.round()
    fences = [row.fence for row in rows(world)]
    world.ray.move(f"agon-{ends}-1", RayStatus.FAILED, message="gone")
    world.round()
    of_one, of_other = (row.fence for row in rows(world))
    assert of_one == fences[0]
    assert of_other > fences[1]
    assert (world.job(stays)["state"], world.job(ends)["state"]) == ("running", "queued")


@pytest.mark.databases
@pytest.mark.parametrize("change", [{"revision": Job.revision + 1}, {"fence": Job.fence + 1}])
def test_what_changed_since_it_was_read_is_not_written_over(
    world: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    world.running(**FEW)
    world.round()
    (job,) = rows(world)
    read = store.read

    def late(db: Any, numbers: Sequence[int]) -> Any:
        found = read(db, numbers)
        with db.begin() as session:
            session.execute(update(Job).values(change))
        return found

    monkeypatch.setattr(store, "read", late)
    world.clock.forward(2.0)
    assert world.reconciler().glance.at([job.number], world.reconciler().lease) == (set(), [])
    assert rows(world)[0].due_at == job.due_at


def test_what_another_owns_is_left_to_it(world: Any) -> None:
    world.running(**FEW)
    world.round()
    world.clock.forward(2.0)
    (job,) = rows(world)
    one, other = world.reconciler("one"), world.reconciler("other")
    assert store.claim(world.db, job.number, "one", world.clock(), one.lease) is not None
    assert other.glance.at([job.number], other.lease) == (set(), [])
    assert rows(world)[0].lease_owner == "one"


def test_while_more_is_due_than_a_round_looks_at_the_next_one_follows_at_once(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BATCH", 2)
    for _ in range(5):
        world.running(**FEW)
    world.clock.forward(5.0)
    reconciler = world.reconciler()
    behind = []
    for _ in range(3):
        reconciler.round()
        behind.append(reconciler._behind)
    assert behind == [True, True, False]

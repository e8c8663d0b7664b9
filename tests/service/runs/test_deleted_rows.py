"""All that hangs on a run goes with it, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
import rows
from checkpoints import save
from sqlalchemy import func, select

from service.db.tables import Base, Job
from service.gateway.ray_jobs import RayStatus

KEPT = ("alembic_version", "locks", "tokens", "deleted_usage", "owner_hours", "sights", "audit")
"""Tables that hold something else, too."""


@pytest.mark.databases
def test_all_of_a_run_goes_and_nothing_of_another(world: Any) -> None:
    job = world.running(labels={"team": "vision"})
    world.tell(job, "scores", scores={"fid": 1.0})
    save(world.folder(job), 500)
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.ray.move(f"agon-{job}-1", RayStatus.STOPPED)
    for _ in range(3):
        world.round()
    search = rows.run(world.db, "search", "cancelled")
    rows.trial(world.db, search, 3, (500, 1.0))
    other = world.submit(name="another", labels={"team": "vision"})
    before = counts(world, job, search)
    assert before["trials"] == 1
    assert min(before[name] for name in ("job_events", "job_changes", "job_labels", "job_scores")) > 0
    for path in (f"/v1/jobs/{job}", f"/v1/searches/{search}"):
        assert world.client.delete(path).status_code == 204
        assert world.client.get(path).status_code == 404
        assert world.client.delete(path).status_code == 404
    assert list(world.settings.jobs_root.iterdir()) == []
    assert world.job(other)["state"] == "submitted"
    left = counts(world, job, search)
    assert {name: count for name, count in left.items() if count and name not in KEPT} == {
        "jobs": 1, "job_changes": 1, "job_labels": 1, "tape": 1,
    }  # fmt: skip


@pytest.mark.databases
def test_the_number_of_what_is_deleted_is_never_given_again(world: Any) -> None:
    """A lease, a follower and the queue know a run by it."""
    numbers = []
    for _ in range(3):
        job = world.submit()
        with world.db.read() as session:
            numbers.append(session.scalar(select(Job.number).where(Job.id == job)))
        world.client.post(f"/v1/jobs/{job}/cancel")
        world.round()
        assert world.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert numbers == sorted(set(numbers))


def counts(world: Any, *runs: str) -> dict[str, int]:
    """Rows of each table."""
    with world.db.read() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
        }

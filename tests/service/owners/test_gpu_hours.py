"""GPU-hours a week: counted by the hour, of deleted runs, too; who has used them starts no more runs with GPUs until some come free."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from service.db.session import Database
from service.db.tables import OwnerHours
from service.gateway.ray_jobs import Node, RayStatus
from service.runs import hours

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WITH_GPU = {"resources": {"workers": 1, "gpus_per_worker": 1}}
DAY = 24 * 3600.0


def token(world: Any, name: str) -> dict[str, str]:
    """Headers of a new token."""
    return {"Authorization": f"Bearer {world.client.post('/v1/tokens', json={'name': name}).json()['token']}"}


def cap(world: Any, owner: str, **caps: float) -> None:
    assert world.client.put(f"/v1/owners/{owner}/caps", json=caps).status_code == 200


def week(world: Any, headers: dict[str, str]) -> float:
    return float(world.client.get("/v1/owners/me", headers=headers).json()["use"]["gpu_hours_week"])


def used(world: Any, owner: str, gpu_hours: float, days_ago: float = 0.0) -> int:
    """Have an owner have used so much, in the middle of that hour, which is returned."""
    hour = hours.hour_of(world.clock() - timedelta(days=days_ago))
    with world.db.begin() as session:
        hours.add(session, owner, datetime.fromtimestamp(3600 * hour + 1830, UTC), 60.0, 0.0, 60 * gpu_hours)
    return hour


def gpus(world: Any, count: int = 4) -> None:
    world.ray.cluster = [Node("n", 8, 8, count, count)]


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.floats(0, 1e6))
def test_every_second_is_in_the_hour_in_which_it_was(until: datetime, seconds: float) -> None:
    end = until.replace(tzinfo=UTC)
    found = hours.spread(end, seconds)
    assert sum(found.values()) == pytest.approx(seconds, abs=1e-5)
    assert all(0 < part <= 3600 for part in found.values())
    assert list(found) == sorted(found)
    if seconds > 1:
        assert list(found) == list(range(hours.hour_of(end - timedelta(seconds=seconds)), max(found) + 1))
        assert max(found) * 3600 <= end.timestamp() <= max(found) * 3600 + 3600


@given(st.dictionaries(st.integers(1000, 1167), st.integers(1, 20), min_size=1), st.integers(1, 100))
def test_hours_come_free_when_enough_of_them_are_a_week_old_and_not_before(used: dict[int, int], most: int) -> None:
    found = hours.free_at(sorted((hour, float(amount)) for hour, amount in used.items()), most)
    assert found is not None
    now = hours.hour_of(found)

    def left(at: int) -> int:
        return sum(amount for hour, amount in used.items() if hour > at - hours.WEEK)

    assert left(now) < most
    assert now == min(used) + hours.WEEK or left(now - 1) >= most


@pytest.mark.databases
def test_what_a_run_uses_is_its_owners_by_the_hour_and_stays_when_it_is_deleted(world: Any) -> None:
    gpus(world)
    ada = token(world, "ada")
    job = world.submit(headers=ada, **WITH_GPU)
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    world.tell(job, "started", total_images=1000, workers=1)
    for _ in range(3):
        world.round(3600)
    assert 3.0 <= week(world, ada) < 3.1
    assert 3600 * week(world, ada) == pytest.approx(world.job(job)["usage"]["accelerator_seconds"], abs=1e-3)
    with world.db.read() as session:
        owner, rows = session.execute(select(func.min(OwnerHours.owner), func.count())).one()
    assert (owner, rows in (3, 4, 5)) == ("ada", True)
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.STOPPED)
    world.round()
    world.round()
    before = week(world, ada)
    assert world.client.delete(f"/v1/jobs/{job}").status_code in (202, 204)
    assert week(world, ada) == before > 3.0


@pytest.mark.databases
def test_who_has_used_the_hours_of_a_week_waits_with_the_reason_until_some_come_free(world: Any) -> None:
    gpus(world)
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "ada", gpu_hours_week=10)
    hour = used(world, "ada", 6.0, days_ago=6)
    first = world.submit(headers=ada, **WITH_GPU)
    world.round()
    assert world.job(first)["state"] == "starting", "6 of 10 are used"
    used(world, "ada", 5.0)
    second, other = world.submit(headers=ada, **WITH_GPU), world.submit(headers=bob, **WITH_GPU)
    without = world.submit(headers=ada, resources={"workers": 1})
    reconciler = world.reconciler()
    for _ in range(2):
        world.clock.forward(2)
        reconciler.round()
    assert [world.job(job)["state"] for job in (first, second, other, without)] == [
        "starting", "queued", "starting", "starting",
    ]  # fmt: skip
    shown = world.job(second)
    when = datetime.fromtimestamp((hour + 7 * 24) * 3600, UTC)
    assert shown["reason"].endswith(
        "ada may use 10 GPU-hours a week, and has used 11 in the last seven days; "
        f"the next come free at {when:%Y-%m-%d %H:%M} UTC"
    )
    assert (shown["waiting"]["for"], shown["waiting"]["position"]) == ("cap", None)
    early = datetime.fromisoformat(shown["waiting"]["eta"]["early"])
    assert abs(early - when) < timedelta(seconds=2 + world.clock.ahead.total_seconds())
    assert shown["waiting"]["eta"]["late"] is None, "the first goes on, and uses up what comes free"
    world.ray.move(f"agon-{first}-1", RayStatus.FAILED)
    world.round(1.1 * DAY)
    world.round()
    assert world.job(second)["state"] == "starting", "the six hours are a week old"


def test_the_cap_of_everyone_counts_each_owner_alone_and_none_at_all_means_none(world: Any) -> None:
    gpus(world)
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "*", gpu_hours_week=0.5)
    used(world, "ada", 0.6)
    held, starts = world.submit(headers=ada, **WITH_GPU), world.submit(headers=bob, **WITH_GPU)
    world.round()
    assert [world.job(job)["state"] for job in (held, starts)] == ["queued", "starting"]
    cap(world, "*", gpu_hours_week=0)
    new = world.submit(headers=token(world, "cy"), **WITH_GPU)
    world.round()
    assert world.job(new)["reason"].endswith("cy may use 0 GPU-hours a week, and has used 0 in the last seven days")
    assert world.job(new)["waiting"]["eta"] is None
    assert world.client.delete("/v1/owners/*/caps").status_code == 204
    world.round()
    assert [world.job(job)["state"] for job in (held, new)] == ["starting", "starting"]


def test_what_nobody_asks_for_any_more_is_forgotten(db: Database) -> None:
    with db.begin() as session:
        for days in (0, 55, 57):
            hours.add(session, "ada", NOON - timedelta(days=days), 60.0, 1.0, 1.0)
    hours.forget(db, NOON)
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(OwnerHours)) == 2

"""Accounting: every hour is counted once, also of runs that are gone, by whom it concerns, and in money if there are prices."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from service.db.tables import Job

pytestmark = pytest.mark.databases


def token(world: Any, name: str) -> dict[str, str]:
    """Headers of a new token."""
    return {"Authorization": f"Bearer {world.client.post('/v1/tokens', json={'name': name}).json()['token']}"}


def used(world: Any, job: str, gpu: float, cpu: float = 0.0, **columns: Any) -> None:
    """Have a run have used so many hours."""
    hours = {
        "accelerator_seconds": 3600 * gpu,
        "cpu_seconds": 3600 * cpu,
        "run_seconds": 3600.0,
        "queue_seconds": 1800.0,
    }
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(**hours, **columns))


def submit(world: Any, headers: dict[str, str], recipe: str = "dcgan-digits") -> str:
    return str(world.client.post("/v1/jobs", json={"recipe": recipe}, headers=headers).json()["id"])


def usage(world: Any, headers: dict[str, str] | None = None, **params: Any) -> Any:
    reply = world.client.get("/v1/usage", params=params, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_hours_are_added_up_by_what_is_asked_for_the_largest_first(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    first, second, third = submit(world, ada), submit(world, ada, "gan-digits"), submit(world, bob)
    for job, hours in ((first, 1.0), (second, 2.0), (third, 2.5)):
        used(world, job, hours, cpu=10 * hours)
    found = usage(world)
    assert [(item["name"], item["runs"], item["gpu_hours"], item["cpu_hours"]) for item in found["items"]] == [
        ("ada", 2, 3.0, 30.0), ("bob", 1, 2.5, 25.0),
    ]  # fmt: skip
    assert found["total"] == {
        "name": "total", "runs": 3, "queue_hours": 1.5, "run_hours": 3.0, "cpu_hours": 55.0, "gpu_hours": 5.5, "cost": None,
        "planned_runs": 0, "planned_cpu_hours": None, "planned_gpu_hours": None,
    }  # fmt: skip
    assert [item["name"] for item in usage(world, by="family")["items"]] == ["dcgan", "gan"]
    assert [item["name"] for item in usage(world, by="run", owner="ada")["items"]] == [second, first]
    short = usage(world, by="run", limit=1)
    assert ([item["name"] for item in short["items"]], short["total"]["gpu_hours"]) == ([third], 5.5)


def test_users_see_their_own_and_administrators_all(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    used(world, submit(world, ada), 1.0)
    used(world, submit(world, bob), 2.0)
    assert [item["name"] for item in usage(world, ada)["items"]] == ["ada"]
    assert usage(world, ada, by="kind")["total"]["gpu_hours"] == 1.0
    assert world.client.get("/v1/usage?owner=bob", headers=ada).status_code == 403
    assert usage(world, owner="bob")["total"]["gpu_hours"] == 2.0


def test_what_was_deleted_stays_in_the_accounts(world: Any) -> None:
    ada = token(world, "ada")
    jobs = [submit(world, ada) for _ in range(2)]
    for job in jobs:
        world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    for job in jobs:
        used(world, job, 3.0)
        assert world.client.delete(f"/v1/jobs/{job}").status_code in (200, 202, 204)
    kept = submit(world, ada)
    used(world, kept, 1.0)
    (of_ada,) = usage(world)["items"]
    assert (of_ada["name"], of_ada["runs"], of_ada["gpu_hours"]) == ("ada", 3, 7.0)
    assert [(item["name"], item["gpu_hours"]) for item in usage(world, by="run")["items"]] == [
        ("(deleted)", 6.0),
        (kept, 1.0),
    ]
    assert usage(world, by="family")["items"][0]["gpu_hours"] == 7.0


def test_a_lineage_is_the_run_all_that_it_goes_back_to_and_all_that_goes_back_to_it(world: Any) -> None:
    ada = token(world, "ada")
    root, child, grandchild, sibling, stranger = (submit(world, ada) for _ in range(5))
    for job, parent in ((root, None), (child, root), (grandchild, child), (sibling, root), (stranger, None)):
        used(world, job, 1.0, parent=parent)

    def of(job: str) -> set[str]:
        return {item["name"] for item in usage(world, by="run", lineage=job)["items"]}

    assert of(child) == {root, child, grandchild}
    assert of(root) == {root, child, grandchild, sibling}
    assert of(grandchild) == {root, child, grandchild}
    assert usage(world, lineage="j-000000000000")["items"] == []
    used(world, root, 1.0, parent=grandchild)  # no run goes back to itself, but if it did
    assert of(child) == {root, child, grandchild, sibling}


def test_prices_make_money_of_hours(world: Any) -> None:
    job = submit(world, token(world, "ada"))
    used(world, job, 2.0, cpu=10.0)
    for name, value in (("price_gpu_hour", 2.5), ("price_cpu_hour", 0.05), ("currency", "EUR")):
        object.__setattr__(world.settings, name, value)
    found = usage(world)
    assert found["prices"] == {"gpu_hour": 2.5, "cpu_hour": 0.05, "currency": "EUR"}
    assert found["items"][0]["cost"] == found["total"]["cost"] == pytest.approx(5.5)


def test_since_takes_a_time_with_its_zone(world: Any) -> None:
    used(world, submit(world, token(world, "ada")), 1.0)
    assert usage(world, since="2000-01-01T00:00:00Z")["total"]["runs"] == 1
    assert usage(world, since="2100-01-01T00:00:00+02:00")["total"]["runs"] == 0
    for wrong in ("2026-01-01T00:00:00", "yesterday"):
        assert world.client.get("/v1/usage", params={"since": wrong}).status_code == 422


def test_what_was_planned_stands_beside_what_was_used_of_so_many_runs_as_it_is_known_of_and_outlives_them(
    world: Any,
) -> None:
    ada = token(world, "ada")
    resources = {"workers": 2, "cpus_per_worker": 1, "gpus_per_worker": 1}

    def job(**limits: Any) -> dict[str, Any]:
        reply = world.client.post(
            "/v1/jobs", json={"recipe": "dcgan-digits", "set": {"resources": resources, "limits": limits}}, headers=ada
        )
        return dict(reply.json())

    first, second = job(run="2h"), job()
    assert (first["usage"]["planned_cpu_seconds"], first["usage"]["planned_by"]) == (2 * 7200, "limit")
    assert (second["usage"]["planned_cpu_seconds"], second["usage"]["planned_by"]) == (None, "")
    (found,) = usage(world)["items"]
    assert (found["runs"], found["planned_runs"]) == (2, 1)
    assert (found["planned_cpu_hours"], found["planned_gpu_hours"]) == (4.0, 4.0)
    edited = world.client.patch(f"/v1/jobs/{second['id']}", json={"set": {"limits.run": "30m"}}, headers=ada).json()
    assert edited["usage"]["planned_accelerator_seconds"] == 2 * 1800
    world.client.post(f"/v1/jobs/{first['id']}/cancel")
    world.round()
    assert world.client.delete(f"/v1/jobs/{first['id']}").status_code in (202, 204)
    (kept,) = usage(world)["items"]
    assert (kept["planned_runs"], kept["planned_cpu_hours"], kept["planned_gpu_hours"]) == (2, 5.0, 5.0)
    assert usage(world, by="run", lineage=second["id"])["total"]["planned_gpu_hours"] == 1.0


def test_runs_like_it_say_what_a_run_will_use(world: Any) -> None:
    job = world.submit()
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(state="succeeded", run_seconds=500.0))
    like = world.job(world.submit())["usage"]
    assert (like["planned_cpu_seconds"], like["planned_by"]) == (pytest.approx(500.0), "runs"), "as many images"

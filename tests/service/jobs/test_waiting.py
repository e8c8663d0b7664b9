"""Why a job isn't running, as a structure with a forecast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from service.client import Job as Shown
from service.db.tables import Job
from service.gateway.ray_jobs import Node, RayStatus
from service.runs.telling import LAG
from service.runs.waiting import briefly, fully, near
from trainer.search import parse_search


def taking(cpus: int, workers: int = 1, priority: int = 50, **resources: Any) -> dict[str, Any]:
    return {
        "resources": {"workers": workers, "cpus_per_worker": cpus, **resources},
        "queue": {"priority": priority},
        "train": {"images": 1000, "batch": 64},
    }


def busy(world: Any, eta: float | None = 600.0, cpus: int = 4) -> str:
    """A job that trains on so many of 4 CPUs, and says when it ends."""
    job = str(world.running(**taking(cpus)))
    if eta is not None:
        world.tell(job, "progress", total_images=1000, images_per_second=1.0, eta_seconds=eta)
    world.ray.cluster = [Node("n", 4, 4 - cpus)]
    return job


def waiting(world: Any, run: str) -> dict[str, Any]:
    kind = "searches" if run.startswith("s-") else "jobs"
    found = world.client.get(f"/v1/{kind}/{run}").json()["waiting"]
    assert found is not None
    return dict(found)


def seconds(moment: str | None) -> float:
    """From now."""
    assert moment is not None
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


@pytest.mark.databases
def test_one_that_waits_says_for_what_behind_whom_and_when_it_starts(world: Any) -> None:
    first = busy(world, eta=600)
    second, third = world.submit(**taking(4)), world.submit(**taking(2))
    world.round()
    shown = waiting(world, second)
    assert (shown["for"], shown["position"], shown["ahead"]) == ("cpu", 1, [])
    assert shown["needs"] == {"workers": 1, "cpus": 4.0, "gpus": 0.0}
    assert shown["free"] == {"cpus": 0.0, "gpus": 0.0}
    assert 0.85 * 600 < seconds(shown["eta"]["early"]) < 600 < seconds(shown["eta"]["late"]) < 1.3 * 600 + 60 + LAG
    assert shown["eta"]["sure"] == "told"
    shown = waiting(world, third)
    assert (shown["for"], shown["position"], shown["ahead"]) == ("cpu", 2, [second])
    assert shown["eta"]["late"] is None, "nobody knows how long the second takes"
    assert shown["eta"]["sure"] == "open"
    assert world.job(first)["waiting"] is None


def test_what_like_jobs_took_says_how_long_one_takes_that_says_nothing(world: Any) -> None:
    for _ in range(3):
        done = world.running(**taking(4))
        world.tell(done, "finished", outcome="completed")
        world.ray.move(f"agon-{done}-1", RayStatus.SUCCEEDED)
        world.round()
        with world.db.begin() as session:
            session.execute(update(Job).where(Job.id == done).values(run_seconds=500.0))
    busy(world, eta=None)
    last = world.submit(**taking(4))
    world.round()
    shown = waiting(world, last)
    assert shown["eta"]["sure"] == "likely"
    assert 300 < seconds(shown["eta"]["early"]) < 500 < seconds(shown["eta"]["late"]) < 800


@pytest.mark.databases
def test_those_of_a_higher_priority_are_expected_to_come_as_they_did_within_the_last_day(world: Any) -> None:
    """One came 23:55 hours ago and took 2,000 seconds: it may come again in five minutes, and would be ahead."""
    urgent = world.running(**taking(4, priority=80))
    world.tell(urgent, "finished", outcome="completed")
    world.ray.move(f"agon-{urgent}-1", RayStatus.SUCCEEDED)
    world.round()
    yesterday = datetime.now(UTC) - timedelta(hours=23, minutes=55)
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == urgent).values(run_seconds=2000.0, created_at=yesterday))
    busy(world, eta=600)
    low, high = world.submit(**taking(4)), world.submit(**taking(4, priority=90))
    world.round()
    assert seconds(waiting(world, high)["eta"]["late"]) < 1.2 * 600 + 60 + LAG, "it would be behind this one"
    world.client.post(f"/v1/jobs/{high}/cancel")
    world.round()
    shown = waiting(world, low)["eta"]
    assert (seconds(shown["early"]) < 600, shown["sure"]) == (True, "likely")
    assert 2000 + 1.2 * 600 < seconds(shown["late"]) < 2000 + 1.2 * 600 + 60 + LAG + 30


def test_a_limit_of_what_runs_says_when_it_ends_at_the_latest(world: Any) -> None:
    job = world.running(**taking(4), limits={"run": "1h"})
    world.ray.cluster = [Node("n", 4, 0)]
    last = world.submit(**taking(4))
    world.round()
    shown = waiting(world, last)
    assert 3000 < seconds(shown["eta"]["late"]) < 4000
    assert job


def test_with_fewer_workers_it_would_start_at_once_or_sooner(world: Any) -> None:
    busy(world, eta=600, cpus=2)
    mine = world.submit(**taking(1, workers=4))
    world.round()
    shown = waiting(world, mine)
    (cheaper,) = shown["cheaper"]
    assert cheaper["change"] == {"resources.workers": 2}
    assert seconds(cheaper["starts"]["late"]) < 1 + LAG
    reply = world.client.patch(f"/v1/jobs/{mine}", json={"set": cheaper["change"]})
    assert reply.status_code == 200
    world.round()
    assert world.job(mine)["state"] == "starting", "and so it does"


def test_an_elastic_job_is_told_a_lower_minimum_and_a_search_fewer_workers_of_a_trial(world: Any) -> None:
    busy(world, eta=600, cpus=3)
    mine = world.submit(**taking(1, workers=4, min_workers=2))
    base = {"recipe": "dcgan-digits", "set": {"resources.workers": 4, "queue.priority": 99}}
    search = {"base": base, "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}
    run = world.client.post("/v1/searches", json={"search": search}).json()["id"]
    world.round()
    assert parse_search(search).base.data.lanes % 4 == 0
    (cheaper,) = waiting(world, run)["cheaper"]
    assert cheaper["change"] == {"base.resources.workers": 1}
    assert waiting(world, mine)["ahead"] == [run]
    world.client.post(f"/v1/searches/{run}/cancel")
    world.round()
    (cheaper,) = waiting(world, mine)["cheaper"]
    assert cheaper["change"] == {"resources.min_workers": 1}


def test_one_that_no_node_holds_stands_beside_the_line(world: Any) -> None:
    large, small = world.submit(**taking(8)), world.submit(**taking(4))
    world.round()
    shown = waiting(world, large)
    assert (shown["for"], shown["position"], shown["ahead"], shown["eta"]) == ("nodes", None, [], None)
    assert world.job(small)["state"] == "starting"


def test_one_between_two_attempts_says_so_and_starts_no_sooner_than_its_pause_is_over(world: Any) -> None:
    job = world.running(**taking(4))
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.clock.ahead = timedelta(seconds=20)
    world.reconciler().round()
    shown = waiting(world, job)
    assert shown["for"] == "try"
    assert seconds(shown["eta"]["early"]) > 15


def test_one_that_others_make_room_for_says_so(world: Any) -> None:
    low = world.running(**{**taking(4), "queue": {"priority": 0, "preemptible": True}})
    world.ray.cluster = [Node("n", 4, 0)]
    other, high = world.submit(**taking(4)), world.submit(**taking(4, priority=99))
    reconciler = world.reconciler()
    for _ in range(2):
        world.clock.forward(6)
        reconciler.round()
    shown = waiting(world, high)
    assert (shown["for"], shown["position"]) == ("room", 1)
    assert seconds(shown["eta"]["late"]) < 100
    assert waiting(world, other)["position"] == 2
    assert world.job(low)["waiting"] is None


def test_one_whose_owner_has_enough_waits_for_that(world: Any) -> None:
    assert world.client.put("/v1/owners/admin/caps", json={"running": 1}).status_code == 200
    busy(world, eta=100, cpus=1)
    first, second = world.submit(**taking(1)), world.submit(**taking(1))
    world.round()
    for job in (first, second):
        shown = waiting(world, job)
        assert (shown["for"], shown["position"]) == ("cap", None)
    assert 90 <= seconds(waiting(world, first)["eta"]["early"]) + 1 < 121
    listed = {job["id"]: job["waiting"] for job in world.client.get("/v1/jobs").json()["items"]}
    assert listed[second]["for"] == "cap"


def test_while_ray_is_away_it_waits_for_the_cluster_and_nothing_is_foretold(world: Any) -> None:
    world.ray.unreachable = True
    job = world.submit(**taking(4))
    world.round()
    shown = waiting(world, job)
    assert (shown["for"], shown["free"], shown["eta"]) == ("cluster", None, None)


@pytest.mark.databases
def test_a_list_has_the_positions_and_answers_to_changes_too(world: Any) -> None:
    busy(world)
    jobs = [world.submit(**taking(1, priority=priority)) for priority in (10, 30, 20)]
    world.round()
    listed = {job["id"]: job["waiting"] for job in world.client.get("/v1/jobs").json()["items"]}
    assert [listed[job]["position"] for job in jobs] == [3, 1, 2]
    assert all(listed[job]["for"] in ("cpu", "turn") and listed[job]["eta"] is None for job in jobs)
    reply = world.client.patch(f"/v1/jobs/{jobs[0]}", json={"set": {"queue.priority": 40}}).json()
    assert reply["waiting"]["position"] == 1
    assert world.client.post(f"/v1/jobs/{jobs[1]}/pause").json()["waiting"] is None, "it shall not run"
    world.round()
    assert world.job(jobs[1])["waiting"] is None
    assert world.client.post(f"/v1/jobs/{jobs[1]}/resume").json()["waiting"]["position"] == 2


def test_a_forecast_reads_no_more_of_a_long_line_than_stands_ahead_and_says_nothing_of_what_is_far_off(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runs.telling.AHEAD", 2)
    monkeypatch.setattr("service.runs.waiting.AHEAD", 2)
    busy(world)
    jobs = [world.submit(**taking(4)) for _ in range(4)]
    world.round()
    shown = waiting(world, jobs[3])
    assert (shown["position"], shown["ahead"], shown["eta"]) == (4, jobs[:3], None)
    assert waiting(world, jobs[2])["eta"]["sure"] == "open"


def test_a_forecast_is_what_the_queue_then_does(world: Any) -> None:
    """The one that runs ends when it says; whoever is foretold to be next is."""
    first = busy(world, eta=60, cpus=4)
    jobs = [world.submit(**taking(cpus)) for cpus in (4, 2, 2)]
    world.round()
    with world.db.read() as session:
        rows = {job.id: job for job in session.query(Job)}
        told = {job: fully(session, rows[job], datetime.now(UTC)) for job in jobs}
    early = [told[job].eta.early for job in jobs]
    assert early[0] <= early[1] <= early[2]
    world.tell(first, "finished", outcome="completed")
    world.ray.move(f"agon-{first}-1", RayStatus.SUCCEEDED)
    world.ray.cluster = [Node("n", 4, 4)]
    world.round()
    world.round()
    assert [world.job(job)["state"] for job in jobs] == ["starting", "queued", "queued"]


def test_the_client_reads_it(world: Any) -> None:
    busy(world)
    job = world.submit(**taking(4))
    world.round()
    shown = Shown.model_validate(world.job(job))
    assert shown.waiting is not None
    assert shown.waiting.for_ == "cpu"
    assert shown.model_dump(mode="json")["waiting"]["for"] == "cpu"
    newer = {**world.job(job), "waiting": {**world.job(job)["waiting"], "for": "moon", "tide": 1}}
    assert Shown.model_validate(newer).waiting.for_ == "moon", "an older client keeps what is new"


def test_a_list_tells_of_the_first_in_line_what_each_tells_itself(world: Any) -> None:
    busy(world, eta=600, cpus=2)
    ids = [world.submit(**taking(2, workers=2)), world.submit(**taking(4)), world.submit(**taking(4))]
    world.round()
    now = datetime.now(UTC)
    with world.db.read() as session:
        jobs = [session.scalars(select(Job).where(Job.id == one)).one() for one in reversed(ids)]
        told = near(session, jobs, now, most=2, cheaper=True)
        third, second, first = (told[job.number] for job in jobs)
        assert (first, second) == (fully(session, jobs[2], now), fully(session, jobs[1], now))
        assert second.eta is not None and first.cheaper
        assert third == briefly(session, jobs, now)[jobs[0].number] and third.position == 3
        assert near(session, jobs, now, most=2)[jobs[2].number] == first.model_copy(update={"cheaper": ()})


@pytest.mark.databases
def test_a_forecast_tells_what_the_submission_is_told_then_and_submits_nothing(world: Any) -> None:
    busy(world, eta=600)
    world.submit(**taking(4))
    world.round()
    spec = world.client.get(f"/v1/jobs/{world.submit()}").json()["spec"]
    world.client.post(f"/v1/jobs/{world.client.get('/v1/jobs').json()['items'][0]['id']}/cancel")
    world.round()
    for resources in (taking(4), taking(2), taking(4, priority=90), taking(64)):
        body, runs = {"spec": {**spec, **resources}}, len(world.client.get("/v1/jobs").json()["items"])
        reply = world.client.post("/v1/forecast", json=body)
        assert reply.status_code == 200, reply.text
        assert len(world.client.get("/v1/jobs").json()["items"]) == runs
        job = world.client.post("/v1/jobs", json=body).json()["id"]
        world.round()
        told, shown = reply.json(), waiting(world, job)
        assert {name: told[name] for name in ("for", "needs", "free", "position", "ahead", "delay")} == {
            name: shown[name] for name in ("for", "needs", "free", "position", "ahead", "delay")
        }
        assert [each["change"] for each in told["cheaper"]] == [each["change"] for each in shown["cheaper"]]
        if shown["eta"] is None:
            assert told["eta"] is None
        else:
            assert told["eta"]["sure"] == shown["eta"]["sure"]
            assert abs(seconds(told["eta"]["early"]) - seconds(shown["eta"]["early"])) < 60
        world.client.post(f"/v1/jobs/{job}/cancel")
        world.round()
    wrong = world.client.post("/v1/forecast", json={"recipe": "dcgan-digits", "set": {"train.batch": 0}})
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["path"] == "train.batch"

"""Room is made for one that waits: a pause by the system, that loses nothing and ends by itself."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from service.db.tables import Job, JobChange
from service.gateway.ray_jobs import Node, RayStatus
from service.reconciler import displacing
from service.reconciler.loop import Reconciler
from trainer.wire import JobFile


def taking(cpus: int, priority: int, *, preemptible: bool = False, **sections: Any) -> dict[str, Any]:
    """Sections of a job that takes so many CPUs."""
    return {
        "resources": {"workers": 1, "cpus_per_worker": cpus},
        "queue": {"priority": priority, "preemptible": preemptible},
        **sections,
    }


def use(world: Any, free: float) -> None:
    """Ray reports so many of 4 CPUs free."""
    world.ray.cluster = [Node("n", 4, free)]


def begin(world: Any, **sections: Any) -> str:
    """A job that trains, on a cluster that others have the rest of."""
    job = str(world.running(**sections))
    use(world, 0)
    return job


def saved(world: Any, job: str, attempt: int = 1) -> None:
    """The driver says that it has stopped, and is gone."""
    world.tell(job, "finished", attempt, outcome="stopped")
    world.ray.move(f"agon-{job}-{attempt}", RayStatus.SUCCEEDED)
    use(world, 4)


def look(world: Any, reconciler: Reconciler, seconds: float = 6.0) -> None:
    world.clock.forward(seconds)
    reconciler.round()


def asked(world: Any, job: str, verb: str) -> Any:
    return world.client.post(f"/v1/jobs/{job}/{verb}")


@pytest.mark.databases
def test_a_lower_one_makes_room_is_told_for_whom_and_goes_on_by_itself(world: Any) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    high = world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    phrase = f"paused for {high}, which has priority 80"
    shown = world.job(low)
    assert (shown["state"], shown["desired"]) == ("stopping", "run")
    assert shown["reason"] == f"{phrase}: saves a checkpoint and ends"
    assert world.tell(low, "progress")["desired"] == "stop"
    look(world, reconciler)
    assert world.job(high)["reason"] == f"waits for 4 CPUs; {low} makes room for it"
    saved(world, low)
    look(world, reconciler)
    look(world, reconciler)
    assert world.ray.starts == [f"agon-{low}-1", f"agon-{high}-1"]
    assert world.job(low)["reason"].startswith(f"{phrase}; waits for 4 CPUs")
    world.tell(high, "finished", outcome="completed")
    world.ray.move(f"agon-{high}-1", RayStatus.SUCCEEDED)
    look(world, reconciler)
    look(world, reconciler)
    assert world.ray.starts[2:] == [f"agon-{low}-2"]
    assert JobFile.model_validate_json((world.folder(low) / "job.json").read_text()).attempt == 2
    assert world.tell(low, "started", 2)["desired"] == "run"
    with world.db.read() as session:
        row = session.scalars(select(Job).where(Job.id == low)).one()
        states = session.scalars(
            select(JobChange.state).where(JobChange.job_number == row.number).order_by(JobChange.id)
        ).all()
    assert (row.yields, row.yields_to) == (1, None)
    assert states == ["submitted", "starting", "running", "stopping", "queued", "starting"], "at no time is it paused"


def test_nobody_makes_room_for_one_of_the_same_priority_or_without_having_said_so(world: Any) -> None:
    jobs = [world.running(**taking(2, 20)), world.running(**taking(2, 50, preemptible=True))]
    use(world, 0)
    world.submit(**taking(2, 50))
    reconciler = world.reconciler()
    for _ in range(3):
        look(world, reconciler)
    assert [world.job(job)["state"] for job in jobs] == ["running", "running"]


def test_only_so_many_make_room_as_are_needed_the_lowest_and_newest_first(world: Any) -> None:
    use(world, 4)
    jobs = [
        world.running(**taking(1, priority, preemptible=True, name=f"p{priority}")) for priority in (10, 30, 10, 20)
    ]
    use(world, 0)
    world.submit(**taking(2, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    look(world, reconciler)
    states = [world.job(job)["state"] for job in jobs]
    assert states == ["stopping", "running", "stopping", "running"]


def test_who_made_room_does_not_take_it_back_though_it_came_days_before(world: Any) -> None:
    """Its place is ahead in the line. What it left is for the one that it made room for, and it waits for its turn."""
    low = begin(world, **taking(4, 20, preemptible=True))
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == low).values(place=Job.place - 100 * 3600 * 10**6))
    high = world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    saved(world, low)
    for _ in range(4):
        look(world, reconciler)
    assert world.ray.starts == [f"agon-{low}-1", f"agon-{high}-1"]
    assert world.job(high)["state"] == "starting", "and the other doesn't have it paused"


def test_what_is_freed_is_for_the_one_that_room_was_made_for_and_not_for_others_that_are_ahead(world: Any) -> None:
    low = begin(world, **taking(4, 60, preemptible=True))
    old, high = world.submit(**taking(4, 50)), world.submit(**taking(4, 80))
    with world.db.begin() as session:
        session.execute(update(Job).where(Job.id == old).values(place=Job.place - 50 * 3600 * 10**6))
    reconciler = world.reconciler()
    look(world, reconciler)
    assert "makes room" not in world.job(old)["reason"]
    saved(world, low)
    look(world, reconciler)
    look(world, reconciler)
    assert world.ray.starts == [f"agon-{low}-1", f"agon-{high}-1"]


@pytest.mark.long
@pytest.mark.parametrize("when", ["before it stops", "while it saves", "in the queue"])
@pytest.mark.parametrize(
    ("verbs", "state"),
    [
        (["pause"], "paused"), (["cancel"], "cancelled"), (["resume"], "queued"), (["pause", "resume"], "queued"),
    ],
)  # fmt: skip
def test_what_people_want_of_one_that_makes_room_comes_first(
    world: Any, when: str, verbs: list[str], state: str
) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    high = world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    if when == "before it stops":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reconciler, "_look_after", lambda job: None)
            look(world, reconciler)
        assert world.job(low)["state"] == "running"
        world.clock.forward(world.settings.lease_seconds)
    else:
        look(world, reconciler)
        assert world.job(low)["state"] == "stopping"
    if when == "in the queue":
        saved(world, low)
        use(world, 0)
        look(world, reconciler)
        assert world.job(low)["state"] == "queued"
    for verb in verbs:
        assert asked(world, low, verb).status_code == 202, verb
    look(world, reconciler)
    if when != "in the queue":
        saved(world, low)
    for _ in range(3):
        look(world, reconciler)
    shown = world.job(low)
    assert shown["state"] == state
    assert shown["finished_at"] is None or state == "cancelled"
    if when != "in the queue":
        assert f"agon-{high}-1" in world.ray.starts, "whatever becomes of it, the room is for the other"
    if state == "paused":
        assert asked(world, low, "resume").json()["state"] == "queued"


def test_retry_of_one_that_makes_room_says_that_it_goes_on_by_itself(world: Any) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    world.submit(**taking(4, 80))
    look(world, world.reconciler())
    refused = asked(world, low, "retry")
    assert (refused.status_code, "goes on by itself" in refused.json()["detail"]) == (409, True)


def test_a_driver_that_dies_while_it_makes_room_waits_again_and_none_of_its_attempts_is_used_up(world: Any) -> None:
    low = begin(world, **taking(4, 20, preemptible=True, retry={"attempts": 1}))
    high = world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    world.ray.move(f"agon-{low}-1", RayStatus.FAILED, exit_code=-9)
    look(world, reconciler)
    shown = world.job(low)
    assert (shown["state"], shown["failure"]) == ("queued", None)
    use(world, 4)
    asked(world, high, "cancel")
    look(world, reconciler)
    look(world, reconciler)
    world.tell(low, "started", 2)
    world.ray.move(f"agon-{low}-2", RayStatus.FAILED, exit_code=-9)
    look(world, reconciler)
    assert world.job(low)["state"] == "failed", "its one attempt was this"


def test_one_that_ends_while_it_makes_room_has_ended(world: Any) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    world.tell(low, "finished", outcome="completed")
    world.ray.move(f"agon-{low}-1", RayStatus.SUCCEEDED)
    look(world, reconciler)
    assert world.job(low)["state"] == "succeeded"


@pytest.mark.parametrize("change", ["cancelled", "lowered"])
def test_when_the_one_that_room_is_made_for_is_no_more_it_goes_on_like_any_other(world: Any, change: str) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    high, other = world.submit(**taking(4, 80)), world.submit(**taking(4, 50))
    reconciler = world.reconciler()
    look(world, reconciler)
    if change == "cancelled":
        asked(world, high, "cancel")
    else:
        world.client.patch(f"/v1/jobs/{high}", json={"set": {"queue.priority": 10}})
    saved(world, low)
    for _ in range(3):
        look(world, reconciler)
    assert world.ray.starts == [f"agon-{low}-1", f"agon-{other}-1"]
    assert world.job(low)["state"] == "queued"


def test_what_has_just_left_is_waited_for_before_another_is_paused(world: Any) -> None:
    """Ray's report is seconds old: what a job that has ended took is used by it still."""
    use(world, 4)
    done, low = world.running(**taking(2, 20)), world.running(**taking(2, 20, preemptible=True))
    use(world, 0)
    high = world.submit(**taking(2, 80))
    world.tell(done, "finished", outcome="completed")
    world.ray.move(f"agon-{done}-1", RayStatus.SUCCEEDED)
    world.clock.ahead *= 0
    reconciler = world.reconciler()
    for _ in range(3):
        look(world, reconciler, 0.1)
    assert world.job(low)["state"] == "running"
    use(world, 2)
    look(world, reconciler)
    assert world.job(high)["state"] == "starting"


@pytest.mark.databases
def test_two_reconcilers_that_decide_at_once_pause_no_more_than_one_would(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(world, 4)
    jobs = [world.running(**taking(2, priority, preemptible=True)) for priority in (10, 20)]
    use(world, 0)
    world.submit(**taking(2, 80))
    slow, fast = world.reconciler("slow"), world.reconciler("fast")
    original, done = displacing.displace, []

    def overtaken(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            look(world, fast)
        return original(*arguments)

    monkeypatch.setattr(displacing, "displace", overtaken)
    look(world, slow)
    look(world, slow)
    assert [world.job(job)["state"] for job in jobs] == ["stopping", "running"]


@pytest.mark.databases
@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_one_that_people_take_off_while_it_is_chosen_is_left_to_them(
    world: Any, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    low = begin(world, **taking(4, 20, preemptible=True))
    world.submit(**taking(4, 80))
    original = displacing.displace

    def meanwhile(*arguments: Any) -> Any:
        asked(world, low, verb)
        return original(*arguments)

    monkeypatch.setattr(displacing, "displace", meanwhile)
    look(world, world.reconciler())
    with world.db.read() as session:
        assert session.scalar(select(Job.yields_to).where(Job.id == low)) is None


@pytest.mark.long
def test_a_search_makes_room_and_waits_again(world: Any) -> None:
    base = {
        "recipe": "dcgan-digits",
        "set": {"queue": {"priority": 0, "preemptible": True}, "resources": {"workers": 4}},
    }
    search = {"base": base, "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}
    run = world.client.post("/v1/searches", json={"search": search}).json()["id"]
    world.round()
    world.ray.move(f"agon-{run}-1", RayStatus.RUNNING)
    world.tell(run, "started", workers=4)
    world.round()
    use(world, 0)
    high = world.submit(**taking(4, 80))
    reconciler = world.reconciler()
    look(world, reconciler)
    saved(world, run)
    for _ in range(3):
        look(world, reconciler)
    shown = world.client.get(f"/v1/searches/{run}").json()
    assert shown["state"] == "queued"
    assert shown["reason"].startswith(f"paused for {high}, which has priority 80; waits for 4 CPUs")
    assert world.job(high)["state"] == "starting"

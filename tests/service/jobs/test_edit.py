"""Edits of jobs, and as far as it is the same for both, of searches."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select

from service.bodies.states import State
from service.db.tables import Job, JobLabel
from service.gateway.ray_jobs import RayStatus
from service.reconciler import rows
from service.specs import edits as edits_of_specs
from trainer.spec import parse_spec
from trainer.spec.identity import identity
from trainer.wire import JobFile

SEARCH = {"base": {"recipe": "dcgan-digits"}, "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}


def rarer(*values: str) -> list[Any]:
    """For `make test-long`."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


def patch(world: Any, run: str, **changes: Any) -> Any:
    return world.client.patch(f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}", json={"set": changes})


def edited(world: Any, run: str, **changes: Any) -> dict[str, Any]:
    """The run after an edit that is allowed."""
    reply = patch(world, run, **changes)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def refused(world: Any, run: str, status: int, **changes: Any) -> dict[str, Any]:
    before = _row(world, run)
    reply = patch(world, run, **changes)
    assert reply.status_code == status, reply.text
    assert _row(world, run) == before, "whole or not at all"
    return dict(reply.json())


def _row(world: Any, run: str) -> tuple[Any, ...]:
    with world.db.read() as session:
        job = session.scalar(select(Job).where(Job.id == run))
        labels = session.execute(select(JobLabel.name, JobLabel.value).where(JobLabel.job_number == job.number)).all()
        return job.spec, job.spec_digest, job.name, job.workers, job.state, sorted(labels)


def ask(world: Any, run: str, verb: str) -> None:
    reply = world.client.post(f"/v1/{'searches' if run.startswith('s-') else 'jobs'}/{run}/{verb}")
    assert reply.status_code == 202, reply.text
    world.round()


def search(world: Any) -> str:
    reply = world.client.post("/v1/searches", json={"search": SEARCH})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def ended(world: Any, how: str) -> str:
    """A job that has ended so."""
    job = world.running(retry={"attempts": 1})
    if how == "cancelled":
        ask(world, job, "cancel")
    data = {"kind": "out-of-memory", "reason": "too large"} if how == "failed" else {"outcome": "completed"}
    world.tell(
        job, "failed" if how == "failed" else "finished", **({"outcome": "stopped"} if how == "cancelled" else data)
    )
    world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.job(job)["state"] == how
    return str(job)


@pytest.mark.parametrize(
    "state",
    ["submitted", "running", "succeeded", *rarer("queued", "starting", "stopping", "paused", "failed", "cancelled")],
)
def test_name_labels_and_notes_change_at_any_time(world: Any, state: str) -> None:
    match state:
        case "submitted" | "starting" | "queued":
            world.ray.unreachable = state == "queued"
            job = world.submit()
            if state != "submitted":
                world.round()
        case "running" | "stopping" | "paused":
            job = world.running()
            if state != "running":
                ask(world, job, "pause")
            if state == "paused":
                world.tell(job, "finished", outcome="stopped")
                world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
                world.round()
        case _:
            job = ended(world, state)
    assert world.job(job)["state"] == state
    shown = edited(world, job, labels={"team": "vision", "run": "7"}, name="renamed", notes="why\nnot")
    assert (shown["labels"], shown["name"], shown["notes"]) == ({"run": "7", "team": "vision"}, "renamed", "why\nnot")
    assert shown["spec_digest"] == parse_spec(shown["spec"]).digest()
    again = edited(world, job, **{"labels.team": None, "labels.run": 8})
    assert again["labels"] == {"run": "8"}
    assert [item["id"] for item in world.client.get("/v1/jobs", params={"label": "run=8"}).json()["items"]] == [job]
    assert world.client.get("/v1/jobs", params={"label": "team=vision"}).json()["items"] == []
    assert [item["id"] for item in world.client.get("/v1/jobs", params={"name": "renamed"}).json()["items"]] == [job]
    assert (again["state"], again["attempt"]) == (state, shown["attempt"])


@pytest.mark.parametrize("state", ["queued", "paused", *rarer("submitted", "failed", "cancelled")])
def test_where_and_how_it_runs_changes_while_no_attempt_can_run(world: Any, state: str) -> None:
    if state in ("failed", "cancelled"):
        job = ended(world, state)
    else:
        world.ray.unreachable = True
        job = world.submit(retry={"attempts": 1})
        if state != "submitted":
            world.round()
        if state == "paused":
            ask(world, job, "pause")
    assert world.job(job)["state"] == state
    changes = {"resources": {"workers": 2, "min_workers": 1}, "retry.attempts": 5, "publish": None}
    shown = edited(world, job, **changes)
    assert (shown["spec"]["resources"]["workers"], shown["spec"]["retry"]["attempts"]) == (2, 5)
    assert edited(world, job, **changes) == shown, "made twice, it changes nothing more"
    assert (
        edited(world, job, **{"resources.min_workers": None, "resources.workers": 4})["spec"]["resources"]["workers"]
        == 4
    )
    with world.db.read() as session:
        assert session.scalar(select(Job.workers).where(Job.id == job)) == 4
    world.ray.unreachable = False
    if state in ("failed", "cancelled", "paused"):
        ask(world, job, "resume" if state == "paused" else "retry")
    world.round()
    assert world.job(job)["state"] == "starting"
    file = JobFile.model_validate_json((world.folder(job) / "job.json").read_text())
    assert (file.spec.resources.workers, file.spec.retry.attempts) == (4, 5)


def test_what_runs_is_paused_first_and_the_refusal_says_so(world: Any) -> None:
    job = world.running()
    said = refused(world, job, 409, **{"resources.workers": 2})["detail"]
    assert said == (
        f"job {job} is running, and resources.workers can change only while it waits or is paused: pause it first"
        f" (POST /v1/jobs/{job}/pause), edit it, and resume it"
    )
    assert edited(world, job, **{"resources.workers": 1})["state"] == "running", "nothing that it is not already"
    world.client.post(f"/v1/jobs/{job}/pause")
    assert (
        "it is being paused: try again once it is paused" in refused(world, job, 409, **{"retry.attempts": 9})["detail"]
    )
    world.client.post(f"/v1/jobs/{job}/cancel")
    assert "it is being cancelled: try again once it is" in refused(world, job, 409, **{"retry.attempts": 9})["detail"]
    done = ended(world, "succeeded")
    said = refused(world, done, 409, **{"resources.workers": 2})["detail"]
    assert said.startswith(f"job {done} has succeeded, so resources.workers changes nothing any more; fork it instead")
    assert f"agon fork {done}" in said


def test_what_is_trained_is_refused_by_field_with_the_value_and_the_way_to_have_it(world: Any) -> None:
    job = world.running()
    errors = refused(
        world,
        job,
        422,
        **{"train.batch": 32, "train.images": 5000, "arch.latent.dim": 5, "labels.a": "b", "resources.workers": 2},
    )["errors"]
    assert {error["path"]: (error["message"], error["value"]) for error in errors} == {
        "train.batch": ("can't change: what is trained depends on it", "32"),
        "arch.latent.dim": ("can't change: what is trained depends on it", "5"),
        "train.images": ("can't be edited", "5000"),
    }
    assert all(f"agon fork {job}" in error["fix"] for error in errors)
    fresh = world.submit()
    (error,) = refused(world, fresh, 422, **{"train.images": 5000})["errors"]
    assert error["fix"] == "cancel it and submit it anew; nothing of it is trained yet"


@pytest.mark.long
def test_every_field_that_a_checkpoint_depends_on_is_refused(world: Any) -> None:
    job = world.running()
    spec = parse_spec(world.job(job)["spec"])
    other = {"train.batch": 32, "train.precision": "bf16", "train.seed": 9, "data.lanes": 4, "data.mirror": True, "data.held_out": 3,
             "data.digest": "a" * 64, "ema.decay": 0.5, "objective.loss": "hinge", "optimizers.G.lr": 0.5, "arch.classes": 10}  # fmt: skip
    for path, value in other.items():
        assert path in identity(spec) or path == "arch.classes"
        errors = refused(world, job, 422, **{path: value})["errors"]
        assert path in [error["path"] for error in errors]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"resources.workers": 3}, "resources.workers"), ({"resources.min_workers": 4}, "resources.min_workers"),
    ({"resources.wrokers": 2}, "resources.wrokers"), ({"labels": {"a.b": "c"}}, "labels.a.b"), ({"labels": "x"}, "labels"),
    ({"name": "No Name"}, "name"), ({"notes": "\x1b[2J"}, "notes"), ({"retry": None}, "retry"), ({"publish.model": "x"}, "publish"),
    ({"name": "x", "nested": {"name": 1}}, "nested.name"), ({"labels.a": "b", "labels": {"a": "c"}}, "labels.a"),
    ({"spec_version": 2}, "spec_version"), ({"__class__": 1}, "__class__"), ({"name.x": 1}, "name.x"), ({"": 1}, ""),
]  # fmt: skip


def test_a_wrong_edit_names_its_field_and_changes_nothing(world: Any) -> None:
    job = world.submit()
    for changes, path in WRONG:
        assert path in [error["path"] for error in refused(world, job, 422, **changes)["errors"]], changes


@pytest.mark.long
def test_bodies_that_are_no_edit_are_refused_and_an_unknown_run_is_not_found(world: Any) -> None:
    job = world.submit()
    for body in ({}, {"set": {}}, {"set": []}, {"set": {"name": "x"}, "more": 1}, [], {"name": "x"}):
        assert world.client.patch(f"/v1/jobs/{job}", json=body).status_code == 422
    assert patch(world, "j-000000000000", name="x").status_code == 404
    assert patch(world, "s-000000000000", name="x").status_code == 404
    token = world.token(world.running())
    reply = world.client.patch(
        f"/v1/jobs/{job}", json={"set": {"name": "x"}}, headers={"Authorization": f"Bearer {token}"}
    )
    assert reply.status_code == 403


@pytest.mark.databases
def test_a_job_that_starts_between_the_look_and_the_write_keeps_its_spec_and_the_edit_is_refused(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit()
    write = edits_of_specs.Editor._write

    def late(*arguments: Any) -> Any:
        world.round()
        return write(*arguments)

    monkeypatch.setattr(edits_of_specs.Editor, "_write", late)
    assert "is starting" in refused_after(world, job, **{"resources.workers": 2})
    file = JobFile.model_validate_json((world.folder(job) / "job.json").read_text())
    assert (file.spec.resources.workers, world.job(job)["spec"]["resources"]["workers"]) == (1, 1)


def refused_after(world: Any, run: str, **changes: Any) -> str:
    reply = patch(world, run, **changes)
    assert reply.status_code == 409, reply.text
    return str(reply.json()["detail"])


@pytest.mark.databases
def test_a_job_that_is_edited_between_the_queues_decision_and_its_start_is_decided_of_anew(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit()  # of one CPU, where there are four
    start, answers = rows.start, []

    def late(*arguments: Any) -> Any:
        if not answers:
            answers.append(patch(world, job, **{"resources.workers": 8}).status_code)
        return start(*arguments)

    monkeypatch.setattr(rows, "start", late)
    reconciler = world.reconciler()
    reconciler.round()
    assert answers == [200]
    assert (world.ray.starts, reconciler.queue.unfinished) == ([], True), "what was decided was of another spec"
    reconciler.round()
    shown = world.job(job)
    assert (shown["state"], world.ray.starts) == ("queued", [])
    assert "needs 8 CPUs, more than the whole cluster has" in shown["reason"]
    edited(world, job, **{"resources.workers": 2})
    world.clock.forward(1.0)
    reconciler.round()
    assert world.ray.starts == [f"agon-{job}-1"], "the queue notices within a second"
    assert json.loads((world.folder(job) / "job.json").read_text())["spec"]["resources"]["workers"] == 2


@pytest.mark.databases
def test_two_who_edit_at_once_both_have_their_fields(world: Any) -> None:
    job = world.submit()

    def one(number: int) -> int:
        return int(patch(world, job, **{f"labels.n{number}": str(number)}).status_code)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(one, range(8)))
    shown = world.job(job)["labels"]
    assert set(answers) <= {200, 409}
    assert shown == {f"n{number}": str(number) for number, answer in enumerate(answers) if answer == 200}


def test_a_spec_of_an_older_version_is_edited_without_its_new_fields_counting_as_changed(world: Any) -> None:
    job = world.running()
    with world.db.begin() as session:
        row = session.scalar(select(Job).where(Job.id == job).with_for_update())
        row.spec = {name: value for name, value in row.spec.items() if name not in ("labels", "notes", "samples")}
    assert world.job(job)["labels"] == {}
    shown = edited(world, job, notes="kept")
    assert (shown["notes"], shown["spec"]["samples"]["count"]) == ("kept", 64)


def test_a_search_is_edited_by_its_own_paths(world: Any) -> None:
    world.ray.unreachable = True
    mine = search(world)
    shown = edited(world, mine, labels={"team": "vision"}, notes="why", name="renamed", max_concurrent=2)
    assert (shown["labels"], shown["notes"], shown["search"]["max_concurrent"]) == ({"team": "vision"}, "why", 2)
    shown = edited(world, mine, base={"resources": {"workers": 2}, "retry": {"attempts": 7}})
    assert shown["search"]["base"]["resources"]["workers"] == 2
    errors = refused(
        world, mine, 422, **{"trials": 3, "base.train.batch": 96, "space": {"train.seed": [1]}, "metric": "kid"}
    )["errors"]
    assert [error["path"] for error in errors] == ["space.train.seed"]
    errors = refused(world, mine, 422, **{"trials": 1, "base.train.batch": 96, "metric": "kid"})["errors"]
    said = {error["path"]: error["fix"] for error in errors}
    assert said.keys() == {"trials", "base.train.batch", "metric"}
    assert f"POST /v1/searches/{mine}/extend" in said["trials"]
    assert said["base.train.batch"] == "submit another search"
    assert refused(world, mine, 422, **{"base.resources.workers": 3})["errors"][0]["path"] == "base.resources.workers"
    world.ray.unreachable = False
    world.round()
    assert world.client.get(f"/v1/searches/{mine}").json()["state"] == "starting"
    assert json.loads((world.folder(mine) / "search.json").read_text())["spec"]["base"]["resources"]["workers"] == 2
    assert f"POST /v1/searches/{mine}/pause" in refused(world, mine, 409, max_concurrent=3)["detail"]


@pytest.mark.long
def test_a_search_whose_trials_would_not_fit_is_refused(world: Any) -> None:
    mine = search(world)
    (error,) = refused(world, mine, 422, **{"base.resources.workers": 8})["errors"]
    assert error["path"] == "base.resources"
    assert "one trial needs 8 CPUs" in error["message"]


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "labels.a": st.sampled_from(["x", "y", None]), "name": st.sampled_from(["one", "two"]), "notes": st.text("ab\n", max_size=3),
        "resources.workers": st.sampled_from([1, 2, 3, 4]), "retry.attempts": st.integers(0, 3), "train.batch": st.sampled_from([64, 32]),
    },
).filter(bool)  # fmt: skip


@examples(4, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(CHANGES, st.sampled_from(["pause", "resume", "cancel", "retry", "round", "saved"])), max_size=10)
)
def test_whatever_happens_the_spec_is_valid_and_an_attempt_trains_the_one_it_began_with(
    world: Any, steps: list[Any]
) -> None:
    job, begun = world.submit(), dict[int, dict[str, Any]]()
    for step in steps:
        if isinstance(step, dict):
            before = world.job(job)
            reply = patch(world, job, **step)
            assert reply.status_code in (200, 409, 422), reply.text
            if reply.status_code == 200 and State(before["state"]).on_ray:
                assert reply.json()["spec"]["resources"] == before["spec"]["resources"]
        elif step == "saved":
            attempt = world.job(job)["attempt"]
            if f"agon-{job}-{attempt}" in world.ray.jobs:
                world.ray.move(f"agon-{job}-{attempt}", RayStatus.SUCCEEDED)
        elif step != "round":
            world.client.post(f"/v1/jobs/{job}/{step}")
        if step == "round":
            world.round()
        shown = world.job(job)
        spec = parse_spec(shown["spec"])
        assert (shown["spec_digest"], shown["name"], shown["labels"]) == (spec.digest(), spec.name, spec.labels)
        if State(shown["state"]).on_ray and shown["attempt"] not in begun:
            begun[shown["attempt"]] = json.loads((world.folder(job) / "job.json").read_text())["spec"]["resources"]
        if State(shown["state"]).on_ray:
            assert shown["spec"]["resources"] == begun[shown["attempt"]]
    world.client.post(f"/v1/jobs/{job}/cancel")


def test_a_turn_changes_at_once_also_while_it_runs(world: Any) -> None:
    running = world.running(resources={"workers": 4})
    first, second = world.submit(resources={"workers": 4}), world.submit(resources={"workers": 4})
    world.round()
    assert edited(world, second, queue={"priority": 90})["priority"] == 90
    shown = edited(world, running, **{"queue.preemptible": True, "queue.priority": 10})
    assert (shown["state"], shown["priority"], shown["preemptible"]) == ("running", 10, True)
    assert shown["spec_digest"] == parse_spec(shown["spec"]).digest()
    world.tell(running, "finished", outcome="completed")
    world.ray.move(f"agon-{running}-1", RayStatus.SUCCEEDED)
    world.round()
    world.round()
    assert world.ray.starts[1:] == [f"agon-{second}-1"]
    assert refused(world, first, 422, **{"queue.priority": 101})["errors"][0]["path"] == "queue.priority"
    mine = search(world)
    assert edited(world, mine, **{"base.queue.priority": 7})["priority"] == 7

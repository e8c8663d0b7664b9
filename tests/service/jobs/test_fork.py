"""A job that begins with a checkpoint of another job: chosen, held, and told on both sides."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from forks import record, trained
from sqlalchemy.exc import OperationalError

from service.plans.planner import Planner
from service.runs import checkpoints, submissions
from service.runs.checkpoints import link
from trainer.origin.child import ShapesFailedError
from trainer.origin.fit import Part
from trainer.spec import FieldError, SpecError
from trainer.wire import JobFile


@pytest.fixture
def parent(world: Any) -> str:
    """A job that trains, with checkpoints of steps 5, 10 and 12."""
    job = str(world.running())
    for step in (5, 10, 12):
        save(world, job, step)
    return job


NETS = {"net/G/a.weight": [3, 2], "net/G/a.bias": [3], "net/D/head.weight": [1, 3], "ema/G/a.weight": [3, 2]}


def save(world: Any, job: str, step: int, **fields: Any) -> Path:
    return trained(world.folder(job), world.job(job)["spec"], step, shapes=NETS, **fields)


def fork(world: Any, parent: str, headers: dict[str, str] | None = None, /, **fields: Any) -> Any:
    """`set` and `headers` apart, all fields are of `from`."""
    changes = fields.pop("set", {})
    return world.client.post("/v1/jobs", json={"from": {"job": parent, **fields}, "set": changes}, headers=headers)


def forked(world: Any, parent: str, /, **fields: Any) -> dict[str, Any]:
    reply = fork(world, parent, **fields)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


def held(world: Any, job: str, place: str = "checkpoints") -> list[str]:
    return sorted(path.name for path in (world.folder(job) / place).iterdir())


def left(world: Any) -> set[str]:
    return {path.name for path in world.settings.jobs_root.iterdir()}


@pytest.mark.databases
def test_a_fork_has_the_parents_spec_and_its_checkpoint_and_both_know_of_it(world: Any, parent: str) -> None:
    child = forked(world, parent, set={"train.images": 5000})
    assert (child["parent"], child["trial"]) == (parent, None)
    told = {"mode": "state", "job": parent, "trial": None, "model": None, "package": None}
    told |= {"step": 12, "images": 768, "offset": 0, "restart": []}
    assert child["fork"] == told
    assert child["spec"] == world.job(parent)["spec"] | {"train": {**child["spec"]["train"], "images": 5000}}
    assert held(world, child["id"]) == ["step-000000012"]
    theirs = world.folder(parent) / "checkpoints" / "step-000000012" / "state.safetensors"
    ours = world.folder(child["id"]) / "checkpoints" / "step-000000012" / "state.safetensors"
    assert ours.samefile(theirs), "not copied where links are possible"
    world.round()
    content = JobFile.model_validate_json((world.folder(child["id"]) / "job.json").read_text())
    assert content.fork is not None
    assert content.fork.model_dump(mode="json") == told

    lineage = world.client.get(f"/v1/jobs/{child['id']}/lineage").json()
    assert [item["id"] for item in lineage["ancestors"]] == [parent]
    assert lineage["children"] == []
    (known,) = world.client.get(f"/v1/jobs/{parent}/lineage").json()["children"]
    assert (known["id"], known["fork"], known["name"]) == (child["id"], told, "small")


@pytest.mark.databases
def test_forks_of_forks_are_told_in_order_and_by_pages_and_a_deleted_ancestor_by_its_id(
    world: Any, parent: str
) -> None:
    first = forked(world, parent, checkpoint=10, mode="weights")
    save(world, first["id"], 3)
    second = forked(world, first["id"], mode="weights")
    third = forked(world, second["id"], mode="weights", checkpoint="latest") if save(world, second["id"], 2) else {}
    assert (first["fork"]["offset"], second["fork"]["offset"]) == (640, 640 + 192), "joined by images"
    assert third["fork"]["offset"] == 640 + 192 + 128
    state = forked(world, second["id"])
    assert (state["fork"]["images"], state["fork"]["offset"]) == (128, 832), "it counts on as its parent does"
    lineage = world.client.get(f"/v1/jobs/{third['id']}/lineage").json()
    assert [item["id"] for item in lineage["ancestors"]] == [second["id"], first["id"], parent]
    page = world.client.get(f"/v1/jobs/{second['id']}/lineage", params={"limit": 1}).json()
    assert [item["id"] for item in page["children"]] == [state["id"]], "newest first"
    rest = world.client.get(f"/v1/jobs/{second['id']}/lineage", params={"cursor": page["next_cursor"]}).json()
    assert ([item["id"] for item in rest["children"]], rest["next_cursor"]) == ([third["id"]], None)

    from sqlalchemy import text

    with world.db.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": first["id"]})
    gone = world.client.get(f"/v1/jobs/{third['id']}/lineage").json()["ancestors"]
    assert [(item["id"], item["state"]) for item in gone] == [(second["id"], "submitted"), (first["id"], None)]


def test_latest_best_or_a_step_is_taken(world: Any, parent: str) -> None:
    assert forked(world, parent, checkpoint=5)["fork"]["step"] == 5
    reply = fork(world, parent, checkpoint="best")
    assert reply.status_code == 409
    assert "no best checkpoint" in reply.json()["detail"]
    record(world.folder(parent), "best.json", {"step": 10, "metric": "fid", "value": 3.5})
    best = forked(world, parent, checkpoint="best")
    assert best["fork"]["step"] == 10
    assert held(world, best["id"]) == ["best.json", "step-000000010"], "and it is its best, until a better one comes"
    assert held(world, forked(world, parent)["id"]) == ["step-000000012"], "the best is another one"
    reply = fork(world, parent, checkpoint=7)
    assert reply.status_code == 409
    assert "no checkpoint of step 7; it has those of steps 12, 10, 5" in reply.json()["detail"]
    save(world, parent, 3, place="pinned")
    assert forked(world, parent, checkpoint=3)["fork"]["step"] == 3, "one of those that are kept"
    shutil.rmtree(world.folder(parent))
    path = world.folder(best["id"]) / "checkpoints" / "step-000000010"
    assert checkpoints.look(path, 10) is not None, "it has what its parent has no longer"


def test_of_weights_the_checkpoint_lies_apart_where_no_training_takes_it_for_its_own(world: Any, parent: str) -> None:
    child = forked(world, parent, mode="weights", restart=["changed", "D"])
    assert (child["fork"]["offset"], child["fork"]["restart"]) == (768, ["changed", "D"])
    assert held(world, child["id"], "origin") == ["step-000000012"]
    assert not (world.folder(child["id"]) / "checkpoints").exists()


def test_what_a_state_depends_on_changes_with_weights_alone(world: Any, parent: str, packed: Path) -> None:
    before = left(world)
    for changes, paths in (
        ({"train.batch": 128}, {"train.batch"}),
        ({"optimizers": {"G": {"lr": 1e-5}}}, {"optimizers.G.lr"}),
        ({"ema": None}, {"ema.decay", "ema.start_images"}),
        ({"train.seed": 7}, {"train.seed"}),
        ({"data.url": str(packed)}, {"data.url"}),
    ):
        refused = fork(world, parent, set=changes)
        assert refused.status_code == 422, refused.text
        errors = {error["path"]: error for error in refused.json()["errors"]}
        assert set(errors) == paths
        assert all(error["fix"].startswith("use weights") for error in errors.values())
        assert left(world) == before, "nothing of it stays"
    assert fork(world, parent, set=changes, mode="weights").status_code == 201
    free = {"train.images": 10**6, "train.micro_batch": 8, "evaluation.every_steps": 50, "resources.workers": 2}
    assert fork(world, parent, set=free).status_code == 201


def test_a_finished_training_goes_on_only_if_told_how_far(world: Any) -> None:
    parent = world.running()
    save(world, parent, 16, images=1024)
    refused = fork(world, parent)
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["path"], error["value"]) == ("train.images", "1000")
    assert "has shown 1,024 images" in error["message"]
    assert fork(world, parent, set={"train": {"images": 2000}}).status_code == 201
    assert fork(world, parent, set={"train.images": 1000}).status_code == 201, "evaluated and published alone"
    assert fork(world, parent, mode="weights").status_code == 201, "it counts from 0"


HOSTILE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"job": "j-000000000000"}, "from.job"),
    ({"job": "{search}"}, "from.job"),
    ({"job": "../../etc"}, "from.job"),
    ({"job": "j-../x"}, "from.job"),
    ({}, "from"),
    ({"job": "{job}", "trial": "s-000000000000/t-00003"}, "from"),
    ({"trial": "s-000000000000/t-00003"}, "from.trial"),
    ({"trial": "s-000000000000/../x"}, "from.trial"),
    ({"job": "{job}", "checkpoint": "newest"}, "from.checkpoint"),
    ({"job": "{job}", "checkpoint": -1}, "from.checkpoint"),
    ({"job": "{job}", "checkpoint": 10**18}, "from.checkpoint"),
    ({"job": "{job}", "checkpoint": True}, "from.checkpoint"),
    ({"job": "{job}", "checkpoint": "12"}, "from.checkpoint"),
    ({"job": "{job}", "checkpoint": [12]}, "from.checkpoint"),
    ({"job": "{job}", "mode": "nets"}, "from.mode"),
    ({"job": "{job}", "restart": ["D"]}, "from"),
    ({"job": "{job}", "mode": "weights", "restart": [""]}, "from.restart.0"),
    ({"job": "{job}", "mode": "weights", "restart": "D"}, "from.restart"),
    ({"job": "{job}", "step": 12}, "from.step"),
)
"""`from`, and what of it is refused."""


def test_a_request_for_no_such_checkpoint_is_refused(world: Any, parent: str) -> None:
    before = left(world)
    for fields, path in HOSTILE:
        asked = {name: value.replace("{job}", parent) if name == "job" else value for name, value in fields.items()}
        reply = world.client.post("/v1/jobs", json={"from": asked})
        assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path), reply.text
    for other in ({"recipe": "dcgan-digits"}, {"spec": {}}, {"trial": "s-000000000000/t-00003"}):
        reply = world.client.post("/v1/jobs", json={"from": {"job": parent}, **other})
        assert (reply.status_code, "give one of" in reply.json()["errors"][0]["message"]) == (422, True)
    assert left(world) == before


@pytest.mark.databases
def test_a_repeated_key_makes_one_fork_and_one_folder(world: Any, parent: str) -> None:
    headers = {"Idempotency-Key": "k"}
    made = [fork(world, parent, headers).json()["id"] for _ in range(2)]
    assert made[0] == made[1]
    assert left(world) == {parent, made[0]}
    assert fork(world, parent, headers, checkpoint=5).status_code == 422, "another body"


def test_a_fork_whose_commit_was_not_answered_is_there_with_its_checkpoint(
    world: Any, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = submissions.create

    def unanswered(*given: Any) -> Any:
        create(*given)
        raise OperationalError("COMMIT", {}, ConnectionError("server closed the connection"))

    headers = {"Idempotency-Key": "k"}
    with monkeypatch.context() as patch:
        patch.setattr(submissions, "create", unanswered)
        assert fork(world, parent, headers).status_code == 503
    repeated = fork(world, parent, headers)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert held(world, repeated.json()["id"]) == ["step-000000012"]
    assert left(world) == {parent, repeated.json()["id"]}


def test_validate_tells_the_spec_and_holds_nothing(world: Any, parent: str) -> None:
    before = left(world)
    body = {"from": {"job": parent, "checkpoint": 5}, "set": {"train.images": 4000}}
    reply = world.client.post("/v1/validate", json=body)
    assert reply.json()["train"]["images"] == 4000
    assert left(world) == before
    body["set"] = {"train.batch": 128}
    assert world.client.post("/v1/validate", json=body).status_code == 422


def test_a_checkpoint_that_is_removed_meanwhile_is_passed_over_or_said_to_be_gone(
    world: Any, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(source: Path, target: Path) -> bool:
        if source.name == "step-000000012":
            shutil.rmtree(source, ignore_errors=True)
        return link(source, target)

    monkeypatch.setattr(checkpoints, "link", removed)
    assert forked(world, parent)["fork"]["step"] == 10, "the newest that is there"
    save(world, parent, 12)
    reply = fork(world, parent, checkpoint=12)
    assert reply.status_code == 409
    assert "no checkpoint of step 12; it has those of steps 10, 5" in reply.json()["detail"]


def test_roll_backs_come_along_as_far_as_the_state_stands_behind_them(world: Any) -> None:
    """Else the fork would train with the seed and the learning rates of before them."""
    parent = world.running()
    save(world, parent, 4)
    save(world, parent, 8, rollbacks=1)
    save(world, parent, 15)  # undone by the second, and the parent died before it put that aside
    done = [
        {"reason": "r", "from_step": 9, "to_step": 4, "to_images": 256, "lr_factor": 0.5},
        {"reason": "r", "from_step": 15, "to_step": 8, "to_images": 512, "lr_factor": 0.5},
    ]
    record(world.folder(parent), "rollbacks.json", {"done": done})

    def taken(child: dict[str, Any]) -> list[Any]:
        found = json.loads((world.folder(child["id"]) / "checkpoints" / "rollbacks.json").read_text())
        return list(found["done"])

    latest = forked(world, parent)
    assert (latest["fork"]["step"], taken(latest)) == (8, done)
    assert taken(forked(world, parent, checkpoint=4)) == done[:1], "the second comes again by itself, if it comes"
    reply = fork(world, parent, checkpoint=15)
    assert reply.status_code == 409, "nobody goes on from what was given up"


class Shapes:
    """In place of the child that tells the parts of nets."""

    def __init__(self, world: Any, parts: Mapping[str, Part] = MappingProxyType({})) -> None:
        self.parts, self.asked = parts, 0
        self.error: Exception | None = None
        world.client.app.state.context.of(Planner)._shape = self

    def __call__(self, spec: Any, **_: Any) -> Mapping[str, Part]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.parts


def test_parameters_that_do_not_fit_are_listed_at_submission(world: Any, parent: str) -> None:
    parts = {"G/a.weight": Part((4, 2)), "G/a.bias": Part((4,)), "D/head.weight": Part((1, 3)), "D/new": Part((2,))}
    told, changes = Shapes(world, parts), {"arch.g_width": 40}
    assert fork(world, parent, mode="weights", set={"train.batch": 128}).status_code == 201
    assert told.asked == 0, "nets of the same arch have the shapes of the checkpoint"
    before = left(world)
    for path in ("/v1/jobs", "/v1/validate"):
        body = {"from": {"job": parent, "mode": "weights"}, "set": changes}
        refused = world.client.post(path, json=body)
        assert refused.status_code == 422
        errors = {error["path"]: error for error in refused.json()["errors"]}
        assert errors.keys() == {"G/a.weight", "G/a.bias", "D/new"}
        assert errors["G/a.weight"]["message"] == "is [3, 2] in the checkpoint and [4, 2] in the new nets"
        assert '"restart": ["changed"]' in errors["D/new"]["fix"]
        assert left(world) == before
    partly = fork(world, parent, mode="weights", set=changes, restart=["G"])
    assert [error["path"] for error in partly.json()["errors"]] == ["D/new"]
    wrong = fork(world, parent, mode="weights", set=changes, restart=["changed", "Q"])
    assert [error["path"] for error in wrong.json()["errors"]] == ["from.restart"]
    assert fork(world, parent, mode="weights", set=changes, restart=["changed"]).status_code == 201


def test_a_fork_is_taken_where_nobody_can_tell_whether_it_fits(world: Any, parent: str) -> None:
    told = Shapes(world)
    for error in (TimeoutError("no shapes"), ShapesFailedError("killed")):
        told.error = error
        assert fork(world, parent, mode="weights", set={"arch.g_width": 40}).status_code == 201
    told.error = SpecError([FieldError(path="arch", message="can't be built so")])
    refused = fork(world, parent, mode="weights", set={"arch.g_width": 40})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "arch")
    damaged = world.folder(parent) / "checkpoints" / "step-000000012" / "state.safetensors"
    damaged.write_bytes(b"\xff" * damaged.stat().st_size)
    reply = fork(world, parent, mode="weights")
    assert (reply.status_code, "damaged" in reply.json()["detail"]) == (409, True)


@pytest.mark.parametrize("damage", ["meta.json", "rollbacks.json"])
def test_a_checkpoint_that_cant_be_read_is_said_to_be_damaged(world: Any, parent: str, damage: str) -> None:
    if damage == "meta.json":
        path = world.folder(parent) / "checkpoints" / "step-000000012" / damage
        path.write_bytes(b"x" * path.stat().st_size)
    else:
        record(world.folder(parent), damage, {"done": 3})
    before = left(world)
    reply = fork(world, parent)
    assert reply.status_code == 409
    assert "damaged" in reply.json()["detail"]
    assert left(world) == before


def test_what_a_killed_process_left_aside_is_removed_a_day_later(world: Any, parent: str) -> None:
    old, young = (world.settings.jobs_root / f".j-{name}.abc" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    forked(world, parent)
    assert not old.exists()
    assert young.exists()

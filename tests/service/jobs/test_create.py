"""Submitting jobs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from service.db.tables import Job
from trainer.spec import overrides

SPEC = {
    "name": "small",
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
}


def test_a_job_made_from_a_recipe_shows_its_whole_resolved_spec(world: Any) -> None:
    body = {"recipe": "dcgan-digits", "set": {"train.images": 5000, "name": "mine", "evaluation.metrics": ["kid"]}}
    reply = world.client.post("/v1/jobs", json=body)
    assert reply.status_code == 201
    job = reply.json()
    assert reply.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["desired"], job["attempt"]) == ("submitted", "run", 0)
    assert job["spec"]["train"]["images"] == 5000
    assert job["spec"]["evaluation"]["metrics"] == ["kid"]
    assert job["name"] == "mine"
    assert job["spec_digest"] == world.client.get(f"/v1/jobs/{job['id']}").json()["spec_digest"]
    assert job["created_at"].endswith("Z")


def test_every_wrong_field_is_named_with_its_path_and_fix(world: Any) -> None:
    spec = {**SPEC, "train": {"batch": 7, "imges": 3}, "resources": {"workers": 0}}
    reply = world.client.post("/v1/jobs", json={"spec": spec})
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert {"train.imges", "resources.workers"} <= {error["path"] for error in problem["errors"]}
    assert all(error["message"] for error in problem["errors"])
    assert problem["status"] == 422
    assert "train.imges" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"recipe": "no-such"}, "recipe"),
        ({"recipe": "dcgan-digits", "set": {"no.such": 1}}, "no.such"),
        ({"recipe": "dcgan-digits", "set": {"train.batch": 7}}, "train.batch"),
        ({"recipe": "dcgan-digits", "set": {"a=b": 7}}, "a=b"),
        ({"recipe": "dcgan-digits", "set": {"data.url": "dataset:nope"}}, "data.url"),
        ({"recipe": "dcgan-digits", "set": {"data": {"url": "dataset:nope"}}}, "data.url"),
        ({"recipe": "dcgan-digits", "set": {"train": {"images": 1}, "train.images": 2}}, "train.images"),
        ({"recipe": "dcgan-digits", "set": {"a": {str(i): i for i in range(201)}}}, "set"),
        ({"recipe": "dcgan-digits", "set": {"publish": {}}}, "publish.model"),
        ({"recipe": "dcgan-digits", "set": {"publish": {"model": "x"}}}, "publish"),  # this API has no MLflow
        ({"spec": {**SPEC, "publish": {"model": "x"}}}, "publish"),
        ({"spec": {**SPEC, "data": {"url": "pipe:id"}}}, "data.url"),
        ({"spec": {**SPEC, "data": {"url": "/etc"}}}, "data.url"),
        ({"spec": {**SPEC, "data": {"url": "dataset:nope"}}}, "data.url"),
        ({"spec": {**SPEC, "evaluation": {"extractor": "/etc/passwd"}}}, "evaluation.extractor"),
        ({}, ""),
        ({"spec": SPEC, "recipe": "dcgan-digits"}, ""),
        ({"spec": SPEC, "set": {"a": 1}}, ""),
        ({"spec": SPEC, "other": 1}, "other"),
    ],
)
def test_a_request_that_cannot_run_is_refused_and_names_the_field(world: Any, body: dict[str, Any], path: str) -> None:
    for call in ("/v1/jobs", "/v1/validate"):
        reply = world.client.post(call, json=body)
        assert reply.status_code == 422, reply.text
        assert reply.json()["errors"][0]["path"] == path
    assert world.client.get("/v1/jobs").json()["items"] == []


def test_validate_returns_the_resolved_spec_and_starts_nothing(world: Any) -> None:
    reply = world.client.post("/v1/validate", json={"spec": SPEC})
    assert reply.status_code == 200
    created = world.client.post("/v1/jobs", json={"spec": SPEC}).json()
    assert reply.json() == created["spec"]
    assert len(world.client.get("/v1/jobs").json()["items"]) == 1


def test_data_that_does_not_fit_the_spec_is_refused_at_submit(world: Any, packed: Path) -> None:
    spec = {**SPEC, "arch": {"family": "dcgan", "resolution": 32, "channels": 3}, "data": {"url": str(packed)}}
    reply = world.client.post("/v1/jobs", json={"spec": spec})
    assert reply.status_code == 422
    assert {error["path"] for error in reply.json()["errors"]} == {"arch.resolution", "arch.channels"}


def test_what_a_family_can_not_do_is_refused_with_field_value_and_fix(world: Any, packed: Path) -> None:
    """`packed` has no labels; the families' own rules are tested with the spec."""
    unlabelled = {"data.url": str(packed), "arch.resolution": 16}
    for recipe, changes, path, value, fix in (
        ("cgan-digits", unlabelled, "arch.classes", "10", "pack images that lie in a folder for each class"),
        ("dcgan-digits", unlabelled, "arch.classes", "10", "use 0, or pack images that lie in a folder for each class"),
        ("cgan-digits", {"arch.classes": 0}, "arch.classes", "0", "the number of classes that the data has"),
        ("gan-digits", {"evaluation.metrics": ["reconstruction"]}, "evaluation.metrics", '"reconstruction"', "bigan"),
        ("vae-digits", {"objective.loss": "hinge"}, "objective.loss", '"hinge"', "leave it out"),
        ("dcgan-digits", {"arch.latent.categorical": [10]}, "arch.latent.categorical", "[10]", "infogan"),
        ("bigan-digits", {"arch.resolution": 48}, "arch.resolution", "48", "a power of two"),
    ):
        for call in ("/v1/jobs", "/v1/validate"):
            reply = world.client.post(call, json={"recipe": recipe, "set": changes})
            assert reply.status_code == 422, (recipe, changes)
            (error,) = reply.json()["errors"]
            assert (error["path"], error["value"]) == (path, value)
            assert error["message"]
            assert fix in error["fix"]
    assert world.client.get("/v1/jobs").json()["items"] == []


def test_a_relative_path_is_looked_up_below_a_data_root_and_stored_absolute(world: Any, packed: Path) -> None:
    relative = packed.relative_to(world.settings.data_roots[0])
    reply = world.client.post("/v1/jobs", json={"spec": {**SPEC, "data": {"url": str(relative)}}})
    assert reply.status_code == 201, reply.text
    assert reply.json()["spec"]["data"]["url"] == str(packed)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_resolved_spec_holds_the_digest_of_the_data_as_they_are_now(world: Any, packed: Path, scheme: str) -> None:
    digest = json.loads((packed / "dataset.json").read_text())["digest"]
    reply = world.client.post("/v1/jobs", json={"spec": {**SPEC, "data": {"url": f"{scheme}{packed}"}}})
    assert reply.status_code == 201, reply.text
    assert reply.json()["spec"]["data"]["digest"] == digest
    again = world.client.post("/v1/validate", json={"spec": reply.json()["spec"]})
    assert again.json() == reply.json()["spec"]


def test_builtin_data_have_no_digest(world: Any) -> None:
    assert world.client.post("/v1/jobs", json={"spec": SPEC}).json()["spec"]["data"]["digest"] is None


@pytest.mark.parametrize("by", ["spec", "recipe", "nested"])
def test_a_registered_dataset_is_resolved_to_its_url_and_digest(world: Any, packed: Path, by: str) -> None:
    world.client.post("/v1/datasets", json={"name": "tiny", "url": str(packed)}).raise_for_status()
    spec_body = {"spec": {**SPEC, "data": {"url": "dataset:tiny"}}}
    recipe_body = {"recipe": "dcgan-digits", "set": {"data.url": "dataset:tiny", "arch.classes": 0}}
    nested_body = {"recipe": "dcgan-digits", "set": {"data": {"url": "dataset:tiny"}, "arch": {"classes": 0}}}
    body = {"spec": spec_body, "recipe": recipe_body, "nested": nested_body}[by]
    reply = world.client.post("/v1/jobs", json=body)
    assert reply.status_code == 201, reply.text
    data = reply.json()["spec"]["data"]
    assert (data["url"], data["digest"]) == (str(packed), json.loads((packed / "dataset.json").read_text())["digest"])


def test_the_same_key_and_body_is_the_same_job_and_another_body_is_refused(world: Any) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = world.client.post("/v1/jobs", json={"spec": SPEC}, headers=headers)
    quoted = {"Idempotency-Key": '"k1"'}
    again = world.client.post("/v1/jobs", json={"spec": dict(reversed(SPEC.items()))}, headers=quoted)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = world.client.post("/v1/jobs", json={"spec": {**SPEC, "name": "other"}}, headers=headers)
    assert (other.status_code, other.json()["errors"][0]["path"]) == (422, "Idempotency-Key")
    assert first.json()["id"] in other.json()["detail"]
    fresh = world.client.post("/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": "k2"})
    assert fresh.json()["id"] != first.json()["id"]


def test_one_key_sent_by_many_threads_at_once_makes_one_job(world: Any) -> None:
    def post(index: int) -> tuple[str, str]:
        key = f"k{index % 4}"
        reply = world.client.post("/v1/jobs", json={"spec": SPEC}, headers={"Idempotency-Key": key})
        assert reply.status_code == 201, reply.text
        return key, reply.json()["id"]

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(post, range(32)))
    for key in ("k0", "k1", "k2", "k3"):
        assert len({job for found, job in made if found == key}) == 1
    with world.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 4


def test_changes_of_more_text_than_is_read_as_yaml_in_a_moment_are_refused_unread(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overrides, "read_yaml", lambda _: pytest.fail("read"))
    changes = {f"train.x{number}": "- a\n" * 1000 for number in range(6)}
    reply = world.client.post("/v1/validate", json={"recipe": "dcgan-digits", "set": changes})
    assert (reply.status_code, [error["path"] for error in reply.json()["errors"]]) == (422, ["set"])
    assert "more than 20,000 characters" in reply.json()["detail"]

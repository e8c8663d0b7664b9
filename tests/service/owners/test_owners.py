"""What people have and may have: set by administrators, seen by whom it concerns, and kept when runs are submitted and start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from typing import Any

import pytest

from service.bodies.owners import Caps, CapsRequest, Use
from service.cli import owners as cli
from service.db.tables import OwnerCaps

pytestmark = pytest.mark.databases
RECIPE = {"recipe": "dcgan-digits"}


def token(world: Any, name: str, **fields: Any) -> dict[str, str]:
    """Headers of a new token."""
    made = world.client.post("/v1/tokens", json={"name": name, **fields})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


def submit(world: Any, headers: dict[str, str], **more: Any) -> Any:
    return world.client.post("/v1/jobs", json={**RECIPE, **more}, headers=headers)


def cap(world: Any, owner: str, **caps: int) -> None:
    reply = world.client.put(f"/v1/owners/{owner}/caps", json=caps)
    assert reply.status_code == 200, reply.text


def test_administrators_set_caps_and_everyone_sees_their_own(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "*", running=2)
    cap(world, "ada", workers=8, waiting=3)
    submit(world, ada)
    mine = world.client.get("/v1/owners/me", headers=ada).json()
    assert mine.pop("etag")
    assert mine == {
        "name": "ada", "own": True, "caps": {"running": None, "workers": 8, "gpus": None, "gpu_hours_week": None, "waiting": 3},
        "use": {"running": 0, "workers": 0, "gpus": 0.0, "gpu_hours_week": 0.0, "waiting": 1},
        "share": None, "role": None,
    }  # fmt: skip
    theirs = world.client.get("/v1/owners/bob", headers=bob).json()
    assert (theirs["own"], theirs["caps"]["running"]) == (False, 2)
    assert world.client.get("/v1/owners/ada", headers=bob).status_code == 403
    assert world.client.get("/v1/owners", headers=bob).status_code == 403
    assert world.client.put("/v1/owners/bob/caps", json={"running": 99}, headers=bob).status_code == 403
    assert [owner["name"] for owner in world.client.get("/v1/owners").json()["items"]] == ["*", "ada", "admin", "bob"]
    assert world.client.delete("/v1/owners/ada/caps").status_code == 204
    assert world.client.get("/v1/owners/me", headers=ada).json()["caps"]["running"] == 2
    assert world.client.delete("/v1/owners/ada/caps").status_code == 404


def test_caps_of_one_owner_may_be_set_by_several_at_once(world: Any) -> None:
    with ThreadPoolExecutor(6) as pool:
        replies = list(
            pool.map(lambda most: world.client.put("/v1/owners/ada/caps", json={"running": most}), range(12))
        )
    assert {reply.status_code for reply in replies} == {200}


@pytest.mark.parametrize(
    "body",
    [
        {"running": -1},
        {"running": 2**31},
        {"running": 1.5},
        {"gpu_hours_week": -1},
        {"gpu_hours_week": "NaN"},
        {"jobs": 1},
        [],
    ],
    ids=str,
)
def test_caps_that_can_not_be_are_refused(world: Any, body: Any) -> None:
    assert world.client.put("/v1/owners/ada/caps", json=body).status_code == 422
    assert world.client.put("/v1/owners/a%20b/caps", json={}).status_code in (404, 422)


def test_a_run_beyond_what_an_owner_may_have_waiting_is_refused_with_the_number(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "ada", waiting=2)
    key = {"Idempotency-Key": "k"}
    first = submit(world, {**ada, **key})
    second = submit(world, ada)
    refused = submit(world, ada)
    assert (first.status_code, second.status_code, refused.status_code) == (201, 201, 409)
    assert "ada may have 2 runs in the queue, and has 2" in refused.json()["detail"]
    search = {"base": RECIPE, "space": {"train.seed": [1, 2]}, "algorithm": "random"}
    assert world.client.post("/v1/searches", json={"search": search}, headers=ada).status_code == 409
    assert submit(world, {**ada, **key}).json()["id"] == first.json()["id"], (
        "what was taken is not refused when it is asked for again"
    )
    assert submit(world, bob).status_code == 201
    world.client.post(f"/v1/jobs/{second.json()['id']}/cancel")
    world.round()
    assert submit(world, ada).status_code in (201, 409)


def test_submissions_at_once_do_not_get_past_a_cap_together(world: Any) -> None:
    ada = token(world, "ada")
    cap(world, "ada", waiting=3)
    with ThreadPoolExecutor(6) as pool:
        codes = [reply.status_code for reply in pool.map(lambda _: submit(world, ada), range(6))]
    assert sorted(codes) == [201] * 3 + [409] * 3


def test_what_a_cap_keeps_from_starting_waits_with_the_reason_and_starts_when_there_is_room(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "ada", running=1)
    small = {"set": {"resources.workers": 1}}
    jobs = [submit(world, ada, **small).json()["id"] for _ in range(2)]
    other = submit(world, bob, **small).json()["id"]
    world.round()
    assert [world.job(job)["state"] for job in (*jobs, other)] == ["starting", "queued", "starting"]
    assert world.job(jobs[1])["reason"].endswith(
        "ada may have 1 run at once, and has 1 on the cluster or ahead in the queue"
    )
    use = world.client.get("/v1/owners/me", headers=ada).json()["use"]
    assert use == {"running": 1, "workers": 1, "gpus": 0.0, "gpu_hours_week": 0.0, "waiting": 1}
    cap(world, "ada", running=2)
    world.round()
    assert world.job(jobs[1])["state"] == "starting"


def test_what_a_cap_holds_keeps_no_room_from_others_and_a_cap_that_falls_stops_nothing(world: Any) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    cap(world, "ada", workers=2)
    small, large = {"set": {"resources.workers": 2}}, {"set": {"resources.workers": 4}}
    first = submit(world, ada, **small).json()["id"]
    never = submit(world, ada, **large).json()["id"]
    second = submit(world, ada, **small).json()["id"]
    third = submit(world, bob, **small).json()["id"]
    world.round()
    assert [world.job(job)["state"] for job in (first, never, second, third)] == [
        "starting",
        "queued",
        "queued",
        "starting",
    ]
    assert world.job(never)["reason"].endswith("ada may have 2 workers at once, and it takes 4")
    cap(world, "ada", workers=0)
    world.round()
    assert world.job(first)["state"] == "starting"


def test_what_has_a_cap_is_told_of_everyone_and_can_be_set_by_every_door() -> None:
    names = list(Caps.model_fields)
    assert list(Use.model_fields) == names
    assert list(CapsRequest.model_fields) == names
    assert [name for name in signature(cli.cap).parameters if name not in ("name", "if_match", "json_")] == names
    assert {column.name for column in OwnerCaps.__table__.columns} - {"owner", "changed_at"} == set(names)

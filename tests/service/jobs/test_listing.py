"""Lists and single jobs."""

from __future__ import annotations

from typing import Any

import pytest


def test_pages_neither_repeat_nor_skip_jobs_while_others_arrive(world: Any) -> None:
    made = [world.submit() for _ in range(7)]
    seen, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = world.client.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["items"]]
        world.submit(name="late")
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == list(reversed(made))


def test_filters_combine(world: Any) -> None:
    wanted = world.submit(name="alpha")
    world.submit(name="beta")
    cancelled = world.submit(name="alpha")
    world.client.post(f"/v1/jobs/{cancelled}/cancel")
    world.round()
    params = {"name": "alpha", "family": "dcgan", "state": "starting"}
    items = world.client.get("/v1/jobs", params=params).json()["items"]
    assert [job["id"] for job in items] == [wanted]
    assert world.client.get("/v1/jobs", params={"family": "gan"}).json()["items"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"state": "odd"},
        {"limit": 0},
        {"limit": 201},
        {"cursor": "???"},
        {"cursor": "MQ=="},
        {"cursor": "x" * 65},
        {"name": "a b"},
        {"name": "\0"},
    ],
)
def test_a_bad_query_is_named(world: Any, params: dict[str, Any]) -> None:
    reply = world.client.get("/v1/jobs", params=params)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == next(iter(params))


@pytest.mark.parametrize("path", ["", "/events", "/logs", "/samples", "/report"])
def test_an_unknown_job_is_not_found(world: Any, path: str) -> None:
    reply = world.client.get(f"/v1/jobs/j-000000000000{path}")
    assert reply.status_code == 404
    assert "j-000000000000" in reply.json()["detail"]

"""What every endpoint shares: problem documents, limits, hostile input, health, the OpenAPI document."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service import paging
from service.app import create_app
from service.body import strict_json
from service.db.session import Database
from service.errors import BadRequest, Invalid
from service.gateway.fake_ray import FakeRay
from service.settings import Settings


def post(world: Any, body: bytes, path: str = "/v1/jobs") -> Any:
    return world.client.post(path, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b'{"spec": {"train": {"images": NaN}}}', 400, "NaN"),
        (b'{"spec": {"train": {"images": Infinity}}}', 400, "Infinity"),
        (b'{"spec": {"train": {"images": 1e999}}}', 400, "too large"),
        (b'{"spec": {"train": {"images": 99999999999999999999}}}', 400, "64 bits"),
        (b'{"spec": {"train": {"images": ' + b"9" * 100_000 + b"}}}", 400, "64 bits"),
        (b'{"recipe": "a", "recipe": "b"}', 400, "same key"),
        (b'{"recipe": "\\u0000"}', 400, "NUL"),
        (b'{"recipe": "\\ud800"}', 400, "surrogate"),
        (b'{"spec": ' + b'{"a":' * 100 + b"1" + b"}" * 101, 400, "deeper than 32"),
        (b"[" * 10_000, 400, "deeper than 32"),
        (b'{"spec": [' + b"1," * 10 + b"1]}", 422, "spec"),
        (b'{"recipe": "' + b"x" * 5_000_000 + b'"}', 413, "bytes"),
        (b"null", 422, ""),
        (b"[]", 422, ""),
        (b'"spec"', 422, ""),
        (b"", 422, ""),
    ],
)  # fmt: skip
def test_hostile_bodies_get_a_clear_refusal(world: Any, body: bytes, status: int, words: str) -> None:
    reply = post(world, body)
    assert reply.status_code == status, reply.text[:500]
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert words in problem["detail"] or words in json.dumps(problem["errors"])
    assert problem["request_id"] == reply.headers["X-Request-Id"]


def test_a_body_without_a_length_is_cut_off_at_the_limit(world: Any) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b" " * 100_000

    assert world.client.post("/v1/jobs", content=endless()).status_code == 413


def test_a_yaml_bomb_in_an_override_is_not_expanded(world: Any) -> None:
    bomb = (
        "["
        + ", ".join(
            [
                "&a [x, x, x, x, x, x, x, x, x]",
                *[f"&{b} [*{a}, *{a}, *{a}, *{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)],
            ]
        )
        + "]"
    )
    reply = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": {"evaluation.metrics": bomb}})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == "evaluation.metrics"


def test_a_body_is_read_as_json_whatever_its_content_type_says(world: Any) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        reply = world.client.post("/v1/validate", content=b'{"recipe": "dcgan-digits"}', headers={"Content-Type": kind})
        assert reply.status_code == 200, reply.text


def test_unknown_paths_and_methods_are_problems_too(world: Any) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/jobs", 405)):
        reply = world.client.request(method, path)
        assert (reply.status_code, reply.json()["status"]) == (status, status)
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_foreign_host_name_is_refused_except_by_the_health_checks(world: Any) -> None:
    reply = world.client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert reply.status_code == 400
    assert "AGON_ALLOWED_HOSTS" in reply.json()["detail"]
    assert world.client.get("/healthz", headers={"Host": "10.0.0.7:8700"}).status_code == 200
    assert world.client.get("/metrics", headers={"Host": "10.0.0.7:8700"}).status_code == 200
    assert world.client.get("/metrics", headers={"Host": "10.0.0.7:8700", "Authorization": ""}).status_code == 401


def test_a_request_id_is_taken_over_if_it_is_harmless(world: Any) -> None:
    assert world.client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    assert "<" not in world.client.get("/healthz", headers={"X-Request-Id": "<x>"}).headers["X-Request-Id"]


def test_no_other_site_may_read_answers(world: Any) -> None:
    reply = world.client.get("/v1/jobs", headers={"Origin": "https://evil.example"})
    assert not any(name.lower().startswith("access-control") for name in reply.headers)


def test_health_tells_each_part(world: Any) -> None:
    assert world.client.get("/healthz").json() == {"status": "ok"}
    world.ray.unreachable = True
    ready = world.client.get("/readyz").json()
    assert (ready["ready"], ready["database"]["state"], ready["ray"]["state"], ready["mlflow"]["state"]) == (
        True,
        "ok",
        "unreachable",
        "ok",
    )


def test_a_database_that_is_away_is_told_without_its_details(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings, FakeRay())
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        gone = Database("postgresql+psycopg://agon:hunter2@127.0.0.1:1/none")
        monkeypatch.setattr(app.state.context, "db", gone)
        ready, jobs = client.get("/readyz"), client.get("/v1/jobs")
    assert (ready.status_code, ready.json()["database"]["state"]) == (503, "unreachable")
    assert jobs.status_code == 503
    assert jobs.headers["Retry-After"] == "1"
    assert "hunter2" not in ready.text + jobs.text


def test_the_cluster_shows_what_is_free_or_why_it_is_unknown(world: Any) -> None:
    assert world.client.get("/v1/cluster").json()["cpus"] == {"total": 4.0, "free": 4.0}
    world.ray.unreachable = True
    reply = world.client.get("/v1/cluster").json()
    assert (reply["reachable"], reply["nodes"]) == (False, 0)
    assert "can't be reached" in reply["reason"]


def test_recipes_and_the_schema_describe_what_may_be_submitted(world: Any) -> None:
    items = world.client.get("/v1/recipes").json()["items"]
    assert "dcgan-digits" in [item["name"] for item in items]
    assert all(item["description"] for item in items)
    recipe = world.client.get("/v1/recipes/dcgan-digits").json()
    assert world.client.post("/v1/validate", json={"spec": recipe["spec"]}).json() == recipe["spec"]
    assert world.client.get("/v1/recipes/none").status_code == 404
    schema = world.client.get("/v1/schema").json()
    assert {"arch", "optimizers"} <= set(schema["required"])


def test_the_openapi_document_describes_every_call(world: Any) -> None:
    document = world.client.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert call.get("description"), f"{method} {path} has no description"
            assert "4XX" in call["responses"], f"{method} {path} does not tell its errors"


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_survives_the_round_trip(number: int) -> None:
    assert paging.decode(paging.encode(number)) == number


@given(st.text(max_size=64))
def test_anything_else_is_no_cursor(text: str) -> None:
    try:
        number = paging.decode(text)
    except Invalid:
        return
    assert number is not None
    assert paging.encode(number) == text


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_strict_json_reads_ordinary_json_as_it_is(value: Any) -> None:
    assert strict_json(json.dumps(value)) == value


@given(st.binary(max_size=200))
def test_strict_json_answers_any_bytes_with_a_value_or_a_refusal(body: bytes) -> None:
    with suppress(BadRequest):
        strict_json(body)

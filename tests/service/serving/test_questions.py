"""Questions to models: which version answers, what the answer's tag promises, and what is refused before anyone computes."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from typing import Any

import pytest
from askers import House, refuses

from service.gateway.ray_serve import Answer
from service.gateway.registry import Version
from service.models import routes as models
from service.models.asking import ALIAS_SECONDS
from service.serving import versions
from trainer.serve.questions import QUESTIONS
from trainer.serve.wire import ModelId, Reason
from trainer.spec import FieldError

PIXEL = base64.b64encode(b"not looked at here").decode()
BODIES: dict[str, dict[str, Any]] = {
    "generate": {"n": 4, "seed": 7},
    "path": {"seeds": [1, 2]},
    "traverse": {"code": "c1"},
    "encode": {"images": [PIXEL]},
    "reconstruct": {"images": [PIXEL]},
    "neighbours": {"n": 2},
}


@pytest.fixture(autouse=True)
def _answers(house: House) -> None:
    house.ready()


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_question_reaches_the_champion_with_its_defaults_and_the_applications_own_token(
    house: House, kind: str
) -> None:
    reply = house.ask(kind, BODIES[kind])
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["path"] == f"/models/{kind}"
    assert told["question"] == QUESTIONS[kind].model_validate(BODIES[kind]).model_dump(mode="json")
    model = ModelId.parse(told["model"])
    assert (model.name, model.version) == ("demo", "2")
    assert reply.headers["Agon-Model"] == "demo/2"
    ((_, _, headers),) = house.serve.asked
    assert headers["authorization"] == "Bearer secret"


@pytest.fixture
def now(house: House) -> list[float]:
    """The time by which is gone what was looked up in the registry."""
    found, now = house.app.state.context.of(versions.Versions), [0.0]
    found._clock = lambda: now[0]
    return now


def released(house: House, **params: str) -> str:
    """Which version answers."""
    reply = house.ask(params=params)
    assert reply.status_code == 200, reply.text
    return str(reply.headers["Agon-Model"])


def test_a_champion_that_is_moved_here_is_seen_at_once_and_a_version_is_what_it_is(house: House) -> None:
    assert released(house) == "demo/2"
    assert house.client.put("/v1/models/demo/aliases/champion", json={"version": "3"}).status_code == 200
    assert released(house) == "demo/3"
    house.registry.set_alias("demo", "old", "1")
    assert released(house, alias="old") == "demo/1"
    assert released(house, version="1") == "demo/1"


def test_who_moves_an_alias_is_answered_when_no_process_goes_by_what_it_meant(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[float, str]] = []

    async def sleep(seconds: float) -> None:
        waited.append((seconds, house.registry.aliased("demo", "champion").version))

    monkeypatch.setattr(models.asyncio, "sleep", sleep)
    house.client.put("/v1/models/demo/aliases/champion", json={"version": "3"})
    assert waited == [(ALIAS_SECONDS, "3")], "after it was moved, and as long as any process may go by another"


def test_an_alias_is_gone_by_for_a_moment_from_before_it_was_looked_up(house: House, now: list[float]) -> None:
    aliased = house.registry.aliased

    def slowly(name: str, alias: str) -> Version:
        found = aliased(name, alias)
        now[0] += 0.4
        return found

    house.registry.aliased = slowly  # type: ignore[method-assign]
    assert released(house) == "demo/2"
    house.registry.set_alias("demo", "champion", "3")
    assert released(house) == "demo/2", "somebody moved it in the registry itself"
    now[0] = ALIAS_SECONDS
    assert released(house) == "demo/3"


def test_while_questions_come_none_of_them_waits_for_the_registry(house: House, now: list[float]) -> None:
    found = house.app.state.context.of(versions.Versions)
    assert released(house) == "demo/2"
    now[0] = 0.6 * ALIAS_SECONDS
    assert released(house) == "demo/2"
    while found._looking:
        time.sleep(0.01)
    house.registry.unreachable = True
    now[0] = 1.5 * ALIAS_SECONDS
    assert released(house) == "demo/2", "it was looked up beside the last one"
    now[0] = 1.6 * ALIAS_SECONDS
    reply = house.ask()
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "30")
    assert "MLflow" in reply.json()["detail"]
    house.registry.unreachable = False
    assert released(house) == "demo/2"


def test_while_the_registry_is_away_a_version_is_what_it_was(house: House, now: list[float]) -> None:
    assert released(house, version="1") == "demo/1"
    house.registry.unreachable = True
    for seconds in (1.0, 2.0, 3.0, 1000.0):
        now[0] = versions.KEPT_SECONDS * seconds
        assert released(house, version="1") == "demo/1"
    assert house.ask(params={"version": "3"}).status_code == 503, "that one was never seen"
    house.registry.unreachable = False
    del house.registry._versions["demo"][0]
    assert released(house, version="1") == "demo/1", "it is not asked again at once"
    now[0] += versions.AWAY_SECONDS
    assert house.ask(params={"version": "1"}).status_code == 404


def test_a_registry_that_hangs_is_not_waited_for_where_a_version_is_known(
    house: House, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "PATIENCE_SECONDS", 0.05)
    assert released(house, version="1") == "demo/1"
    free = threading.Event()
    monkeypatch.setattr(house.registry, "version", lambda *_: free.wait(30))
    now[0] = versions.KEPT_SECONDS
    try:
        assert released(house, version="1") == "demo/1"
    finally:
        free.set()


def test_a_version_that_was_registered_anew_is_another_model(house: House, now: list[float]) -> None:
    marks = set()
    for _ in range(2):
        marks.add(ModelId.parse(house.ask().json()["model"]).mark)
        first = house.registry._versions["demo"]
        house.registry._versions["demo"] = [
            type(item)(item.version, item.created + 1, source=item.source) for item in first
        ]
        now[0] += ALIAS_SECONDS
    assert len(marks) == 2


@pytest.mark.parametrize("params", [{}, {"version": "9"}, {"alias": "nobody"}])
def test_what_there_is_not_is_not_found_and_nobody_is_asked(house: House, params: dict[str, str]) -> None:
    path = "/v1/models/demo/generate" if params else "/v1/models/none/generate"
    assert house.client.post(path, json={}, params=params).status_code == 404
    assert house.serve.asked == []


def test_the_same_question_has_the_same_tag_and_is_not_computed_again(house: House) -> None:
    first = house.ask(body={"n": 4})
    tag = first.headers["ETag"]
    assert (tag[0], tag[-1]) == ('"', '"'), "strong"
    again = house.ask(body={"n": 4, "seed": 0, "form": "png"}, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert len(house.serve.asked) == 1
    others = {
        house.ask(body={"n": 5}).headers["ETag"],
        house.ask(body={"n": 4, "seed": 1}).headers["ETag"],
        house.ask(body={"n": 4}, params={"version": "1"}).headers["ETag"],
        house.ask("neighbours", {"n": 4}).headers["ETag"],
        tag,
    }
    assert len(others) == 5
    assert house.ask(body={"n": 5}, headers={"If-None-Match": tag}).status_code == 200


def test_codes_in_another_order_are_the_same_question(house: House) -> None:
    tags = {house.ask(body={"codes": codes}).headers["ETag"] for codes in ({"c1": 1, "c2": 2}, {"c2": 2, "c1": 1})}
    assert len(tags) == 1


def test_what_is_computed_otherwise_has_another_tag(build: Any) -> None:
    tags = []
    for changes in ({}, {"serve_dtype": "bfloat16"}, {"serve_gpus": 1.0}):
        house = build(**changes)
        house.ready()
        tags.append(house.ask().headers["ETag"])
    assert len(set(tags)) == 3


def test_a_version_may_be_kept_and_an_alias_is_asked_again(house: House) -> None:
    fixed, moving = house.ask(params={"version": "2"}), house.ask()
    assert fixed.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert moving.headers["Cache-Control"] == "private, no-cache"
    assert fixed.headers["ETag"] == moving.headers["ETag"]
    assert fixed.headers["Vary"] == "Authorization, Cookie", "a cache must not hand it to others"


def test_a_url_asks_the_same(house: House) -> None:
    def told(kind: str, params: Any) -> tuple[Any, str]:
        reply = house.client.get(f"/v1/models/demo/{kind}", params=params)
        assert reply.status_code == 200, reply.text
        return reply.json()["question"], reply.headers["ETag"]

    for kind, params, body in (
        ("generate", {}, {}),
        (
            "generate",
            {"n": 4, "seed": 7, "labels": "3", "form": "npz"},
            {"n": 4, "seed": 7, "labels": 3, "form": "npz"},
        ),
        ("generate", {"labels": ["3", "cat"]}, {"labels": [3, "cat"]}),
        ("generate", {"labels": "balanced", "truncation": 0.5}, {"labels": "balanced", "truncation": 0.5}),
        ("generate", {"codes": ["c1=3", "c2=-0.5"]}, {"codes": {"c1": 3, "c2": -0.5}}),
        ("generate", {"seeds": [4, 5], "columns": 2}, {"seeds": [4, 5], "columns": 2}),
        ("traverse", {"toward": 5}, {"toward": 5}),
        ("path", {"seeds": [1, 2], "loop": "true", "frames": 9}, {"seeds": [1, 2], "loop": True, "frames": 9}),
        ("traverse", {"code": "c1", "low": -1, "high": 1}, {"code": "c1", "low": -1, "high": 1}),
    ):
        reply = house.ask(kind, body)
        assert told(kind, params) == (reply.json()["question"], reply.headers["ETag"])


@pytest.mark.parametrize(
    ("kind", "params", "path"),
    [
        ("generate", {"n": 0}, "n"),
        ("generate", {"n": "many"}, "n"),
        ("generate", {"form": "gif"}, "form"),
        ("generate", {"seeds": [1, 2], "seed": 3}, ""),
        ("path", {"seeds": [1]}, ""),
        ("path", {}, ""),
        ("traverse", {}, ""),
        ("traverse", {"code": "c1", "toward": 5}, ""),
        ("traverse", {"code": "c1", "low": "nan"}, "low"),
        ("generate", {"version": "1", "alias": "champion"}, "alias"),
        ("generate", {"version": "x"}, "version"),
    ],
)
def test_a_url_that_is_wrong_is_told_so(house: House, kind: str, params: Any, path: str) -> None:
    reply = house.client.get(f"/v1/models/demo/{kind}", params=params)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == path
    assert house.serve.asked == []


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("generate", b'{"n": NaN}', 400),
        ("generate", b'{"truncation": 1e999}', 400),
        ("generate", b"[" * 900, 400),
        ("generate", b'{"n": 1, "n": 2}', 400),
        ("generate", b"\xff\xd8", 400),
        ("generate", b'{"n": 100000}', 422),
        ("generate", b'{"nn": 1}', 422),
        ("generate", b'{"codes": {"c": []}}', 422),
        ("generate", b'{"seed": 9223372036854775808}', 400),
        ("generate", b'{"labels": [' + b"1," * 1100 + b"1]}", 422),
        ("generate", b" " * (257 * 1024) + b"{}", 413),
        ("encode", b'{"images": ["no base64!"]}', 422),
        ("encode", b'{"images": [""]}', 422),
        ("encode", b'{"images": [' + b'"AAAA",' * 64 + b'"AAAA"]}', 422),
        ("encode", b'{"images": ["' + b"A" * (5 << 20) + b'"]}', 413),
        ("traverse", b'{"direction": [' + b"0," * 99 + b"0]}", 422),
        ("traverse", b'{"direction": [' + b"1," * 99999 + b'1], "x": [' + b"1," * 50 + b"1]}", 413),
        ("path", b'{"seeds": [1, 2], "frames": 1024, "loop": true}', 422),
        ("neighbours", b'{"k": 33}', 422),
    ],
)
def test_a_hostile_body_is_refused_before_anyone_is_asked(house: House, kind: str, body: bytes, status: int) -> None:
    reply = house.client.post(f"/v1/models/demo/{kind}", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.content) < 100_000
    assert house.serve.asked == []


def test_images_may_be_as_large_as_any_body(house: House) -> None:
    large = base64.b64encode(b"x" * (1 << 20)).decode()
    assert house.ask("encode", {"images": [large] * 2}).status_code == 200


def test_an_answer_comes_as_it_is_and_its_kind_is_one_that_there_is(house: House) -> None:
    kinds: list[str] = []

    async def answers(*_: Any) -> Answer:
        return Answer(200, b"\x89PNG...", {"content-type": kinds[-1], "set-cookie": "a=b", "agon-searched": "5/9"})

    house.serve.answer = answers
    for kind, expected in (
        ("image/png", "image/png"),
        ("image/webp; x=y", "image/webp"),
        ("text/html", "application/octet-stream"),
        ("", "application/octet-stream"),
    ):
        kinds.append(kind)
        reply = house.ask()
        assert (reply.status_code, reply.content) == (200, b"\x89PNG...")
        assert reply.headers["content-type"] == expected
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Agon-Searched"] == "5/9"
        assert "set-cookie" not in reply.headers


@pytest.mark.parametrize(
    ("reason", "status", "after"),
    [
        (Reason.WRONG, 422, None),
        (Reason.MISSING, 404, None),
        (Reason.FULL, 429, "3"),
        (Reason.AWAY, 503, "3"),
        (Reason.LATE, 504, "3"),
        (Reason.BROKEN, 500, None),
    ],
)
def test_a_refusal_keeps_its_status_its_words_and_its_time(
    house: House, reason: Reason, status: int, after: str | None
) -> None:
    async def answers(*_: Any) -> Answer:
        return refuses(reason, "because", retry_after=2.5)

    house.serve.answer = answers
    reply = house.ask()
    assert (reply.status_code, reply.headers.get("Retry-After")) == (status, after)
    assert "because" in reply.json()["detail"]
    assert "ETag" not in reply.headers


def test_a_question_that_does_not_fit_the_model_names_its_fields(house: House) -> None:
    async def answers(*_: Any) -> Answer:
        error = FieldError(path="labels", message="the model has no class 'dog'", value="dog", fix="one of cat, cow")
        return refuses(Reason.WRONG, "no", errors=(error,))

    house.serve.answer = answers
    (error,) = house.ask().json()["errors"]
    assert (error["path"], error["fix"]) == ("labels", "one of cat, cow")


def test_a_question_with_a_key_is_kept_nowhere(house: House) -> None:
    for _ in range(2):
        assert house.ask(headers={"Idempotency-Key": "k" * 20}).status_code == 200
    assert len(house.serve.asked) == 2


def test_who_asks_is_in_no_audit_and_who_stops_is(house: House) -> None:
    house.ask()
    assert house.client.delete("/v1/serve").status_code == 202
    found = house.client.get("/v1/audit").json()["items"]
    assert [item["action"] for item in found] == ["serve.stop"]


def test_the_mark_is_of_when_and_where_it_was_made(house: House) -> None:
    version = house.registry.version("demo", "2")
    mark = hashlib.sha256(f"{version.created} {version.source}".encode()).hexdigest()[:16]
    assert house.ask().json()["model"] == f"demo/2/{mark}"

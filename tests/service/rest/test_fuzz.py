"""Random requests built from the OpenAPI document: no endpoint ever answers 500, and every refusal is a problem document."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples

from service.app import create_app
from service.bodies.searches import EXAMPLE
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.fake_serve import FakeServe
from service.gateway.ray_serve import AppState
from service.plans.fake import FakeMake
from service.plans.planner import Planner
from service.reconciler.loop import Reconciler
from service.runs import served
from service.settings import Settings
from trainer.search import SearchSpec
from trainer.serve.wire import MODELS
from trainer.spec import JobSpec

TEXT = st.text(max_size=20) | st.sampled_from(
    ["j-1", "demo", "dcgan-digits", "champion", "1", "\0", "../..", "%00", "é", "' OR 1=1", "x" * 300]
)
NUMBER = st.integers() | st.floats() | st.sampled_from([2**63, -1, 0, 1e308, float("nan")])
ANY = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def like(schema: dict[str, Any], parts: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Mostly values that fit the schema, sometimes anything at all."""
    return st.one_of(_fitting(schema, parts, depth), _fitting(schema, parts, depth), ANY)


def _fitting(schema: dict[str, Any], parts: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _fitting(parts[schema["$ref"].rsplit("/", 1)[1]], parts, depth)
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([_fitting(item, parts, depth) for item in options])
    match schema.get("type"):
        case "object" if depth < 4:
            fields = {name: like(item, parts, depth + 1) for name, item in schema.get("properties", {}).items()}
            wanted = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {name: item for name, item in fields.items() if name in wanted},
                optional={name: item for name, item in fields.items() if name not in wanted},
            )
        case "array":
            return st.lists(like(schema.get("items", {}), parts, depth + 1), max_size=3)
        case "integer" | "number":
            return NUMBER | st.integers(math.ceil(schema.get("minimum", 0)), 100)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string" if schema.get("format") == "date-time":
            return st.datetimes().map(lambda when: when.isoformat() + "Z")
        case "string":
            return TEXT
    return ANY


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An application with one job, its token, and a model."""
    home = tmp_path_factory.mktemp("fuzz")
    url = "" if request.param == "sqlite" else request.getfixturevalue("empty_postgres")()
    options: dict[str, Any] = {"database_url": url} if url else {}
    config = Settings(
        home=home, allowed_hosts=("testserver",), reconciler=False, webhooks=False, log_level="CRITICAL", **options
    )
    ray, registry, serve = FakeRay(), FakeRegistry(), FakeServe()
    registry.add("demo")
    registry.set_alias("demo", "champion", "1")
    app = create_app(config, ray, registry, Planner(config.plan_seconds, FakeMake()), serve)
    with TestClient(app, raise_server_exceptions=False) as client:
        admin = {"Authorization": f"Bearer {config.token_file.read_text().strip()}"}
        job = client.post("/v1/jobs", json={"recipe": "dcgan-digits"}, headers=admin).json()["id"]
        context = app.state.context
        with context.db.begin() as session:  # someone answers, without end
            place = served.touch(session, MODELS, datetime.now(UTC))
            served.change(session, place, phase=served.READY, replicas=1, running=1, token="t")
        serve.there, serve.applications[MODELS] = True, AppState("RUNNING", running=1)
        Reconciler(context.db, ray, config, "r").round()
        token = json.loads((config.jobs_root / job / "job.json").read_text())["token"]
        search = client.post("/v1/searches", json={"search": EXAMPLE}, headers=admin).json()["id"]
        yield client, admin, {"Authorization": f"Bearer {token}"}, job, search


@examples(100, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_request_makes_the_api_fail(target: Any, data: st.DataObject) -> None:
    client, admin, own, job, search = target
    document = client.app.openapi()
    calls = [(path, method) for path, item in document["paths"].items() for method in item]
    path, method = data.draw(st.sampled_from(sorted(calls)))
    call, parts = document["paths"][path][method], document["components"]["schemas"]
    if path.endswith(("/events", "/logs/stream")) and method == "get":
        return  # a stream of a job that has not ended does not end
    headers: dict[str, Any] = dict(data.draw(st.sampled_from([admin, own])))
    params: dict[str, Any] = {}
    for item in call.get("parameters", ()):
        known = {
            "job_id": st.just(job),
            "search_id": st.just(search),
            "trial_id": st.just("t-00000"),
            "name": st.sampled_from(["demo", "tiny"]),
        }.get(item["name"], TEXT)
        value = data.draw(st.one_of(known, like(item["schema"], parts)))
        if item["in"] == "path":
            path = path.replace(f"{{{item['name']}}}", _segment(value))
        elif item["in"] == "query":
            params[item["name"]] = value if not isinstance(value, dict | list) else str(value)
        elif value is not None:
            headers[item["name"]] = str(value)[:200].encode("utf-8", "replace").translate(None, b"\r\n\0")
    options: dict[str, Any] = {}
    if "requestBody" in call:
        schema = call["requestBody"]["content"]["application/json"]["schema"]
        options["content"] = _json(data.draw(like(schema, parts)))
        headers["Content-Type"] = "application/json"
    reply = client.request(
        method,
        path,
        params={key: value for key, value in params.items() if value is not None},
        headers=headers,
        **options,
    )
    assert reply.status_code < 500, f"{method} {path} {params} {options}: {reply.text[:500]}"
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status_code


@examples(10, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_spec_makes_the_api_fail(target: Any, data: st.DataObject) -> None:
    client, admin, *_ = target
    schema = JobSpec.model_json_schema()
    spec = data.draw(_fitting(schema, schema["$defs"], 0))
    reply = client.post(
        "/v1/validate", content=_json({"spec": spec}), headers={**admin, "Content-Type": "application/json"}
    )
    assert reply.status_code in (200, 400, 422), f"{spec}: {reply.text[:500]}"


@examples(10, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_search_makes_the_api_fail(target: Any, data: st.DataObject) -> None:
    client, admin, *_ = target
    schema = SearchSpec.model_json_schema()
    fields = {
        name: part for name, part in schema["properties"].items() if name not in ("base", "space", "search_version")
    }
    space = st.dictionaries(
        st.sampled_from(["optimizers.G.lr", "train.batch", "arch.g_width", "objective.loss", "no.such"]),
        like(schema["properties"]["space"]["additionalProperties"], schema["$defs"]),
        max_size=3,
    )
    search = data.draw(
        st.fixed_dictionaries(
            {
                "base": st.sampled_from(["dcgan-digits", "gan-digits", {"recipe": "wgan-digits", "set": {}}]),
                "space": space,
            },
            optional={name: _fitting(part, schema["$defs"], 0) for name, part in fields.items()},
        )
    )
    reply = client.post(
        "/v1/searches/validate",
        content=_json({"search": search}),
        headers={**admin, "Content-Type": "application/json"},
    )
    assert reply.status_code in (200, 400, 422), f"{search}: {reply.text[:500]}"


def _segment(value: Any) -> str:
    text = str(value).encode("utf-8", "replace").decode()
    return quote(text, safe="") or "x"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")

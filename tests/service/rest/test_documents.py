"""The OpenAPI document and its page: every example is accepted, every method is named, and the page needs nothing from elsewhere."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.bodies.searches import EXAMPLE
from service.datasets import routes as datasets
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.plans.fake import FakeMake
from service.plans.planner import Planner
from service.settings import Settings
from trainer.errors import BadDataError


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        allowed_hosts=("testserver",),
        reconciler=False,
        mlflow_uri="http://127.0.0.1:1",
        webhooks=False,  # nothing is sent in these tests
        webhooks_allow=("198.51.100.7",),
    )
    registry = FakeRegistry()
    for _ in range(5):
        registry.add("demo")
    app = create_app(settings, FakeRay(cpus=64), registry, Planner(5.0, FakeMake()))
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield client


def test_every_example_of_a_body_is_accepted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_there(url: str, *_: Any, **__: Any) -> None:
        raise BadDataError(f"{url}: no server is asked in this test")

    monkeypatch.setattr(datasets, "read_manifest", nothing_there)
    document = client.get("/openapi.json").json()
    search = client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    job = client.post("/v1/jobs", json={"recipe": "dcgan-digits"}).json()["id"]
    token = client.post("/v1/tokens", json={"name": "ada"}).json()["id"]
    webhook = client.post("/v1/webhooks", json={"url": "https://198.51.100.7/agon"}).json()["id"]
    ids = {"search_id": search, "job_id": job, "trial_id": "t-00000", "token_id": token, "webhook_id": webhook}
    tried = 0
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            if "requestBody" not in call:
                continue
            schema = call["requestBody"]["content"]["application/json"]["schema"]
            named = next(part["$ref"] for part in (schema, *schema.get("anyOf", ())) if "$ref" in part)
            body = document["components"]["schemas"][named.rsplit("/", 1)[1]]
            for example in body.get("examples", ()):
                concrete = path.format(name="demo", alias="champion", **ids)
                reply = client.request(method, concrete, json=example)
                tried += 1
                wrong = (
                    {error["path"] for error in reply.json().get("errors", ())} if reply.status_code == 422 else set()
                )
                # There are neither a search's trial, that job nor a bucket of that name here, and a time that is written down is long
                # past one day: all else is as it should be.
                assert wrong <= {"trial", "from.job", "url", "since"}, (path, example, reply.text)
                assert reply.status_code in (200, 201, 202, 409, 422), (path, example, reply.text)
    assert tried >= 9


def test_a_method_that_is_not_allowed_hears_of_all_that_are(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        concrete = re.sub(r"\{[a-z_]+\}", "a-1", path)
        reply = client.request("TRACE", concrete)
        assert reply.status_code == 405
        allowed = reply.headers["Allow"].split(", ")
        assert {method.upper() for method in calls} <= set(allowed), path
        assert allowed == sorted(allowed)


def test_the_page_loads_nothing_from_elsewhere_and_lets_nothing_in(client: TestClient) -> None:
    page = client.get("/docs", headers={"Authorization": ""})
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 5
    assert not [url for url in loaded if ":" in url or url.startswith("/")], "also behind a proxy that adds a prefix"
    assert not re.search(r"<script>|\son[a-z]+=", page.text)
    for url in loaded:
        reply = client.get(f"/{url}", headers={"Authorization": ""})
        assert (reply.status_code, reply.headers["X-Content-Type-Options"]) == (200, "nosniff"), url
    assert client.get("/docs/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    for name in ("none", "..%2f__init__.py", "redoc.standalone.js"):
        assert client.get(f"/docs/{name}").status_code == 404


def test_refusals_speak_plainly(client: TestClient) -> None:
    (error,) = client.post("/v1/jobs", json={}).json()["errors"]
    assert error["message"] == "give one of spec, recipe, trial and from (a checkpoint)"
    many = client.post("/v1/jobs", json={f"x{i}": 1 for i in range(3000)}).json()
    assert len(many["errors"]) == 100


@pytest.mark.parametrize(
    "value",
    ["2001-99-99", "!!int abc", "0x_", "[" * 900, "1:30:00", "\ufeff1", "9" * 3999, "1e999", '"\\ud800"', "{a: b"],
)
def test_a_string_that_yaml_would_stumble_over_is_a_wrong_value(client: TestClient, value: str) -> None:
    for path in ("train.images", "evaluation.metrics", "optimizers.G", "resources.cpus_per_worker"):
        reply = client.post("/v1/validate", json={"recipe": "dcgan-digits", "set": {path: value}})
        assert reply.status_code == 422, (path, reply.text)
        assert reply.json()["errors"][0]["path"].startswith(path)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"evaluation.metrics.0": {"a": {}}}, "evaluation.metrics.0.a"), ({"data.url": "x" * 10_000}, "data.url"),
        ({"data.url": "/".join(["x" * 300] * 6)}, "data.url"), ({"data.url": "http://[x"}, "data.url"), ({"train.images": 2**62}, "train.images"),
        ({"resources.cpus_per_worker": 1e-320}, "resources.cpus_per_worker"), ({"resources.cpus_per_worker": 1e308}, "resources.cpus_per_worker"),
        ({"checkpoint.keep_last": 2**40}, "checkpoint.keep_last"), ({"evaluation.samples": 2**40}, "evaluation.samples"),
    ],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_a_wrong_field(client: TestClient, changes: Any, path: str) -> None:
    reply = client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": changes})
    assert (reply.status_code, [error["path"] for error in reply.json()["errors"]]) == (422, [path]), reply.text


def test_every_wrong_field_is_named_at_once(client: TestClient) -> None:
    changes = {"optimizers.G.lr": "abc", "train.images": -5, "foo.bar": 1, "data.url": "dataset:none", "x" * 300: 1}
    reply = client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": changes}).json()
    paths = {error["path"] for error in reply["errors"]}
    assert paths == {"optimizers.G.lr", "train.images", "foo.bar", "data.url", "x" * 200}
    spec = {
        "arch": {"family": "dcgan", "g_width": -1},
        "optimizers": {"G": {}},
        "data": {"url": "dataset:none"},
        "train": {"batch": 0},
    }
    reply = client.post("/v1/jobs", json={"spec": spec}).json()
    assert {error["path"] for error in reply["errors"]} == {
        "arch.g_width",
        "optimizers.G.kind",
        "data.url",
        "train.batch",
    }
    search = {
        **EXAMPLE,
        "trials": -1,
        "metric": "none",
        "space": {"foo.bar": [1, 2], "optimizers.G.lr": {"uniform": [1e-4, 1e-3]}},
    }
    reply = client.post("/v1/searches", json={"search": search}).json()
    assert {error["path"] for error in reply["errors"]} == {"search.trials", "search.metric", "search.space.foo.bar"}


def test_each_request_is_logged_once_as_json_and_without_its_query(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    code = (
        "import uvicorn, logging, service.logs as logs\n"
        "config = uvicorn.Config('x:y')\n"
        "logs.configure('INFO')\n"
        "logging.getLogger('uvicorn.error').info('started')\n"
        "assert not logging.getLogger('uvicorn.access').hasHandlers()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"] == "started"


def test_every_post_reads_the_header_and_says_so(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    every = client.app.state.routes  # type: ignore[attr-defined]
    posts = [route for route in every if route.include_in_schema and "POST" in (getattr(route, "methods", None) or ())]
    assert len(posts) > 12
    for route in posts:
        names = [parameter["name"] for parameter in described[route.path]["post"]["parameters"]]
        assert names.count("Idempotency-Key") == 1, route.path
        path = route.path.format(**dict.fromkeys(route.param_convertors, "x-1"))
        refused = client.post(path, headers={"Idempotency-Key": '"a b'}, json={})
        assert (refused.status_code, "in quotes or without blanks" in refused.json()["detail"]) == (400, True), path
    twice = client.post("/v1/tokens", headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], json={})
    assert (twice.status_code, "send one" in twice.json()["detail"]) == (400, True)


def test_every_answer_that_tells_a_secret_is_known_to_be_one(client: TestClient) -> None:
    """Endpoints that make one call `service.repeats.key.once`."""
    schema = client.get("/openapi.json").json()
    secret = {"token", "secret", "password"}
    telling = set()
    for path, item in schema["paths"].items():
        for code, answer in item.get("post", {}).get("responses", {}).items():
            name = (
                answer.get("content", {})
                .get("application/json", {})
                .get("schema", {})
                .get("$ref", "")
                .rpartition("/")[2]
            )
            if code.startswith("2") and secret & set(
                schema["components"]["schemas"].get(name, {}).get("properties", {})
            ):
                telling.add(path)
    assert "/v1/tokens" in telling
    for route in client.app.state.routes:  # type: ignore[attr-defined]
        if route.path in telling and route.path.startswith("/v1/tokens") and "POST" in route.methods:
            assert "once(" in inspect.getsource(route.endpoint), route.path

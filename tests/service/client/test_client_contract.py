"""The client knows every call of the API, and every field of its answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from service.app import create_app
from service.client import Client, ClientError, replies
from service.elsewhere import Elsewhere
from service.settings import Settings
from trainer.plan.result import Plan

CALLS: dict[tuple[str, str], Callable[[Client], object]] = {
    ("POST", "/v1/jobs"): lambda c: c.submit(recipe="r"),
    ("GET", "/v1/jobs"): lambda c: c.jobs(),
    ("GET", "/v1/jobs/{}"): lambda c: c.job("j"),
    ("POST", "/v1/jobs/{}/cancel"): lambda c: c.cancel("j"),
    ("GET", "/v1/jobs/{}/events"): lambda c: list(c.events("j")),
    ("POST", "/v1/jobs/{}/retry"): lambda c: c.retry("j"),
    ("GET", "/v1/jobs/{}/logs"): lambda c: c.logs("j"),
    ("GET", "/v1/jobs/{}/samples"): lambda c: c.samples("j"),
    ("GET", "/v1/jobs/{}/report"): lambda c: c.report("j"),
    ("POST", "/v1/validate"): lambda c: c.validate(recipe="r"),
    ("POST", "/v1/plans"): lambda c: c.plan(recipe="r", gpus=8, gpu="h100"),
    ("POST", "/v1/searches"): lambda c: c.search({}),
    ("POST", "/v1/searches/validate"): lambda c: c.validate_search({}),
    ("GET", "/v1/searches"): lambda c: c.searches(),
    ("GET", "/v1/searches/{}"): lambda c: c.get_search("s"),
    ("POST", "/v1/searches/{}/cancel"): lambda c: c.cancel_search("s"),
    ("POST", "/v1/searches/{}/pause"): lambda c: c.pause("s"),
    ("POST", "/v1/searches/{}/resume"): lambda c: c.resume("s"),
    ("POST", "/v1/searches/{}/extend"): lambda c: c.extend("s", 32),
    ("GET", "/v1/searches/{}/trials"): lambda c: c.trials("s"),
    ("GET", "/v1/searches/{}/trials/{}"): lambda c: c.trial("s", "t"),
    ("POST", "/v1/searches/{}/trials/{}/stop"): lambda c: c.stop_trial("s", "t"),
    ("GET", "/v1/searches/{}/events"): lambda c: list(c.search_events("s")),
    ("GET", "/v1/searches/{}/logs"): lambda c: c.search_logs("s"),
    ("GET", "/v1/searches/{}/report"): lambda c: c.search_report("s"),
    ("GET", "/v1/recipes"): lambda c: c.recipes(),
    ("GET", "/v1/recipes/{}"): lambda c: c.recipe("r"),
    ("GET", "/v1/schema"): lambda c: c.schema(),
    ("POST", "/v1/datasets"): lambda c: c.register_dataset("d", "u"),
    ("GET", "/v1/datasets"): lambda c: c.datasets(),
    ("GET", "/v1/datasets/{}"): lambda c: c.dataset("d"),
    ("POST", "/v1/datasets/{}/check"): lambda c: c.check_dataset("d"),
    ("DELETE", "/v1/datasets/{}"): lambda c: c.delete_dataset("d"),
    ("GET", "/v1/models"): lambda c: c.models(),
    ("GET", "/v1/models/{}"): lambda c: c.model("m"),
    ("GET", "/v1/models/{}/versions"): lambda c: c.model_versions("m"),
    ("PUT", "/v1/models/{}/aliases/{}"): lambda c: c.set_alias("m", "a", "1"),
    ("POST", "/v1/tokens"): lambda c: c.create_token("ada"),
    ("GET", "/v1/tokens"): lambda c: c.tokens(),
    ("DELETE", "/v1/tokens/{}"): lambda c: c.revoke_token("t"),
    ("GET", "/v1/cluster"): lambda c: c.cluster(),
    ("GET", "/healthz"): lambda c: c.healthy(),
    ("GET", "/readyz"): lambda c: c.ready(),
}
FOR_JOBS_ALONE = {("POST", "/v1/jobs/{}/events"), ("GET", "/v1/jobs/{}/desired")}
"""What only a running job calls, with its own token."""

REPLIES: dict[tuple[str, str], type[BaseModel]] = {
    ("GET", "/v1/jobs/{}"): replies.Job,
    ("POST", "/v1/jobs"): replies.Job,
    ("POST", "/v1/jobs/{}/cancel"): replies.Job,
    ("POST", "/v1/jobs/{}/retry"): replies.Job,
    ("GET", "/v1/jobs"): replies.Page[replies.Job],
    ("POST", "/v1/searches"): replies.Search,
    ("POST", "/v1/searches/{}/extend"): replies.Search,
    ("GET", "/v1/searches"): replies.Page[replies.Search],
    ("GET", "/v1/searches/{}/trials"): replies.Page[replies.Trial],
    ("GET", "/v1/searches/{}/trials/{}"): replies.TrialDetail,
    ("POST", "/v1/searches/{}/trials/{}/stop"): replies.Trial,
    ("GET", "/v1/recipes"): replies.Page[replies.RecipeSummary],
    ("GET", "/v1/recipes/{}"): replies.Recipe,
    ("GET", "/v1/datasets/{}"): replies.Dataset,
    ("POST", "/v1/datasets/{}/check"): replies.DatasetCheck,
    ("GET", "/v1/models/{}"): replies.Model,
    ("GET", "/v1/models/{}/versions"): replies.Page[replies.ModelVersion],
    ("GET", "/v1/tokens"): replies.Page[replies.Token],
    ("POST", "/v1/tokens"): replies.NewToken,
    ("GET", "/v1/cluster"): replies.Cluster,
    ("POST", "/v1/plans"): Plan,
}


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home: Path = tmp_path_factory.mktemp("home")
    return create_app(Settings(home=home)).openapi()


def _operations(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path)): operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }


def test_the_client_has_every_call_of_the_api_and_no_other(openapi: dict[str, Any]) -> None:
    assert set(CALLS) == set(_operations(openapi)) - FOR_JOBS_ALONE


@pytest.mark.parametrize("operation", CALLS, ids=lambda operation: " ".join(operation))
def test_a_method_sends_the_request_that_it_stands_for(operation: tuple[str, str]) -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path))
        return httpx.Response(418, json={"title": "no"})

    client = Client("http://test", "t", patience=0.0)
    client._connection.http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer))
    with pytest.raises(ClientError):
        CALLS[operation](client)
    pattern = re.escape(operation[1]).replace(r"\{\}", "[^/]+")
    assert seen[0][0] == operation[0]
    assert re.fullmatch(pattern, seen[0][1])


def test_a_check_of_a_dataset_is_waited_for_as_long_as_the_api_may_take() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, json={"title": "no"})

    client = Client("http://test", "t", timeout=30.0)
    client._connection.http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer), timeout=30.0)
    for call in (lambda: client.check_dataset("d"), lambda: client.dataset("d")):
        with pytest.raises(ClientError):
            call()
    read = [request.extensions["timeout"]["read"] for request in asked]
    assert (read[0] > Elsewhere().checks.seconds, read[1]) == (True, 30.0)


@pytest.mark.parametrize("operation", REPLIES, ids=lambda operation: " ".join(operation))
def test_an_answer_has_exactly_the_fields_that_the_client_declares(
    operation: tuple[str, str], openapi: dict[str, Any]
) -> None:
    responses = _operations(openapi)[operation]["responses"]
    found = next(responses[code] for code in ("200", "201", "202") if code in responses)
    schema = found["content"]["application/json"]["schema"]
    _same_fields(REPLIES[operation].model_json_schema(), schema, openapi, REPLIES[operation].model_json_schema())


def _same_fields(ours: dict[str, Any], theirs: dict[str, Any], openapi: dict[str, Any], root: dict[str, Any]) -> None:
    """Compare property names, level by level."""
    ours, theirs = _resolve(ours, root), _resolve(theirs, openapi)
    if "properties" not in theirs:
        return
    assert set(ours["properties"]) == set(theirs["properties"])
    for name, value in theirs["properties"].items():
        mine = ours["properties"][name]
        for key in ("items",):
            mine, value = mine.get(key, mine), value.get(key, value)
        _same_fields(mine, value, openapi, root)


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    for option in schema.get("anyOf", ()):
        if "$ref" in option:
            schema = option
    if "$ref" not in schema:
        return schema
    node: Any = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return _resolve(node, root)

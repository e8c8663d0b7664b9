"""Models, as the registry has them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.gateway.registry import HttpRegistry, RegistryCursorError, RegistryUnreachableError


def test_models_show_their_aliases_and_versions_newest_first(world: Any) -> None:
    for _ in range(3):
        world.registry.add("demo", {"fid": "3.5"})
    world.registry.set_alias("demo", "champion", "2")
    assert [item["name"] for item in world.client.get("/v1/models").json()["items"]] == ["demo"]
    assert world.client.get("/v1/models/demo").json()["aliases"] == {"champion": "2"}
    page = world.client.get("/v1/models/demo/versions", params={"limit": 2}).json()
    assert [(item["version"], item["aliases"]) for item in page["items"]] == [("3", []), ("2", ["champion"])]
    rest = world.client.get("/v1/models/demo/versions", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [item["version"] for item in rest["items"]] == ["1"]
    assert rest["items"][0]["tags"] == {"fid": "3.5"}


def test_an_alias_moves_to_a_version_that_exists(world: Any) -> None:
    world.registry.add("demo")
    reply = world.client.put("/v1/models/demo/aliases/champion", json={"version": "1"})
    assert reply.json()["aliases"] == {"champion": "1"}
    assert world.client.put("/v1/models/demo/aliases/champion", json={"version": "9"}).status_code == 404
    assert world.client.put("/v1/models/demo/aliases/latest", json={"version": "1"}).status_code == 422
    assert world.client.put("/v1/models/demo/aliases/champion", json={"version": "one"}).status_code == 422


@pytest.mark.parametrize("path", ["/v1/models/none", "/v1/models/none/versions"])
def test_an_unknown_model_is_not_found(world: Any, path: str) -> None:
    assert world.client.get(path).status_code == 404


def test_an_mlflow_that_is_away_is_unavailable_and_says_so(world: Any) -> None:
    world.registry.unreachable = True
    reply = world.client.get("/v1/models")
    assert reply.status_code == 503
    assert "MLflow" in reply.json()["detail"]
    ready = world.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["mlflow"]["state"] == "unreachable"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/demo/versions"])
def test_a_cursor_that_is_none_is_a_wrong_field(world: Any, path: str) -> None:
    world.registry.add("demo")
    for cursor in ("Ñ|", "x", "-1", "٣"):
        reply = world.client.get(path, params={"cursor": cursor})
        assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, "cursor")


def test_mlflows_500_for_a_page_token_is_the_cursors_fault_only_while_mlflow_answers() -> None:
    answers = {"first": 200}

    def mlflow(request: httpx.Request) -> httpx.Response:
        if "page_token" in request.url.params:
            return httpx.Response(500, text="<html>Internal Server Error</html>")
        return httpx.Response(answers["first"], json={"registered_models": []})

    registry = HttpRegistry("http://mlflow")
    registry._client = httpx.Client(base_url="http://mlflow", transport=httpx.MockTransport(mlflow))
    with pytest.raises(RegistryCursorError):
        registry.models(10, "Ñ|")
    answers["first"] = 500
    with pytest.raises(RegistryUnreachableError):
        registry.models(10, "Ñ|")

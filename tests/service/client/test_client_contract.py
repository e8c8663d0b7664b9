"""The client knows every call of the API, and every field of its answers."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from service.app import create_app
from service.client import Client, ClientError
from service.elsewhere import Elsewhere
from service.settings import Settings

NOWHERE = Path(tempfile.gettempdir()) / "agon-no-such.tar"
"""Of a file that is never written: the API refuses it."""
CALLS: dict[tuple[str, str], Callable[[Client], object]] = {
    ("POST", "/v1/jobs"): lambda c: c.submit(recipe="r"),
    ("GET", "/v1/jobs"): lambda c: c.jobs(),
    ("GET", "/v1/jobs/{}"): lambda c: c.job("j"),
    ("GET", "/v1/jobs/{}/lineage"): lambda c: c.lineage("j"),
    ("PATCH", "/v1/jobs/{}"): lambda c: c.edit("j", {"notes": "n"}),
    ("POST", "/v1/jobs/{}/cancel"): lambda c: c.cancel("j"),
    ("GET", "/v1/jobs/{}/events"): lambda c: list(c.events("j")),
    ("GET", "/v1/events"): lambda c: list(c.all_events(after="x")),
    ("POST", "/v1/jobs/{}/pause"): lambda c: c.pause("j"),
    ("POST", "/v1/jobs/{}/resume"): lambda c: c.resume("j"),
    ("POST", "/v1/jobs/{}/retry"): lambda c: c.retry("j"),
    ("GET", "/v1/jobs/{}/logs"): lambda c: c.logs("j"),
    ("GET", "/v1/jobs/{}/logs/list"): lambda c: c.log_files("j"),
    ("GET", "/v1/jobs/{}/logs/search"): lambda c: list(c.search_in_logs("j", "error")),
    ("GET", "/v1/jobs/{}/logs/stream"): lambda c: list(c.follow_log("j")),
    ("GET", "/v1/jobs/{}/logs/archive"): lambda c: c.save_logs("j", NOWHERE),
    ("GET", "/v1/jobs/{}/samples"): lambda c: c.samples("j"),
    ("GET", "/v1/jobs/{}/samples/steps"): lambda c: c.sample_grids("j"),
    ("GET", "/v1/jobs/{}/samples/{}"): lambda c: c.samples("j", 500),
    ("GET", "/v1/jobs/{}/samples/{}/tiles/{}"): lambda c: c.samples("j", 500, 0),
    ("GET", "/v1/jobs/{}/curves"): lambda c: c.curves("j"),
    ("GET", "/v1/jobs/{}/report"): lambda c: c.report("j"),
    ("POST", "/v1/validate"): lambda c: c.validate(recipe="r"),
    ("POST", "/v1/forecast"): lambda c: c.forecast(recipe="r"),
    ("POST", "/v1/plans"): lambda c: c.plan(recipe="r", gpus=8, gpu="h100"),
    ("POST", "/v1/searches"): lambda c: c.search({}),
    ("POST", "/v1/searches/validate"): lambda c: c.validate_search({}),
    ("GET", "/v1/searches"): lambda c: c.searches(),
    ("GET", "/v1/searches/{}"): lambda c: c.get_search("s"),
    ("GET", "/v1/searches/{}/lineage"): lambda c: c.search_lineage("s"),
    ("PATCH", "/v1/searches/{}"): lambda c: c.edit_search("s", {"notes": "n"}),
    ("POST", "/v1/searches/{}/cancel"): lambda c: c.cancel_search("s"),
    ("POST", "/v1/searches/{}/pause"): lambda c: c.pause_search("s"),
    ("POST", "/v1/searches/{}/resume"): lambda c: c.resume_search("s"),
    ("POST", "/v1/searches/{}/extend"): lambda c: c.extend("s", 32),
    ("GET", "/v1/searches/{}/trials"): lambda c: c.trials("s"),
    ("GET", "/v1/searches/{}/trials/{}"): lambda c: c.trial("s", "t"),
    ("GET", "/v1/searches/{}/trials/{}/samples"): lambda c: c.trial_samples("s/t"),
    ("GET", "/v1/searches/{}/trials/{}/samples/steps"): lambda c: c.trial_sample_grids("s/t"),
    ("GET", "/v1/searches/{}/trials/{}/samples/{}"): lambda c: c.trial_samples("s/t", 500),
    ("GET", "/v1/searches/{}/trials/{}/samples/{}/tiles/{}"): lambda c: c.trial_samples("s/t", 500, 0),
    ("GET", "/v1/searches/{}/trials/{}/checkpoints"): lambda c: c.checkpoints("s/t"),
    ("GET", "/v1/searches/{}/trials/{}/checkpoints/{}/archive"): lambda c: c.download_checkpoint(
        "s/t", 5, to=f"{gettempdir()}/x.tar"
    ),
    ("PUT", "/v1/searches/{}/trials/{}/checkpoints/{}/pin"): lambda c: c.pin_checkpoint("s/t", "best"),
    ("DELETE", "/v1/searches/{}/trials/{}/checkpoints/{}/pin"): lambda c: c.unpin_checkpoint("s/t", 5),
    ("DELETE", "/v1/searches/{}/trials/{}/checkpoints/{}"): lambda c: c.delete_checkpoint("s/t", 5),
    ("GET", "/v1/searches/{}/trials/{}/checkpoints/{}"): lambda c: c.checkpoint("s/t"),
    ("GET", "/v1/jobs/{}/checkpoints"): lambda c: c.checkpoints("j"),
    ("GET", "/v1/jobs/{}/checkpoints/{}/archive"): lambda c: c.download_checkpoint("j", 5, to=f"{gettempdir()}/x.tar"),
    ("PUT", "/v1/jobs/{}/checkpoints/{}/pin"): lambda c: c.pin_checkpoint("j", "best"),
    ("DELETE", "/v1/jobs/{}/checkpoints/{}/pin"): lambda c: c.unpin_checkpoint("j", 5),
    ("DELETE", "/v1/jobs/{}/checkpoints/{}"): lambda c: c.delete_checkpoint("j", 5),
    ("GET", "/v1/jobs/{}/checkpoints/{}"): lambda c: c.checkpoint("j", 500),
    ("DELETE", "/v1/jobs/{}"): lambda c: c.delete("j"),
    ("DELETE", "/v1/searches/{}"): lambda c: c.delete_search("s", mlflow=True),
    ("POST", "/v1/searches/{}/trials/{}/stop"): lambda c: c.stop_trial("s", "t"),
    ("GET", "/v1/searches/{}/events"): lambda c: list(c.search_events("s")),
    ("GET", "/v1/searches/{}/logs"): lambda c: c.search_logs("s"),
    ("GET", "/v1/searches/{}/logs/list"): lambda c: c.log_files("s-1"),
    ("GET", "/v1/searches/{}/logs/search"): lambda c: list(c.search_in_logs("s-1", "error")),
    ("GET", "/v1/searches/{}/logs/stream"): lambda c: list(c.follow_log("s-1")),
    ("GET", "/v1/searches/{}/logs/archive"): lambda c: c.save_logs("s-1", NOWHERE),
    ("GET", "/v1/searches/{}/trials/{}/logs"): lambda c: c.logs("s/t"),
    ("GET", "/v1/searches/{}/trials/{}/logs/list"): lambda c: c.log_files("s/t"),
    ("GET", "/v1/searches/{}/trials/{}/logs/search"): lambda c: list(c.search_in_logs("s/t", "error")),
    ("GET", "/v1/searches/{}/trials/{}/logs/stream"): lambda c: list(c.follow_log("s/t")),
    ("GET", "/v1/searches/{}/trials/{}/logs/archive"): lambda c: c.save_logs("s/t", NOWHERE),
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
    ("GET", "/v1/models/{}/versions/{}/package"): lambda c: c.pull("m", "3", to=f"{gettempdir()}/x.tar"),
    ("PUT", "/v1/models/{}/aliases/{}"): lambda c: c.set_alias("m", "a", "1"),
    ("POST", "/v1/models/{}/generate"): lambda c: c.generate("m@best", 4),
    ("POST", "/v1/models/{}/path"): lambda c: c.path("m/3", [1, 2]),
    ("POST", "/v1/models/{}/traverse"): lambda c: c.traverse("m", "c1"),
    ("POST", "/v1/models/{}/encode"): lambda c: c.encode("m", [b"x"]),
    ("POST", "/v1/models/{}/reconstruct"): lambda c: c.reconstruct("m", [b"x"]),
    ("POST", "/v1/models/{}/neighbours"): lambda c: c.neighbours("m"),
    ("GET", "/v1/serve"): lambda c: c.serving(),
    ("DELETE", "/v1/serve"): lambda c: c.stop_serving(),
    ("GET", "/v1/audit"): lambda c: c.audit(actor="ada"),
    ("GET", "/v1/audit/stream"): lambda c: list(c.follow_audit(actor="ada")),
    ("POST", "/v1/webhooks"): lambda c: c.add_webhook("https://x.org"),
    ("GET", "/v1/webhooks"): lambda c: c.webhooks(),
    ("GET", "/v1/webhooks/{}"): lambda c: c.webhook("w"),
    ("PATCH", "/v1/webhooks/{}"): lambda c: c.edit_webhook("w", enabled=True),
    ("DELETE", "/v1/webhooks/{}"): lambda c: c.remove_webhook("w"),
    ("POST", "/v1/webhooks/{}/rotate"): lambda c: c.rotate_webhook("w"),
    ("POST", "/v1/webhooks/{}/test"): lambda c: c.test_webhook("w"),
    ("POST", "/v1/webhooks/{}/replay"): lambda c: c.replay_since("w", "2026-11-01T00:00:00Z"),
    ("GET", "/v1/webhooks/{}/deliveries"): lambda c: c.deliveries("w"),
    ("GET", "/v1/webhooks/{}/deliveries/{}"): lambda c: c.delivery("w", "d"),
    ("POST", "/v1/webhooks/{}/deliveries/{}/replay"): lambda c: c.replay("w", "d"),
    ("POST", "/v1/tokens"): lambda c: c.create_token("ada"),
    ("GET", "/v1/tokens"): lambda c: c.tokens(),
    ("POST", "/v1/tokens/{}/rotate"): lambda c: c.rotate_token("t"),
    ("DELETE", "/v1/tokens/{}"): lambda c: c.revoke_token("t"),
    ("GET", "/v1/session"): lambda c: c.me(),
    ("PUT", "/v1/owners/{}/role"): lambda c: c.set_role("ada", "user"),
    ("GET", "/v1/owners"): lambda c: c.owners(),
    ("GET", "/v1/owners/me"): lambda c: c.owner(),
    ("GET", "/v1/owners/{}"): lambda c: c.owner("ada"),
    ("PUT", "/v1/owners/{}/caps"): lambda c: c.cap("ada", running=1),
    ("DELETE", "/v1/owners/{}/caps"): lambda c: c.uncap("ada"),
    ("GET", "/v1/usage"): lambda c: c.usage(),
    ("GET", "/v1/disk"): lambda c: c.disk(),
    ("POST", "/v1/gc"): lambda c: c.collect(),
    ("GET", "/v1/cluster"): lambda c: c.cluster(),
    ("GET", "/metrics"): lambda c: c.metrics(),
    ("GET", "/healthz"): lambda c: c.healthy(),
    ("GET", "/readyz"): lambda c: c.ready(),
}
FOR_JOBS_ALONE = {("POST", "/v1/jobs/{}/events"), ("GET", "/v1/jobs/{}/desired")}
"""What only a running job calls, with its own token."""
FOR_BROWSERS_ALONE = {("POST", "/v1/session"), ("DELETE", "/v1/session")}
"""A cookie in place of a token; programs have the token."""
FOR_PAGES = {("GET", f"/v1/models/{{}}/{kind}") for kind in ("generate", "path", "traverse")}
"""The same questions as a URL, for `<img>`; the client posts them."""
HANDED_ON = {("POST", "/v1/validate"), ("DELETE", "/v1/jobs/{}"), ("DELETE", "/v1/searches/{}")}
"""Answers that the client gives as the mappings that they are, or of which it gives a part."""


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
    assert set(CALLS) == set(_operations(openapi)) - FOR_JOBS_ALONE - FOR_BROWSERS_ALONE - FOR_PAGES


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


def test_the_client_reads_every_answer_as_the_body_that_the_api_declares(
    openapi: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def note(_self: Client, model: type[BaseModel], *_call: object, **_more: object) -> None:
        read.append(re.sub(r"\W+", "_", model.__name__))
        raise ClientError

    monkeypatch.setattr(Client, "_read", note)
    declared = {operation: _declared(found) for operation, found in _operations(openapi).items()}
    for operation, call in CALLS.items():
        if declared[operation] is None or operation in HANDED_ON:
            continue
        with pytest.raises(ClientError):
            call(Client("http://test", "t"))
        assert (operation, read.pop()) == (operation, declared[operation])
    assert sum(name is not None for name in declared.values()) > 25


def _declared(operation: dict[str, Any]) -> str | None:
    """Name of the answer's body; None for text, files, and objects without a name."""
    found = next(
        operation["responses"][code] for code in ("200", "201", "202", "204") if code in operation["responses"]
    )
    schema = found.get("content", {}).get("application/json", {}).get("schema", {})
    return schema["$ref"].rsplit("/", 1)[1].removesuffix("-Output") if "$ref" in schema else None


SERVERS = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "ray", "mlflow", "torch")


def test_whoever_imports_the_client_loads_nothing_of_the_server() -> None:
    program = "import sys, service.client; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    loaded = {name for name in found if name.partition(".")[0] in ("service", *SERVERS)}
    own = ("service.client", "service.bodies", "service.stack")
    strangers = {name for name in loaded if not name.startswith(own)}
    assert strangers == {"service"}

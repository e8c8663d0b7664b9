"""With OpenTelemetry: what is a span, whose child, and what it says. Without: nothing of it is there."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.gateway.ray_jobs import HttpRayJobs
from trainer import spans, trace
from trainer.wire import JobFile

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = f"00-{ID}-{SPAN}-01"


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    """What is recorded while the test runs."""
    exporter = InMemorySpanExporter()
    spans.configure("agon-test", SimpleSpanProcessor(exporter))
    yield exporter
    spans.stop()


def named(recorded: InMemorySpanExporter, name: str) -> Any:
    """The one span of that name."""
    (found,) = [span for span in recorded.get_finished_spans() if span.name == name]
    return found


def test_a_request_is_a_span_below_its_callers(world: Any, recorded: InMemorySpanExporter) -> None:
    reply = world.client.get("/v1/jobs/j-0", headers={"traceparent": ASKED, "X-Request-Id": "r-1"})
    span = named(recorded, "GET /v1/jobs/{job_id}")
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}", span.kind.name) == (ID, SPAN, "SERVER")
    assert reply.headers["traceresponse"] == f"00-{ID}-{span.context.span_id:016x}-01"
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/v1/jobs/j-0",
        "http.route": "/v1/jobs/{job_id}",
        "http.response.status_code": 404,
        "agon.request_id": "r-1",
    }
    assert (span.status.is_unset, span.resource.attributes["service.name"]) == (True, "agon-test")


def test_a_failure_is_told(world: Any, recorded: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.ray, "nodes", lambda: 1 / 0)
    assert (
        TestClient(world.client.app, raise_server_exceptions=False, headers=world.client.headers)
        .get("/v1/cluster")
        .status_code
        == 500
    )
    span = named(recorded, "GET /v1/cluster")
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", "500")


def test_what_nobody_samples_is_not_recorded(world: Any, recorded: InMemorySpanExporter) -> None:
    world.client.get("/v1/jobs", headers={"traceparent": f"00-{ID}-{SPAN}-00"})
    assert recorded.get_finished_spans() == ()


def test_handing_over_is_a_span_of_the_run_and_the_attempt_one_below_it(
    world: Any, recorded: InMemorySpanExporter
) -> None:
    job = world.submit(headers={"traceparent": ASKED})
    world.round()
    file = JobFile.model_validate_json((world.folder(job) / "job.json").read_bytes())
    with spans.attempt(file, "agon-driver") as span:
        span.set({"process.exit.code": 1}, error="worker-lost")
    request, handed, attempt = (named(recorded, name) for name in ("POST /v1/jobs", "hand over", "job attempt"))
    assert (request.context.span_id, handed.context.span_id) == (handed.parent.span_id, attempt.parent.span_id)
    assert {f"{span.context.trace_id:032x}" for span in (request, handed, attempt)} == {ID}
    assert (handed.attributes["agon.job"], attempt.attributes["agon.attempt"]) == (job, 1)
    assert attempt.attributes["error.type"] == "worker-lost"


def test_calls_of_ray_that_change_something_are_spans_and_looks_are_none(recorded: InMemorySpanExporter) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"version": "1", "submission_id": "agon-j-1"})

    ray = HttpRayJobs("http://ray:8265")
    ray._client = httpx.Client(base_url="http://ray:8265", transport=httpx.MockTransport(answer))
    ray.ping()
    ray.submit("agon-j-1", "true", {})
    ray.stop("agon-j-1")
    ray.close()
    urls = [span.attributes["url.full"] for span in recorded.get_finished_spans()]
    assert urls == ["http://ray:8265/api/jobs/", "http://ray:8265/api/jobs/agon-j-1/stop"]


def test_an_exception_is_recorded_and_passes(recorded: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError), spans.span("work"):
        raise ZeroDivisionError
    assert [event.name for event in named(recorded, "work").events] == ["exception"]


def test_without_it_a_span_is_a_new_id_in_the_trace() -> None:
    with spans.span("outer", trace.parse(ASKED)) as outer, spans.span("inner") as inner:
        inner.set({"a": 1}, error="none")
        assert trace.current() == inner.trace
    assert (outer.trace.id, inner.trace.id, len({SPAN, outer.trace.span, inner.trace.span})) == (ID, ID, 3)
    assert trace.current() is None


@pytest.mark.parametrize(
    ("environment", "is_wanted"),
    [
        ({}, False),
        ({"AGON_OTEL": "1"}, True),
        ({"AGON_OTEL": "0"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
    ids=str,
)
def test_it_is_wanted_if_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_wanted: bool
) -> None:
    for name in (*spans.ENDPOINTS, "AGON_OTEL", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert spans.wanted() is is_wanted


def test_what_is_wanted_and_not_installed_is_told_and_nothing_else_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AGON_OTEL", "1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setattr(logging.getLogger("agon"), "propagate", True)
    spans.configure("agon-test")
    assert "pip install 'agon[otel]'" in caplog.text
    with spans.span("work") as span:
        assert span.recorded is None


def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    code = """
import sys
from trainer import spans, trace
spans.configure("agon")
with spans.span("work", trace.begin()):
    spans.flush()
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], env={}, check=False).returncode == 0

"""One id from the request to the run, its attempts, their events, and the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
import rows
from fastapi.testclient import TestClient
from httpx_sse import connect_sse

from service import logs
from service.events.broadcast import frame
from service.gateway.ray_jobs import RayStatus
from service.runs import tape, wishes
from service.runs.tape import BEGIN
from trainer import trace
from trainer.sinks.push import Pusher
from trainer.sinks.spool import Spool, SpoolReader
from trainer.wire import EventKind, JobFile

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = {"traceparent": f"00-{ID}-{SPAN}-01"}


class Lines:
    """The log."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def of(self, message: str) -> dict[str, Any]:
        """The newest line with that message."""
        found = [line for line in map(json.loads, self.stream.getvalue().splitlines()) if line["message"] == message]
        assert found, f"{message!r} is not in the log"
        return dict(found[-1])


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What goes to standard error, from our loggers and from libraries'."""
    found = Lines()
    handler = logging.StreamHandler(found.stream)
    handler.setFormatter(logs.JsonLines())
    loggers = [logging.getLogger(name) for name in ("", "agon")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield found
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def run_file(world: Any, job: str) -> JobFile:
    return JobFile.model_validate_json((world.folder(job) / "job.json").read_bytes())


def test_a_run_is_in_the_trace_of_the_request_that_submitted_it(world: Any) -> None:
    job = world.submit(headers=ASKED)
    world.round()
    shown, attempt = world.job(job), trace.parse(run_file(world, job).traceparent)
    assert shown["trace"] == ID
    assert attempt is not None
    assert (attempt.id, attempt.span != SPAN) == (ID, True)


def test_what_is_malformed_begins_a_new_trace(world: Any) -> None:
    reply = world.client.get("/v1/jobs", headers={"traceparent": f"00-{ID}-{SPAN}-01-x"})
    begun = trace.parse(reply.headers["traceresponse"])
    assert begun is not None
    assert begun.id != ID


def test_the_answer_names_the_span_of_the_request_and_so_does_a_refusal(world: Any) -> None:
    for path, status in (("/v1/jobs", 200), ("/v1/jobs/j-0", 404)):
        reply = world.client.get(path, headers=ASKED)
        found = trace.parse(reply.headers["traceresponse"])
        assert found is not None
        assert (reply.status_code, found.id, found.span != SPAN) == (status, ID, True)
    refused = TestClient(world.client.app).get("/v1/jobs", headers=ASKED)
    assert (refused.status_code, ID in refused.headers["traceresponse"]) == (401, True)


def test_further_attempts_are_further_spans_of_the_same_trace(world: Any) -> None:
    """Whoever retries or resumes it: the run stays in the trace that it began in."""
    job = world.submit(headers=ASKED)
    world.round()
    first = trace.parse(run_file(world, job).traceparent)
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    for _ in range(4):
        world.round(60.0)
    second = trace.parse(run_file(world, job).traceparent)
    assert first is not None
    assert second is not None
    assert (run_file(world, job).attempt, second.id, second.span != first.span) == (2, ID, True)


def test_a_run_from_before_there_were_traces_goes_on(world: Any) -> None:
    job = world.submit()
    rows.change(world.db, job, traceparent=None)
    world.round()
    assert (world.job(job)["trace"], run_file(world, job).traceparent) == (None, None)


def test_its_reports_are_in_its_trace_but_no_spans(world: Any, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.submit(headers=ASKED)
    world.round()
    file = run_file(world, job)
    with closing(Spool(world.folder(job))) as spool:
        spool.append(1, EventKind.WARNING, data={"message": "m"})
        pusher = Pusher(spool, file)
        sent: list[Any] = []

        class Through:
            """httpx's client as the pusher makes it, to the API of this test."""

            def __init__(self, *, base_url: str, headers: dict[str, str], **_: Any) -> None:
                self.headers = headers

            def request(self, method: str, path: str, content: str | None) -> Any:
                sent.append(self.headers)
                return world.client.request(method, f"/v1/jobs/{job}/{path}", headers=self.headers, content=content)

        monkeypatch.setattr(httpx, "Client", Through)
        assert pusher.deliver(SpoolReader(world.folder(job)).after(0, 10)) == 1
    assert sent[0]["traceparent"].startswith(f"00-{ID}-")
    assert sent[0]["traceparent"].endswith("-00")
    assert lines.of("request")["trace_id"] == ID


def streamed(world: Any, job: str) -> list[tuple[str, dict[str, Any]]]:
    """All that the stream of a run that has ended tells."""
    with connect_sse(world.client, "GET", f"/v1/jobs/{job}/events") as source:
        return [(message.event, json.loads(message.data)) for message in source.iter_sse()]


def test_all_that_is_told_of_a_run_says_its_trace_whoever_asked_for_it(world: Any) -> None:
    """In its own stream and in that of all runs, states and events; a request that changes it is of another trace."""
    job = world.running(headers=ASKED)
    world.tell(job, "progress")
    other = {"traceparent": f"00-{'1' * 32}-{SPAN}-01"}
    assert world.client.post(f"/v1/jobs/{job}/cancel", headers=other).status_code == 202
    world.tell(job, "finished", outcome="stopped")
    world.round()
    told = streamed(world, job)
    assert [event for event, _ in told] == ["started", "progress", "finished", "state"]
    tape.place(world.db)
    with world.db.read() as session:
        of_all = tape.read(session, BEGIN, 100).told
    assert {one.event for one in of_all} == {event for event, _ in told}
    assert {data["trace"] for _, data in told} | {one.data["trace"] for one in of_all} == {ID}
    assert all(f'"trace":"{ID}"'.encode() in frame(one) for one in of_all)


def test_what_is_told_of_a_run_from_before_there_were_traces_says_that_it_has_none(world: Any) -> None:
    job = world.running()
    rows.change(world.db, job, traceparent=None)
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.tell(job, "finished", outcome="stopped")
    world.round()
    told = streamed(world, job)
    assert {event for event, _ in told} == {"started", "finished", "state"}
    assert [data["trace"] for _, data in told] == [None] * len(told)


def test_every_line_that_is_written_in_a_request_has_its_ids(
    world: Any, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's, too, in the thread that a request runs in."""
    cancel = wishes.cancel

    def telling(*given: Any) -> Any:
        logging.getLogger("some.library").warning("from a library")
        return cancel(*given)

    monkeypatch.setattr(wishes, "cancel", telling)
    job = world.submit()
    reply = world.client.post(f"/v1/jobs/{job}/cancel", headers={**ASKED, "X-Request-Id": "r-1"})
    assert reply.status_code == 202
    for message in ("from a library", "request"):
        line = lines.of(message)
        assert (line["request_id"], line["trace_id"]) == ("r-1", ID), message
    logging.getLogger("some.library").warning("outside")
    assert "request_id" not in lines.of("outside")


def test_calls_elsewhere_write_their_lines_for_the_request(
    world: Any, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have threads of their own."""
    nodes = world.ray.nodes

    def telling() -> Any:
        logging.getLogger("some.library").warning("asked Ray")
        return nodes()

    monkeypatch.setattr(world.ray, "nodes", telling)
    world.client.get("/v1/cluster", headers={"X-Request-Id": "r-2"}).raise_for_status()
    assert lines.of("asked Ray")["request_id"] == "r-2"


def test_every_line_of_a_round_about_a_run_has_the_runs_ids(
    world: Any, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.submit(headers=ASKED)
    submit = world.ray.submit

    def telling(*given: Any) -> None:
        logging.getLogger("some.library").warning("hands over")
        submit(*given)

    monkeypatch.setattr(world.ray, "submit", telling)
    world.round()
    for message in ("hands over", "submitted"):
        line = lines.of(message)
        assert (line["job"], line["attempt"], line["trace_id"]) == (job, 1, ID), message


def test_what_libraries_warn_of_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("agon")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(ours, "handlers", [])
    logs.configure("INFO")
    logs.configure("INFO")
    with logs.about(request_id="r"):
        logging.getLogger("some.library").warning("a")
        logging.getLogger("some.library").info("b")
        ours.info("c")
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["message"], line["request_id"]) for line in written] == [("a", "r"), ("c", "r")]

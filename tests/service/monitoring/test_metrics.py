"""What Prometheus reads: the right counts, once each, under names without ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service import tallies
from service.gateway.ray_jobs import RayStatus
from service.monitoring import facts
from service.runs import wishes

MONITORING = Path(__file__).parents[3] / "k8s" / "components" / "monitoring"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for is read anew, without the routes that other tests of this process have asked: thousands of lines."""
    tallies.REQUESTS.clear()
    monkeypatch.setattr(facts, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(facts, "SLOW_SECONDS", 0.0)


def asked(world: Any) -> Samples:
    reply = world.client.get("/metrics")
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(reply.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def gained(world: Any, before: Samples, name: str, **labels: str) -> float:
    """Other tests of this process have counted, too."""
    return value(asked(world), name, **labels) - value(before, name, **labels)


@pytest.mark.databases
def test_a_life_is_counted_once_in_every_place_that_it_comes_through(world: Any) -> None:
    before = asked(world)
    job = world.running(retry={"attempts": 2})
    assert value(asked(world), "agon_jobs", kind="job", state="running") == 1
    world.tell(job, "failed", kind="worker-lost", reason="rank 0 was killed", traceback="")
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    for _ in range(4):
        world.round(5.0)
    world.ray.move(f"agon-{job}-2", RayStatus.RUNNING)
    world.tell(job, "started", 2, total_images=1000, workers=1)
    world.round()
    world.tell(job, "failed", 2, kind="non-finite", reason="NaN", traceback="")
    world.ray.move(f"agon-{job}-2", RayStatus.FAILED)
    world.round()
    assert world.job(job)["state"] == "failed"
    transitions = {
        to: gained(world, before, "agon_job_transitions_total", to=to) for to in ("starting", "running", "failed")
    }
    assert transitions == {"starting": 2, "running": 2, "failed": 1}
    assert world.job(job)["failure"]["kind"] == "non-finite"
    assert gained(world, before, "agon_job_failures_total", kind="non-finite") == 1
    assert gained(world, before, "agon_job_failures_total", kind="worker-lost") == 0, "it was tried again"
    assert gained(world, before, "agon_job_restarts_total", cause="worker-lost") == 1
    assert gained(world, before, "agon_job_queue_seconds_count") == 2
    assert gained(world, before, "agon_job_start_seconds_count") == 2
    assert value(asked(world), "agon_jobs", kind="job", state="failed") == 1
    assert value(asked(world), "agon_jobs", kind="job", state="running") == 0


def test_what_is_rolled_back_has_not_happened(world: Any) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/pause")
    world.round()
    before = asked(world)

    class GoneError(Exception):
        pass

    def resume_and_fail() -> None:
        with world.db.begin() as session:
            wishes.resume(session, job)
            session.flush()
            raise GoneError

    with pytest.raises(GoneError):
        resume_and_fail()
    assert gained(world, before, "agon_job_restarts_total", cause="resumed") == 0
    assert world.client.post(f"/v1/jobs/{job}/resume").status_code == 202
    assert gained(world, before, "agon_job_restarts_total", cause="resumed") == 1


def test_a_request_is_counted_by_its_routes_template_and_never_by_what_clients_send(world: Any) -> None:
    job = world.submit()
    before = asked(world)
    for path in (f"/v1/jobs/{job}", "/v1/jobs/j-000000000000", "/v1/nothing/of/the/kind"):
        world.client.get(path)
    world.client.request("BREW", "/v1/jobs")
    count = "agon_http_request_duration_seconds_count"
    assert gained(world, before, count, method="GET", route="/v1/jobs/{job_id}", status="200") == 1
    assert gained(world, before, count, method="GET", route="/v1/jobs/{job_id}", status="404") == 1
    assert gained(world, before, count, method="GET", route="none", status="404") == 1
    text = world.client.get("/metrics").text
    for word in (job, "j-000000000000", "nothing", "BREW"):
        assert word not in text


def test_who_waits_and_which_parts_answer_is_told(world: Any) -> None:
    world.ray.cluster = []
    world.submit()
    world.round()
    samples = asked(world)
    assert value(samples, "agon_jobs", kind="job", state="queued") == 1
    assert 0 < value(samples, "agon_job_waiting_age_seconds_max") < 300
    assert value(samples, "agon_ray_up") == 1
    assert 0 < value(samples, "agon_disk_bytes", what="free") <= value(samples, "agon_disk_bytes", what="total")
    assert sum(number for (name, _), number in samples.items() if name == "agon_build_info") == 1


def test_while_ray_is_away_the_rest_is_told(world: Any) -> None:
    world.submit()
    world.ray.unreachable = True
    samples = asked(world)
    assert (value(samples, "agon_ray_up"), value(samples, "agon_jobs", kind="job", state="submitted")) == (0, 1)


def test_events_behind_a_gap_show_until_it_is_filled(world: Any) -> None:
    job = world.running()
    world.seqs[job] = 2
    world.tell(job, "progress", total_images=1000)
    assert value(asked(world), "agon_events_unacked") == 1
    world.seqs[job] = 1
    world.tell(job, "progress", total_images=1000)
    assert value(asked(world), "agon_events_unacked") == 0


def test_a_stranger_and_a_job_are_refused(world: Any) -> None:
    assert world.client.get("/metrics", headers={"Authorization": ""}).status_code == 401
    token = world.token(world.running())
    assert world.client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 403


def test_a_reconciler_says_how_long_ago_it_finished_a_round_and_whether_there_is_one(world: Any) -> None:
    tallies.reconciler_stopped()
    assert value(asked(world), "agon_reconciler_lag_seconds") == -1
    tallies.round_ended()
    assert 0 <= value(asked(world), "agon_reconciler_lag_seconds") < 30
    tallies.reconciler_stopped()


def test_a_reconciler_that_runs_apart_answers_on_a_port_of_its_own() -> None:
    from prometheus_client import start_http_server

    from service.reconciler.__main__ import _counted

    server, thread = start_http_server(0, "127.0.0.1", registry=_counted())
    try:
        text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics", trust_env=False).text
    finally:
        server.shutdown()
        thread.join()
    assert "agon_job_transitions_total" in text
    assert "agon_jobs{" not in text, "that is the API's to tell"


QUERIED = re.compile(r"\bagon_[a-z_]+")


def queries() -> dict[str, str]:
    """By panel or alert, what it asks Prometheus."""
    board = json.loads((MONITORING / "dashboard.json").read_text())
    found = {
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]:
        found |= {f"alert {rule['alert']}": rule["expr"] for rule in group["rules"]}
    return found


def test_every_query_of_the_board_and_of_the_alerts_names_a_metric_with_labels_that_are_exported(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="non-finite", reason="NaN", traceback="")
    world.ray.move(f"agon-{job}-1", RayStatus.FAILED)
    world.round()
    tallies.RESTARTS.labels("room")
    tallies.QUESTIONS.labels("generate", "answered")
    labels: dict[str, set[str]] = {}
    for name, pairs in asked(world):
        labels.setdefault(name, {"instance"}).update(label for label, _ in pairs)
    for where, query in queries().items():
        names = QUERIED.findall(query)
        assert names, where
        for name in names:
            assert name in labels, f"{where}: {name}"
        known = set().union(*(labels[name] for name in names))
        for listed in re.findall(r"\bby \(([^)]*)\)", query):
            asked_for = {label.strip() for label in listed.split(",")}
            assert asked_for <= known, f"{where}: {asked_for - known}"
        for name, selector in re.findall(r"(agon_[a-z_]+)\{([^}]*)\}", query):
            chosen = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert chosen <= labels[name], f"{where}: {chosen - labels[name]}"


def test_the_outcomes_of_webhooks_that_are_asked_for_are_those_that_are_counted() -> None:
    counted = {sample.labels["outcome"] for metric in tallies.WEBHOOKS.collect() for sample in metric.samples}
    chosen = re.findall(r'outcome=~?"([^"]*)"', " ".join(queries().values()))
    assert {word for words in chosen for word in words.split("|")} == counted


def test_the_page_lists_every_metric_that_is_exported_and_no_other(world: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text()
    listed = set(re.findall(r"^\| `(agon_[a-z_]+)", page, re.MULTILINE))
    world.submit()
    tallies.FAILURES.labels("non-finite")
    tallies.RESTARTS.labels("room")
    tallies.QUESTIONS.labels("generate", "answered")
    names = {name for name, _ in asked(world) if name.startswith("agon_") and not name.endswith("_created")}
    exported = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    assert listed == exported

"""A search is a run like a job: submission, queue, attempts, cancel; and what a job has not: pause, resume, extend."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from httpx_sse import connect_sse

from service.gateway.ray_jobs import Node, RayStatus
from trainer.wire import SearchFile


def test_a_search_goes_from_submission_to_success_with_a_driver_of_its_own(world: Any, searches: Any) -> None:
    search = searches.submit()
    assert search.startswith("s-")
    world.round()
    path = world.folder(search) / "search.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = SearchFile.model_validate_json(path.read_text())
    assert content.spec.model_dump(mode="json") == searches.show(search)["search"]
    assert (content.job_id, content.attempt, content.job_dir) == (search, 1, str(path.parent))
    entrypoint = world.ray.entrypoints[f"agon-{search}-1"]
    assert entrypoint == f"{world.settings.driver_python} -m trainer.launch.tune {path}"
    searches.begin(search)
    searches.trial(search, 0, score=3.0, state="completed")
    searches.end(search, outcome="completed")
    shown = searches.show(search)
    assert (shown["state"], shown["best"]["id"], shown["trials"], shown["images"]) == (
        "succeeded", "t-00000", {"completed": 1}, 640,
    )  # fmt: skip
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"]


def test_jobs_and_searches_are_not_found_as_each_other(world: Any, searches: Any) -> None:
    job, search = world.submit(), searches.submit()
    assert [item["id"] for item in world.client.get("/v1/jobs").json()["items"]] == [job]
    assert [item["id"] for item in world.client.get("/v1/searches").json()["items"]] == [search]
    for wrong in (f"/v1/jobs/{search}", f"/v1/searches/{job}"):
        for path in (wrong, f"{wrong}/events", f"{wrong}/logs", f"{wrong}/report"):
            assert world.client.get(path).status_code == 404, path
        assert world.client.post(f"{wrong}/cancel").status_code == 404
    for path in ("trials", "trials/t-00000"):
        assert world.client.get(f"/v1/searches/{job}/{path}").status_code == 404
    assert (world.job(job)["desired"], searches.show(search)["desired"]) == ("run", "run")


def test_a_search_waits_in_the_queue_of_jobs_with_the_need_of_one_trial(world: Any, searches: Any) -> None:
    first = world.submit(resources={"workers": 4})
    search = searches.submit(base={"recipe": "dcgan-digits", "set": {"resources": {"workers": 2, "min_workers": 1}}})
    world.round()
    assert world.job(first)["state"] == "starting"
    assert searches.show(search)["reason"] == "waits for 2 CPUs; 0 of 4 CPUs free", "a trial is not elastic"


def test_a_driver_that_dies_is_followed_by_others_though_the_base_allows_a_job_one_attempt(
    world: Any, searches: Any
) -> None:
    search = searches.running()
    for attempt in (1, 2):
        world.ray.move(f"agon-{search}-{attempt}", RayStatus.FAILED, exit_code=-9)
        world.round()
        assert searches.state(search) == "queued"
        world.round(5)
        assert searches.show(search)["attempt"] == attempt + 1
    world.ray.move(f"agon-{search}-3", RayStatus.FAILED, exit_code=-9)
    world.round()
    assert (searches.state(search), len(world.ray.starts)) == ("failed", 3)


def test_a_paused_search_frees_the_cluster_and_goes_on_when_it_is_resumed(world: Any, searches: Any) -> None:
    search = searches.running()
    asked = searches.call(search, "pause")
    assert (asked.status_code, asked.json()["desired"]) == (202, "pause")
    assert searches.call(search, "pause").status_code == 202, "asking twice is asking once"
    assert searches.trial(search, 0)["desired"] == "stop", "the driver knows no pause"
    world.round()
    assert searches.state(search) == "stopping"
    assert searches.call(search, "resume").status_code == 409
    world.tell(search, "finished", outcome="stopped")
    world.round()
    assert searches.state(search) == "stopping", "its driver is still there"
    world.ray.move(f"agon-{search}-1", RayStatus.SUCCEEDED)
    world.round()
    shown = searches.show(search)
    assert (shown["state"], shown["finished_at"]) == ("paused", None)
    world.round(100)
    assert len(world.ray.starts) == 1
    assert searches.call(search, "resume").json()["state"] == "queued"
    world.round()
    assert searches.show(search)["attempt"] == 2
    searches.begin(search, 2)
    assert searches.trial(search, 0, 2)["desired"] == "run"
    for attempt in (2, 3, 4):  # what was resumed has all its attempts again
        world.ray.move(f"agon-{search}-{attempt}", RayStatus.FAILED, exit_code=-9)
        world.round()
        world.round(10)
    assert (searches.state(search), len(world.ray.starts)) == ("failed", 4)


def test_a_search_that_waits_is_paused_and_cancelled_without_ever_starting(world: Any, searches: Any) -> None:
    world.ray.unreachable = True
    search = searches.submit()
    searches.call(search, "pause")
    world.round()
    assert searches.state(search) == "paused"
    world.ray.unreachable = False
    world.round()
    assert world.ray.starts == []
    cancelled = searches.call(search, "cancel").json()
    assert (cancelled["state"], cancelled["desired"]) == ("cancelled", "stop")
    assert searches.call(search, "cancel").status_code == 409
    assert searches.call(search, "resume").status_code == 409


def test_a_pause_can_become_a_cancellation_and_not_the_other_way_round(world: Any, searches: Any) -> None:
    search = searches.running()
    searches.call(search, "pause")
    world.round()
    assert searches.call(search, "cancel").status_code == 202
    refused = searches.call(search, "pause")
    assert refused.status_code == 409
    assert "extend" in refused.json()["detail"]
    searches.end(search)
    assert searches.state(search) == "cancelled"


def test_a_search_whose_driver_does_not_listen_is_paused_by_ray(world: Any, searches: Any) -> None:
    search = searches.running()
    searches.call(search, "pause")
    world.round()
    world.round(70)
    assert ("stop", f"agon-{search}-1") in world.ray.calls
    world.round()
    assert searches.state(search) == "paused"


@pytest.mark.parametrize("ended", ["completed", "cancelled", "paused"])
def test_an_ended_or_paused_search_is_extended_once_its_old_driver_is_gone(
    world: Any, searches: Any, ended: str
) -> None:
    search = searches.running()
    searches.trial(search, 0, score=1.0)
    if ended != "completed":
        searches.call(search, "cancel" if ended == "cancelled" else "pause")
    searches.end(search, outcome="completed" if ended == "completed" else "stopped")
    before = searches.show(search)
    world.ray.move(f"agon-{search}-1", RayStatus.RUNNING)  # Ray notices the end of a process late
    extended = searches.call(search, "extend", {"trials": 8})
    assert extended.status_code == 202, extended.text
    shown = extended.json()
    assert (shown["state"], shown["desired"], shown["search"]["trials"]) == ("queued", "run", 8)
    assert shown["finished_at"] is None
    assert shown["spec_digest"] != before["spec_digest"]
    world.round()
    assert searches.show(search)["reason"] == "the attempt before this one is still ending"
    assert world.ray.starts == [f"agon-{search}-1"]
    world.ray.move(f"agon-{search}-1", RayStatus.SUCCEEDED)
    world.round()
    assert world.ray.starts == [f"agon-{search}-1", f"agon-{search}-2"]
    assert json.loads((world.folder(search) / "search.json").read_text())["spec"]["trials"] == 8
    searches.begin(search, 2)
    searches.trial(search, 4, 2, score=0.5)
    searches.end(search, 2, "completed")
    assert (searches.state(search), searches.show(search)["best"]["id"]) == ("succeeded", "t-00004")


def test_only_more_is_an_extension_and_only_where_a_search_rests(world: Any, searches: Any) -> None:
    search = searches.running()
    running = searches.call(search, "extend", {"trials": 8})
    assert running.status_code == 409
    assert "pause it first" in running.json()["detail"]
    searches.end(search, outcome="completed")
    for body, path in (
        ({"trials": 3}, "trials"),
        ({"trials": 4}, "trials"),
        ({}, ""),
        ({"trials": 10_001}, "trials"),
        ({"budget": {"hours": 1}}, "budget.hours"),
        ({"search": {}}, "search"),
    ):
        reply = searches.call(search, "extend", body)
        assert (reply.status_code, reply.json()["errors"][0]["path"]) == (422, path), body
    assert searches.state(search) == "succeeded"
    assert searches.call(search, "extend", {"budget": {"images": 10**6}}).status_code == 202


def test_a_finite_space_that_is_searched_whole_can_not_be_extended(searches: Any) -> None:
    search = searches.running(space={"train.seed": {"randint": [1, 3]}}, trials=16)
    assert searches.show(search)["search"]["trials"] == 3
    searches.end(search, outcome="completed")
    refused = searches.call(search, "extend", {"trials": 32})
    assert refused.status_code == 422
    assert "all 3 combinations already" in refused.json()["errors"][0]["message"]
    assert searches.state(search) == "succeeded"


def test_a_pause_that_came_too_late_is_said_to_have_been_too_late(searches: Any) -> None:
    search = searches.running()
    searches.call(search, "pause")
    saving = searches.call(search, "resume").json()["detail"]
    assert "still saving its trials" in saving
    searches.end(search, outcome="completed")
    assert searches.state(search) == "succeeded"
    late = searches.call(search, "resume").json()["detail"]
    assert "ended before it could be paused; extend lets it go on" in late
    assert "still" not in late


@pytest.mark.parametrize(("verb", "body"), [("resume", None), ("extend", {"trials": 8})])
def test_a_failed_search_goes_on_when_asked(world: Any, searches: Any, verb: str, body: Any) -> None:
    """What failed it may be mended since: the registry was down, the disk full."""
    search = searches.running()
    searches.trial(search, 0, score=1.0)
    world.tell(search, "failed", kind="publish-failed", reason="the registry does not answer")
    world.round()
    assert searches.state(search) == "failed"
    for other in ("pause", "cancel"):
        refused = searches.call(search, other)
        assert refused.status_code == 409, other
    assert "resume tries again" in searches.call(search, "pause").json()["detail"]
    shown = searches.call(search, verb, body).json()
    assert (shown["state"], shown["failure"], shown["finished_at"]) == ("queued", None, None)
    world.ray.move(f"agon-{search}-1", RayStatus.FAILED)
    world.round()
    assert world.ray.starts == [f"agon-{search}-1", f"agon-{search}-2"]
    searches.begin(search, 2)
    searches.end(search, 2, "completed")
    assert (searches.state(search), searches.show(search)["best"]["id"]) == ("succeeded", "t-00000")


def test_a_key_makes_one_search_and_none_of_another_body(world: Any, searches: Any) -> None:
    key = {"Idempotency-Key": "k1"}
    search = searches.submit(headers=key)
    assert searches.submit(headers=key) == search
    other = world.client.post("/v1/jobs", json={"recipe": "dcgan-digits"}, headers=key)
    assert other.status_code == 422
    assert search in other.json()["detail"]


def test_the_stream_of_a_search_tells_its_trials_and_goes_on_through_a_pause(world: Any, searches: Any) -> None:
    search = searches.running()
    searches.trial(search, 0, score=2.0)
    searches.call(search, "pause")
    world.round()
    searches.end(search)
    searches.call(search, "resume")
    world.round()
    searches.begin(search, 2)
    searches.trial(search, 1, 2, score=1.0)
    searches.end(search, 2, "completed")
    with connect_sse(world.client, "GET", f"/v1/searches/{search}/events") as source:
        messages = list(source.iter_sse())
    trials = [json.loads(message.data) for message in messages if message.event == "trial"]
    assert [(item["attempt"], item["data"]["id"]) for item in trials] == [(1, "t-00000"), (2, "t-00001")]
    assert json.loads(messages[-1].data)["state"] == "succeeded"


def test_log_and_report_of_a_search_are_served(world: Any, searches: Any) -> None:
    search = searches.running()
    world.ray.output[f"agon-{search}-1"] = "one\ntwo\n"
    assert world.client.get(f"/v1/searches/{search}/logs", params={"tail": 1}).text == "two\n"
    missing = world.client.get(f"/v1/searches/{search}/report")
    assert (missing.status_code, "trials" in missing.json()["detail"]) == (404, True)
    (world.folder(search) / "report.html").write_text("<!doctype html>", encoding="utf-8")
    page = world.client.get(f"/v1/searches/{search}/report")
    assert page.content == b"<!doctype html>"
    assert "sandbox;" in page.headers["content-security-policy"]


def test_a_trial_larger_than_the_cluster_is_refused_at_submit(world: Any, searches: Any) -> None:
    body = {"search": {**_body(), "base": {"recipe": "dcgan-digits", "set": {"resources.workers": 8}}}}
    reply = world.client.post("/v1/searches", json=body)
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["path"]) == (422, "search.base.resources")
    assert "one trial needs 8 CPUs, more than the whole cluster has (4 CPUs)" in error["message"]
    assert error["fix"]
    world.ray.unreachable = True
    assert world.client.post("/v1/searches", json=body).status_code == 201, "nothing is known of the cluster"
    world.ray.unreachable, world.ray.cluster = False, [Node("n", 64, 0)]
    assert world.client.post("/v1/searches", json={"search": _body()}).status_code == 201, "a full one will be free"


def _body() -> dict[str, Any]:
    return {"base": "dcgan-digits", "space": {"optimizers.G.lr": [1e-4, 1e-3]}}

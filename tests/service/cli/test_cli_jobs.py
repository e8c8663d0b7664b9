"""Jobs from the command line, against the real API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from service.client import Client
from service.gateway.ray_jobs import RayStatus
from trainer.data.pack import pack

Agon = Callable[..., Any]
STARTED = {"kind": "started", "data": {"total_images": 640, "resumed_from": None, "workers": 2, "device": "cpu"}}
PROGRESS = {
    "kind": "progress", "step": 10, "images": 640,
    "data": {"metrics": {"D/loss": 0.5, "G/loss": 1.25}, "images_per_second": 320.0, "eta_seconds": 0.0, "total_images": 640},
}  # fmt: skip
PUBLISHED = {
    "kind": "published", "step": 10, "images": 640,
    "data": {"model": "digits", "version": "1", "champion": True, "verdict": "the first", "scores": {}},
}  # fmt: skip
REPORT = {"kind": "report", "step": 10, "images": 640, "data": {"path": "report.html", "seconds": 4.2}}
FINISHED = {"kind": "finished", "step": 10, "images": 640, "data": {"outcome": "completed"}}
FAILED = {"kind": "failed", "data": {"kind": "bad-data", "reason": "shard 3 is altered"}}


def test_submit_prints_the_id_alone_and_hints_elsewhere(agon: Agon, world: Any) -> None:
    found = agon("submit", "dcgan-digits", "--set", "train.images=640")
    assert found.code == 0
    job = found.out.strip()
    assert job.startswith("j-")
    assert f"agon watch {job}" in found.err
    shown = json.loads(agon("show", job, "--json").out)
    assert shown["spec"]["train"]["images"] == 640


def test_submit_and_wait_follows_the_job_and_prints_the_model(agon: Agon, world: Any) -> None:
    world.drive(STARTED, PROGRESS, PUBLISHED, REPORT, FINISHED)
    found = agon("submit", "dcgan-digits", "--wait")
    assert found.code == 0, found.err
    assert found.out.strip() == "models:/digits@champion"
    for text in (
        "training on 2 workers",
        "step 10",
        "320 images/s",
        "G/loss 1.25",
        "published digits version 1",
        "report: agon report j-",
        "succeeded",
    ):
        assert text in found.err, text


def test_a_failed_job_ends_the_command_with_1_and_the_reason(agon: Agon, world: Any) -> None:
    world.drive(STARTED, FAILED, status=RayStatus.FAILED)
    found = agon("submit", "dcgan-digits", "--wait")
    assert found.code == 1
    assert "bad-data" in found.err
    assert "shard 3 is altered" in found.err
    assert "shard 3 is altered" in agon("show", "dcgan-digits").out


@pytest.mark.long
def test_jobs_are_found_by_name_and_the_newest_wins(agon: Agon, world: Any) -> None:
    agon("submit", "dcgan-digits")
    second = agon("submit", "dcgan-digits").out.strip()
    assert json.loads(agon("show", "dcgan-digits", "--json").out)["id"] == second
    listed = json.loads(agon("jobs", "--json").out)
    assert len(listed) == 2
    assert listed[0]["id"] == second
    assert second in agon("jobs").out
    assert json.loads(agon("jobs", "--state", "failed", "--json").out) == []
    assert len(json.loads(agon("jobs", "-n", "1", "--json").out)) == 1


@pytest.mark.long
def test_labels_and_notes_are_shown_and_lists_are_filtered_by_them(agon: Agon, world: Any) -> None:
    noted = ("--set", "labels.team=vision", "--set", "labels.run=7", "--set", "notes=first line\nsecond line")
    mine = agon("submit", "dcgan-digits", *noted).out.strip()
    agon("submit", "dcgan-digits", "--set", "labels.team=sound")
    for words in (("--label", "team=vision"), ("--label", "run=7", "--label", "team=vision")):
        assert [job["id"] for job in json.loads(agon("jobs", *words, "--json").out)] == [mine]
    assert json.loads(agon("jobs", "--score", "fid<20", "--json").out) == []
    shown = agon("show", mine).out
    assert "labels     run=7, team=vision\n" in shown
    assert "notes      first line\n           second line\n" in shown


def test_an_unknown_job_is_refused_with_4(agon: Agon, world: Any) -> None:
    for verb in ("show", "cancel", "pause", "resume", "retry", "logs", "watch", "events"):
        found = agon(verb, "nope")
        assert found.code == 4, verb
        assert "nope" in found.err
        assert "Traceback" not in found.err


def test_cancel_and_cancel_again(agon: Agon, world: Any) -> None:
    job = agon("submit", "dcgan-digits").out.strip()
    assert agon("cancel", job).code == 0
    ended = time.monotonic() + 20
    while json.loads(agon("show", job, "--json").out)["state"] != "cancelled":
        for name in list(world.ray.jobs):
            world.ray.move(name, RayStatus.STOPPED)
        assert time.monotonic() < ended
        time.sleep(0.1)
    again = agon("cancel", job)
    assert again.code == 4
    assert "cancelled" in again.err
    back = agon("retry", job, "--json")
    assert back.code == 0
    assert json.loads(back.out)["state"] in ("queued", "starting")


@pytest.mark.long
def test_pause_ends_the_watch_with_the_verb_that_lets_it_go_on(agon: Agon, world: Any) -> None:
    world.ray.unreachable = True  # it waits in the queue
    job = agon("submit", "dcgan-digits").out.strip()
    asked = agon("pause", job)
    assert (asked.code, f"job {job} was asked to pause" in asked.err) == (0, True)
    watched = agon("watch", job)
    assert (watched.code, f"agon resume {job}" in watched.err) == (1, True)
    assert "paused before it started" in watched.err
    assert f"job {job} is paused" in agon("pause", job).err
    assert job in agon("jobs", "--state", "paused").out
    assert f"agon resume {job}" in agon("show", job).out
    assert "is paused; resume lets it go on" in agon("retry", job).err
    back = agon("resume", job)
    assert (back.code, "goes on; it is queued" in back.err) == (0, True)
    assert agon("resume", job).code == 0, "asked twice, it goes on once"
    assert "agon resume" not in agon("show", job).out
    assert agon("cancel", job).code == 0
    refused = agon("pause", job)
    assert (refused.code, "retry lets it go on" in refused.err) == (4, True)


@pytest.mark.long
def test_resume_with_wait_follows_the_job_to_its_end(agon: Agon, world: Any) -> None:
    world.ray.unreachable = True
    job = agon("submit", "dcgan-digits").out.strip()
    agon("pause", job)
    agon("watch", job)
    world.ray.unreachable = False
    world.drive(STARTED, PUBLISHED, FINISHED)
    found = agon("resume", job, "--wait")
    assert found.code == 0, found.err
    assert found.out.strip() == "models:/digits@champion"


def test_a_job_that_waits_for_its_first_time_is_not_retried_and_says_why(agon: Agon, world: Any) -> None:
    job = agon("submit", "dcgan-digits").out.strip()
    refused = agon("retry", job)
    assert refused.code == 4
    assert "first time" in refused.err or "is running" in refused.err


@pytest.mark.long
def test_logs_are_printed_and_followed_to_the_end(agon: Agon, world: Any) -> None:
    driver = world.drive(STARTED, FINISHED, log="line 1\nline 2\nline 3\n")
    job = agon("submit", "dcgan-digits", "--wait")
    driver.join(20)
    assert job.code == 0
    assert agon("logs", "dcgan-digits").out == "line 1\nline 2\nline 3\n"
    assert agon("logs", "dcgan-digits", "--tail", "1").out.strip() == "line 3"
    assert agon("logs", "dcgan-digits", "-f").out == "line 1\nline 2\nline 3\n"


def test_events_are_json_lines_to_the_end(agon: Agon, world: Any) -> None:
    world.drive(STARTED, PROGRESS, FINISHED)
    agon("submit", "dcgan-digits", "--wait")
    lines = [json.loads(line) for line in agon("events", "dcgan-digits").out.splitlines()]
    assert [line["kind"] for line in lines if line["kind"] != "state"] == ["started", "progress", "finished"]
    assert lines[-1]["data"]["state"] == "succeeded"
    after = agon("events", "dcgan-digits", "--after", "2").out.splitlines()
    assert [json.loads(line)["kind"] for line in after if '"state"' not in line] == ["finished"]


def test_what_the_api_refuses_is_shown_by_field(agon: Agon, world: Any) -> None:
    found = agon("submit", "dcgan-64", "--set", "data.url=/etc/nowhere")
    assert found.code == 2
    assert "data.url" in found.err


def test_data_without_labels_are_refused_for_a_family_that_needs_them_with_the_fix(
    agon: Agon, world: Any, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(8):
        Image.new("L", (16, 16), 30 * number).save(tmp_path / "photos" / f"{number}.png")
    packed = Path(world.settings.data_roots[0]) / "photos"
    pack(str(tmp_path / "photos"), packed)
    found = agon("submit", "cgan-digits", "--set", f"data.url={packed}")
    assert found.code == 2
    for expected in ("arch.classes", "the data has no labels", "10", "pack images that lie in a folder for each class"):
        assert expected in " ".join(found.err.split())


def test_validate_asks_the_api_too(agon: Agon, world: Any) -> None:
    assert world.url in agon("validate", "dcgan-digits").err
    assert world.url not in agon("validate", "dcgan-digits", "--offline").err
    assert agon("validate", "dcgan-64", "--set", "data.url=/etc/nowhere").code == 2


def test_a_wrong_token_is_said_plainly(agon: Agon, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGON_TOKEN", "wrong")
    found = agon("jobs")
    assert found.code == 4
    assert "token" in found.err.lower()


@pytest.mark.long
def test_ctrl_c_while_waiting_leaves_the_job_running_and_says_how_to_go_on(world: Any, tmp_path: Path) -> None:
    env = os.environ | {"AGON_URL": world.url, "AGON_TOKEN": world.token, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "service.cli", "submit", "dcgan-digits", "--wait"]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with Client(world.url, world.token) as client:
        while not client.jobs().items:
            time.sleep(0.1)
        assert child.stderr is not None
        assert "submitted" in child.stderr.readline()
        assert child.stderr.readline(), "it is following"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert child.returncode == 130
        assert "goes on" in err
        assert "agon cancel" in err
        assert "Traceback" not in err
        assert client.jobs().items[0].desired == "run"


def test_edit_changes_fields_and_says_what_can_not(agon: Agon, world: Any) -> None:
    world.ray.unreachable = True  # it waits in the queue
    job = agon("submit", "dcgan-digits", "--set", "labels.old=x").out.strip()
    changes = ("labels.team=vision", "labels.old=null", "notes=why", "resources.workers=4", "queue.priority=80")
    found = agon("edit", "dcgan-digits", *(part for change in changes for part in ("--set", change)))
    assert (found.code, f"job {job} is edited; it is queued" in found.err) == (0, True), found.err
    shown = json.loads(agon("show", job, "--json").out)
    assert (shown["labels"], shown["notes"], shown["priority"]) == ({"team": "vision"}, "why", 80)
    assert shown["spec"]["resources"]["workers"] == 4
    assert json.loads(agon("edit", job, "--set", "name=renamed", "--json").out)["name"] == "renamed"
    for words, code, expected in (
        (("--set", "train.batch=96"), 2, "train.batch: can't change: what is trained depends on it (got 96)"),
        (("--set", "resources.workers=3"), 2, "resources.workers: does not divide data.lanes"),
        (("--set", "notes"), 2, "write path=value"),
        ((), 2, "--set"),
    ):
        refused = agon("edit", job, *words)
        assert (refused.code, expected in " ".join(refused.err.split())) == (code, True), refused.err
    assert agon("edit", "nope", "--set", "notes=x").code == 4
    world.ray.unreachable = False
    world.drive(STARTED, status=RayStatus.RUNNING)
    ended = time.monotonic() + 20
    while json.loads(agon("show", job, "--json").out)["state"] == "queued":
        assert time.monotonic() < ended
        time.sleep(0.1)
    refused = agon("edit", job, "--set", "resources.workers=2")
    assert (refused.code, f"pause it first (agon pause {job})" in " ".join(refused.err.split())) == (4, True), (
        refused.err
    )


@pytest.mark.long
def test_an_edit_of_what_someone_else_has_changed_since_is_refused_with_the_etag_it_has_now(
    agon: Agon, world: Any
) -> None:
    job = agon("submit", "dcgan-digits").out.strip()
    seen = json.loads(agon("show", job, "--json").out)["etag"]
    assert agon("edit", job, "--set", "notes=theirs").code == 0
    refused = agon("edit", job, "--set", "notes=mine", "--if-match", seen)
    now, told = json.loads(agon("show", job, "--json").out)["etag"], " ".join(refused.err.split())
    assert (refused.code, f"job {job} is not what it was" in told) == (4, True), told
    assert f"--if-match '{now}'" in told
    assert agon("edit", job, "--set", "notes=both", "--if-match", now.strip('"')).code == 0, (
        "its quotes may be left out"
    )
    assert agon("edit", job, "--set", "notes=ours", "--if-match", "*").code == 0
    assert json.loads(agon("show", job, "--json").out)["notes"] == "ours"
    caps = json.loads(agon("owners", "ada", "--json").out)["etag"]
    assert agon("owners", "cap", "ada", "--running", "1", "--if-match", caps).code == 0
    assert agon("owners", "uncap", "ada", "--if-match", caps).code == 4
    wrong = agon("edit", job, "--set", "notes=x", "--if-match", 'a" b')
    assert (wrong.code, "--if-match: is no list of ETags" in " ".join(wrong.err.split())) == (2, True), wrong.err

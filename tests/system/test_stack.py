"""The user's path on a real stack, in the order of this file; the last test stops the stack, after those of all other files."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from embedded import Stack
from PIL import Image

from service import local
from service.client import Client, Conflict, Invalid, Job
from service.stack.processes import members

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.xdist_group("stack")]
TINY = {
    "arch.g_width": 8, "arch.d_width": 8, "train.batch": 16, "train.log_steps": 5, "data.decode_threads": 0,
    "samples.every_steps": 50, "checkpoint.every_steps": 20, "evaluation.samples": 64, "evaluation.metrics": ["kid"],
}  # fmt: skip
ENDLESS = TINY | {"train.images": 50_000_000, "resources.workers": 1}


def _until(client: Client, job: str, reached: Any, seconds: float = 240.0) -> Job:
    end = time.monotonic() + seconds
    while not reached(found := client.job(job)):
        assert not found.ended, f"{found.state}: {found.failure or found.reason}\n{client.logs(job, tail=40)}"
        assert time.monotonic() < end, f"{found.state}, {found.progress}, {found.reason}"
        time.sleep(0.3)
    return found


def _training(job: Job) -> bool:
    return job.state == "running" and job.progress is not None and job.progress.step >= 20


def test_the_stack_runs_and_a_second_up_is_a_no_op(stack: Stack) -> None:
    before = stack.record
    state = json.loads(stack.agon("status", "--json").stdout)
    assert state["running"] is True
    assert [part["state"] for part in state["parts"]] == ["running"] * 3
    again = stack.agon("up")
    assert "already up" in again.stderr
    assert stack.record == before


def test_busy_ports_are_reported_with_the_option_that_helps(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other")
    ports = stack.record.ports
    done = other.agon(
        "up", "--api-port", str(ports["api"]), "--gcs-port", str(ports["gcs"]), "--mlflow-port", "0", code=1
    )
    assert f"port {ports['api']} (api) is taken" in done.stderr
    assert "--gcs-port" in done.stderr
    assert not other.layout.record.exists()


def test_nothing_listens_for_other_machines(stack: Stack) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in members(stack.record.stack_id)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    ports = {
        name: port for name, port in stack.record.ports.items() if name != "serve"
    }  # that one with the first question
    assert set(ports.values()) <= {port for _, port in listening}
    assert {ip for ip, _ in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_rays_api_refuses_whoever_has_no_token(stack: Stack) -> None:
    import httpx

    url = f"{stack.record.parts['ray'].url}/api/jobs/"
    assert httpx.get(url, timeout=10).status_code in (401, 403)
    token = stack.layout.ray_token.read_text()
    assert httpx.get(url, timeout=30, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_from_a_request_to_a_pulled_model_and_the_api_may_die_meanwhile(stack: Stack, tmp_path: Path) -> None:
    """The main path: REST, Ray Jobs, 2 DDP workers, shards, MLflow, registry, pull. The API is killed in the middle."""
    shards = stack.layout.home / "data" / "digits"
    stack.agon("data", "pack", "builtin:digits", str(shards), "--resolution", "16")
    with stack.client() as client:
        overrides = TINY | {
            "data.url": str(shards),
            "train.images": 16 * 300,
            "publish": {"model": "tiny", "metric": "kid"},
        }
        job = client.submit(recipe="dcgan-digits", set=overrides | {"resources.workers": 2})
        _until(client, job.id, _training)
        driver = {
            process.pid
            for process in members(stack.record.stack_id)
            if "trainer.launch.driver" in " ".join(process.cmdline())
        }
        assert driver, "the driver runs"
        psutil.Process(stack.record.parts["api"].pid).send_signal(signal.SIGKILL)
        time.sleep(2)
        assert local.status(stack.layout).parts[2].state == "stopped"
        assert "API" in stack.agon("up").stderr
        seen = list(client.events(job.id))
        ended = client.job(job.id)
        assert ended.state == "succeeded", client.logs(job.id, tail=40)
        assert ended.attempt == 1, "the job never noticed"
        assert ended.progress is not None
        assert ended.progress.images >= 16 * 300
        numbers = [int(event.id) for event in seen if event.kind != "state"]
        assert numbers == list(range(1, len(numbers) + 1)), "no event is lost or told twice"
        assert ended.model is not None
        assert (ended.model.name, ended.model.version, ended.model.champion) == ("tiny", "1", True)
        assert client.model("tiny").aliases["champion"] == "1"
        assert client.samples(job.id).startswith(b"\x89PNG")
        assert client.logs(job.id)
    out, grid = tmp_path / "model", tmp_path / "grid.png"
    stack.agon("pull", "tiny@champion", str(out))
    stack.agon("sample", str(out), "-n", "20", "--labels", "balanced", "--seed", "3", "--out", str(grid))
    assert np.asarray(Image.open(grid)).std() > 0


@pytest.mark.long
def test_what_cant_fit_the_machine_is_refused_with_the_micro_batch_that_would(stack: Stack) -> None:
    too_large = TINY | {"train.batch": 1_048_576, "data.lanes": 1, "resources.workers": 1}
    with stack.client() as client:
        client.plan(
            recipe="dcgan-digits", set=too_large
        )  # imports and files are warm: a submission waits five seconds only
        try:
            late = client.submit(recipe="dcgan-digits", set=too_large)
        except Invalid as refused:
            (error,) = refused.errors
            told, fix = f"{error.path}: {error.message}", error.fix
        else:  # the plan was not ready in time: then the driver refuses before it trains
            ended = client.wait(late.id)
            assert ended.failure is not None
            assert ended.failure.kind == "out-of-memory"
            told = fix = ended.failure.reason
        assert "train.micro_batch" in told
        assert "does not fit CPU" in told
        found = re.search(r"use (\d+)", fix)
        assert found, fix
        fits = client.submit(recipe="dcgan-digits", set=too_large | {"train.micro_batch": int(found[1])})
        client.cancel(fits.id)
        client.wait(fits.id)


@pytest.mark.long
def test_cancel_saves_a_checkpoint_and_frees_the_cluster_and_retry_goes_on_from_it(stack: Stack) -> None:
    with stack.client() as client:
        job = client.submit(recipe="dcgan-digits", set=ENDLESS)
        _until(client, job.id, _training)
        stack.agon("cancel", job.id)
        ended = client.wait(job.id)
        assert ended.state == "cancelled"
        folder = stack.layout.home / "jobs" / job.id / "checkpoints"
        saved = sorted(path.parent.name for path in folder.glob("step-*/manifest.json"))
        assert saved, "it wrote a checkpoint before it ended"
        with pytest.raises(Conflict):
            client.cancel(job.id)
        assert "cancelled" in stack.agon("jobs").stdout
        stack.agon("retry", job.id)
        _until(client, job.id, lambda found: found.attempt == 2 and _training(found))
        stack.agon("cancel", job.id)
        assert client.wait(job.id).state == "cancelled"
        starts = [event.data["resumed_from"] for event in client.events(job.id) if event.kind == "started"]
        assert starts == [None, int(saved[-1].removeprefix("step-"))]
        first, second = (stack.agon("logs", job.id, "--attempt", attempt).stdout for attempt in ("1", "2"))
        assert "resumed" not in first
        assert first != second, "each attempt has its own log"
        assert "HTTP Request" not in first + second


@pytest.mark.long
def test_pause_frees_the_cluster_and_resume_goes_on_from_where_it_was(stack: Stack) -> None:
    with stack.client() as client:
        job = client.submit(recipe="dcgan-digits", set=ENDLESS | {"resources.workers": 2})
        _until(client, job.id, _training)
        stack.agon("pause", job.id)
        stack.agon("watch", job.id, code=1)
        paused = client.job(job.id)
        assert (paused.state, paused.attempt, paused.reason) == ("paused", 1, "paused")
        assert client.pause(job.id) == paused, "asked again, nothing changes"
        folder = stack.layout.home / "jobs" / job.id / "checkpoints"
        saved = max(path.parent.name for path in folder.glob("step-*/manifest.json"))
        assert not [p for p in members(stack.record.stack_id) if "trainer.launch.driver" in " ".join(p.cmdline())]
        end = time.monotonic() + 60
        while (cpus := client.cluster().cpus).free < cpus.total:
            assert time.monotonic() < end, f"{cpus.free} of {cpus.total} CPUs are free"
            time.sleep(0.3)
        other = client.submit(recipe="dcgan-digits", set=ENDLESS | {"resources.workers": 2})
        _until(client, other.id, lambda found: found.state == "running")
        client.cancel(other.id)
        client.wait(other.id)
        stack.agon("resume", job.id)
        _until(client, job.id, lambda found: found.attempt == 2 and _training(found))
        client.cancel(job.id)
        assert client.wait(job.id).state == "cancelled"
        starts = [event.data["resumed_from"] for event in client.events(job.id) if event.kind == "started"]
        assert starts == [None, int(saved.removeprefix("step-"))]


@pytest.mark.long
@pytest.mark.stops_the_stack
def test_down_in_the_middle_of_a_job_leaves_no_process(stack: Stack) -> None:
    record = stack.record
    with stack.client() as client:
        job = client.submit(recipe="dcgan-digits", set=ENDLESS)
        _until(client, job.id, lambda found: found.state == "running")
    assert len(members(record.stack_id)) > 10
    stack.agon("down")
    assert members(record.stack_id) == []
    for part in record.parts.values():
        assert not part.alive
    assert "nothing runs" in stack.agon("down").stderr
    stack.agon("status", code=1)

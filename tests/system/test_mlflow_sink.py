"""The job's MLflow run on a real server, also one that is killed in the middle: every metric once per step, nothing lost."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from embedded import Stack

from trainer import tracking
from trainer.families.table import recipes
from trainer.images import save_png
from trainer.report.history import from_mlflow
from trainer.sinks import forward
from trainer.sinks.mlflow import ACKED_FILE, MlflowSink
from trainer.sinks.spool import Spool, SpoolReader, write_cursor
from trainer.wire import EventKind, FailureKind, JobFile

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
ON_THE_STACK = pytest.mark.xdist_group("stack")


class Server:
    """A tracking server that can be killed and come back with its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        wait(self.answers, "MLflow")

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def wait(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"no {what} in {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("mlflow"))
    found.start()
    yield found
    found.kill()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MlflowSink, "pace_seconds", 0.05)
    monkeypatch.setattr(MlflowSink, "batch", 7)
    monkeypatch.setattr(forward, "LAST_RETRY_SECONDS", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def job(url: str, folder: Path, name: str) -> JobFile:
    spec = recipes()["gan-digits"]()
    folder.mkdir(exist_ok=True)
    return JobFile(job_id=name, attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(folder), mlflow_uri=url)


def progress(spool: Spool, step: int) -> None:
    data = {"metrics": {"D/loss": step / 10, "G/loss": -step}, "images_per_second": 100.0, "shares": {"data": 0.1}}
    spool.append(1, EventKind.PROGRESS, step=step, images=64 * step, data=data)


@pytest.mark.long
def test_every_metric_is_there_once_though_the_server_was_killed_and_batches_were_sent_twice(
    server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "j1"
    this = job(server.url, folder, "j1")
    (folder / "spec.yaml").write_text("name: j1\n")
    spool = Spool(folder)
    spool.append(1, EventKind.STARTED)
    sink = MlflowSink(spool, this)
    sink.start()
    for step in range(1, 41):
        progress(spool, step)
    wait(lambda: sink.acked >= 20, "metrics")
    server.kill()
    for step in range(41, 81):
        progress(spool, step)
    wait(lambda: not sink.complaints.empty(), "complaint about the outage")
    save_png(folder / "samples/step-000000080.png", np.zeros((4, 4, 1), np.uint8))
    spool.append(1, EventKind.SAMPLES, step=80, data={"path": "samples/step-000000080.png"})
    server.start()
    wait(lambda: sink.acked == spool.last_seq, "what the outage held back")
    assert sink.close(10)

    write_cursor(folder / ACKED_FILE, 5)  # as if the process had died before it could note the last deliveries
    for step in range(70, 101):  # a restart goes on from a checkpoint and passes some steps again
        progress(spool, step)
    (folder / "report.html").write_text("<title>page</title>")
    spool.append(1, EventKind.REPORT, step=100, data={"path": "report.html", "seconds": 1.0})
    spool.append(1, EventKind.SCORES, step=100, data={"scores": {"fid": 12.5}, "provenance": {"samples": 64}})
    spool.append(1, EventKind.FINISHED, data={"outcome": "completed"})
    again = MlflowSink(spool, this)
    again.start()
    assert again.close(60)

    client = tracking.client(server.url)
    run = client.get_run(tracking.run_id(this))
    for name, value in (("D/loss", 0.1), ("G/loss", -1.0)):
        history = client.get_metric_history(run.info.run_id, name)
        assert [(m.step, m.value) for m in history] == [(s, pytest.approx(s * value)) for s in range(1, 101)]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["fid"] == 12.5
    assert run.data.params["arch.family"] == "gan"
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {
        "spec.yaml",
        "samples",
        "scores",
        "report.html",
    }
    curves = from_mlflow(server.url, "j1", images_a_step=64.0)  # as a report of the pulled model shows them
    assert curves.metrics["D/loss"].images == tuple(64 * step for step in range(1, 101))
    assert curves.scores["fid"].values == (12.5,)
    tracked = [e for e in SpoolReader(folder).after(0, 1000) if e.kind is EventKind.TRACKED]
    assert [e.data for e in tracked] == [{"mlflow_run_id": run.info.run_id}]
    spool.close()


@ON_THE_STACK
def test_a_job_has_one_run_over_all_attempts_and_its_status_is_the_last_one(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "j2"
    this = job(stack.mlflow, folder, "j2")
    client = tracking.client(stack.mlflow)
    statuses = []
    ends = [
        (EventKind.FAILED, {"kind": FailureKind.WORKER_LOST, "reason": "worker 1 was lost"}),
        (EventKind.FINISHED, {"outcome": "stopped"}),
        (EventKind.FINISHED, {"outcome": "completed"}),
    ]
    for kind, data in ends:
        spool = Spool(folder)
        spool.append(1, EventKind.STARTED)
        spool.append(1, kind, data=data)
        sink = MlflowSink(spool, this)
        sink.start()
        assert sink.close(60)
        statuses.append(client.get_run(tracking.run_id(this)).info.status)
        spool.close()
    assert statuses == ["FAILED", "KILLED", "FINISHED"]
    experiment = client.get_experiment_by_name("agon")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id], "tags.`agon.job_id` = 'j2'")) == 1
    assert client.get_run(tracking.run_id(this)).data.tags["agon.failure"] == "worker-lost: worker 1 was lost"


@ON_THE_STACK
def test_a_run_that_was_deleted_is_left_alone(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "j3"
    this = job(stack.mlflow, folder, "j3")
    spool = Spool(folder)
    spool.append(1, EventKind.STARTED)
    sink = MlflowSink(spool, this)
    sink.start()
    wait(lambda: sink.acked >= 1, "run")
    tracking.client(stack.mlflow).delete_run(tracking.run_id(this))
    progress(spool, 1)
    wait(lambda: sink.refused, "end")
    assert "MLflow refused" in sink.complaints.get_nowait()
    assert not sink.close(1)
    spool.close()

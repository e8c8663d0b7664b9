"""An experiment that someone deleted in MLflow is found before the training, and a model that was trained survives it."""

from __future__ import annotations

import json
import shlex
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer import tracking
from trainer.launch import preflight
from trainer.launch.driver import Launch
from trainer.publish import PublishError, build_package
from trainer.publish.__main__ import app
from trainer.publish.registry import register
from trainer.sinks.forward import UnavailableError
from trainer.sinks.mlflow import MlflowSink
from trainer.sinks.report import Reporter
from trainer.sinks.spool import Spool
from trainer.spec import Publish
from trainer.wire import EventKind, FailureKind, JobFile, WireEvent

ODD = "my home #1 a&b é 100%20?"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An MLflow in this process: (uri, client, a maker of experiments: name → id)."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = tracking.client(uri)
    return uri, client, lambda name: client.create_experiment(name, artifact_location=(folder / name).as_uri())


@pytest.fixture
def job(conditional, tmp_path):
    def make(**changes):
        spec = conditional.spec.replace(publish=Publish(model="demo"))
        folder = tmp_path / ODD
        folder.mkdir(exist_ok=True)
        made = JobFile(job_id="job-1", attempt=1, spec=spec, job_dir=str(folder), cache_dir=str(tmp_path), **changes)
        (folder / "job.json").write_text(made.model_dump_json())
        return made

    return make


def packaged_in(conditional, job):
    return build_package(
        conditional.state, Path(job.job_dir) / "model",
        dataset=conditional.dataset, scores={"fid": 3.0}, provenance={}, lineage=conditional.lineage,
    )  # fmt: skip


@pytest.mark.long
def test_a_trained_model_is_kept_and_the_two_commands_that_are_printed_register_it(
    conditional, job, store, monkeypatch
):
    """Also from a folder whose name a shell and a URI read otherwise, and when MLflow's address has changed meanwhile."""
    uri, client, create = store
    made, experiment = job(mlflow_uri=uri), create("agon")
    package = packaged_in(conditional, made)
    client.delete_experiment(experiment)
    with pytest.raises(PublishError, match=f"mlflow experiments restore --experiment-id {experiment}") as caught:
        register(made, package)
    command = shlex.split(str(caught.value).rpartition(": ")[2])
    assert command[:4] == ["python", "-m", "trainer.publish", "register"]
    client.restore_experiment(experiment)
    job(mlflow_uri="http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = CliRunner().invoke(app, command[3:])
    assert done.exit_code == 0, done.output
    assert client.get_model_version_by_alias("demo", "champion").tags["agon.job_id"] == "job-1"


def test_the_runs_events_wait_for_the_experiment_and_arrive_once_it_is_restored(job, store, tmp_path):
    """A run that is known and one that is not made yet."""
    uri, client, create = store
    made, experiment = job(mlflow_uri=uri, mlflow_experiment="other"), create("other")
    spool = Spool(tmp_path / "spool")
    event = WireEvent.model_validate(
        {"seq": 1, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": EventKind.PROGRESS, "step": 1,
         "data": {"metrics": {"loss": 2.0}}}
    )  # fmt: skip
    sink = MlflowSink(spool, made)
    for _ in range(2):
        client.delete_experiment(experiment)
        with pytest.raises(UnavailableError, match="experiments restore"):
            sink.deliver([event])
        client.restore_experiment(experiment)
        assert sink.deliver([event]) == 1
    run = client.get_run(tracking.run_id(made))
    assert run.data.metrics["loss"] == 2.0


@contextmanager
def answering(status, body):
    """An MLflow that gives one answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    asked = []
    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def experiment_is(stage):
    return json.dumps({"experiment": {"experiment_id": "7", "name": "agon", "lifecycle_stage": stage}}).encode()


def test_a_job_that_would_publish_fails_before_it_trains_and_says_how_to_restore(job, monkeypatch):
    monkeypatch.setattr("trainer.launch.ray_train.run", lambda job: pytest.fail("it trained"))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    with answering(200, experiment_is("deleted")) as (uri, asked):
        made = job(mlflow_uri=uri)
        launch = Launch(made, Reporter(made))
        launch._train()
    assert launch._failure is not None
    kind, reason = launch._failure
    assert kind is FailureKind.PUBLISH_FAILED
    assert f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id 7" in reason
    assert asked == [("/api/2.0/mlflow/experiments/get-by-name?experiment_name=agon", "Bearer secret")]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, experiment_is("active")),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
        (401, b"no"),
        (200, b"[]"),
        (200, b'{"experiment": null}'),
    ],
)
def test_whatever_else_mlflow_says_the_job_trains(job, monkeypatch, status, body):
    monkeypatch.setattr("trainer.launch.ray_train.run", lambda job: "completed")
    monkeypatch.setattr(preflight, "refused", lambda spec, shapes: None)
    with answering(status, body) as (uri, _):
        made = job(mlflow_uri=uri)
        launch = Launch(made, Reporter(made))
        launch._train()
    assert launch._failure is None


def test_a_job_that_publishes_nothing_trains_without_a_look_at_the_experiment(job, monkeypatch):
    monkeypatch.setattr("trainer.launch.ray_train.run", lambda job: "completed")
    monkeypatch.setattr(preflight, "refused", lambda spec, shapes: None)
    with answering(200, experiment_is("deleted")) as (uri, asked):
        made = job(mlflow_uri=uri)
        made = made.model_copy(update={"spec": made.spec.replace(publish=None)})
        launch = Launch(made, Reporter(made))
        launch._train()
    assert launch._failure is None
    assert asked == []


def test_an_mlflow_that_is_away_or_no_server_does_not_hold_a_training(job):
    assert tracking.deleted_experiment(job(mlflow_uri="http://127.0.0.1:9")) is None
    assert tracking.deleted_experiment(job(mlflow_uri="sqlite:////nowhere.db")) is None
    assert tracking.deleted_experiment(job()) is None


def test_messages_hold_no_password():
    assert tracking.shown("https://me:secret@mlflow.test:8/x") == "https://mlflow.test:8/x"
    error = tracking.ExperimentDeletedError("https://me:secret@mlflow.test", "agon", "3")
    assert "secret" not in str(error)

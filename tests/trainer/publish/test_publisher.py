"""When a run publishes, and names of models on the command line."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from trainer.engine.events import Published, RunFinished, Scored, StepDone, Warned
from trainer.errors import classify
from trainer.publish import Publisher, publisher, registry
from trainer.publish.__main__ import app
from trainer.publish.publisher import FOLDER
from trainer.publish.pull import model_uri
from trainer.publish.registry import PublishError, Registered, patiently
from trainer.publish.sample import chosen_labels
from trainer.spec import Publish
from trainer.wire import FailureKind, JobFile


class Run:
    """A run without a loop that keeps what is emitted."""

    def __init__(self, state, main=True):
        self.state = state
        self.distributed = SimpleNamespace(is_main=main)
        self.emitted = []

    def emit(self, event):
        self.emitted.append(event)


@pytest.fixture
def job(conditional, tmp_path):
    def make(**changes):
        spec = conditional.spec.replace(publish=Publish(model="demo"))
        return JobFile(job_id="job-1", attempt=1, spec=spec, job_dir=str(tmp_path), cache_dir=str(tmp_path), **changes)

    return make


def scored(spec, short_of=0):
    return Scored(9, spec.train.images - short_of, {"fid": 3.0}, {"extractor_digest": "e" * 64})


def test_a_complete_run_is_packaged_registered_and_announced(job, conditional, tmp_path, monkeypatch):
    asked = []

    def register(job, package):
        asked.append((job.job_id, package))
        return Registered("4", True, "version 4 is champion: the model had none")

    monkeypatch.setattr(publisher, "register", register)
    run, spec = Run(conditional.state), conditional.spec
    Publisher(job(mlflow_uri="http://127.0.0.1:9"), conditional.dataset).handle(scored(spec), run)
    assert asked == [("job-1", tmp_path / FOLDER)]
    assert run.emitted == [
        Published(9, spec.train.images, "demo", "4", True, "version 4 is champion: the model had none", {"fid": 3.0})
    ]


def test_without_mlflow_a_warning_says_where_the_package_stays_and_how_to_register_it(job, conditional, tmp_path):
    run = Run(conditional.state)
    Publisher(job(), conditional.dataset).handle(scored(conditional.spec), run)
    assert (tmp_path / FOLDER / "checksums.json").is_file()
    (warned,) = run.emitted
    assert isinstance(warned, Warned)
    assert str(tmp_path / FOLDER) in warned.message
    assert f"python -m trainer.publish register {tmp_path}" in warned.message


def test_a_job_that_was_not_asked_to_publish_is_not_warned(job, conditional):
    run, quiet = Run(conditional.state), job()
    quiet = quiet.model_copy(update={"spec": quiet.spec.replace(publish=None)})
    Publisher(quiet, conditional.dataset).handle(scored(conditional.spec), run)
    assert run.emitted == []


def test_a_job_without_mlflow_is_registered_where_the_environment_says(job, tmp_path, monkeypatch):
    asked = []

    def patiently(attempt, uri, package):
        asked.append((uri, package))
        return Registered("1", True, "")

    monkeypatch.setattr(registry, "patiently", patiently)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI"):
        registry.register(job(), tmp_path / FOLDER)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    registry.register(job(), tmp_path / FOLDER)
    assert asked == [("http://127.0.0.1:9", tmp_path / FOLDER)]


@pytest.mark.parametrize("main", [True, False])
def test_only_rank_0_of_a_complete_run_publishes(job, conditional, tmp_path, main):
    listener, spec = Publisher(job(), conditional.dataset), conditional.spec
    run = Run(conditional.state, main=main)
    listener.handle(scored(spec, short_of=1), run)  # a score on the way
    listener.handle(StepDone(9, spec.train.images - 1, last=True), run)
    listener.handle(RunFinished(9, spec.train.images - 1, outcome="stopped"), run)
    if not main:
        listener.handle(scored(spec), run)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_server_is_tried_again_and_then_named_with_the_way_out(tmp_path):
    import requests

    waits, calls = [], []

    def away():
        calls.append(1)
        raise requests.ConnectionError("refused")

    with pytest.raises(PublishError, match=r"python -m trainer\.publish register") as caught:
        patiently(away, "http://mlflow", tmp_path / "model", sleep=waits.append)
    assert classify(caught.value)[0] is FailureKind.PUBLISH_FAILED
    assert len(calls) == len(waits) + 1
    assert waits == sorted(waits)
    assert 60 < sum(waits) < 600


def test_a_server_that_comes_back_is_used(tmp_path):
    import requests

    answers = [requests.ConnectionError("refused"), requests.Timeout("slow"), "done"]

    def attempt():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(attempt, "http://mlflow", tmp_path, sleep=lambda seconds: None) == "done"


def test_a_refusal_is_not_repeated(tmp_path):
    from mlflow.exceptions import MlflowException

    def refused():
        raise MlflowException.invalid_parameter_value("no such thing")

    def never(seconds):
        raise AssertionError("waited")

    with pytest.raises(PublishError, match=r"refused the model.*python -m trainer\.publish register"):
        patiently(refused, "http://mlflow", tmp_path, sleep=never)


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("demo", "models:/demo@champion"),
        ("demo@best", "models:/demo@best"),
        ("demo/3", "models:/demo/3"),
        ("models:/demo@champion", "models:/demo@champion"),
    ],
)
def test_a_model_is_named_with_or_without_alias_or_version(name, uri):
    assert model_uri(name) == uri


@pytest.mark.parametrize("name", ["", "a b", "demo@", "../demo", "http://x/y", "demo/3/4"])
def test_what_is_no_model_name_is_refused(name):
    with pytest.raises(ValueError, match="write NAME, NAME@alias or NAME/version"):
        model_uri(name)


def test_sample_draws_from_a_folder_and_the_same_seed_gives_the_same_picture(conditional, tmp_path):
    cli, pictures = CliRunner(), [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"]
    for picture, seed in zip(pictures, ("7", "7", "8"), strict=True):
        options = ["-n", "12", "--labels", "3,4", "--seed", seed, "--out", str(picture)]
        done = cli.invoke(app, ["sample", str(conditional.folder), *options])
        assert done.exit_code == 0, done.output
    first, second, third = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert first != third


def test_json_names_the_path_and_the_model(conditional, tmp_path, monkeypatch):
    cli, out = CliRunner(), tmp_path / "grid.png"
    done = cli.invoke(app, ["sample", "--json", str(conditional.folder), "-n", "4", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"path": str(out), "model": str(conditional.folder)}
    monkeypatch.setattr("trainer.publish.__main__.pull_model", lambda model, folder: folder)
    done = cli.invoke(app, ["pull", "demo@champion", str(tmp_path / "demo"), "--json"])
    assert json.loads(done.stdout) == {"path": str(tmp_path / "demo"), "model": "demo@champion"}


def test_mistakes_on_the_command_line_are_said_without_a_traceback(conditional, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    cli, out = CliRunner(), str(tmp_path / "grid.png")
    for arguments, message in (
        (["sample", str(conditional.folder), "--labels", "1,x", "--out", out], "labels holds 'x'"),
        (["sample", str(conditional.folder), "--labels", "10", "--out", out], "labels holds 10"),
        (["sample", str(conditional.folder), "--truncation", "-1", "--out", out], "truncation is -1"),
        (["pull", "demo", str(tmp_path / "demo")], "MLFLOW_TRACKING_URI is not set"),
        (["pull", "demo", str(tmp_path)], "exists; give a folder that doesn't"),
    ):
        done = cli.invoke(app, arguments)
        assert done.exit_code == 1
        assert message in done.output
        assert "Traceback" not in done.output


def test_balanced_needs_classes():
    assert chosen_labels("balanced", {"classes": 3}) == [0, 1, 2]
    with pytest.raises(ValueError, match="'balanced'"):
        chosen_labels("balanced", {"classes": 0})


@pytest.mark.parametrize(
    ("given", "expected"),
    [("cat,dog", [0, 1]), ("dog, 0", [1, 0]), ("10", [2]), ("3", [3]), ("cat, wild", [3]), (None, [])],
)
def test_rows_take_their_classes_by_name_or_number(given, expected):
    config = {"classes": 4, "class_names": ["cat", "dog", "10", "cat, wild"]}
    assert chosen_labels(given, config) == expected


@pytest.mark.parametrize("given", ["kat", "cat,4", "-1", "", "cat,balanced", "1.5"])
def test_a_class_that_is_not_there_is_answered_with_those_that_are(given):
    with pytest.raises(ValueError, match=r"0 cat, 1 dog"):
        chosen_labels(given, {"classes": 2, "class_names": ["cat", "dog"]})

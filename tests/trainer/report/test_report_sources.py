"""Subjects from a job's folder, a package, MLflow: the newest state, undone steps forgotten, and a reason for what lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from report_doubles import SECTION, package, small

from trainer import tracking
from trainer.checkpoint import write
from trainer.data.pack import Options, pack
from trainer.engine.distributed import Distributed
from trainer.engine.state import TrainState
from trainer.report.__main__ import make
from trainer.report.history import duration, from_events, from_mlflow
from trainer.report.load import from_job, from_package, with_data
from trainer.wire import JobFile


def spooled(folder: Path, *events: tuple[str, int, str, dict]) -> None:
    lines = [
        json.dumps({"seq": seq, "attempt": 1, "time": f"2026-01-01T10:{time}+00:00", "kind": kind, "step": step,
                    "images": 64 * step, "data": data})
        for seq, (kind, step, time, data) in enumerate(events, 1)
    ]  # fmt: skip
    (folder / "events.jsonl").write_text("\n".join(lines) + '\n{"seq": 99, "torn')


def progress(step: int, time: str, loss: float) -> tuple[str, int, str, dict]:
    return "progress", step, time, {"metrics": {"D/loss": loss}, "images_per_second": 100.0}


def test_what_a_restart_undid_is_forgotten_and_torn_lines_are_passed_over(tmp_path):
    spooled(
        tmp_path,
        ("started", 0, "00:00", {"workers": 2, "device": "cpu", "resumed_from": None}),
        progress(10, "01:00", 1.0), progress(20, "02:00", 2.0), progress(30, "03:00", 99.0),
        ("started", 20, "30:00", {"workers": 1, "device": "cuda:0", "resumed_from": 20}),
        progress(25, "31:00", 3.0),
        ("scores", 25, "31:30", {"scores": {"fid": 4.0}, "provenance": {}}),
        ("warning", 25, "31:40", {"message": "D/loss"}),
    )  # fmt: skip
    history = from_events(tmp_path)
    assert history.metrics["D/loss"].steps == (10, 20, 25)
    assert history.metrics["D/loss"].values == (1.0, 2.0, 3.0)
    assert history.metrics["D/loss"].images == (640, 1280, 1600)
    assert history.scores["fid"].values == (4.0,)
    assert set(history.metrics) == {"D/loss", "images_per_second"}
    assert history.facts["wall time of training"] == "4 min 40 s", "the 27 minutes between two runs are no training"
    assert history.facts["starts"] == "2"


def test_durations_are_for_people():
    assert [duration(value) for value in (0.4, 59.6, 3599.0, 7260.0)] == [
        "0 s",
        "1 min 00 s",
        "59 min 59 s",
        "2 h 01 min",
    ]


def test_curves_of_a_pulled_model_come_from_its_jobs_run(monkeypatch):
    """The client's answers are MLflow's; the system tests ask a real server (test_mlflow_sink)."""
    points = {"G/loss": [(20, 1.5), (10, 2.5)], "fid": [(20, 7.0)], "share/data": [(10, 0.1)]}
    run = SimpleNamespace(
        data=SimpleNamespace(metrics=dict.fromkeys(points, 0.0)),
        info=SimpleNamespace(run_id="r1", start_time=0, end_time=125_000),
    )

    class Client:
        def search_experiments(self):
            return [SimpleNamespace(experiment_id="7")]

        def search_runs(self, experiments, filter_string, max_results):
            assert experiments == ["7"]
            return [run] if "= 'job-7'" in filter_string else []

        def get_metric_history(self, run_id, name):
            assert run_id == "r1"
            return [SimpleNamespace(step=step, value=value) for step, value in points[name]]

    monkeypatch.setattr(tracking, "client", lambda uri: Client())
    history = from_mlflow("http://mlflow", "job-7", images_a_step=64.0)
    assert history.metrics["G/loss"].steps == (10, 20)
    assert history.metrics["G/loss"].images == (640, 1280)
    assert set(history.metrics) == {"G/loss"}
    assert history.scores["fid"].values == (7.0,)
    assert history.facts["wall time, with waiting and restarts"] == "2 min 05 s"
    assert from_mlflow("http://mlflow", "job-8").metrics == {}
    assert from_mlflow("http://mlflow", "job-7").metrics["G/loss"].images == (), "steps alone are known"


@pytest.fixture
def job(tmp_path, where):
    """A job's folder with a checkpoint of step 150 and no package yet."""
    spec = small("dcgan-digits")
    file = JobFile(job_id="job-7", attempt=1, spec=spec, job_dir="/elsewhere", cache_dir=str(where.cache_dir))
    (tmp_path / "job.json").write_text(file.model_dump_json())
    state = TrainState.create(spec, Distributed.create(spec, world=1))
    state.clock.step = 150
    write(tmp_path / "checkpoints", 150, state.tensors(), state.meta())
    spooled(tmp_path, ("scores", 150, "01:00", {"scores": {"fid": 4.5}, "provenance": {}}))
    return tmp_path


def test_a_running_job_is_shown_by_its_newest_checkpoint_with_that_steps_scores(job, where):
    subject = from_job(job, where)
    assert subject.facts["shown here"] == "checkpoint of step 150"
    assert subject.scores == {"fid": 4.5}
    assert subject.model.sample(labels=[1, 2]).shape == (2, 8, 8, 1)
    z = subject.model.latents(2, seed=0)
    np.testing.assert_array_equal(subject.model.decode(z, [1, 2]), subject.model.sample(labels=[1, 2]))
    with pytest.raises(ValueError, match="no encoder"):
        subject.model.encode(np.zeros((1, 8, 8, 1), np.uint8))


def test_a_package_is_shown_unless_a_checkpoint_is_newer(job, where, conditional):
    package("dcgan-digits", job, where.cache_dir)  # of step 120
    assert "shown here" in from_job(job, where).facts
    (job / "checkpoints").rename(job / "gone")
    subject = from_job(job, where)
    assert subject.facts["trained"] == "120 steps, 7,680 images shown"
    assert subject.scores == {"fid": 12.5}


def test_other_data_than_those_trained_on_are_not_compared_with(tmp_path, where):
    folder = package("dcgan-digits", tmp_path, where.cache_dir)
    record = json.loads((folder / "scores.json").read_text())
    record["lineage"]["dataset_digest"] = "e" * 64
    (folder / "scores.json").write_text(json.dumps(record))
    subject = from_package(folder, where)
    assert subject.dataset is None
    assert "are not those that the model was trained on" in subject.missing
    gone = from_package(folder, replace(where, data="/no/such/place"))
    assert "/no/such/place" in gone.missing


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_held_out_images_are_reconstructed_each_once_though_no_metric_could_use_them(
    subjects, where, tmp_path, count
):
    """The model was scored by the Fréchet distance, which needs more; nothing is scored on these."""
    (tmp_path / "images").mkdir()
    for number in range(count):
        Image.new("L", (8, 8), 60 * number).save(tmp_path / "images" / f"{number}.png")
    pack(str(tmp_path / "images"), tmp_path / "packed", Options(workers=1))
    trained = subjects("vae-digits")
    subject = with_data(trained, replace(where, held_out=str(tmp_path / "packed")))
    assert subject.dataset is not None
    text, sheet = SECTION["reconstructions"].make(subject)
    assert f"Over {count} held-out images" in text.text
    assert [row.picture.columns for row in sheet.rows] == [count, count]
    blind = with_data(trained, replace(where, data="/no/such/place", held_out=str(tmp_path / "packed")))
    assert SECTION["reconstructions"].make(blind)


def test_held_out_data_that_cant_be_read_are_an_error_and_not_replaced_by_training_data(subjects, where):
    with pytest.raises(ValueError, match=r"the held-out data can't be read: .*/no/such/place"):
        with_data(subjects("vae-digits"), replace(where, held_out="/no/such/place"))


def test_a_folder_that_is_neither_is_refused_with_what_it_lacks(tmp_path, where):
    with pytest.raises(ValueError, match=r"job\.json.*config\.json"):
        make(str(tmp_path), tmp_path / "out", where)


def test_a_job_that_has_trained_nothing_yet_still_gets_a_page(tmp_path, where):
    file = JobFile(job_id="job-8", attempt=1, spec=small("dcgan-digits"), job_dir="/x", cache_dir="/y")
    (tmp_path / "job.json").write_text(file.model_dump_json())
    page = Path(make(str(tmp_path), tmp_path / "out", where)).read_text()
    assert "there is no trained model yet" in page

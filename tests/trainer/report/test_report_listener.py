"""A job's report: there at the end, never in the way, and never a reason to fail."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from report_doubles import TINY, small

from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import ReportWritten, RunFinished, RunStarted, Scored, StepDone, Warned
from trainer.engine.state import TrainState
from trainer.report import subject as subjects
from trainer.report.listener import Reporting
from trainer.wire import JobFile


class OneRun:
    """A Run without a loop; keeps what is emitted."""

    def __init__(self, spec, cache):
        self.spec, self.distributed = spec, Distributed.create(spec, world=1)
        self.dataset = open_dataset(spec, cache_dir=cache)
        self.state = TrainState.create(spec, self.distributed)
        self.emitted = []

    def emit(self, event):
        self.emitted.append(event)

    def request_stop(self, reason):
        raise AssertionError(reason)


@pytest.fixture
def run(where, monkeypatch):
    monkeypatch.setattr(subjects, "QUICK", TINY)
    return OneRun(small("dcgan-digits", "train.images=6400"), where.cache_dir)


@pytest.fixture
def listener(run, where, tmp_path):
    job = JobFile(job_id="j-1", attempt=1, spec=run.spec, job_dir=str(tmp_path), cache_dir=str(where.cache_dir))
    return Reporting(job, run.dataset)


SCORED = Scored(100, 6400, {"fid": 3.25}, {"extractor": "classifier", "samples": 200})


def test_the_end_of_a_scored_training_writes_the_page_and_says_so(run, listener, tmp_path, conditional):
    listener.handle(SCORED, run)
    assert run.emitted == []
    assert not (tmp_path / "report.html").exists(), "the end writes it, once"
    listener.handle(RunFinished(100, 6400, outcome="completed"), run)
    (written,) = run.emitted
    assert isinstance(written, ReportWritten)
    assert written.path == tmp_path / "report.html"
    page = written.path.read_text()
    for text in ("3.25", "100 steps, 6,400 of 6,400 images shown", 'id="truncation"', 'id="neighbours"'):
        assert text in page, text


def test_the_training_goes_on_as_if_nothing_had_been_looked_at(run, listener):
    run.state.players["G"].net.train()
    before = {name: tensor.clone() for name, tensor in run.state.tensors().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    listener.handle(RunFinished(10, 640, outcome="stopped"), run)
    assert isinstance(run.emitted[0], ReportWritten)
    assert torch.equal(torch.rand(3), expected), "torch's own generator is not touched"
    assert all(torch.equal(before[name], tensor) for name, tensor in run.state.tensors().items())
    assert all(module.training for module in run.state.players["G"].net.modules())


def test_a_run_that_was_not_scored_trains_no_extractor_for_its_page(run, listener, tmp_path, where, monkeypatch):
    def no(*_: object) -> None:
        raise AssertionError("an extractor was asked for")

    monkeypatch.setattr("trainer.report.load.eye_of", no)
    listener.handle(RunFinished(10, 640, outcome="stopped"), run)
    assert "was not scored, so there is no feature extractor yet" in (tmp_path / "report.html").read_text()


def test_a_run_scored_by_pixels_alone_trains_no_extractor_for_its_page(run, listener, tmp_path, monkeypatch):
    def no(*_: object) -> None:
        raise AssertionError("an extractor was asked for")

    monkeypatch.setattr("trainer.report.load.eye_of", no)
    listener.handle(Scored(100, 6400, {"reconstruction": 0.02}, {"extractor": None, "samples": 200}), run)
    listener.handle(RunFinished(100, 6400, outcome="completed"), run)
    assert (
        "no score of this training compares features, so there is no feature" in (tmp_path / "report.html").read_text()
    )


def test_whatever_fails_is_a_warning(run, listener, monkeypatch, caplog):
    def fails(*_: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr("trainer.report.build.write_report", fails)
    with caplog.at_level(logging.CRITICAL):
        listener.handle(RunFinished(100, 6400, outcome="completed"), run)
    (warning,) = run.emitted
    assert isinstance(warning, Warned)
    assert "no picture" in warning.message
    assert "agon report" in warning.message


def test_reports_before_the_end_take_a_small_share_of_the_time(run, listener, monkeypatch):
    now, written = [1000.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def slow(subject, folder):
        now[0] += 10.0
        written.append(now[0])
        return folder / "report.html"

    monkeypatch.setattr("trainer.report.build.write_report", slow)
    monkeypatch.setattr(Reporting, "_subject", lambda *_: None)
    listener.handle(RunStarted(0, 0, total_images=6400, resumed=False), run)
    for _ in range(25):
        now[0] += 20.0
        listener.handle(replace(SCORED, images=3200), run)
        listener.handle(StepDone(50, 3200, last=False), run)
    assert len(written) == 3, "the first at once, then every 200 s because each takes 10"
    listener.handle(RunFinished(100, 6400, outcome="completed"), run)
    assert len(written) == 4


def test_other_ranks_write_nothing(run, listener, monkeypatch):
    monkeypatch.setattr(run.distributed, "rank", 1)
    listener.handle(RunFinished(100, 6400, outcome="completed"), run)
    assert run.emitted == []

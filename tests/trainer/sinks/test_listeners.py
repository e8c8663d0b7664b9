"""What the sinks make of the loop's events."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer import sinks
from trainer.engine.events import (
    CheckpointWritten,
    Event,
    Published,
    ReportWritten,
    RunFinished,
    RunStarted,
    SamplesDrawn,
    Scored,
    StepDone,
    Tick,
    Warned,
)
from trainer.engine.sampling import sample
from trainer.families.table import family, recipes
from trainer.images import GridFacts, grid, grid_facts
from trainer.sinks.console import ConsoleSink, duration
from trainer.sinks.events import EventSink
from trainer.sinks.samples import SEED, Layout, SampleGrids, layout
from trainer.sinks.spool import SpoolReader
from trainer.spec import JobSpec, load_spec, with_overrides
from trainer.wire import EventKind, JobFile


class Manifest:
    def model_dump_json(self, indent: int) -> str:
        return json.dumps({"digest": "abc"}, indent=indent)


class FakeRun:
    """A loop that only remembers what listeners asked of it."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        kind = family(spec.arch.family)
        self.state: Any = SimpleNamespace(family=kind, generator=kind.build(spec.arch)["G"])
        self.distributed: Any = SimpleNamespace(world=2, device="cpu", rank=0, is_main=True)
        self.dataset: Any = SimpleNamespace(manifest=Manifest())
        self.emitted: list[Event] = []
        self.stops: list[str] = []

    def emit(self, event: Event) -> None:
        self.emitted.append(event)

    def request_stop(self, reason: str) -> None:
        self.stops.append(reason)


@pytest.fixture
def spec() -> JobSpec:
    return with_overrides(
        recipes()["gan-digits"](),
        ["arch.g_hidden=8", "arch.d_hidden=8", "samples.every_steps=10", "samples.count=20"],
    )


def job(spec: JobSpec, folder: Path) -> JobFile:
    return JobFile(job_id="j", attempt=2, spec=spec, job_dir=str(folder), cache_dir=str(folder))


def tick(step: int, **metrics: float) -> Tick:
    return Tick(step, step * 64, metrics, 1234.5, 61.0, 6400, {"data": 0.25})


def test_every_event_of_the_loop_is_spooled_with_what_the_wire_format_says(spec: JobSpec, tmp_path: Path) -> None:
    run, sink = FakeRun(spec), EventSink(job(spec, tmp_path))
    story = [
        RunStarted(20, 1280, 6400, resumed=True),
        StepDone(21, 1344, last=False),
        tick(25, loss=1.5, broken=float("nan")),
        SamplesDrawn(30, 1920, np.zeros((2, 2), np.uint8)),
        CheckpointWritten(30, 1920, tmp_path / "checkpoints" / "step-000000030"),
        Scored(30, 1920, {"fid": 2.0}, {"extractor": "classifier"}),
        Published(30, 1920, "m", "3", True, "better", {"fid": 2.0}),
        ReportWritten(30, 1920, tmp_path / "report.html", 4.26),
        Warned(30, 1920, "careful"),
        RunFinished(30, 1920, "completed"),
    ]
    for event in story:
        sink.handle(event, run)
    sink.close()
    events = SpoolReader(tmp_path).after(0, 100)
    assert [(e.kind, e.step, e.images, e.attempt) for e in events] == [
        (EventKind.STARTED, 20, 1280, 2),
        (EventKind.PROGRESS, 25, 1600, 2),
        (EventKind.SAMPLES, 30, 1920, 2),
        (EventKind.CHECKPOINT, 30, 1920, 2),
        (EventKind.SCORES, 30, 1920, 2),
        (EventKind.PUBLISHED, 30, 1920, 2),
        (EventKind.REPORT, 30, 1920, 2),
        (EventKind.WARNING, 30, 1920, 2),
    ]
    assert events[0].data == {"total_images": 6400, "resumed_from": 20, "workers": 2, "device": "cpu"}
    assert events[1].data == {
        "metrics": {"loss": 1.5}, "images_per_second": 1234.5, "eta_seconds": 61.0, "shares": {"data": 0.25},
        "total_images": 6400,
    }  # fmt: skip
    assert events[2].data == {"path": "samples/step-000000030.png"}
    assert events[3].data == {"path": "checkpoints/step-000000030"}
    assert events[5].data["champion"] is True
    assert events[6].data == {"path": "report.html", "seconds": 4.3}
    assert load_spec(tmp_path / "spec.yaml") == spec
    assert json.loads((tmp_path / "dataset.json").read_text()) == {"digest": "abc"}
    assert "torch" in json.loads((tmp_path / "environment.json").read_text())["packages"]


def test_ranks_but_the_first_have_no_sinks(spec: JobSpec, tmp_path: Path) -> None:
    other: Any = SimpleNamespace(is_main=False)
    assert sinks.for_job(job(spec, tmp_path), other) == []
    assert not (tmp_path / "events.jsonl").exists()


def test_grids_come_at_their_cadence_and_at_the_end_from_one_latent(spec: JobSpec, tmp_path: Path) -> None:
    run, grids = FakeRun(spec), SampleGrids(spec, tmp_path)
    for step in range(1, 24):
        grids.handle(StepDone(step, step, last=step == 23), run)
    drawn = [event for event in run.emitted if isinstance(event, SamplesDrawn)]
    assert [event.step for event in drawn] == [10, 20, 23]
    np.testing.assert_array_equal(drawn[0].grid, drawn[2].grid)  # the net did not change, nor did the latent
    on_disk = np.asarray(Image.open(tmp_path / "samples/step-000000020.png"))
    np.testing.assert_array_equal(on_disk, drawn[1].grid.squeeze())
    with (tmp_path / "samples/step-000000020.png").open("rb") as file:
        assert grid_facts(file) == GridFacts(
            step=20, images=20, count=20, columns=2, height=16, width=16, enlarged=4
        ), "what the control plane reads"


def test_a_row_of_a_grid_is_a_class(spec: JobSpec, tmp_path: Path) -> None:
    found, labels = layout(spec), layout(spec).labels
    assert found.columns == 2
    assert labels is not None
    assert labels.tolist() == [i // 2 for i in range(20)]
    run, grids = FakeRun(spec), SampleGrids(spec, tmp_path)
    grids.handle(StepDone(10, 10, last=False), run)
    event = run.emitted[0]
    assert isinstance(event, SamplesDrawn)
    images = sample(run.state.family, spec.arch, run.state.generator, n=20, seed=SEED, labels=labels)
    enlarged = images.repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_array_equal(event.grid[2:66, 2:66], enlarged[0])
    np.testing.assert_array_equal(event.grid[68:132, 68:132], enlarged[3])


def test_a_grid_of_classes_has_no_ragged_row(spec: JobSpec) -> None:
    found = layout(with_overrides(spec, ["samples.count=64"]))
    assert found.labels is not None
    assert (found.columns, found.count, len(found.labels)) == (6, 60, 60)


def test_a_grid_without_classes_is_square(spec: JobSpec) -> None:
    free = with_overrides(spec, ["arch.classes=0", "samples.count=60"])
    assert layout(free) == Layout(columns=8, count=60)


def test_a_row_of_a_grid_is_a_value_of_the_first_code(tmp_path: Path) -> None:
    spec = with_overrides(recipes()["infogan-digits"](), ["arch.g_hidden=8", "arch.d_hidden=8", "samples.count=25"])
    found = layout(spec)
    assert (found.columns, found.count, found.labels) == (2, 20, None)
    run = FakeRun(spec)
    SampleGrids(spec, tmp_path).handle(StepDone(500, 500, last=True), run)
    event = run.emitted[0]
    assert isinstance(event, SamplesDrawn)
    values = [i // 2 for i in range(20)]
    images = sample(run.state.family, spec.arch, run.state.generator, n=20, seed=SEED, codes={"c1": values})
    np.testing.assert_array_equal(event.grid, grid(images, 2))


def test_a_log_gets_one_plain_line_for_a_tick(spec: JobSpec) -> None:
    out = io.StringIO()
    console, run = ConsoleSink(out), FakeRun(spec)
    for event in (
        RunStarted(0, 0, 6400, resumed=False),
        tick(50, **{"D/loss": 1.38629}),
        RunFinished(100, 6400, "stopped"),
    ):
        console.handle(event, run)
    console.close()
    lines = out.getvalue().splitlines()
    assert lines[1] == "step 50   50%  1,234 images/s  ETA 1:01  D/loss 1.386"
    assert "6,400 images on 2 × cpu" in lines[0]
    assert lines[2] == "stopped after 100 steps, 6,400 images"
    assert "\x1b" not in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_live_bar_and_is_left_as_it_was(spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    console, run = ConsoleSink(out), FakeRun(spec)
    for event in (RunStarted(0, 0, 6400, resumed=False), tick(50, loss=1.5), Warned(50, 3200, "a [bold] word")):
        console.handle(event, run)
    console.close()
    shown = out.getvalue()
    assert "step 50" in shown
    assert "warning: a [bold] word" in shown
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (61, "1:01"), (3723, "1:02:03"), (float("inf"), "-"), (float("nan"), "-")]
)
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text

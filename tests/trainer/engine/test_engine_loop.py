"""The loop tells the truth, in order, and ends in order."""

from __future__ import annotations

import pytest
import torch
from engine_doubles import FixedDataset, Recorder, gan_spec

from trainer.engine.events import RunFinished, RunStarted, StepDone, Tick, Warned
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.errors import NonFiniteError
from trainer.objective.phases import Loss


def loop(distributed, *changes, act=None, others=()):
    spec = gan_spec(*changes)
    state, recorder = TrainState.create(spec, distributed), Recorder(act)
    return Loop(spec, state, distributed, FixedDataset(spec), [recorder, *others]), recorder


def kinds(recorder):
    return [type(event).__name__ for event in recorder.events]


def test_events_come_in_the_documented_order(distributed):
    run, recorder = loop(distributed, "train.images=40")
    assert run.run() == "completed"
    tick = ["Tick"]
    assert kinds(recorder) == (
        ["RunStarted", "StepDone", *tick, "StepDone", "StepDone", *tick, "StepDone", *tick, "StepDone", "RunFinished"]
    )
    steps = [event for event in recorder.events if isinstance(event, StepDone)]
    assert [(event.step, event.images, event.last) for event in steps] == [
        (1, 8, False), (2, 16, False), (3, 24, False), (4, 32, False), (5, 40, True),
    ]  # fmt: skip
    assert recorder.events[0] == RunStarted(0, 0, total_images=40, resumed=False)
    assert recorder.events[-1] == RunFinished(5, 40, outcome="completed")
    assert run.dataset.closed


def test_a_tick_carries_the_means_over_its_steps(distributed):
    run, recorder = loop(distributed, "train.images=40")
    values = iter(range(100))

    def loss(nets, batch):
        total = nets["D"](batch.real, batch.labels).mean()
        return Loss(total, {"x": torch.tensor(float(next(values)))})

    phase = run.state.family.phases(run.spec)[0]
    object.__setattr__(phase, "loss", loss)
    run.state.family = type("F", (), {
        "phases": lambda self, spec: (phase,),
        "latents": run.state.family.latents,
        "labels": run.state.family.labels,
        "prepare": run.state.family.prepare,
    })()  # fmt: skip
    run.run()
    ticks = [event for event in recorder.events if isinstance(event, Tick)]
    assert [tick.metrics for tick in ticks] == [{"x": 0.5}, {"x": 2.5}, {"x": 4.0}]
    for tick in ticks:
        assert tick.images_per_second > 0
        assert set(tick.shares) >= {"data", "compute", "optimizer"}
        assert 0 < sum(tick.shares.values()) <= 1.0 + 1e-6
    assert ticks[-1].eta_seconds == 0


def test_the_last_step_may_overshoot_by_less_than_one_step(distributed):
    run, recorder = loop(distributed, "train.images=33")
    run.run()
    assert recorder.events[-1].images == 40


def test_a_stop_asked_for_is_honoured_after_the_step_when_alone(distributed):
    def act(event, run):
        if isinstance(event, StepDone) and event.step == 3:
            run.request_stop("enough")

    run, recorder = loop(distributed, act=act)
    assert run.run() == "stopped"
    last = [event for event in recorder.events if isinstance(event, StepDone)][-1]
    assert (last.step, last.last) == (4, True)
    assert isinstance(recorder.events[-3], Tick)
    assert recorder.events[-1] == RunFinished(4, 32, outcome="stopped")
    assert run.stop_reason == "enough"


def test_a_stop_at_the_end_is_a_completion(distributed):
    def act(event, run):
        run.request_stop("late")

    run, _ = loop(distributed, "train.images=8", act=act)
    assert run.run() == "completed"


def test_nan_ends_the_run_with_the_metric_and_the_steps(distributed):
    run, recorder = loop(distributed, "train.log_steps=3", act=lambda event, run: poison(event, run))
    with pytest.raises(NonFiniteError, match=r"D/loss.* between steps 3 and 6"):
        run.run()
    assert not any(isinstance(event, RunFinished) for event in recorder.events)
    assert max(event.step for event in recorder.events) == 5
    assert run.dataset.closed


def poison(event, run):
    if isinstance(event, StepDone) and event.step == 4:
        with torch.no_grad():
            next(run.state.players["D"].net.parameters()).fill_(float("nan"))


def test_events_emitted_by_a_listener_wait_for_the_current_one(distributed):
    order: list[tuple[str, str]] = []

    def act(name):
        def handle(event, run):
            order.append((name, type(event).__name__))
            if name == "a" and isinstance(event, RunStarted):
                run.emit(Warned(0, 0, "x"))

        return handle

    run, _ = loop(distributed, "train.images=8", act=act("a"), others=[Recorder(act("b"))])
    run.run()
    assert order[:4] == [("a", "RunStarted"), ("b", "RunStarted"), ("a", "Warned"), ("b", "Warned")]


def test_a_listeners_error_ends_the_run(distributed):
    def act(event, run):
        if isinstance(event, StepDone):
            raise OSError(28, "No space left on device")

    run, _ = loop(distributed, act=act)
    with pytest.raises(OSError, match="No space"):
        run.run()


def test_a_run_that_is_complete_already_tells_its_end_again_and_trains_nothing(distributed):
    run, _ = loop(distributed, "train.images=16")
    run.run()
    before = {name: tensor.clone() for name, tensor in run.state.tensors().items()}
    recorder, dataset = Recorder(), FixedDataset(run.spec)
    assert Loop(run.spec, run.state, distributed, dataset, [recorder]).run() == "completed"
    assert kinds(recorder) == ["RunStarted", "StepDone", "RunFinished"]
    assert recorder.events[0].resumed
    assert recorder.events[1].last
    assert dataset.starts == []
    assert all(torch.equal(before[name], tensor) for name, tensor in run.state.tensors().items())


def test_data_goes_on_at_the_clocks_batch(distributed):
    run, _ = loop(distributed, "train.images=48", "objective.d_steps=2")
    run.state.clock.batches, run.state.clock.step = 4, 2
    run.run()
    assert run.dataset.starts == [4]


def test_newly_skipped_data_is_warned_of_once(distributed):
    def act(event, run):
        if isinstance(event, StepDone) and event.step == 1:
            run.dataset.skipped["shard-7"] = "truncated"

    run, recorder = loop(distributed, "train.images=48", act=act)
    run.run()
    warned = [event.message for event in recorder.events if isinstance(event, Warned)]
    assert warned == ["shard-7 is skipped: truncated"]


def test_replaced_samples_are_counted_in_each_tick_and_warned_of_when_they_double(distributed):
    run, recorder = loop(distributed, "train.images=96", "data.on_bad_shard=skip")
    run.dataset.replaced = lambda rank, t: int(t > 1)
    run.run()
    ticks = [event for event in recorder.events if isinstance(event, Tick)]
    assert [tick.metrics["data/replaced"] for tick in ticks] == [0, 2, 2, 2, 2, 2]
    warned = [(event.step, event.message) for event in recorder.events if isinstance(event, Warned)]
    assert [step for step, _ in warned] == [4, 6, 10]
    assert "replaced 8 unreadable samples" in warned[-1][1]


def test_only_a_job_that_skips_counts_replaced_samples(distributed):
    run, recorder = loop(distributed, "train.images=16")
    run.run()
    assert all("data/replaced" not in event.metrics for event in recorder.events if isinstance(event, Tick))


def test_a_restarted_run_tells_the_step_it_goes_on_from_again(distributed):
    """A kill may have come after that step's checkpoint and before its evaluation."""
    first, _ = loop(distributed, "train.images=40", act=lambda event, run: event.step == 1 and run.request_stop("now"))
    assert first.run() == "stopped"
    recorder = Recorder(None)
    Loop(first.spec, first.state, distributed, FixedDataset(first.spec), [recorder]).run()
    steps = [(event.step, event.last) for event in recorder.events if isinstance(event, StepDone)]
    assert steps == [(2, False), (3, False), (4, False), (5, True)]

"""A training that collapses is stopped, told of or rolled back, as its spec says, and goes on exactly."""

from __future__ import annotations

import hashlib

import pytest
import torch
from rollback_runs import Hook, one_picture, poison, small, train, train_together

from trainer.checkpoint import RollBacks, latest, read, step_path
from trainer.engine.events import Observed, RolledBack, RunFinished, RunStarted, StepDone
from trainer.errors import CollapsedError, NonFiniteError
from trainer.launch import compose, rollback
from trainer.sinks.spool import SpoolReader
from trainer.wire import EventKind


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(compose, "Reporting", compose.Reporting)


def digest(folder, step: int) -> str:
    return hashlib.sha256((step_path(folder / "checkpoints", step) / "state.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def rolled(tmp_path_factory, cache):
    """(folder, what was heard): NaN after step 23, so back from 25 to 20; 40 steps in all."""
    folder, hook = tmp_path_factory.mktemp("rolled"), Hook(poison(23))
    assert train(small(), folder, cache, hook) == "completed"
    return folder, hook


def test_nan_becomes_a_roll_back_to_the_newest_healthy_checkpoint(rolled):
    _, hook = rolled
    steps = [event.step for event in hook.of(StepDone)]
    assert steps == [*range(1, 25), *range(20, 41)]  # the tick of step 25 fails; step 20's end is told again
    (event,) = hook.of(RolledBack)
    assert (event.step, event.images, event.from_step, event.count, event.lr_factor) == (20, 320, 24, 1, 0.5)
    assert "lower the learning rates" in event.reason
    assert [event.step for event in hook.of(RunStarted)] == [0, 20]
    assert [event.step for event in hook.of(RunFinished)] == [40]


def test_a_roll_back_is_recorded_and_later_checkpoints_say_that_they_come_after_it(rolled):
    folder, _ = rolled
    (one,) = RollBacks.read(folder / "checkpoints").done
    assert (one.to_step, one.lr_factor) == (20, 0.5)
    generations = {step: read(step_path(folder / "checkpoints", step))[1]["rollbacks"] for step in (10, 20, 30, 40)}
    assert generations == {10: 0, 20: 0, 30: 1, 40: 1}


@pytest.mark.long
def test_after_a_roll_back_the_rates_are_smaller_and_the_data_others(rolled, tmp_path, cache):
    folder, _ = rolled
    seen = {}

    def look(step, run):
        seen[step] = (run.state.players["G"].optimizer.param_groups[0]["lr"], run.state.seed)

    train(small(), tmp_path, cache, Hook(lambda step, run: (poison(23)(step, run), look(step, run))))
    spec = small()
    assert seen[10] == (spec.optimizers["G"].lr, spec.train.seed)
    assert seen[30][0] == spec.optimizers["G"].lr / 2
    assert seen[30][1] != spec.train.seed
    assert digest(tmp_path, 40) == digest(folder, 40)  # and all of it again gives the same bits


def test_the_spool_tells_every_step_of_the_new_line_and_the_roll_back_once(rolled):
    folder, _ = rolled
    events = SpoolReader(folder).after(0, 1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    (told,) = [event for event in events if event.kind is EventKind.ROLLED_BACK]
    assert (told.step, told.data["from_step"], told.data["to_step"], told.data["lr_factor"]) == (20, 24, 20, 0.5)
    ticks = [event.step for event in events if event.kind is EventKind.PROGRESS]
    assert ticks == [5, 10, 15, 20, 25, 30, 35, 40]
    observed = [event.step for event in events if event.kind is EventKind.OBSERVED]
    assert observed == [5, 10, 15, 20, 25, 30, 35, 40]
    metrics = next(event.data["metrics"] for event in events if event.kind is EventKind.OBSERVED)
    assert set(metrics) == {f"sentinel/{name}" for name in ("sigma_g", "sigma_d", "diversity", "d_margin", "d_gap")}


@pytest.mark.long
def test_a_collapse_to_one_picture_goes_back_to_the_newest_checkpoint_before_it(tmp_path, cache):
    """A look every step, so judged from the eleventh on. So small a net is slow to begin; the threshold is far below it."""
    spec = small("sentinel.every_steps=1", "sentinel.least_diversity=1e-6")
    hook = Hook(one_picture(22))
    assert train(spec, tmp_path, cache, hook) == "completed"
    (event,) = hook.of(RolledBack)
    assert (event.from_step, event.step) == (25, 20)  # seen at steps 23, 24 and 25
    assert "G has collapsed to one picture" in event.reason
    seen = [look.metrics["sentinel/diversity"] for look in hook.of(Observed)]
    assert seen[22:24] == [0.0, 0.0]  # the third one ended the try before it was told
    assert min(seen[:22] + seen[24:]) > 1e-4


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_at(step, *, after):
    def act(now, run):
        poison(23)(now, run)
        if now == step and run.state.correction.count == after:
            raise Killed

    return Hook(act)


@pytest.mark.parametrize(
    ("step", "after"),
    [
        pytest.param(12, 0, marks=pytest.mark.long),
        pytest.param(24, 0, marks=pytest.mark.long),
        (22, 1),
        pytest.param(33, 1, marks=pytest.mark.long),
    ],
)
def test_killed_and_restarted_around_a_roll_back_a_training_ends_with_the_same_bits(
    rolled, tmp_path, cache, step, after
):
    with pytest.raises(Killed):
        train(small(), tmp_path, cache, killed_at(step, after=after))
    again = Hook(poison(23))
    assert train(small(), tmp_path, cache, again) == "completed"
    assert digest(tmp_path, 40) == digest(rolled[0], 40)
    ours, theirs = (read(step_path(folder / "checkpoints", 40))[1] for folder in (tmp_path, rolled[0]))
    assert ours == theirs
    assert len(RollBacks.read(tmp_path / "checkpoints").done) == 1
    kinds = [event.kind for event in SpoolReader(tmp_path).after(0, 1000)]
    assert kinds.count(EventKind.ROLLED_BACK) == 1


@pytest.mark.long
def test_killed_between_record_and_rename_the_next_start_does_not_resume_the_sick_state(tmp_path, cache, monkeypatch):
    """The sick state of step 30 is on the disk when the record says that the training is back at 20."""
    spec = small("sentinel.every_steps=1000", "optimizers.G.lr=0.0007")  # no look: nothing is healthy beyond the start

    def die(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "shared", _once_then(rollback.shared, die))
        with pytest.raises(Killed):
            train(spec, tmp_path, cache, Hook(poison(33)))
    assert latest(tmp_path / "checkpoints") == step_path(tmp_path / "checkpoints", 30)
    again = Hook()
    assert train(spec, tmp_path, cache, again) == "completed"
    assert [event.step for event in again.of(RunStarted)] == [0]  # not 30
    kept = {entry.name for entry in (tmp_path / "checkpoints").iterdir() if entry.is_dir()}
    assert kept == {*(f"step-{step:09d}" for step in (10, 20, 30, 40)), "sick-0-step-000000030"}


def _once_then(first, then):
    calls = []

    def call(*arguments):
        calls.append(arguments)
        return first(*arguments) if len(calls) == 1 else then(*arguments)

    return call


@pytest.mark.long
def test_roll_backs_are_bounded_over_restarts_and_the_last_word_says_what_was_tried(tmp_path, cache):
    spec = small("sentinel.max_rollbacks=2")
    twice = poison(23, times=99)

    def stop_once(step, run):
        twice(step, run)
        if step == 21 and run.state.correction.count == 1:
            raise Killed

    with pytest.raises(Killed):
        train(spec, tmp_path, cache, Hook(stop_once))
    with pytest.raises(
        CollapsedError, match=r"rolled back 2 times before, from step 24 to 20, 24 to 20.*0\.25 of the spec's"
    ):
        train(spec, tmp_path, cache, Hook(twice))
    assert len(RollBacks.read(tmp_path / "checkpoints").done) == 2
    with pytest.raises(CollapsedError):  # and a restart is not a way around it
        train(spec, tmp_path, cache, Hook(twice))


@pytest.mark.parametrize("policy", ["warn", "stop"])
def test_nan_stays_a_failure_where_no_roll_back_is_asked_for(tmp_path, cache, policy):
    with pytest.raises(NonFiniteError):
        train(small(f"sentinel.policy={policy}"), tmp_path, cache, Hook(poison(13)))


@pytest.mark.long
def test_two_workers_roll_back_together_though_one_of_them_was_sick(tmp_path, cache):
    train(small("train.images=16"), tmp_path / "first", cache)  # packs the data
    first, second = train_together(small("resources.workers=2"), tmp_path / "both", cache, sick_rank=1)
    assert first["outcome"] == second["outcome"] == "completed"
    assert first["steps"] == second["steps"] == [*range(1, 25), *range(20, 41)]
    assert first["observed"] == second["observed"]
    assert first["rolled_back"] == second["rolled_back"] != []

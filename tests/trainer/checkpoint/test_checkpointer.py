"""The Checkpointer saves what training was, when it was, and only if it is sound."""

from __future__ import annotations

import errno
import json
import threading
from types import SimpleNamespace

import pytest
import torch
from checkpoint_doubles import FakeRun, small_spec
from hypothesis import given
from hypothesis import strategies as st

from trainer.checkpoint import Best, Checkpointer, listener, read, room, step_path
from trainer.checkpoint.files import steps
from trainer.checkpoint.keep import Ranked, metric_of, ranked
from trainer.engine.events import CheckpointWritten, RunFinished, Scored, Warned
from trainer.errors import NonFiniteError, TrainingError, judge


@pytest.fixture
def make(tmp_path, distributed):
    made = []

    def build(*changes, warnings=()):
        spec = small_spec(*changes)
        run = FakeRun(Checkpointer(tmp_path, spec, warnings), distributed, spec)
        made.append(run)
        return run

    yield build
    for run in made:
        run.listener.close()


def written(run):
    return [event.step for event in run.emitted if isinstance(event, CheckpointWritten)]


def test_checkpoints_are_written_at_their_cadence_and_at_the_end(make, tmp_path):
    run = make("checkpoint.keep_last=10")
    run.start()
    for step in range(1, 6):
        run.step(step, last=step == 5)
    run.finish(5)
    assert steps(tmp_path) == [2, 4, 5]
    assert written(run) == [2, 4, 5]
    for step in (2, 4, 5):
        assert torch.equal(read(step_path(tmp_path, step))[0]["net/G/w"], torch.full((4,), float(step)))


def test_a_snapshot_holds_the_state_of_its_step_though_training_goes_on(make, tmp_path, monkeypatch):
    go_on, original = threading.Event(), listener.write

    def slow(*args):
        assert go_on.wait(20)
        return original(*args)

    monkeypatch.setattr(listener, "write", slow)
    run = make()
    run.start()
    run.step(2)
    run.tick(2)
    run.step(3)  # changes the live tensors while the thread still holds the snapshot
    assert written(run) == []
    go_on.set()
    run.step(4)  # due again: waits for the first one
    assert written(run) == [2]
    run.finish(4)
    assert written(run) == [2, 4]
    assert float(read(step_path(tmp_path, 2))[0]["net/G/w"][0]) == 2.0
    assert float(read(step_path(tmp_path, 4))[0]["net/G/w"][0]) == 4.0


def test_a_finished_write_is_announced_at_the_next_tick(make):
    run = make()
    run.start()
    run.step(2)
    run.listener._pending.future.result(20)
    assert written(run) == []
    run.tick(3)
    assert written(run) == [2]
    assert run.emitted[-1].images == 16


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_state_that_is_not_finite_is_never_saved(make, tmp_path, bad):
    run = make()
    run.start()
    run.step(2)
    run.finish(2)
    run.state.values["net/G/w"] = torch.tensor([0.0, bad, 1.0, 2.0])
    run.tell(listener.StepDone(4, 32, last=False))
    with pytest.raises(NonFiniteError, match=r"net/G/w became NaN or infinite between steps 2 and 4"):
        run.finish(4)
    assert steps(tmp_path) == [2]


def test_a_writers_error_surfaces_in_training(make, monkeypatch, tmp_path):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "state.safetensors")

    monkeypatch.setattr(listener, "write", full)
    run = make()
    run.start()
    run.step(2)
    run.listener._pending.future.exception(20)
    with pytest.raises(OSError, match="No space left"):
        run.tick(3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(NonFiniteError("net/D/w became NaN"), "non-finite"), (OSError(errno.ENOSPC, "full", "/x"), "disk-full")],
)
def test_every_rank_tells_what_failed_on_rank_0(make, monkeypatch, distributed, error, kind):
    monkeypatch.setattr(listener, "write", lambda *args: (_ for _ in ()).throw(error))
    main, other = make(), make()
    main.start()
    main.step(2)
    said = []
    monkeypatch.setattr(distributed, "share", lambda text: said.append(text) or text)
    with pytest.raises(type(error)):
        main.finish(2)
    elsewhere = SimpleNamespace(
        is_main=False, device=distributed.device, sum=lambda status: listener.FAILED, share=lambda text: said[0]
    )
    monkeypatch.setattr(other, "distributed", elsewhere)
    other.start()
    other.step(2)
    with pytest.raises(TrainingError) as caught:
        other.finish(2)
    assert (judge(caught.value).kind, judge(caught.value).echo) == (kind, True)
    assert str(caught.value) == f"worker 0: {judge(error).reason}"
    if kind == "non-finite":  # what a roll back catches, on every rank
        assert isinstance(caught.value, NonFiniteError)


def test_closing_waits_for_a_write_that_is_under_way(make, tmp_path, monkeypatch):
    original = listener.write

    def slow(*args):
        threading.Event().wait(0.3)
        return original(*args)

    monkeypatch.setattr(listener, "write", slow)
    run = make()
    run.start()
    run.step(2)
    run.listener.close()
    assert steps(tmp_path) == [2]


def test_the_newest_and_the_best_are_kept(make, tmp_path):
    run = make("checkpoint.keep_last=1", "checkpoint.every_steps=1")
    run.start()
    for step, fid in ((1, 50.0), (2, 20.0), (3, 30.0), (4, float("nan")), (5, 25.0)):
        run.step(step, last=step == 5)
        run.tell(Scored(step, step * 8, {"fid": fid, "kid": 1.0}, {}))
    run.finish(5)
    assert steps(tmp_path) == [2, 5]
    assert Best.read(tmp_path) == Best(step=2, metric="fid", value=20.0)


def test_without_publish_the_first_metric_decides_which_is_best_by_its_own_sense(make, tmp_path):
    run = make("checkpoint.keep_last=1", "checkpoint.every_steps=1", "evaluation.metrics=[recall,kid]")
    run.start()
    for step, recall in ((1, 0.1), (2, 0.6), (3, 0.2)):
        run.step(step, last=step == 3)
        run.tell(Scored(step, step * 8, {"recall": recall, "kid": float(step)}, {}))
    run.finish(3)
    assert steps(tmp_path) == [2, 3]
    assert Best.read(tmp_path) == Best(step=2, metric="recall", value=0.6)


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ((), "fid"),
        (("evaluation.metrics=[kid,fid]",), "kid"),
        (("evaluation.metrics=[kid,fid]", "publish.model=m", "publish.metric=fid"), "fid"),
        (("evaluation.metrics=[]",), None),
    ],
)
def test_the_score_that_decides_is_the_published_ones_else_the_first_of_those_evaluated(changes, metric):
    assert metric_of(small_spec(*changes)) == metric


def test_a_scored_step_without_a_checkpoint_gets_one_if_it_is_the_best(make, tmp_path):
    run = make("checkpoint.every_steps=100")
    run.start()
    run.step(3)
    run.tell(Scored(3, 24, {"fid": 10.0}, {}))
    run.step(4)
    run.tell(Scored(4, 32, {"fid": 11.0}, {}))
    assert steps(tmp_path) == [3]
    assert written(run) == [3]


def test_best_is_recorded_only_when_its_checkpoint_is_on_disk(make, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.EIO, "I/O error")

    run = make()
    run.start()
    run.step(2)
    run.tell(Scored(2, 16, {"fid": 20.0}, {}))
    run.step(3)
    with monkeypatch.context() as patch:
        patch.setattr(listener, "write", fail)
        with pytest.raises(OSError, match="I/O"):
            run.tell(Scored(3, 24, {"fid": 10.0}, {}))
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 2


def test_best_survives_a_restart(make, tmp_path):
    first = make()
    first.start()
    first.step(2)
    first.tell(Scored(2, 16, {"fid": 20.0}, {}))
    first.finish(2)
    second = make("checkpoint.keep_last=1")
    second.start(step=2)
    for step in (4, 6):
        second.step(step)
        second.tell(Scored(step, step * 8, {"fid": 30.0}, {}))
    second.finish(6)
    assert steps(tmp_path) == [2, 6]


def test_the_metric_that_is_published_decides(make, tmp_path):
    run = make("publish={model: m, metric: recall}", "evaluation.metrics=[fid, recall]")
    run.start()
    for step, recall in ((2, 0.1), (4, 0.5), (6, 0.3)):
        run.step(step)
        run.tell(Scored(step, step * 8, {"fid": float(step), "recall": recall}, {}))
    assert Best.read(tmp_path).step == 4


def test_nothing_is_saved_twice_when_a_complete_run_is_told_of_its_end_again(make, tmp_path):
    run = make()
    run.start(step=8)
    run.step(8, last=True)
    run.finish(8)
    assert steps(tmp_path) == []
    assert written(run) == []


def test_what_was_passed_over_is_warned_of(make):
    run = make(warnings=["step 9 is damaged"])
    run.start()
    assert [event.message for event in run.emitted if isinstance(event, Warned)] == ["step 9 is damaged"]


def test_so_many_best_are_kept_as_are_asked_for(make, tmp_path):
    run = make("checkpoint.keep_last=1", "checkpoint.every_steps=1", "checkpoint.keep_best=3")
    run.start()
    scores = {1: 50.0, 2: 20.0, 3: 30.0, 4: 10.0, 5: 40.0, 6: 60.0}
    for step, fid in scores.items():
        run.step(step, last=step == 6)
        run.tell(Scored(step, step * 8, {"fid": fid, "kid": 1.0}, {}))
    run.finish(6)
    assert steps(tmp_path) == [2, 3, 4, 6]
    assert Best.read(tmp_path).steps == (4, 2, 3)
    again = make("checkpoint.keep_last=1", "checkpoint.keep_best=2")
    again.start(step=6)
    again.step(8)
    again.finish(8)
    assert steps(tmp_path) == [2, 4, 8]


def test_one_of_every_so_many_images_is_kept(make, tmp_path):
    run = make("checkpoint.keep_last=1", "checkpoint.every_steps=1", "checkpoint.keep_every_images=24")
    run.start()
    for step in range(1, 12):
        run.step(step, last=step == 11)
    run.finish(11)
    assert steps(tmp_path) == [3, 6, 9, 11], "of 8 images a step"


def test_a_record_of_an_older_version_is_read(tmp_path):
    (tmp_path / "best.json").write_text('{"step": 5, "metric": "fid", "value": 1.5}')
    assert Best.read(tmp_path) == Best(step=5, metric="fid", value=1.5)


def test_a_disk_that_is_nearly_full_is_warned_of_once_each_time(make, tmp_path, monkeypatch):
    run, free = make("checkpoint.every_steps=1"), iter([10**9, 100, 100, 10**9, 100])
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    run.start()
    for step in range(1, 6):
        run.step(step, last=step == 5)
    run.finish(5)
    warned = [event for event in run.emitted if isinstance(event, Warned)]
    assert [event.step for event in warned] == [2, 5]
    assert "the disk is nearly full: 0.0 MB are free" in warned[0].message


@given(
    st.lists(st.tuples(st.integers(1, 9), st.floats(allow_nan=True)), max_size=12),
    st.integers(0, 4),
    st.sampled_from(["fid", "recall"]),
)
def test_the_record_has_the_best_scores_so_far_in_order(told, count, metric):
    """Of a step that is scored twice, what is on the disk is the better one."""
    record, best = None, {}
    for step, value in told:
        record = ranked(record, metric, step, value, count) or record
        if value == value and abs(value) != float("inf"):
            better = max if metric == "recall" else min
            best[step] = better(value, best.get(step, value))
    wanted = sorted(best.values(), reverse=metric == "recall")[:count]
    found = (record, *record.behind) if record else ()
    assert [one.value for one in found] == wanted
    assert all(best[one.step] == one.value for one in found)


@given(st.floats(allow_nan=True), st.floats(allow_nan=False, allow_infinity=False))
def test_a_better_score_is_finite_and_strictly_better(value, incumbent):
    best = Best(step=1, metric="fid", value=incumbent)
    finite = value == value and abs(value) != float("inf")
    assert (ranked(best, "fid", 2, value, 1) is not None) == (finite and value < incumbent)
    assert (ranked(best, "fid", 2, value, 2) is not None) == finite
    assert (ranked(None, "fid", 2, value, 1) is not None) == finite
    of_another = ranked(best, "recall", 2, value, 2)
    assert of_another is None or of_another.behind == (), "what was measured otherwise doesn't compare"


def test_what_is_gone_is_ranked_no_longer():
    best = Best(step=4, metric="fid", value=1.0, behind=(Ranked(step=2, value=2.0), Ranked(step=7, value=3.0)))
    assert best.without([4]).steps == (2, 7)
    assert best.without([2]).steps == (4, 7)
    assert best.without([2, 4, 7]) is None


def test_a_run_that_ended_has_told_of_its_last_checkpoint_first(make):
    run = make()
    run.start()
    run.step(3, last=True)
    run.tell(RunFinished(3, 24, outcome="stopped"))
    assert written(run) == [3]

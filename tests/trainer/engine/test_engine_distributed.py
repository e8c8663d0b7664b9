"""Several workers are one model: real processes, real gloo."""

from __future__ import annotations

import os

import pytest
import torch
from engine_doubles import FixedDataset, Recorder, dcgan_spec, gan_spec, spawn, stepper

from trainer.engine import loop
from trainer.engine.distributed import Distributed
from trainer.engine.events import RunFinished, RunStarted, StepDone, Tick, Warned
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError, TrainingError


def _train(rank, world, changes, steps):
    torch.set_default_dtype(torch.float64)
    spec = gan_spec(*changes)
    runner = stepper(spec, Distributed.create(spec, world=world))
    for _ in range(steps):
        runner.step()
    means, *_ = runner.means.reduce(runner.distributed, False, 1.0)
    torch.set_default_dtype(torch.float32)
    return {name: tensor.numpy().copy() for name, tensor in runner.state.tensors().items()}, means


@pytest.mark.parametrize(
    "changes", [[], ["train.micro_batch=2", "objective.penalties=[{kind: orthogonal}]"]], ids=["plain", "accumulated"]
)
def test_two_workers_equal_one_with_the_whole_batch(changes):
    ((alone, means),) = [_train(0, 1, changes, 3)]
    together = spawn(2, _train, changes, 3)
    for tensors, their_means in together:
        assert their_means == pytest.approx(means, rel=1e-9)
        for name, value in alone.items():
            torch.testing.assert_close(
                torch.from_numpy(tensors[name]), torch.from_numpy(value), rtol=1e-6, atol=1e-9, msg=name
            )


def _batch_norm(rank, world):
    spec = dcgan_spec("resources.workers=2")
    distributed = Distributed.create(spec, world=world)
    runner = stepper(spec, distributed)
    for _ in range(3):
        runner.step()
    distributed.assert_same({name: player.net for name, player in runner.state.players.items()}, "after training")
    before = [buffer.clone().numpy() for buffer in runner.state.averages["G"].buffers()]
    distributed.sync_buffers(runner.state.averages["G"])
    after = [buffer.clone().numpy() for buffer in runner.state.averages["G"].buffers()]
    with torch.no_grad():
        next(runner.state.players["D"].net.parameters())[:] += rank
    try:
        distributed.assert_same({"D": runner.state.players["D"].net}, "in a test")
    except TrainingError as error:
        return before, after, str(error)
    return before, after, "no error"


def test_batch_norm_trains_in_step_and_rank_0s_statistics_can_be_shared():
    (before_0, after_0, error_0), (before_1, after_1, error_1) = spawn(2, _batch_norm)
    assert any((a != b).any() for a, b in zip(before_0, before_1, strict=True))
    assert all((a == b).all() for a, b in zip(before_0, after_0, strict=True))
    assert all((a == b).all() for a, b in zip(after_0, after_1, strict=True))
    assert "parameters of D differ in a test" in error_0
    assert error_0 == error_1


def _stop(rank, world):
    spec = gan_spec("train.log_steps=4", "train.images=800")

    def act(event, run):
        if rank == 1 and isinstance(event, StepDone) and event.step == 5:
            run.request_stop("only rank 1 was told")

    distributed, recorder = Distributed.create(spec, world=world), Recorder(act)
    Loop(spec, TrainState.create(spec, distributed), distributed, FixedDataset(spec), [recorder]).run()
    metrics = [event.metrics for event in recorder.events if isinstance(event, Tick)]
    return recorder.events[-1], metrics


def _stop_between_ticks(rank, world):
    loop.AGREE_SECONDS = 0.0
    return _stop(rank, world)


def test_workers_with_large_steps_stop_together_before_the_next_tick():
    (end_0, metrics_0), (end_1, metrics_1) = spawn(2, _stop_between_ticks)
    assert end_0 == end_1 == RunFinished(6, 48, outcome="stopped")
    assert metrics_0 == metrics_1
    assert len(metrics_0) == 2


def test_all_workers_stop_together_at_the_next_tick():
    (end_0, metrics_0), (end_1, metrics_1) = spawn(2, _stop)
    assert end_0 == end_1 == RunFinished(8, 64, outcome="stopped")
    assert metrics_0 == metrics_1
    assert len(metrics_0) == 2


def _skip(rank, world):
    spec = gan_spec("train.log_steps=4", "train.images=64", "data.on_bad_shard=skip")
    distributed, recorder, dataset = Distributed.create(spec, world=world), Recorder(), FixedDataset(spec)
    dataset.replaced = lambda rank, t: 3 if rank == 1 else 0
    loop.AGREE_SECONDS = 1e9  # on a slow machine the ranks would meet between the ticks, too
    reductions = []
    reduce = distributed._reduce
    distributed._reduce = lambda tensor, how: reductions.append(how) or reduce(tensor, how)
    started = Recorder(lambda event, run: isinstance(event, RunStarted) and reductions.clear())  # prepared by then
    Loop(spec, TrainState.create(spec, distributed), distributed, dataset, [recorder, started]).run()
    counted = [event.metrics["data/replaced"] for event in recorder.events if isinstance(event, Tick)]
    return counted, [event.message for event in recorder.events if isinstance(event, Warned)], len(reductions)


def test_samples_replaced_on_another_rank_reach_rank_0_in_the_ticks_one_reduction():
    for counted, warned, reductions in spawn(2, _skip):
        assert counted == [12.0, 12.0]
        assert "replaced 12 unreadable samples" in warned[0]
        assert reductions == len(counted)


def _helpers(rank, world):
    distributed = Distributed.create(gan_spec(), world=world)
    mine = torch.tensor([float(rank), 1.0])
    order = []
    with distributed.main_first():
        order.append(rank)
    distributed.barrier()
    return (
        distributed.sum(mine).tolist(),
        distributed.mean(mine).tolist(),
        distributed.gather(mine[:1]).tolist(),
        distributed.any(rank == 1),
        distributed.any(False),
        (distributed.rank, distributed.world, distributed.is_main),
    )


def test_helpers_over_two_workers():
    results = spawn(2, _helpers)
    for rank, found in enumerate(results):
        assert found == ([1.0, 2.0], [0.5, 1.0], [0.0, 1.0], True, False, (rank, 2, rank == 0))


def test_helpers_do_nothing_alone(distributed):
    tensor = torch.tensor([3.0])
    assert distributed.sum(tensor) is distributed.mean(tensor) is distributed.gather(tensor) is tensor
    assert (distributed.any(True), distributed.any(False)) == (True, False)
    distributed.barrier()
    assert (distributed.rank, distributed.world, distributed.is_main) == (0, 1, True)


def test_a_process_group_of_another_size_is_refused():
    with pytest.raises(TrainingError, match="has 1 processes on cpu, but the launcher started 2"):
        Distributed.create(gan_spec(), world=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_a_bad_spec():
    with pytest.raises(BadSpecError, match="gpus_per_worker"):
        Distributed.create(gan_spec("resources.gpus_per_worker=1"), world=1)


@pytest.fixture
def threads_as_before():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "used"), [("3", 3), ("2,1", 2), ("no number", 5), (None, 5)])
def test_torch_uses_the_threads_of_omp_num_threads_though_it_was_imported_before_that_was_set(
    monkeypatch, said, used, threads_as_before
):
    torch.set_num_threads(5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    Distributed.create(gan_spec(), world=1)
    assert torch.get_num_threads() == used
    assert os.environ.get("OMP_NUM_THREADS") == said


def _threads(rank, world):
    del os.environ["OMP_NUM_THREADS"]
    torch.set_num_threads(5)
    Distributed.create(gan_spec("resources.cpus_per_worker=2"), world=world)
    return torch.get_num_threads()


def test_several_workers_use_as_many_threads_as_each_has_cpus():
    assert spawn(2, _threads) == [2, 2]

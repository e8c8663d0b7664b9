"""What a notice that a node is taken away means for the run and for its restarts."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from trainer.engine.events import RunFinished, StepDone
from trainer.launch import preempt
from trainer.launch.elastic import _still_there
from trainer.launch.preempt import Patience, Preemption
from trainer.launch.ray_train import WorkerFailedError
from trainer.launch.stop import GROWS
from trainer.sinks.spool import SpoolReader

TOLD = WorkerFailedError("preempted", "worker 1: its node is being taken away")
BUG = WorkerFailedError("internal", "RuntimeError: no")


def patience(tmp_path: Path) -> Patience:
    return Patience(FailureConfig(max_failures=0, controller_failure_limit=0), str(tmp_path), 1)


def test_a_group_that_ended_itself_for_a_notice_spends_no_restart(tmp_path: Path) -> None:
    policy = patience(tmp_path)
    for _ in range(3):
        assert policy.make_decision(WorkerGroupError("", {0: TOLD})) is FailureDecision.RETRY
    assert policy.make_decision(WorkerGroupError("", {0: BUG})) is FailureDecision.RAISE


def test_places_that_did_not_come_in_time_are_asked_for_again_for_ever(tmp_path: Path) -> None:
    late = ControllerError(WorkerGroupStartupTimeoutError(2))
    policy = patience(tmp_path)
    assert [policy.make_decision(late) for _ in range(5)] == [FailureDecision.RETRY] * 5


def test_a_node_that_went_before_its_workers_stopped_is_told_of(tmp_path: Path) -> None:
    error = PreemptionError(PreemptionInfo(None, {"n": [1]}), drain_timed_out=True)
    assert patience(tmp_path).make_decision(error) is FailureDecision.RETRY
    (event,) = SpoolReader(tmp_path).after(0, 10)
    assert event.data["reason"] == "worker 1: its node was taken away before all had stopped"


class Place:
    """Two ranks, of which this is the first; what the other heard is given."""

    device = torch.device("cpu")

    def __init__(self, other: int = 0, wished: bool = False) -> None:
        self.other, self.wished = other, wished

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        return torch.cat([own, torch.tensor([self.other])])

    def any(self, flag: bool) -> bool:
        return flag or self.wished


class Asked:
    stop_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        self.stop_reason = self.stop_reason or reason


def run_with(listener: Preemption, heard: int, monkeypatch: pytest.MonkeyPatch, wish: str | None = None) -> Asked:
    monkeypatch.setattr(preempt, "notice", lambda: heard)
    run = Asked()
    if wish:
        run.request_stop(wish)
    listener.handle(StepDone(1, 8, last=False), run)  # type: ignore[arg-type]
    listener.handle(RunFinished(2, 16, outcome="stopped"), run)  # type: ignore[arg-type]
    return run


@pytest.mark.parametrize(
    ("heard", "other", "why"),
    [
        (preempt.TERMINATED, 0, "worker 0: its process was asked to end (SIGTERM)"),
        (0, preempt.TERMINATED, "worker 1: its process was asked to end (SIGTERM)"),
        (preempt.OTHERS, preempt.DRAINED, "worker 1: its node is being taken away"),
        (preempt.DRAINED, preempt.DRAINED,
         "worker 0: its node is being taken away; worker 1: its node is being taken away"),
        (preempt.OTHERS, 0, "a worker's node is being taken away"),
        (0, 0, None),
    ],
)  # fmt: skip
def test_every_rank_knows_whose_notice_it_was(
    heard: int, other: int, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Preemption()
    run = run_with(listener, heard, monkeypatch)
    assert (run.stop_reason is not None) == (heard > 0)
    assert listener.why(Place(other)) == why  # type: ignore[arg-type]


def test_a_stop_that_somebody_wished_stays_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Preemption()
    run_with(listener, preempt.DRAINED, monkeypatch, wish="asked to by the control plane")
    assert listener.why(Place()) is None  # type: ignore[arg-type]
    listener = Preemption()
    run_with(listener, preempt.DRAINED, monkeypatch)
    assert listener.why(Place(wished=True)) is None  # type: ignore[arg-type]


def test_a_group_that_makes_room_for_a_larger_one_says_so_and_a_wish_to_stop_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wished, why in ((False, "a larger group fits"), (True, None)):
        listener = Preemption()
        run_with(listener, 0, monkeypatch, wish=GROWS)
        assert listener.why(Place(wished=wished)) == why  # type: ignore[arg-type]
    other = Preemption()
    run_with(other, 0, monkeypatch)
    assert other.why(Place(other=preempt.LARGER)) == "a larger group fits"  # type: ignore[arg-type]


def test_the_first_sigterm_is_a_notice_and_the_second_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    try:
        preempt.catch_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
        assert preempt.notice() == preempt.TERMINATED
        assert not ended
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
        preempt._TERMINATED.clear()


def test_places_on_dead_and_leaving_nodes_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"NodeID": name, "Alive": name != "dead"} for name in ("kept", "dead", "leaving")]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    state = SimpleNamespace(get_draining_nodes=lambda: {"leaving": 0}, available_resources_per_node=dict)
    monkeypatch.setattr(ray._private.state, "state", state)
    assert _still_there({name: {"CPU": 1.0} for name in ("kept", "dead", "leaving", "gone")}) == {"kept": {"CPU": 1.0}}

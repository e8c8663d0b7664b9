"""A worker whose node is taken away: all ranks stop at one step with a checkpoint, and the group starts again elsewhere.

Two notices count: Ray's, that a node of the group is being drained (its preemption watcher tells every worker), and a
SIGTERM to a worker's process. Going on until the node dies would throw away the steps since the checkpoint, so the group
ends itself: `train_worker` raises a failure of the kind `preempted`, for which `Patience` spends no restart. An elastic
group that makes room for a larger one ends in the same way.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray.train import FailureConfig
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from trainer.errors import judge
from trainer.launch.ray_internals import (
    DefaultFailurePolicy,
    FailureDecision,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from trainer.launch.stop import GROWS
from trainer.sinks.spool import Spool
from trainer.wire import EventKind, FailureKind

if TYPE_CHECKING:
    from trainer.engine.distributed import Distributed
    from trainer.engine.events import Event, Run

TERMINATED, DRAINED, OTHERS, LARGER = 1, 2, 3, 4
WORDS = {TERMINATED: "its process was asked to end (SIGTERM)", DRAINED: "its node is being taken away"}
"""What a worker may have been told of itself; `OTHERS`: of another worker's node."""
REASON = "a worker's node is being taken away"
_TERMINATED = threading.Event()


def catch_sigterm() -> None:
    """On a worker, in its main thread: take the first SIGTERM as a notice; the next one has its ordinary effect."""
    before = signal.getsignal(signal.SIGTERM)

    def terminated(number: int, frame: FrameType | None) -> None:
        _TERMINATED.set()
        signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, terminated)


def notice() -> int:
    """What this worker has been told: one of `WORDS`, `OTHERS`, or 0 for nothing."""
    if _TERMINATED.is_set():
        return TERMINATED
    found = _drained()
    if found is None:
        return 0
    import ray.train

    return DRAINED if ray.train.get_context().get_world_rank() in found.preempted_ranks else OTHERS


def _drained() -> PreemptionInfo | None:
    """Ray's notice, without the barrier over all workers that `ray.train.get_preemption_info` is."""
    from trainer.launch.ray_internals import get_train_context

    return get_train_context().preemption_context.preemption_info


class Preemption:
    """Listener on every rank that asks the run to stop at the first notice."""

    def __init__(self) -> None:
        self._heard = 0
        self._wished = False

    def handle(self, event: Event, run: Run) -> None:
        """Look, after every step."""
        from trainer.engine.events import RunFinished, StepDone

        if self._heard == 0 and isinstance(event, StepDone) and (heard := notice()):
            self._heard = heard
            run.request_stop(REASON)
        elif isinstance(event, RunFinished):
            self._wished = run.stop_reason not in (None, REASON, GROWS)
            if run.stop_reason == GROWS:
                self._heard = self._heard or LARGER

    def close(self) -> None:
        """Nothing to release."""

    def why(self, distributed: Distributed) -> str | None:
        """Why a run stopped, if that was for a notice alone; None if somebody wished it. All ranks have to ask, after it."""
        import torch

        heard = distributed.gather(torch.tensor([self._heard], device=distributed.device)).tolist()
        if distributed.any(self._wished) or not any(heard):
            return None
        told = [f"worker {rank}: {WORDS[code]}" for rank, code in enumerate(heard) if code in WORDS]
        return "; ".join(told) or (REASON if OTHERS in heard else GROWS)


def say_restarted(job_dir: str, attempt: int, reason: str, rank: int | None = None) -> None:
    """From the controller's process: the group starts again. rank: whose log says more."""
    spool = Spool(Path(job_dir))
    spool.append(attempt, EventKind.RESTARTED, data={"reason": reason} | ({} if rank is None else {"rank": rank}))
    spool.close()


class Patience(DefaultFailurePolicy):  # type: ignore[misc]
    """Ray's policy, but a group that ended itself because it was told to counts as preempted, like one that was killed; that
    an elastic group's places didn't come in time is no failure: it is asked for again, of the size that fits then; and
    whatever the cluster did to a start, and not only what Ray's policy knows of, is tried again as often as it may be."""

    def __init__(self, settings: FailureConfig, job_dir: str, attempt: int) -> None:
        super().__init__(settings)
        self._job_dir, self._attempt = job_dir, attempt

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        """Whether the group starts again."""
        if isinstance(training_failed_error, PreemptionError):  # nobody has seen a worker fail: the time was up first
            ranks = ", ".join(map(str, training_failed_error.preemption_info.preempted_ranks))
            self._say(f"worker {ranks}: its node was taken away before all had stopped")
        failure = getattr(training_failed_error, "controller_failure", None)
        if isinstance(failure, WorkerGroupStartupTimeoutError):
            return FailureDecision.RETRY
        if failure is not None:
            return self._after_start(failure, training_failed_error)
        if isinstance(training_failed_error, WorkerGroupError) and any(
            getattr(error, "kind", None) is FailureKind.PREEMPTED
            for error in training_failed_error.worker_failures.values()
        ):
            training_failed_error = PreemptionError(PreemptionInfo(None, {}))
        return super().make_decision(training_failed_error)

    def _after_start(self, failure: Exception, as_raised: ControllerError) -> FailureDecision:
        """After an error outside the workers' training: of the cluster, of our callbacks, or of a worker that joined."""
        found = judge(failure)
        if found.told or not found.kind.retryable:
            return super().make_decision(as_raised)
        decision = super().make_decision(ControllerError(WorkerGroupStartupFailedError(found.reason)))
        if decision is FailureDecision.RETRY:
            self._say(found.reason)
        return decision

    def _say(self, reason: str) -> None:
        say_restarted(self._job_dir, self._attempt, reason)

"""Runs a job on Ray Train: N workers, each `compose.train`; what fails for good fails at once.

Ray Train restarts the worker group when a worker dies, and every worker then restores our newest checkpoint. It would
also restart after an error of the job itself (altered data, NaN), to no use: those are told apart on the worker, where
the exception is whole, and end the run from the controller.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.train
from ray.exceptions import RayTaskError
from ray.train import FailureConfig, RunConfig, UserCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from trainer import trace
from trainer.errors import BadSpecError, PreemptedError, WorkerFailedError, blame, judge
from trainer.launch import log, warm
from trainer.launch.backend import ProcessGroup
from trainer.launch.diary import Diary
from trainer.launch.elastic import LanePolicy, scaling
from trainer.launch.preempt import Patience, Preemption, say_restarted
from trainer.launch.ray_internals import PlacementGroupCleanerCallback
from trainer.launch.stop import StopFile, grow_file, stop_file
from trainer.proxies import go_direct
from trainer.wire import JOB_FILE, FailureKind, JobFile

if TYPE_CHECKING:
    from trainer.engine.events import Listener

# Read by Ray Train in this process; the environment wins.
SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths in a spec mean the same on every launcher
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def run(job: JobFile) -> str:
    """Train the job on the cluster that this process is connected to. Blocks. Returns the outcome.

    Raises WorkerFailedError with the kind and reason for a person.
    """
    for name, value in {**SETTINGS, **warm.environment()}.items():
        os.environ.setdefault(name, value)
    try:
        return str(_trainer(job).fit().return_value)
    except Exception as error:
        kind, reason = verdict(error)
        if kind is FailureKind.INTERNAL and not isinstance(error, TrainingFailedError):
            traceback.print_exc()  # a bug: the job's log has all of it
        raise WorkerFailedError(kind, reason, rank=judge(error).rank) from error


class Trainer(DataParallelTrainer):  # type: ignore[misc]
    """Ray's trainer, but elastic only over worker counts that divide the lanes, with our policy on failures, and without
    its cleaner: an extra process per job that removes the placement group of a controller that died. Here the driver
    then fails, its job ends, and Ray removes what belongs to it."""

    sizes: tuple[int, ...] = ()
    grow: Path
    patience: Patience

    def _create_default_callbacks(self) -> list[Any]:
        return [
            each for each in super()._create_default_callbacks() if not isinstance(each, PlacementGroupCleanerCallback)
        ]

    def _initialize_and_run_controller(self, **settings: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            settings["scaling_policy"] = LanePolicy(self.scaling_config, self.sizes, self.grow)
        settings["failure_policy"] = self.patience
        return super()._initialize_and_run_controller(**settings)


def _trainer(job: JobFile) -> Trainer:
    failures = FailureConfig(
        max_failures=job.spec.retry.worker_failures, controller_failure_limit=job.spec.retry.worker_failures
    )
    trainer = Trainer(
        train_worker,
        train_loop_config={"job_file": str(Path(job.job_dir) / JOB_FILE)},
        backend_config=ProcessGroup(job.job_dir, job.attempt),
        scaling_config=scaling(job.spec),
        run_config=RunConfig(
            name=f"attempt-{job.attempt}",
            storage_path=str(Path(job.job_dir).resolve() / "ray"),
            failure_config=failures,
            callbacks=[Verdicts(job.job_dir, job.attempt, job.spec.retry.worker_failures)],
        ),
    )
    trainer.sizes, trainer.grow = job.spec.world_sizes(), grow_file(job)
    trainer.patience = Patience(failures, job.job_dir, job.attempt)
    return trainer


def train_worker(config: dict[str, Any]) -> str:
    """On each worker: train. Raises WorkerFailedError for every failure."""
    try:
        from trainer.engine.distributed import Distributed
        from trainer.launch.compose import train

        job = JobFile.model_validate_json(Path(config["job_file"]).read_bytes())
        trace.enter(job.traceparent)
        go_direct(*job.own_urls)
        world, sizes = ray.train.get_context().get_world_size(), job.spec.world_sizes()
        if world not in sizes:
            raise BadSpecError(
                f"Ray Train started {world} workers, but the spec's resources and data.lanes allow "
                f"{' or '.join(map(str, sizes))}"
            )
        distributed = Distributed.create(job.spec, world=world)
        preemption = Preemption()
        outcome = train(job, distributed, [preemption, *(_asked(job) if distributed.is_main else [Diary()])])
        if outcome == "stopped" and (why := preemption.why(distributed)):
            raise PreemptedError(why)
        return outcome
    except Exception as error:
        traceback.print_exc()
        found = judge(error)
        raise WorkerFailedError(found.kind, found.reason, found.echo) from None
    finally:
        log.settle()


def _asked(job: JobFile) -> list[Listener]:
    """What listens for files that ask the run to stop. A wish to grow was another group's."""
    grow_file(job).unlink(missing_ok=True)
    return [StopFile(stop_file(job)), StopFile(grow_file(job))]


class Verdicts(UserCallback):  # type: ignore[misc]
    """On the controller: ends the run at a failure that a restart would repeat; else says that there is a restart."""

    def __init__(self, job_dir: str, attempt: int, budget: int) -> None:
        self._job_dir, self._attempt, self._budget = job_dir, attempt, budget
        self._failures = 0
        self._last: str | None = None

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raising here makes Ray Train give up without spending the restarts that are left."""
        found = blame(worker_exceptions)
        kind, reason = found.kind, found.reason
        repeats = kind is FailureKind.INTERNAL and reason == self._last
        if kind.final or repeats:
            raise WorkerFailedError(kind, reason, rank=found.rank)
        self._last = reason
        preempted = kind is FailureKind.PREEMPTED
        self._failures += not preempted
        if preempted or self._failures <= self._budget:
            say_restarted(self._job_dir, self._attempt, reason, found.rank)


def verdict(error: Exception) -> tuple[FailureKind, str]:
    """Kind and reason of how `fit` failed, or the call of Ray before it."""
    kind, reason, *_ = judge(error)
    inner = getattr(error, "controller_failure", error)
    if isinstance(error, WorkerGroupError):
        return kind, f"{reason}; the restarts are used up"
    if isinstance(inner, RayTaskError):
        return kind, f"a worker failed while it started: {reason}"
    if kind is FailureKind.INTERNAL and isinstance(inner, ConnectionError | TimeoutError):
        return FailureKind.CLUSTER_FAILED, f"Ray can't be reached: {reason}"
    return kind, reason

"""The trainable: one trial of a search, as Tune runs it. A step is "train until the next evaluation".

The trial's folder is a job's folder. So a trial whose process died goes on from its own newest checkpoint, whatever Tune
knows of it; Tune's own checkpoints serve population-based training, which moves a state from one trial to another.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock, Timeout
from ray import tune
from ray.tune import PlacementGroupFactory

from trainer import trace
from trainer.errors import weight
from trainer.launch import log
from trainer.launch.stop import stop_file
from trainer.launch.tune import clones
from trainer.launch.tune.progress import Progress, replace_text
from trainer.launch.tune.ranks import Ranks
from trainer.launch.tune.training import Began, Ended, Evaluated, Failed, Report, Training
from trainer.proxies import go_direct
from trainer.search import SearchSpec, TrialState
from trainer.search.space import Values, trial_spec
from trainer.search.trial import trial_dir
from trainer.spec import dump_spec
from trainer.wire import JOB_FILE, JobFile, SearchFile

WORST = 1e12
"""What a scheduler is told of a trial that diverged, in a metric to be minimised: worse than any score, but a number."""
LOOK_SECONDS = 1.0
LEAVE_SECONDS = 120.0
"""How long a training may take to end at its next evaluation before its process is ended."""
OWN_SECONDS = 15.0
"""How much later rank 0 may say what another rank has said: it closes its sinks first."""
LOCK_FILE = "training.lock"
ALONE_SECONDS = 120.0
"""How long a trial waits for an older process of its own to end."""


class TrialLostError(Exception):
    """A worker died, or something else that another try may survive. Tune starts the trial again, as often as it may."""


class Trial(tune.Trainable):  # type: ignore[misc]
    """Rank 0 of one trial. config: `search_file`, `values` (by path), `resources` (of all workers)."""

    _file: SearchFile
    _job: JobFile
    _folder: Path
    _progress: Progress
    _images: int
    """Images of the training when it last said anything."""
    _diverged: str
    """Why the trial's training is over for ever; empty: it isn't."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """A bundle for each worker; the first is this actor's."""
        return PlacementGroupFactory([dict(bundle) for bundle in config["resources"]], strategy="PACK")

    def setup(self, config: dict[str, Any]) -> None:
        """Read the search; the training begins with the first step."""
        self._file = SearchFile.model_validate_json(Path(config["search_file"]).read_bytes())
        go_direct(*self._file.own_urls)
        self._search: SearchSpec = self._file.spec
        self._training: Training | None = None
        self._ranks: Ranks | None = None
        self._take(config["values"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial, or the same with other values, in this process."""
        self._end()
        self._take(new_config["values"])
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation, or to the end. Raises TrialLostError for what another try may survive."""
        if self._diverged:
            return self._result(TrialState.DIVERGED)  # nobody took this trial over
        if self._training is None and stop_file(self._job).exists():
            return self._result(TrialState.STOPPED)  # asked while it waited for its turn
        with self._alone():
            return self._train()

    def _train(self) -> dict[str, Any]:
        if self._training is None:
            self._look()
            self._begin()
        else:
            self._training.go()
        while True:
            report = self._next()
            self._take_time(report.images)
            if isinstance(report, Began):
                self._progress = self._counted(report.images).since(report.step)
                continue
            if isinstance(report, Evaluated):
                if (result := self._evaluated(report)) is not None:
                    return result
                continue
            return self._over(report)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The state at the evaluation where the training is held. Raises TimeoutError if it isn't written in time."""
        clones.give(self._folder, self._id, self._progress, Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Take over another trial's state. This trial's own is in its folder already, as new or newer."""
        with self._alone():
            self._look()
            taken = clones.take(
                Path(checkpoint), self._folder, self._id, self._job.spec, self._progress, dict(self._values)
            )
        if taken is not None:
            self._progress, self._diverged = taken, ""

    def cleanup(self) -> None:
        """End the training and its workers."""
        self._end()

    # -- the trial's job

    def _take(self, values: Values) -> None:
        """Be the trial that Tune says, with these values."""
        self._id, self._values = str(self.trial_id), values
        self._folder = trial_dir(Path(self._file.job_dir), self._id)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._progress = Progress.read(self._folder)
        self._diverged = ""
        number = int(self._id.rpartition("-")[2])
        self._job = JobFile(
            **{**self._file.model_dump(exclude={"spec", "job_id", "job_dir", "api_url", "token"})},
            job_id=f"{self._file.job_id}-{self._id}",
            job_dir=str(self._folder),
            spec=trial_spec(self._search, values, number),
            trial=f"{self._file.job_id}/{self._id}",
            mlflow_parent=_parent(Path(self._file.job_dir)),
        )
        if ray.is_initialized():  # else it is no process of its own
            trace.enter(self._job.traceparent)
            log.keep_rank(self._job.job_dir, self._job.attempt, 0, self._job.spec.resources.workers)
        replace_text(self._folder / JOB_FILE, self._job.model_dump_json(indent=1))
        replace_text(self._folder / "spec.yaml", dump_spec(self._job.spec))

    def _look(self) -> None:
        """What the folder says, once no other process changes it."""
        self._progress = Progress.read(self._folder)
        clones.settle(self._folder, self._progress)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process trains this trial: one of a driver that was killed may end later than that driver."""
        try:
            with FileLock(self._folder / LOCK_FILE, timeout=ALONE_SECONDS, thread_local=False):
                yield
        except Timeout as error:
            raise TrialLostError(f"another process still trains {self._id} after {ALONE_SECONDS:g} s") from error

    def _begin(self) -> None:
        self._since, self._images = time.monotonic(), self._progress.position
        self._ranks = Ranks(self._job, self._search.metric)
        self._training = Training(self._job, self._job.spec.resources.workers, self._search.metric)
        self._training.start()

    def _end(self) -> None:
        """Whatever runs of the training."""
        if self._training is None:
            return
        ended = self._training.leave(LEAVE_SECONDS)
        if self._ranks is not None:
            self._ranks.close(LOOK_SECONDS if ended else 0.0)
        self._training = self._ranks = None
        if not ended:  # this process can't be used for another training
            os._exit(1)

    # -- what the training says

    def _next(self) -> Report:
        assert self._training is not None  # noqa: S101 — step() began it
        while True:
            try:
                return self._training.next(LOOK_SECONDS)
            except queue.Empty:
                if self._ranks is not None and (lost := self._ranks.lost()):
                    return self._own_or(lost)

    def _own_or(self, lost: Failed) -> Report:
        """What this rank says of what ended another one: the same divergence, seen on all ranks, or that its peer is gone."""
        assert self._training is not None  # noqa: S101 — step() began it
        here = replace(lost, images=self._images)  # the other rank doesn't say how far this one has counted
        try:
            own = self._training.next(OWN_SECONDS)
        except queue.Empty:
            return here
        return min(own, here, key=lambda failed: weight(failed.verdict)) if isinstance(own, Failed) else own

    def _take_time(self, images: int) -> None:
        """Count what was shown and how long it took since the last look."""
        now = time.monotonic()
        self._spent, self._shown = now - self._since, max(0, images - self._images)
        self._since, self._images = now, images

    def _counted(self, position: int) -> Progress:
        return self._progress.counted(position=position, shown=self._shown, seconds=self._spent)

    def _evaluated(self, report: Evaluated) -> dict[str, Any] | None:
        """The result of an evaluation; None if the training goes straight on: it is the last one, or known already."""
        assert self._training is not None  # noqa: S101 — step() began it
        if report.value is None:
            self._progress = self._counted(report.images)
            return self._diverge(f"{self._search.metric} is not finite at step {report.step}")
        known = any(result.step == report.step for result in self._progress.results)
        self._progress = self._progress.scored(
            report.step,
            report.images,
            report.value,
            smooth=self._search.smooth,
            shown=self._shown,
            seconds=self._spent,
        )
        self._progress.write(self._folder)
        if report.images >= self._job.spec.train.images or known:
            self._training.go()
            return None
        return self._result(TrialState.RUNNING)

    def _over(self, report: Ended | Failed) -> dict[str, Any]:
        self._progress = self._counted(report.images)
        self._progress.write(self._folder)
        if isinstance(report, Ended):
            completed = report.outcome == "completed"
            return self._result(TrialState.COMPLETED if completed else TrialState.STOPPED)
        if report.kind.diverged:
            return self._diverge(report.reason)
        if report.kind.final:
            return self._result(TrialState.FAILED, f"{report.kind}: {report.reason}")
        raise TrialLostError(f"{report.kind}: {report.reason}")

    def _diverge(self, reason: str) -> dict[str, Any]:
        """Worst of all. In a population, another member may take its place; elsewhere it ends."""
        self._diverged = reason
        self._progress.write(self._folder)
        if self._search.scheduler == "pbt" and self._progress.results:
            return self._result(TrialState.RUNNING)
        return self._result(TrialState.DIVERGED)

    def _result(self, state: TrialState, reason: str = "") -> dict[str, Any]:
        """As Tune takes it. `score` is what it optimises, `images` its time."""
        worst = WORST if self._search.minimises else -WORST
        results = self._progress.results
        bad = bool(self._diverged) or state is TrialState.FAILED or not results
        images = results[-1].images if results else 0
        if self._diverged and state is TrialState.RUNNING:
            images += int(self._search.pbt.every * self._job.spec.train.images) + 1  # look at this one now
        return {
            "score": worst if bad else results[-1].score,
            "images": images,
            "done": state.ended,
            "state": state.value,
            "reason": reason or self._diverged,
            "progress": self._progress.model_dump(mode="json"),
        }


def _parent(search_dir: Path) -> str | None:
    """The search's MLflow run, once it is known."""
    try:
        return (search_dir / "mlflow.run").read_text() or None
    except FileNotFoundError:
        return None

"""The best trial's generator, through the same gate as any job's: a job of its own that has nothing left to train.

Its folder starts with the trial's last checkpoint; so it restores, is at its end, is scored as the base spec asks (all
samples, truncation curve), packaged, registered and reported.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trainer.launch.tune.progress import replace_text
from trainer.publish.publisher import FOLDER
from trainer.search import SearchSpec, TrialRecord
from trainer.search.space import applied
from trainer.search.trial import trial_dir
from trainer.spec import JobSpec
from trainer.wire import JOB_FILE, EventKind, JobFile, SearchFile, WireEvent


def spec_of_best(search: SearchSpec, trial: TrialRecord) -> JobSpec:
    """The base with the trial's values, as long as the trial trained."""
    values = dict(trial.current)
    spec = applied(search.base, search.space, values)
    return spec.replace(
        train=spec.train.replace(images=trial.results[-1].images),
        resources=spec.resources.replace(min_workers=None),
        evaluation=spec.evaluation.replace(every_steps=None),
    )


class NoStateError(Exception):
    """The best trial's last checkpoint is not there any more; the message says where it was."""


def publish(file: SearchFile, trial: TrialRecord, parent: str | None) -> dict[str, Any] | Path:
    """Register the trial's generator; the data of its PUBLISHED event, or its package's folder where there is no registry.

    Once for each trial and length: a search that goes on publishes again only if another one is better.
    Raises NoStateError, and WorkerFailedError as a job's driver would.
    """
    from trainer.checkpoint.files import step_path
    from trainer.launch import ray_train
    from trainer.sinks.report import Reporter

    last = trial.results[-1]
    folder = Path(file.job_dir) / "best" / f"{trial.id}-{last.step}"
    if (told := _published(folder)) is not None:
        return told
    source = step_path(trial_dir(Path(file.job_dir), trial.id) / "checkpoints", last.step)
    target = folder / "checkpoints" / source.name
    if not source.is_dir() and not target.is_dir():
        raise NoStateError(f"{source} is not there any more")
    if not target.is_dir():
        aside = folder / f".{source.name}"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(target)
    job = JobFile(
        **file.model_dump(exclude={"spec", "job_id", "job_dir", "api_url", "token"}),
        job_id=f"{file.job_id}-best-{trial.id}-{last.step}",
        job_dir=str(folder),
        spec=spec_of_best(file.spec, trial),
        trial=f"{file.job_id}/{trial.id}",
        mlflow_parent=parent,
    )
    replace_text(folder / JOB_FILE, job.model_dump_json(indent=1))
    with Reporter(job) as reporter:
        reporter.finished("completed" if ray_train.run(job) == "completed" else "stopped")
    return _published(folder) or folder / FOLDER


def _published(folder: Path) -> dict[str, Any] | None:
    """What the job said when it registered its model."""
    try:
        lines = (folder / "events.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return None
    events = [WireEvent.model_validate_json(line) for line in lines if line.endswith("}")]
    return next((event.data for event in reversed(events) if event.kind is EventKind.PUBLISHED), None)

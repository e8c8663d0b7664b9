"""What a training begins with that has no checkpoint of its own: new weights or, of a fork, another training's."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint.inherit import inherit, told
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError, CheckpointError
from trainer.origin.judge import misfits, summary
from trainer.origin.nets import expected
from trainer.origin.place import begins, held
from trainer.spec import SpecError
from trainer.wire import JobFile


def check(job: JobFile) -> None:
    """Before anything is opened or allocated. Raises BadSpecError that lists what of the nets doesn't fit, CheckpointError."""
    fork, checkpoint = job.fork, held(Path(job.job_dir))
    if fork is None or fork.mode == "state" or checkpoint is None or not begins(Path(job.job_dir)):
        return
    try:
        errors = misfits(job.spec, checkpoint, fork.restart, lambda: expected(job.spec))
    except SpecError as error:
        raise BadSpecError(str(error)) from error
    if errors:
        raise BadSpecError(f"{fork.parent} at step {fork.step} does not fit the new nets: {summary(errors)}")


def begin(job: JobFile, state: TrainState) -> list[str]:
    """Returns what a person should hear of it. Raises BadSpecError if the nets don't fit, CheckpointError if the checkpoint is
    damaged or gone: starting over instead would be another training."""
    fork = job.fork
    if fork is None:
        return []
    if fork.mode == "state":
        raise CheckpointError(
            f"the checkpoint of {fork.parent} at step {fork.step}, with which this job began, is damaged or was undone by a "
            "roll back, and it has no other one; fork another checkpoint"
        )
    checkpoint = held(Path(job.job_dir))
    if checkpoint is None:
        raise CheckpointError(f"{job.job_dir} has no checkpoint of {fork.parent} any more; fork it again")
    return told(inherit(state, checkpoint, fork.restart))

"""Rolling back: what a collapse becomes under `sentinel.policy: rollback`.

The decision is on the disk (`checkpoints/rollbacks.json`) before anything else happens. What then follows is a start like
any other, which reads the record, sets the undone checkpoints aside and goes on with its correction; so a process that
dies anywhere in between is picked up by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer.checkpoint import RollBack, RollBacks, healthy_checkpoint
from trainer.engine.distributed import Distributed
from trainer.engine.events import RolledBack
from trainer.errors import CollapsedError, TrainingError
from trainer.sentinel import Sentinel
from trainer.spec import JobSpec
from trainer.wire import JobFile

CHECKPOINTS = "checkpoints"


def checkpoints(job: JobFile) -> Path:
    """The job's folder of checkpoints."""
    return Path(job.job_dir) / CHECKPOINTS


def wanted(spec: JobSpec) -> bool:
    """Whether a collapse is to be undone."""
    return spec.sentinel is not None and spec.sentinel.policy == "rollback"


def shared(job: JobFile, distributed: Distributed) -> RollBacks:
    """The record as rank 0 reads it, on every rank. Raises CheckpointError if it is damaged."""
    own = RollBacks.read(checkpoints(job)) if distributed.is_main else RollBacks()
    return RollBacks.model_validate_json(distributed.share(own.model_dump_json()))


def give_up(
    job: JobFile, distributed: Distributed, record: RollBacks, sentinel: Sentinel, error: TrainingError
) -> None:
    """Record that the training returns to its newest healthy checkpoint. All ranks call it.

    Raises CollapsedError, on all of them, if the roll backs that the spec allows are used up.
    """
    settings = job.spec.sentinel
    if settings is None or len(record.done) >= settings.max_rollbacks:
        raise CollapsedError(_final(record, str(error))) from error
    if distributed.is_main:
        directory = checkpoints(job)
        step, images = healthy_checkpoint(directory, record, sentinel.healthy)
        newest = RollBack(
            reason=str(error),
            from_step=sentinel.step,
            to_step=step,
            to_images=images,
            lr_factor=settings.lr_factor,
        )
        RollBacks(done=(*record.done, newest)).write(directory)


def news(record: RollBacks, known: int) -> Iterator[RolledBack]:
    """Events of the roll backs since a checkpoint that was written after `known` of them."""
    for count in range(known + 1, len(record.done) + 1):
        one = record.done[count - 1]
        factor = record.correction_after(count).lr_factor
        yield RolledBack(one.to_step, one.to_images, one.reason, one.from_step, factor, count)


def _final(record: RollBacks, reason: str) -> str:
    count = len(record.done)
    steps = ", ".join(f"{one.from_step} to {one.to_step}" for one in record.done)
    times = "once" if count == 1 else f"{count} times"
    factor = record.correction.lr_factor
    return (
        f"{reason} (rolled back {times} before, from step {steps}; the learning rates were {factor:g} of the spec's "
        "at last, so lower ones alone did not help)"
    )

"""Errors of a training that a person can act on. Each names its failure kind; everything else is `internal`.

TrainingError
├── BadSpecError        the spec does not fit the data or the build
├── BadDataError        missing, corrupt or altered data; names the shard
├── DataAwayError       the data's server is away, fails or is too slow; another try may end well
├── NonFiniteError      NaN or infinity in a loss; names the metric and the steps
├── CollapsedError      the training collapsed; names the symptom, the step and what to change
├── PreemptedError      a node is taken away; all ranks stopped at one step with a checkpoint
└── CheckpointError     no checkpoint of this spec, or a damaged one
"""

from __future__ import annotations

from typing import ClassVar

from trainer.wire import FailureKind


class TrainingError(Exception):
    """Base; `kind` says which class of failure it is."""

    kind: ClassVar[FailureKind] = FailureKind.INTERNAL


class BadSpecError(TrainingError):
    """The spec is valid by itself but does not fit the data or the machine."""

    kind = FailureKind.BAD_SPEC


class BadDataError(TrainingError):
    """Data is missing, corrupt or altered."""

    kind = FailureKind.BAD_DATA


class DataAwayError(TrainingError):
    """The data can't be reached now: nothing is known to be wrong with them, so this is no BadDataError."""

    kind = FailureKind.DATA_AWAY


class NonFiniteError(TrainingError):
    """A loss became NaN or infinite."""

    kind = FailureKind.NON_FINITE


class CollapsedError(TrainingError):
    """The sentinel saw the training collapse."""

    kind = FailureKind.COLLAPSED


class PreemptedError(TrainingError):
    """The training stopped with a checkpoint because a worker's node is taken away, or more workers fit; it goes on."""

    kind = FailureKind.PREEMPTED


class CheckpointError(TrainingError):
    """A checkpoint can't be used."""

    kind = FailureKind.INTERNAL


def classify(error: BaseException) -> tuple[FailureKind, str]:
    """Failure kind and a reason for a person, for any exception (also one that Ray wrapped: follow `__cause__`)."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TrainingError):
            return seen.kind, str(seen)
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return FailureKind.OUT_OF_MEMORY, f"out of memory: {seen}; lower train.micro_batch"
        if isinstance(seen, OSError) and seen.errno == 28:
            return FailureKind.DISK_FULL, f"no space left on the device: {seen.filename or seen}"
        seen = seen.__cause__ or getattr(seen, "cause", None)
    return FailureKind.INTERNAL, f"{type(error).__name__}: {error}"

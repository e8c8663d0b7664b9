"""Errors of a training that a person can act on. Each names its failure kind; everything else is `internal`.

TrainingError
├── BadSpecError        the spec does not fit the data, the build or the checkpoint
├── BadDataError        missing, corrupt or altered data; names the shard
├── DataAwayError       the data's server is away, fails or is too slow; another try may end well
├── NonFiniteError      NaN or infinity in a loss or a weight; names it and the steps
├── CollapsedError      the training collapsed; names the symptom, the step and what to change
├── PreemptedError      a node is taken away; all ranks stopped at one step with a checkpoint
├── CheckpointError     a damaged checkpoint, or one of another version
├── ClusterError        the workers' machines or their setting up; names what to check
└── PublishError        trained, but the package is not the net, or the registry did not take it

WorkerFailedError       any failure of a worker, classified there

A new kind is a value of `FailureKind` (with what follows from it, there) and a class here; what libraries raise is told
apart in `_known`, what Ray raises in the table of `trainer.ray_errors`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from trainer import ray_errors
from trainer.spec import SpecError
from trainer.wire import FailureKind


class TrainingError(Exception):
    """Base; `kind` says which class of failure it is."""

    kind: FailureKind = FailureKind.INTERNAL
    echo = False
    """Whether this rank only heard of it: another one's error is the cause, and this one's text is the cause's."""


class BadSpecError(TrainingError):
    """The spec is valid by itself but does not fit the data, the machine or the checkpoint to go on from."""

    kind = FailureKind.BAD_SPEC


class BadDataError(TrainingError):
    """Data is missing, corrupt or altered."""

    kind = FailureKind.BAD_DATA


class DataAwayError(TrainingError):
    """The data can't be reached now: nothing is known to be wrong with them, so this is no BadDataError."""

    kind = FailureKind.DATA_AWAY


class NonFiniteError(TrainingError):
    """A loss or a weight became NaN or infinite."""

    kind = FailureKind.NON_FINITE


class CollapsedError(TrainingError):
    """The sentinel saw the training collapse."""

    kind = FailureKind.COLLAPSED


class PreemptedError(TrainingError):
    """The training stopped with a checkpoint because a worker's node is taken away, or more workers fit; it goes on."""

    kind = FailureKind.PREEMPTED


class CheckpointError(TrainingError):
    """A checkpoint can't be used: it is damaged, or of another version."""

    kind = FailureKind.BAD_CHECKPOINT


class ClusterError(TrainingError):
    """The workers did not find what the cluster is to give them."""

    kind = FailureKind.CLUSTER_FAILED


class PublishError(TrainingError):
    """The training is complete, but what was to be published can't be."""

    kind = FailureKind.PUBLISH_FAILED


class WorkerFailedError(Exception):
    """What went wrong on a worker, classified there. Crosses process borders whole."""

    def __init__(self, kind: str, reason: str, echo: bool = False, rank: int | None = None) -> None:
        super().__init__(kind, reason, echo, rank)
        self.kind = FailureKind(kind)
        self.reason = reason
        self.echo = echo
        self.rank = rank
        """Of the worker, where it is known: its log says more."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def heard(kind: FailureKind, reason: str) -> TrainingError:
    """Another rank's error as this rank raises it: of the cause's kind and text, and marked, so that it never hides the cause."""
    ours = [each for each in TrainingError.__subclasses__() if each.__module__ == __name__]  # made of a text alone
    cls = next((each for each in ours if each.kind is kind), TrainingError)
    error = cls(reason)
    error.kind, error.echo = kind, True
    return error


class Verdict(NamedTuple):
    """What a failure is, for a person."""

    kind: FailureKind
    reason: str
    echo: bool = False
    """Whether it may follow from another rank's failure alone."""
    told: bool = False
    """Whether a worker said so itself; else Ray, or the library that failed, said it."""
    rank: int | None = None
    """Of the worker whose failure it is, where several were looked at."""


def classify(error: BaseException) -> tuple[FailureKind, str]:
    """Failure kind and a reason for a person, for any exception, also one that Ray wrapped."""
    found = judge(error)
    return found.kind, found.reason


def judge(error: BaseException) -> Verdict:
    """As `classify`, with what is needed to tell causes from echoes."""
    chain = list(_chain(error))
    for seen in chain:
        if (known := _known(seen)) is not None:
            return known
    return Verdict(FailureKind.INTERNAL, f"{type(chain[0]).__name__}: {chain[0]}")


def blame(failures: Mapping[int, BaseException]) -> Verdict:
    """Of the errors of several ranks, the one that explains the others, whatever order they came in.

    An error of the job comes first, then what another rank heard of it, then a worker that Ray's memory monitor ended: it
    needs more than the node has. Then a group that ended itself because a node is taken away, and other causes that a
    worker could name. Any death comes before errors that look like bugs, which may follow from it; last are ranks that
    merely lost their peers.
    """
    judged = {rank: judge(error) for rank, error in failures.items()}
    rank = min(judged, key=lambda rank: (weight(judged[rank]), rank))
    found = judged[rank]
    return found._replace(reason=_of_rank(found, rank, alone=len(judged) == 1), rank=None if found.echo else rank)


def weight(verdict: Verdict) -> int:
    """Of several ranks' verdicts the one with the least explains the others, see `blame`."""
    kind = verdict.kind
    ranking = (
        verdict.told and kind.final and not verdict.echo,
        verdict.told and kind.final,
        kind is FailureKind.OUT_OF_MEMORY,
        verdict.told and kind is FailureKind.PREEMPTED,
        verdict.told and kind is not FailureKind.INTERNAL and not verdict.echo,
        not verdict.told and kind is not FailureKind.INTERNAL,
        not verdict.echo,
        True,
    )
    return ranking.index(True)


def _of_rank(verdict: Verdict, rank: int, *, alone: bool) -> str:
    """The reason, with the rank that it is of."""
    kind, reason = verdict.kind, verdict.reason
    if kind is FailureKind.PREEMPTED or (kind.final and verdict.echo):
        return reason
    if reason.startswith("a worker"):
        return reason.replace("a worker", f"worker {rank}", 1)
    return reason if verdict.told and alone and kind is not FailureKind.INTERNAL else f"worker {rank}: {reason}"


# -- what an exception is

CARRIED = ("cause", "controller_failure", "health_check_failure", "_base_exc")
"""Where Ray's exceptions keep the one that they carry."""
ONE_VALUE = re.compile(r"more than (?:1|one) value (?:per|a) channel")
"""What batch norms say, torch's and ours."""
LOST_PEER = re.compile(
    r"connection (?:closed|reset|was likely closed)|remote process exited|communicator was aborted|broken pipe"
    r"|failed to (?:recv|send)|timed out waiting",
    re.IGNORECASE,
)
"""What gloo, NCCL and the store of torch.distributed say when another process is gone. All raise RuntimeErrors."""
DISTRIBUTED = ("torch.distributed", "DistError")
"""Module and name of the base of torch's errors between processes: a store that doesn't answer, a rank that never came."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what caused it, outermost first, without those that only carry another."""
    seen = set[int]()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        current = following
        seen.add(id(current))
        rays, row = ray_errors.row(current)
        carrier = rays and row is ray_errors.INSIDE
        candidates = [getattr(current, name, None) for name in CARRIED] if rays else [getattr(current, "cause", None)]
        inner = [each for each in candidates if isinstance(each, BaseException)]
        following = next(iter(inner), current.__cause__) if carrier else (current.__cause__ or next(iter(inner), None))
        if not (carrier and following is not None):
            yield current


def _known(error: BaseException) -> Verdict | None:
    """What this very exception says, without what caused it; None: nothing."""
    if isinstance(error, WorkerFailedError):
        return Verdict(error.kind, error.reason, error.echo, told=True, rank=error.rank)
    if isinstance(error, TrainingError):
        return Verdict(error.kind, str(error), error.echo, told=True)
    if failures := getattr(error, "worker_failures", None):
        return blame(failures)
    rays, fault = ray_errors.row(error)
    if fault is not None:
        return Verdict(fault.kind, f"{fault.words}: {_plain(error)}{FIXES.get(fault.kind, '')}")
    if rays:
        return None
    if isinstance(error, SpecError):
        return Verdict(FailureKind.BAD_SPEC, str(error))
    if isinstance(error, ValueError) and ONE_VALUE.search(str(error)):
        fix = "raise train.micro_batch or train.batch, or lower resources.workers"
        return Verdict(
            FailureKind.BAD_SPEC, f"train.batch: batch norm can't train on one image at a time: {error}; {fix}"
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Verdict(FailureKind.OUT_OF_MEMORY, f"out of memory: {error}; lower train.micro_batch")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Verdict(FailureKind.DISK_FULL, f"no space left on the device: {error.filename or error}")
    if isinstance(error, RuntimeError) and (LOST_PEER.search(str(error)) or _between_processes(error)):
        reason = f"a worker lost its connection to another one: {_plain(error)}"
        return Verdict(FailureKind.CLUSTER_FAILED, reason, echo=True)
    return None


def _between_processes(error: BaseException) -> bool:
    return any((cls.__module__, cls.__qualname__) == DISTRIBUTED for cls in type(error).__mro__)


FIXES = {
    FailureKind.OUT_OF_MEMORY: "; lower train.micro_batch, or run fewer workers on a node",
    FailureKind.DISK_FULL: "; free space there",
    FailureKind.NO_CAPACITY: "; lower resources.workers, cpus_per_worker or gpus_per_worker",
}
"""What a person can do about what Ray says."""


def _plain(error: BaseException) -> str:
    """The text of a library's exception in a line or two: without the lists of ids that Ray indents."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    return " ".join(line.strip() for line in lines)[:600] or type(error).__name__

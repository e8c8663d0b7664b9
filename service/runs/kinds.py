"""What a run is: a training or a search. All that depends on it is here; everything else treats both alike."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.bodies.states import State
from service.db.tables import Job
from service.runs.room import Need
from trainer.search import parse_search
from trainer.spec import Queue, parse_spec
from trainer.wire import JOB_FILE, SEARCH_FILE, JobFile, RunFile, SearchFile

LEAST_ATTEMPTS = 3
"""Of a search: its driver goes on with what its folder holds, and its trials have retries of their own."""


class Content(Protocol):
    """Makes a run's file from the fields that all have in common."""

    def __call__(self, job: Job, common: Mapping[str, Any]) -> RunFile:
        """Raises SpecError if the stored spec is not valid any more."""
        ...


class Amount(Protocol):
    """What a stored spec takes."""

    def __call__(self, spec: Mapping[str, Any]) -> Need:
        """Of the cluster, to start."""
        ...


@dataclass(frozen=True)
class Kind:
    """One kind of run."""

    name: str
    """Value of `jobs.kind`, and the word for a person."""
    prefix: str
    """Of its ids."""
    path: str
    """Of its resource."""
    module: str
    """Entrypoint of its driver, which gets the path of its file."""
    file: str
    """Name of that file in the run's folder."""
    content: Content
    need: Amount
    saves: str
    """What it writes when it is paused, for a person."""
    goes_on: Mapping[State, str]
    """By the state in which it has ended: what to do with it, for a person."""
    resumable: tuple[State, ...] = (State.PAUSED,)
    """Where it rests and resuming lets it go on."""
    least_attempts: int = 1
    """However few the spec asks for."""
    has_trials: bool = False

    def new_id(self) -> str:
        """Unique."""
        return f"{self.prefix}-{secrets.token_hex(6)}"

    def attempts(self, spec: Mapping[str, Any]) -> int:
        """How often its driver is submitted before it is given up."""
        return max(self.least_attempts, int(base_of(spec)["retry"]["attempts"]))


def base_of(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The job's spec: a search holds one."""
    found: Mapping[str, Any] = spec.get("base", spec)
    return found


def queue_of(spec: Mapping[str, Any]) -> Queue:
    """Its turn: of a search, its base's. A spec from before there were turns has the usual one."""
    return Queue.model_validate(base_of(spec).get("queue", {}))


def _need(spec: Mapping[str, Any], *, elastic: bool) -> Need:
    resources = base_of(spec)["resources"]
    workers = (elastic and resources["min_workers"]) or resources["workers"]
    return Need(int(workers), float(resources["cpus_per_worker"]), float(resources["gpus_per_worker"]))


def need_of_job(spec: Mapping[str, Any]) -> Need:
    """An elastic job starts with its minimum."""
    return _need(spec, elastic=True)


def need_of_trial(spec: Mapping[str, Any]) -> Need:
    """A search starts with one trial and takes more as the cluster has room; trials are not elastic."""
    return _need(spec, elastic=False)


def _job_file(job: Job, common: Mapping[str, Any]) -> JobFile:
    return JobFile(spec=parse_spec(job.spec), trial=job.trial, fork=job.fork, **common)


def _search_file(job: Job, common: Mapping[str, Any]) -> SearchFile:
    return SearchFile(spec=parse_search(job.spec), **common)


JOB = Kind(
    "job", "j", "/v1/jobs", "trainer.launch.driver", JOB_FILE, _job_file, need_of_job,
    saves="a checkpoint",
    goes_on={
        State.SUCCEEDED: "submit a new job with more train.images",
        State.FAILED: "retry lets it go on",
        State.CANCELLED: "retry lets it go on",
    },
)  # fmt: skip
SEARCH = Kind(
    "search", "s", "/v1/searches", "trainer.launch.tune", SEARCH_FILE, _search_file, need_of_trial,
    saves="its trials",
    goes_on={
        State.SUCCEEDED: "extend lets it go on",
        State.FAILED: "resume tries again what failed, extend adds to it",
        State.CANCELLED: "extend lets it go on",
    },
    # A failed one keeps its trials, and what failed it may be mended: a registry that was down. Trials that failed stay so.
    resumable=(State.PAUSED, State.FAILED),
    least_attempts=LEAST_ATTEMPTS, has_trials=True,
)  # fmt: skip
KINDS = {kind.name: kind for kind in (JOB, SEARCH)}


def need_of(job: Job) -> Need:
    """What the row says that it takes."""
    return Need(job.workers, job.worker_cpus, job.worker_gpus)


def kind_of(job: Job) -> Kind:
    """The row's kind."""
    return KINDS[job.kind]

"""What crosses between the control plane and a running job. Torch-free; both sides import it.

The control plane writes one `JobFile` (mode 0600) into the job's folder and submits the driver with that path alone,
so that no secret passes through Ray's API. The driver's rank-0 worker pushes numbered `WireEvent`s; the reply says how
far they arrived and what is wanted of the job.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from trainer.access import ANY, Access
from trainer.nodes import NodeShape
from trainer.schema import Frozen
from trainer.search import SearchSpec
from trainer.spec import JobSpec

WIRE = 2
"""The version of runs' files. It goes up with whatever an older trainer would not do, or not understand."""
JOB_FILE = "job.json"
SEARCH_FILE = "search.json"
GRIDS = "samples"
"""Folder of the sample grids within a job's or a trial's."""
LOGS = "logs"
"""Folder of the workers' logs within a job's or a trial's."""


_LOG = re.compile(r"(?P<log>driver-[1-9]\d{0,9}|rank-\d{5,9})(?:\.part-(?P<part>\d{5,9}))?\.log")


def log_file(attempt: int, rank: int | None = None, part: int = 1) -> str:
    """Path, within the folder of a run or of a trial, of what that attempt's driver has printed, or one of its workers.

    A log that has grown goes on in further parts; see `trainer.launch.output`.
    """
    name = f"driver-{attempt}" if rank is None else f"{LOGS}/attempt-{attempt}/rank-{rank:05d}"
    return f"{name}.log" if part == 1 else f"{name}.part-{part:05d}.log"


def log_part(name: str) -> tuple[str, int] | None:
    """Of a file's name as `log_file` makes it: what all parts of that log have in common, and which part it is."""
    found = _LOG.fullmatch(name)
    return (found["log"], int(found["part"] or 1)) if found else None


class FailureKind(StrEnum):
    """Why a job failed, in classes that decide whether another attempt makes sense."""

    BAD_SPEC = "bad-spec"  # refused by the trainer though the API accepted it (e.g. classes do not match the data)
    BAD_DATA = "bad-data"  # missing, corrupt or altered shards; digest mismatch
    DATA_AWAY = "data-away"  # the data's server is away, refuses connections, fails or is too slow
    OUT_OF_MEMORY = "out-of-memory"
    NON_FINITE = "non-finite"  # NaN or infinity in a loss or a weight
    COLLAPSED = "collapsed"  # the sentinel's policy ended the training, or its roll backs are used up
    BAD_CHECKPOINT = "bad-checkpoint"  # a checkpoint, or the record of roll backs, is damaged or of another version
    WORKER_LOST = "worker-lost"  # workers died more often than retry.worker_failures
    CLUSTER_FAILED = "cluster-failed"  # Ray could not start, place or reach the workers, or lost what it held for them
    PREEMPTED = "preempted"  # a node was taken away, or more workers fit: the group starts again, no job ends so
    NO_CAPACITY = "no-capacity"  # the cluster can never give what the job asks for
    DISK_FULL = "disk-full"
    PUBLISH_FAILED = "publish-failed"  # trained, but the package is not the net, or MLflow did not take the model
    START_FAILED = "start-failed"  # Ray refused or lost the driver before it said anything
    INTERNAL = "internal"  # a bug of ours

    @property
    def retryable(self) -> bool:
        """Whether a new attempt may end differently."""
        return self in (
            FailureKind.WORKER_LOST,
            FailureKind.CLUSTER_FAILED,
            FailureKind.START_FAILED,
            FailureKind.DATA_AWAY,
        )

    @property
    def diverged(self) -> bool:
        """Whether the training itself went wrong: in a search, the values are bad and not the machine."""
        return self in (FailureKind.NON_FINITE, FailureKind.COLLAPSED)

    @property
    def final(self) -> bool:
        """Whether starting the same workers again would only repeat it."""
        return self.diverged or self in (
            FailureKind.BAD_SPEC,
            FailureKind.BAD_DATA,
            FailureKind.OUT_OF_MEMORY,
            FailureKind.DISK_FULL,
            FailureKind.BAD_CHECKPOINT,
            FailureKind.PUBLISH_FAILED,
        )


class EventKind(StrEnum):
    """What an event reports; `WireEvent.data` by kind."""

    WAITING = "waiting"  # {"reason": "needs 2 CPUs, 1 is free"}; empty: it has its place, and starts
    STARTED = "started"  # {"total_images", "resumed_from": step | None, "workers", "device"}
    TRACKED = "tracked"  # {"mlflow_run_id"}: the job's MLflow run is known (later than STARTED; once)
    PROGRESS = "progress"  # {"metrics": {name: float}, "images_per_second", "eta_seconds", "shares": {part: float}, "total_images"}
    SAMPLES = "samples"  # {"path": PNG relative to the job's folder}
    CHECKPOINT = "checkpoint"  # {"path"}
    SCORES = "scores"  # {"scores": {name: float}, "provenance": {...}}
    PUBLISHED = "published"  # {"model", "version", "champion": bool, "verdict": str, "scores"}
    REPORT = "report"  # {"path": HTML page relative to the job's folder, "seconds": how long it took}
    WARNING = "warning"  # {"message"}
    OBSERVED = "observed"  # {"metrics": {name: float}}: what the sentinel measured
    ROLLED_BACK = "rolled-back"  # {"reason", "from_step", "to_step", "lr_factor" (of the spec's rates), "count"}
    LIMIT = "limit"  # {"limit": name, "reason"}: the run ends itself by that limit of its spec; FINISHED follows
    RESTARTED = (
        "restarted"  # {"reason", "rank" of the worker that failed, if one did}: Ray Train restarted the worker group
    )
    TRIAL = "trial"  # of a search: TrialRecord's fields without `results`, and "result": the newest TrialResult or None
    FINISHED = "finished"  # {"outcome": "completed" | "stopped"}
    FAILED = "failed"  # {"kind": FailureKind, "reason": str, "rank" of the worker whose log says more, if one failed}


class WireEvent(Frozen):
    """One event. `seq` counts from 1 within a job, without gaps, over all attempts and restarts."""

    seq: int = Field(ge=1)
    attempt: int = Field(ge=1)
    time: datetime
    kind: EventKind
    step: int = Field(default=0, ge=0)
    images: int = Field(default=0, ge=0)
    data: dict[str, Any] = Field(default_factory=dict)


class EventBatch(Frozen):
    """Body of `POST /v1/jobs/{id}/events`; at-least-once: events that are known already are ignored."""

    events: tuple[WireEvent, ...] = Field(min_length=1, max_length=500)


class EventReply(Frozen):
    """Answer to an event batch (and to `GET /v1/jobs/{id}/desired`)."""

    acked: int
    """Highest seq up to which all events are stored."""
    desired: Literal["run", "stop"]
    """What is wanted of the job. `stop`: checkpoint, then end."""
    stop_trials: tuple[str, ...] = ()
    """Of a search: trials that shall end now."""
    hold: bool = False
    """Of a search: others wait for the cluster, so it starts no further trial; those that train go on."""


class RunFile(Frozen):
    """What the driver of anything that runs needs to know. Readable by its owner alone."""

    wire: int = Field(default=WIRE, ge=1)
    """The version of this file, `WIRE` of whoever wrote it."""
    job_id: str
    attempt: int = Field(ge=1)
    job_dir: str
    """Folder on storage that all nodes share: checkpoints, events.jsonl, samples/, model/."""
    cache_dir: str
    """Shared folder for feature extractors and reference statistics, by dataset digest."""
    shard_cache_dir: str | None = None
    """Folder of each node's own disk for shards that come from afar, by content; None: in `cache_dir`."""
    data_roots: tuple[str, ...] = ()
    """Local folders that file paths in the spec may lie in; empty: any."""
    private_hosts: tuple[str, ...] = (ANY,)
    """Hosts, addresses and networks off the public internet that URLs in the spec may lead to; `*`: any."""
    api_url: str | None = None
    """Base URL of the control plane; None: events are only spooled."""
    token: str | None = None
    """Token that may post this job's events and nothing else."""
    mlflow_uri: str | None = None
    """Tracking and registry URI; None: no MLflow."""
    mlflow_experiment: str = "agon"
    traceparent: str | None = None
    """W3C Trace Context: the trace of the request that submitted it, and this attempt's span in it; None: there is none."""
    mirror: str | None = None
    """Where the second copy of runs' folders lies, each below its id; None: there is none."""
    told: int = Field(default=0, ge=0)
    """The highest number of an event that the control plane has acknowledged."""
    noted: int = Field(default=0, ge=0)
    """How often name, labels or notes were edited before: MLflow's record keeps to the newest."""

    max_nodes: tuple[NodeShape, ...] = ()
    """Nodes that an autoscaler may start, those that are there included; none: the cluster stays as it is."""
    nodes_seconds: float = Field(default=900.0, gt=0)
    """A run that waits for such nodes for longer says so."""

    @property
    def own_urls(self) -> tuple[str, ...]:
        """Parts of the stack that the job talks to, as the control plane named them: never reached through a proxy."""
        return tuple(url for url in (self.api_url, self.mlflow_uri) if url) if self.api_url else ()

    @property
    def access(self) -> Access:
        """What paths and URLs in the spec may lead to."""
        return Access(self.data_roots, self.private_hosts)


F = TypeVar("F", bound=RunFile)


def read_run_file(kind: type[F], path: Path) -> F:
    """A run's file. Raises OSError; ValueError that says what to do if it was written by a newer control plane than this trainer, or
    else which field is wrong."""
    content = path.read_bytes()
    try:
        wire = json.loads(content).get("wire", 1)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no JSON object: {error}") from None
    if isinstance(wire, int) and wire > WIRE:
        raise ValueError(
            f"{path} was written by a newer Agon (file version {wire}, this trainer knows {WIRE}): bring the Ray nodes to the image of the "
            "control plane's version, or the control plane back to theirs"
        )
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} can't be read: {where}: {first['msg']}") from None


class Fork(Frozen):
    """The checkpoint that a job began with."""

    mode: Literal["state", "weights"]
    """`state`: it goes on with all of it. `weights`: it took the nets and their averages, and counts from 0."""
    job: str | None = None
    """Whose checkpoint it was: that job's, …"""
    trial: str | None = None
    """… or that trial's, as `SEARCH/TRIAL`; with neither it was a package's."""
    model: str | None = None
    """The version, as `NAME/VERSION`, by which the checkpoint was asked for."""
    package: str | None = None
    """The package that it took the weights of."""
    step: int = Field(ge=0)
    """The checkpoint's step."""
    images: int = Field(ge=0)
    """Images that had been shown at it, as the training counted that wrote it."""
    offset: int = Field(default=0, ge=0)
    """Images before this job's own 0, over all that it goes back to: what joins the curves of parent and child."""
    restart: tuple[str, ...] = ()
    """Of `weights`: the parameters that were to start anew."""

    @property
    def parent(self) -> str:
        """Whose checkpoint it was, by id or path."""
        return self.trial or self.job or self.package or ""

    def told(self) -> str:
        """For a person: `the weights of j-0123456789ab at step 500 (32,000 images)`."""
        if self.package is not None:
            return f"the {self.mode} of the package {self.package}"
        version = f", which is {self.model}" if self.model else ""
        return f"the {self.mode} of {self.parent} at step {self.step} ({self.images:,} images){version}"


class JobFile(RunFile):
    """`job.json`: one training."""

    spec: JobSpec
    fork: Fork | None = None
    """What it began with; None: its own initial weights."""
    trial: str | None = None
    """`s-0123456789ab/t-00003`: the trial of a search that this is, that it publishes, or goes on with; None: of no search."""
    mlflow_parent: str | None = None
    """MLflow run that this one is nested in: the search's."""

    @property
    def is_trial(self) -> bool:
        """Whether it is itself one of a search's trials."""
        return self.trial is not None and self.job_id == trial_job(self.trial)


def trial_job(trial: str) -> str:
    """The id of the job that is that trial (`s-0123456789ab/t-00003`)."""
    return trial.replace("/", "-")


class SearchFile(RunFile):
    """`search.json`: one search. Its trials' folders, which are jobs' folders, lie below `trials/`."""

    spec: SearchSpec

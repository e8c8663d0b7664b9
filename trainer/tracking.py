"""The job's MLflow run, found or made by its tag. Shared by the MLflow sink and by publishing.

MLflow is imported on the first call: that takes seconds, so nothing on the way to the first training step may call in.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from trainer import trace
from trainer.errors import TrainingError
from trainer.proxies import go_direct
from trainer.wire import FailureKind, JobFile, RunFile, SearchFile

if TYPE_CHECKING:
    from mlflow import MlflowClient

JOB_TAG = "agon.job_id"
LABEL_TAG = "agon.label."
NAME_TAG = "mlflow.runName"
NOTE_TAG = "mlflow.note.content"
"""What MLflow shows as a run's description."""
COUNT_TAG = "agon.noted"
"""How often name, labels and notes were edited until they were as the record has them; the control plane tells it of edits, too."""
LOOK_SECONDS = 3.0
"""Limit of a look at MLflow before a training: whatever MLflow then doesn't say, the training doesn't wait for."""
_finding = (
    threading.Lock()
)  # the sink's thread and publishing may ask at the same time; only one may make the MLflow run

# MLflow's own defaults (7 retries of 120 s) hold whoever calls it for a quarter of an hour; its callers here retry by
# themselves and know what to do meanwhile. A value that is set in the environment wins.
_CLIENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "120",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class ExperimentDeletedError(TrainingError):
    """Someone deleted the experiment that runs are told to; MLflow keeps its name taken until it is restored."""

    kind = FailureKind.PUBLISH_FAILED

    def __init__(self, uri: str, name: str, number: str) -> None:
        self.experiment = name
        super().__init__(
            f"the experiment {name!r} of MLflow at {shown(uri)} is deleted; restore it: "
            f"MLFLOW_TRACKING_URI={shown(uri)} mlflow experiments restore --experiment-id {number}"
        )


def shown(uri: str) -> str:
    """The address without the password that it may hold."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def client(uri: str) -> MlflowClient:
    """A client of the tracking server and registry at `uri`, with short timeouts. Makes no call yet."""
    for name, value in _CLIENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    go_direct()  # its client obeys the environment's proxies, also for this machine's own addresses
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def run_id(job: JobFile) -> str:
    """The id of the job's run: the one tagged with the job's id, made on the first call.

    All attempts and restarts of a job share one run. Only one process of a job may call this at a time.
    Raises ValueError if the job has no MLflow, ExperimentDeletedError, MlflowException, or requests' errors if the server
    can't be reached.
    """
    if job.mlflow_uri is None:
        raise ValueError(f"job {job.job_id} has no mlflow_uri")
    api = client(job.mlflow_uri)
    with _finding:
        return _found_or_made(api, job)


def run_name(file: JobFile | SearchFile) -> str:
    """What MLflow shows it as."""
    return f"{file.spec.name}-{file.job_id}"


def _found_or_made(api: MlflowClient, job: JobFile) -> str:
    experiment = _experiment(api, job)
    runs = api.search_runs([experiment], filter_string=f"tags.`{JOB_TAG}` = '{job.job_id}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {JOB_TAG: job.job_id, "agon.family": job.spec.arch.family, "agon.spec_digest": job.spec.digest()}
    tags |= _traced(job)
    if job.trial:
        tags["agon.trial"] = job.trial
    if job.fork:
        fork = job.fork
        tags |= {"agon.parent": fork.parent, "agon.fork.mode": fork.mode, "agon.fork.offset": str(fork.offset)}
        tags |= {"agon.fork.step": str(fork.step), "agon.fork.images": str(fork.images)}
    if job.fork and job.fork.model:
        tags["agon.fork.model"] = job.fork.model
    if job.mlflow_parent:
        tags["mlflow.parentRunId"] = job.mlflow_parent
    return str(api.create_run(experiment, run_name=run_name(job), tags=tags).info.run_id)


def _traced(file: RunFile) -> dict[str, str]:
    """The tag with the id of its trace."""
    found = trace.parse(file.traceparent)
    return {"agon.trace": found.id} if found else {}


def note(api: MlflowClient, run: str, file: JobFile | SearchFile) -> None:
    """Tell the MLflow run its name, its labels, as tags, and its notes, as they are by now: between two attempts they may change.

    What someone wrote there by hand in place of name or notes is left, and so is what was edited since. Raises what MLflow raises.
    """
    wanted = {LABEL_TAG + name: value for name, value in file.spec.labels.items()}
    if file.spec.notes:
        wanted[NOTE_TAG] = file.spec.notes
    known: dict[str, str] = api.get_run(run).data.tags
    count = known.get(COUNT_TAG, "")
    if count.isdecimal() and int(count) > file.noted:
        return  # edited since the attempt began, and told by the control plane
    before, now = known.get(NAME_TAG, ""), run_name(file)
    if before != now and before.endswith(f"-{file.job_id}"):
        api.update_run(run, name=now)
    for name in known:
        if name.startswith(LABEL_TAG) and name not in wanted:
            api.delete_tag(run, name)
    for name, value in wanted.items():
        if known.get(name) != value:
            api.set_tag(run, name, value)


def check_experiment(file: RunFile) -> None:
    """Raise ExperimentDeletedError if the experiment of this job or search is deleted; an MLflow that is away raises
    as it does from `run_id`."""
    if file.mlflow_uri is not None:
        _found_experiment(client(file.mlflow_uri), file)


def deleted_experiment(file: RunFile) -> ExperimentDeletedError | None:
    """The same question before a training: at once, without importing MLflow, and None where nothing can be known."""
    import httpx

    if file.mlflow_uri is None or not file.mlflow_uri.startswith(("http://", "https://")):
        return None
    token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user and not token else None
    with suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
        answer = httpx.get(
            f"{file.mlflow_uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": file.mlflow_experiment},
            headers=headers, auth=auth, timeout=LOOK_SECONDS, trust_env=False,
        )  # fmt: skip
        found: dict[str, Any] = answer.json()["experiment"]
        if found["lifecycle_stage"] == "deleted":
            return ExperimentDeletedError(file.mlflow_uri, file.mlflow_experiment, str(found["experiment_id"]))
    return None


def _found_experiment(api: MlflowClient, file: RunFile) -> str | None:
    """The experiment's id; None if there is none. Raises ExperimentDeletedError."""
    found = api.get_experiment_by_name(file.mlflow_experiment)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise ExperimentDeletedError(file.mlflow_uri or "", file.mlflow_experiment, str(found.experiment_id))
    return str(found.experiment_id)


def _experiment(api: MlflowClient, file: RunFile) -> str:
    from mlflow.exceptions import MlflowException

    if (known := _found_experiment(api, file)) is not None:
        return known
    name = file.mlflow_experiment
    try:
        return str(api.create_experiment(name))
    except MlflowException as error:
        made = _found_experiment(api, file)  # another job made it meanwhile
        if made is None:
            raise error
        return made


def search_run(file: SearchFile) -> str:
    """The id of a search's run, found by its tag or made; its parameters are the search's fields and the space.

    Raises as `run_id` does.
    """
    if file.mlflow_uri is None:
        raise ValueError(f"search {file.job_id} has no mlflow_uri")
    api = client(file.mlflow_uri)
    experiment = _experiment(api, file)
    runs = api.search_runs([experiment], filter_string=f"tags.`{JOB_TAG}` = '{file.job_id}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    spec = file.spec
    tags = {JOB_TAG: file.job_id, "agon.kind": "search", "agon.family": spec.base.arch.family, **_traced(file)}
    run = str(api.create_run(experiment, run_name=run_name(file), tags=tags).info.run_id)
    for name in ("algorithm", "trials", "metric", "seed"):
        api.log_param(run, name, getattr(spec, name))
    for path, distribution in spec.space.items():
        api.log_param(run, f"space/{path}", distribution.model_dump_json(exclude_defaults=True)[:500])
    return run

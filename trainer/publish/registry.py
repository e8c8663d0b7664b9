"""Versions and the alias `champion` in MLflow's model registry. A job makes one version, however often it is restarted."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainer import abilities, tracking
from trainer.abilities import Abilities
from trainer.errors import PublishError
from trainer.publish.card import described
from trainer.publish.gate import Standing, judge
from trainer.spec import Publish
from trainer.wire import JobFile

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")
CHAMPION = "champion"
ARTIFACT = "model"
DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Seconds between attempts while the server is away; one attempt more than there are delays."""
SCORES_FILE = "scores.json"
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class Registered:
    """What became of a version."""

    version: str
    champion: bool
    verdict: str


def register(job: JobFile, package: Path) -> Registered:
    """Make the job's version of `spec.publish.model` from its package and let the gate decide on `champion`.

    The version's tags say score, digests, job and verdict. A job whose version is there and judged already gets the
    same answer again. Tries again while the server is away.
    A job that ran without MLflow (the local launcher) is registered at MLFLOW_TRACKING_URI.
    Raises PublishError when it stays away or refuses; the package stays where it is. ValueError if there is nowhere
    to register, or nothing to register as.
    """
    settings, uri = job.spec.publish, job.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if settings is None:
        raise ValueError(f"job {job.job_id} has no publish section")
    if not uri:
        raise ValueError(f"job {job.job_id} has no mlflow_uri; set MLFLOW_TRACKING_URI to MLflow's address")
    job, client = job.model_copy(update={"mlflow_uri": uri}), tracking.client(uri)

    def attempt() -> Registered:
        run = tracking.run_id(job)
        version = find_version(client, settings.model, job.job_id) or _create(client, settings, job, run, package)
        return _judge(client, settings, version)

    return patiently(attempt, uri, package)


def command(package: Path) -> str:
    """The command that registers a package which lies in its job's folder."""
    return f"python -m trainer.publish register {shlex.quote(str(package.parent))}"


def find_version(client: MlflowClient, model: str, job_id: str) -> ModelVersion | None:
    """The version that this job made, if any."""
    found = client.search_model_versions(f"name = '{model}' and tag.`{tracking.JOB_TAG}` = '{job_id}'", max_results=1)
    return found[0] if found else None


def patiently(attempt: Callable[[], T], uri: str, package: Path, sleep: Callable[[float], None] = time.sleep) -> T:
    """`attempt()`, repeated with growing delays while the server can't be reached or is overloaded."""
    import requests
    from mlflow.exceptions import MlflowException

    at = tracking.shown(uri)
    kept = f"training is complete and the package is in {package}"
    for delay in (*DELAYS, None):
        try:
            return attempt()
        except tracking.ExperimentDeletedError as error:
            raise PublishError(
                f"{error}. {kept[0].upper()}{kept[1:]}; once it is restored: {command(package)}"
            ) from error
        except (requests.RequestException, MlflowException) as error:
            status = error.get_http_status_code() if isinstance(error, MlflowException) else None
            if status is not None and 400 <= status < 500 and status not in (408, 429):
                raise PublishError(
                    f"MLflow at {at} refused the model ({error}); {kept}. Once that is put right: {command(package)}"
                ) from error
            if delay is None:
                raise PublishError(
                    f"MLflow at {at} can't be reached ({error}); {kept}. "
                    f"Once MLflow is back (set MLFLOW_TRACKING_URI if its address is another one): {command(package)}"
                ) from error
            sleep(delay)
    raise AssertionError("unreachable")


def _create(client: MlflowClient, settings: Publish, job: JobFile, run: str, package: Path) -> ModelVersion:
    """Upload the package to the job's run and make a version of it."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(settings.model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    record = json.loads((package / SCORES_FILE).read_text())
    client.log_artifacts(run, str(package), ARTIFACT)
    source = f"{client.get_run(run).info.artifact_uri}/{ARTIFACT}"
    tags = {tracking.JOB_TAG: job.job_id, **score_tags(settings.metric, record["scores"], record["provenance"])}
    tags |= {"agon.trial": job.trial} if job.trial else {}
    step = record.get("lineage", {}).get("step")
    tags |= {"agon.step": str(step)} if step is not None else {}
    tags[abilities.TAG] = Abilities.of_config(json.loads((package / CONFIG_FILE).read_text())).tag()
    return client.create_model_version(
        settings.model, source, run, tags, description=described((package / "card.md").read_text(), ARTIFACT)
    )


def score_tags(metric: str, scores: Mapping[str, float], provenance: Mapping[str, Any]) -> dict[str, str]:
    """What the gate of a later version must know, as tags; a version keeps all its scores."""
    tags = {f"agon.score.{name}": repr(float(value)) for name, value in scores.items()}
    tags["agon.metric"] = metric
    for key in ("extractor", "extractor_digest", "dataset_digest", "spec_digest"):
        if provenance.get(key) is not None:
            tags[f"agon.{key}"] = str(provenance[key])
    if "samples" in provenance:
        tags["agon.samples"] = f"{provenance['samples']}/{provenance.get('real_samples')}"
    return tags


def standing(version: str, tags: Mapping[str, str], metric: str) -> Standing:
    """What the gate knows of a version by its tags."""
    score = tags.get(f"agon.score.{metric}")
    return Standing(
        version=str(version),
        score=None if score is None else float(score),
        dataset_digest=tags.get("agon.dataset_digest"),
        extractor_digest=tags.get("agon.extractor_digest"),
        samples=tags.get("agon.samples"),
    )


def _judge(client: MlflowClient, settings: Publish, version: ModelVersion) -> Registered:
    """Apply the gate once; the verdict is tagged last, so that an interrupted one is repeated."""
    number = str(version.version)
    if "agon.verdict" in version.tags:
        return Registered(number, version.tags["agon.champion"] == "true", version.tags["agon.verdict"])
    incumbent = _champion(client, settings.model)
    challenger = standing(number, version.tags, settings.metric)
    holder = None if incumbent is None else standing(incumbent.version, incumbent.tags, settings.metric)
    verdict = judge(settings.gate, settings.metric, challenger, holder)
    if verdict.champion:
        client.set_registered_model_alias(settings.model, CHAMPION, number)
    client.set_model_version_tag(settings.model, number, "agon.champion", str(verdict.champion).lower())
    client.set_model_version_tag(settings.model, number, "agon.verdict", verdict.reason)
    return Registered(number, verdict.champion, verdict.reason)


def _champion(client: MlflowClient, model: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise

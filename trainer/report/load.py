"""Subjects from what lies on disk: a job's folder, or a package."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.access import Access
from trainer.checkpoint import latest
from trainer.checkpoint.nets import load_nets
from trainer.data.locate import ANYWHERE
from trainer.data.stream import Dataset, open_dataset
from trainer.errors import TrainingError
from trainer.evaluate.classifier import classifier_extractor
from trainer.evaluate.features import Extractor, file_extractor
from trainer.publish.portable.generator import Generator
from trainer.publish.publisher import FOLDER
from trainer.report.history import History, from_events, from_mlflow
from trainer.report.live import NetModel
from trainer.report.subject import FULL, Effort, Model, Subject
from trainer.spec import JobSpec, load_spec
from trainer.wire import GRIDS, JOB_FILE, JobFile

LOG = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Where:
    """Where things lie that are not in the folder itself.

    data: the training data, if they are no longer where the spec says. held_out: data of the same kind that were not
    trained on. access: where data may be read, if it isn't the job that says it. mlflow: where a package's curves are.
    """

    cache_dir: Path
    data: str | None = None
    held_out: str | None = None
    access: Access | None = None
    mlflow: str | None = None
    effort: Effort = FULL


def is_job(folder: Path) -> bool:
    """Whether it is a job's folder."""
    return (folder / JOB_FILE).is_file()


def is_package(folder: Path) -> bool:
    """Whether it is a package's folder."""
    return (folder / "config.json").is_file()


def from_job(folder: Path, where: Where) -> Subject:
    """A job as far as it has come: its package, or its newest checkpoint if that is newer; or neither.

    Raises CheckpointError, or ValueError for a package or held-out data that can't be read.
    """
    job = JobFile.model_validate_json((folder / JOB_FILE).read_bytes())
    history = from_events(folder)
    subject = Subject(job.spec, job.spec.name, history=history, facts={"job": job.job_id}, effort=where.effort)
    subject = replace(subject, grids=folder / GRIDS)
    checkpoint = latest(folder / CHECKPOINTS)
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else -1
    package = folder / FOLDER
    if is_package(package) and _lineage(package)["step"] >= step:
        subject = _of_package(subject, package)
    elif checkpoint is not None:
        subject = _of_checkpoint(subject, checkpoint, step)
    return with_data(subject, replace(where, access=where.access or job.access))


def from_package(folder: Path, where: Where, name: str | None = None) -> Subject:
    """A package that was pulled; its curves come from MLflow if that is known. Raises ValueError if it can't be read."""
    spec = load_spec(folder / "spec.yaml")
    subject = _of_package(Subject(spec, name or spec.name, effort=where.effort), folder)
    if where.mlflow:
        subject = replace(subject, history=_curves(where.mlflow, _lineage(folder), spec))
    return with_data(subject, where)


def with_data(subject: Subject, where: Where) -> Subject:
    """With the training data and the feature extractor, if they are at hand; else with the reason why they aren't.

    Raises ValueError if the held-out data, which somebody named, can't be read: training images don't stand in for them.
    """
    spec = subject.spec
    given = spec if where.data is None else _at(spec, where.data)
    if where.held_out is not None:
        subject = replace(subject, held_out=_held_out(spec, where.held_out, where))
    try:
        data = open_dataset(given, cache_dir=where.cache_dir, access=where.access or ANYWHERE)
    except (TrainingError, OSError) as error:
        return replace(subject, missing=f"the training data can't be read: {error}")
    known = subject.provenance.get("dataset_digest")
    if known is not None and known != data.manifest.digest:
        return replace(subject, missing=f"the data at {given.data.url} are not those that the model was trained on")
    subject = replace(subject, dataset=data, class_names=data.manifest.classes)
    try:
        device = torch.device("cpu")
        return replace(subject, features=eye_of(spec, data, where.cache_dir, device, where.access or ANYWHERE))
    except (TrainingError, OSError) as error:
        return replace(subject, missing=f"there is no feature extractor: {error}")


def eye_of(spec: JobSpec, data: Dataset, cache_dir: Path, device: torch.device, access: Access) -> Extractor:
    """The spec's feature extractor, on this process alone. The default one is trained first if it isn't in the cache."""
    if spec.evaluation.extractor == "classifier":
        return classifier_extractor(data, cache_dir, device)
    return file_extractor(spec.evaluation.extractor, cache_dir, device, access)


def _held_out(spec: JobSpec, url: str, where: Where) -> Dataset:
    """Data of the model's size that are reconstructed and nothing else: what scores and the sentinel need does not apply."""
    data = spec.data.replace(url=url, digest=None, held_out=0)
    unscored = spec.model_copy(update={"data": data, "evaluation": spec.evaluation.replace(metrics=())})
    try:
        return open_dataset(unscored, cache_dir=where.cache_dir, access=where.access or ANYWHERE)
    except (TrainingError, OSError) as error:
        raise ValueError(f"the held-out data can't be read: {error}") from error


def _at(spec: JobSpec, url: str) -> JobSpec:
    return spec.replace(data=spec.data.replace(url=url, digest=None))


def _of_package(subject: Subject, folder: Path) -> Subject:
    model = Generator(folder)
    record: dict[str, Any] = json.loads((folder / "scores.json").read_text())
    lineage = record["lineage"]
    facts = {
        "job": lineage["job_id"],
        "trained": f"{lineage['step']:,} steps, {lineage['images']:,} images shown",
        "dataset digest": lineage["dataset_digest"],
        "spec digest": lineage["spec_digest"],
        "Agon that trained it": lineage["code"],
    }
    return replace(
        subject,
        model=model,
        class_names=tuple(model.config["class_names"]),
        scores=record["scores"],
        provenance={"dataset_digest": lineage["dataset_digest"], **record["provenance"]},
        facts={**subject.facts, **facts},
    )


def _of_checkpoint(subject: Subject, path: Path, step: int) -> Subject:
    loaded = load_nets(path)
    encoder = loaded.net("E") if "E" in loaded.nets else None
    model: Model = NetModel(loaded.family, loaded.spec.arch, loaded.net("G"), encoder, loaded.spec)
    return replace(
        subject,
        model=model,
        scores=scores_at(subject.history, step),
        facts={**subject.facts, "shown here": f"checkpoint of step {step:,}", "spec digest": loaded.spec.digest()},
    )


def scores_at(history: History, step: int) -> dict[str, float]:
    """The scores of one step; empty if that step was not scored."""
    return {
        name: curve.values[curve.steps.index(step)] for name, curve in history.scores.items() if step in curve.steps
    }


def _lineage(package: Path) -> dict[str, Any]:
    lineage: dict[str, Any] = json.loads((package / "scores.json").read_text())["lineage"]
    return lineage


def _curves(uri: str, lineage: dict[str, Any], spec: JobSpec) -> History:
    """Of the package's job; empty, with a word in the log, if MLflow does not answer."""
    import requests
    from mlflow.exceptions import MlflowException

    steady = spec.objective.d_warmup is None and lineage["step"] > 0
    try:
        return from_mlflow(uri, lineage["job_id"], lineage["images"] / lineage["step"] if steady else None)
    except (MlflowException, requests.RequestException) as error:
        LOG.warning("no curves: MLflow at %s does not answer (%s)", uri, error)
        return History()

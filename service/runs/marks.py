"""Labels and scores of runs where lists look for them. Callers hold the lock of the run's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from service.db.tables import Job, JobLabel, JobScore
from service.runs.scores import numbers

MOST_SCORES = 32
MOST_NAME = 64


def write_labels(session: Session, job: Job) -> None:
    """Those of the run's spec, in place of what was there."""
    session.execute(delete(JobLabel).where(JobLabel.job_number == job.number))
    if found := labels(job):
        session.execute(insert(JobLabel), found)


def labels(job: Job) -> list[dict[str, Any]]:
    """Rows of those of its spec."""
    found: Mapping[str, str] = job.spec.get("labels", {})
    return [{"job_number": job.number, "kind": job.kind, "name": name, "value": value} for name, value in found.items()]


def write_scores(session: Session, job: Job, scores: Mapping[str, object]) -> None:
    """The newest of each name; None takes one out. What is no number, or has no name that fits, is passed over."""
    for name in [name for name, value in scores.items() if value is None]:
        session.execute(delete(JobScore).where(JobScore.job_number == job.number, JobScore.name == name))
    for name, value in list(numbers(scores).items())[:MOST_SCORES]:
        if 0 < len(name) <= MOST_NAME:
            session.merge(JobScore(job_number=job.number, kind=job.kind, name=name, value=value))

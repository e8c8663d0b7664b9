"""What was measured at which step."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from service.db.tables import SCORED, Job, JobEvent, Trial
from trainer.search import TrialRecord

Scores = dict[int, dict[str, float]]
"""By step: name and value of each score."""
MOST = sys.float_info.max


def of_job(session: Session, job: Job, steps: Collection[int]) -> Scores:
    """Of those steps, as the job told it last: it may go back and measure anew."""
    asked = select(JobEvent.step, JobEvent.data).where(JobEvent.job_number == job.number, text(SCORED))
    told = session.execute(asked.where(JobEvent.step.in_(steps), JobEvent.seq <= job.acked).order_by(JobEvent.seq))
    return {step: numbers(data.get("scores")) for step, data in told}


def of_trial(search: Job, trial: Trial, steps: Collection[int]) -> Scores:
    """Of those steps: what the search compares trials by."""
    record = TrialRecord.model_validate(trial.record)
    return {result.step: {search.spec["metric"]: result.value} for result in record.results if result.step in steps}


def numbers(told: object) -> dict[str, float]:
    """What of it are names and finite numbers."""
    items = told.items() if isinstance(told, Mapping) else ()
    found = {str(name): value for name, value in items if isinstance(value, int | float) and type(value) is not bool}
    return {name: float(value) for name, value in found.items() if -MOST <= value <= MOST}

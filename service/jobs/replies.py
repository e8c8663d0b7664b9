"""From a job's row to what the API answers."""

from __future__ import annotations

from service.bodies.jobs import Job
from service.bodies.waiting import Waiting
from service.db import tables
from service.runs import replies


def job(row: tables.Job, waiting: Waiting | None = None) -> Job:
    """One job, with what it waits for."""
    begun = {"trial": row.trial, "parent": row.parent, "fork": row.fork}
    return Job(**replies.common(row, waiting), spec=row.spec, **begun)

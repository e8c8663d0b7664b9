"""From a run's row to what the API answers of jobs and searches alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from service import etags
from service.bodies.runs import Run, Usage
from service.bodies.states import State
from service.bodies.waiting import Waiting
from service.db.tables import Job
from service.runs import limits
from trainer import trace

OF_SPEC = ("labels", "notes")
COMPUTED = ("etag", "waiting", "limit", "ends_at", "next_try_at", "stop_at", "usage", "trace")


def common(row: Job, waiting: Waiting | None) -> dict[str, Any]:
    """The fields of every run. waiting: what it waits for (`service.runs.waiting`)."""
    now = datetime.now(UTC)
    own = {name: getattr(row, name) for name in Run.model_fields if name not in (*OF_SPEC, *COMPUTED)}
    return (
        own
        | {name: row.spec[name] for name in OF_SPEC if name in row.spec}
        | _computed(row, now)
        | {"waiting": waiting}
    )


def etag(row: Job) -> str:
    """The edition of a run: another one once someone has edited it, or wants something else of it."""
    return etags.edition(row.spec, row.desired)


def _computed(row: Job, now: datetime) -> dict[str, Any]:
    return {
        "etag": etag(row),
        "limit": row.spent["limit"] if row.spent else None,
        "trace": trace.id_of(row.traceparent),
        "ends_at": limits.ends_at(row),
        "next_try_at": _next_try(row, now),
        "stop_at": row.stop_at if row.state == State.STOPPING else None,
        "usage": Usage(**{name: getattr(row, name) for name in Usage.model_fields}),
    }


def _next_try(row: Job, now: datetime) -> datetime | None:
    """Of one that has lost an attempt, or that Ray could not take: the end of its pause, while that lasts."""
    again = (row.state == State.QUEUED and row.attempt > 0) or (row.state == State.STARTING and row.tries > 0)
    return row.due_at if again and row.due_at > now else None

"""What this process counts for Prometheus as it happens (docs/monitoring.md). What the database knows is read when somebody asks:
`service.monitoring`.

Counters begin at zero with each process; of several, Prometheus adds them up. Nothing here has an id, a name or a path of a user's
as a label.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector
from sqlalchemy import event
from sqlalchemy.orm import Session

WAITS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600)
"""Seconds: a job waits or starts for a moment, minutes, hours or days."""
REQUESTS = Histogram(
    "agon_http_request_duration_seconds",
    "From a request's arrival until its answer began.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=None,
)
QUEUED = Histogram(
    "agon_job_queue_seconds",
    "In the queue at a stretch, of runs that left it for the cluster.",
    buckets=WAITS,
    registry=None,
)
STARTED = Histogram(
    "agon_job_start_seconds", "From when Ray took an attempt's driver until it trained.", buckets=WAITS, registry=None
)
TRANSITIONS = Counter("agon_job_transitions_total", "Changes of a run's state.", ["to"], registry=None)
FAILURES = Counter("agon_job_failures_total", "Runs that failed, by failure.kind.", ["kind"], registry=None)
RESTARTS = Counter(
    "agon_job_restarts_total",
    "Further attempts: an attempt was lost, room was made for another run, or someone resumed or retried it.",
    ["cause"],
    registry=None,
)
LEASES_LOST = Counter(
    "agon_leases_lost_total",
    "Decisions that were not written, because the run had changed or another reconciler owned it.",
    registry=None,
)
WEBHOOKS = Counter(
    "agon_webhook_deliveries_total",
    "Attempts to deliver a message of a webhook: delivered; again: another follows; failed: none does.",
    ["outcome"],
    registry=None,
)
QUESTIONS = Histogram(
    "agon_serve_question_seconds",
    "Questions to models, from their arrival to the answer. outcome: answered; unchanged, the asker had it; refused, it was wrong; full; "
    "away, no replica answered; late; gone, the asker was; failed.",
    ["kind", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=None,
)
LAG = Gauge(
    "agon_reconciler_lag_seconds",
    "Since this process's reconciler last finished a round; -1: it has none.",
    registry=None,
)
EVERY: tuple[Collector, ...] = (
    REQUESTS,
    QUEUED,
    STARTED,
    TRANSITIONS,
    FAILURES,
    RESTARTS,
    LEASES_LOST,
    WEBHOOKS,
    QUESTIONS,
    LAG,
)
_round: list[float] = []


def round_ended() -> None:
    """The reconciler of this process has seen to all that was due."""
    _round[:] = [time.monotonic()]


def reconciler_stopped() -> None:
    """This process has none any more."""
    _round.clear()


for _outcome in (
    "delivered",
    "again",
    "failed",
):  # there from the beginning, so that a first failure is a step up from 0
    WEBHOOKS.labels(_outcome)
LAG.set_function(lambda: time.monotonic() - _round[0] if _round else -1.0)


def once_committed(session: Session, count: Callable[[], None]) -> None:
    """Count when the transaction is in the database; what is rolled back has not happened."""
    if "tallies" not in session.info:
        session.info["tallies"] = []
        event.listen(session, "after_commit", _count)
        event.listen(session, "after_rollback", _forget)
    session.info["tallies"].append(count)


def _count(session: Session) -> None:
    counts = session.info["tallies"]
    session.info["tallies"] = []
    for count in counts:
        count()


def _forget(session: Session) -> None:
    session.info["tallies"] = []

"""What the database knows of all runs, for who measures: the same whichever replica is asked. Read at most every few seconds."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.bodies.usage import By
from service.db.session import Database
from service.db.tables import WAITING, Job, JobEvent
from service.runs import accounts, served
from service.runs.kinds import KINDS

FRESH_SECONDS, SLOW_SECONDS = 5.0, 60.0
"""So long what was read serves whoever asks: the one for what an index has, the other for what all rows are read for."""
MOST_OWNERS = 500
"""With the most GPU-hours."""


@dataclass(frozen=True)
class Facts:
    """As they are now."""

    runs: dict[tuple[str, str], int]
    """By kind and state: how many."""
    waiting_age: float
    """Seconds for which the one has waited that has waited longest; 0: none waits."""
    unacked: int
    """Events of runs on the cluster that are stored behind a gap, and count only when it is filled."""
    accelerator_seconds: dict[str, float] = field(default_factory=dict)
    """By owner."""
    served: dict[str, int] = field(default_factory=dict)
    """Replicas that have a place on the cluster, by what they answer."""


class Reader:
    """One per application. Thread-safe."""

    def __init__(self, db: Database) -> None:
        self._db, self._lock = db, threading.Lock()
        self._facts: tuple[float, Facts] | None = None
        self._hours: tuple[float, dict[str, float]] | None = None

    def read(self) -> Facts:
        """No older than `FRESH_SECONDS`; who asks at once waits for one reading."""
        with self._lock:
            now = time.monotonic()
            if self._facts is None or now - self._facts[0] > FRESH_SECONDS:
                with self._db.read() as session:
                    if self._hours is None or now - self._hours[0] > SLOW_SECONDS:
                        self._hours = now, _hours(session)
                    self._facts = now, _facts(session, self._hours[1])
            return self._facts[1]


def _facts(session: Session, hours: dict[str, float]) -> Facts:
    counted = select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
    runs = {(kind, state.value): 0 for kind in KINDS for state in State}
    runs |= {(kind, state): int(count) for kind, state, count in session.execute(counted)}
    oldest = session.scalar(select(func.min(func.coalesce(Job.queued_at, Job.created_at))).where(text(WAITING)))
    held = {place.name: place.replicas for place in served.places(session) if place.held}
    unacked = (
        select(func.count()).select_from(JobEvent).join(Job, Job.number == JobEvent.job_number).where(text("watched"))
    )
    return Facts(
        runs=runs,
        waiting_age=_age(oldest),
        unacked=int(session.scalar(unacked.where(JobEvent.seq > Job.acked)) or 0),
        accelerator_seconds=hours,
        served={name: held.get(name, 0) for name in served.NAMES},
    )


def _hours(session: Session) -> dict[str, float]:
    found = accounts.of(session, accounts.Asked(By.OWNER), MOST_OWNERS, None)
    return {item.name: item.gpu_hours * accounts.HOUR for item in found.items}


def _age(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())

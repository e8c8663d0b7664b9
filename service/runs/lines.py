"""All SQL on who waits and who runs that answers need; the reconciler's own is in `service.reconciler.rows`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, Row, and_, bindparam, func, or_, select, text
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import WAITING, YIELDING, Job, Trial
from service.runs.kinds import JOB
from service.runs.room import Need
from service.runs.spans import DAY, Came, Length
from trainer.search import TrialState

LENGTHS = 20
"""So many runs of a family, the newest that succeeded, say how long one like them takes."""
NEWEST = 500
"""Of so many runs, the newest, it is looked who came within the last day."""
FACTS = (
    *(Job.number, Job.id, Job.kind, Job.name, Job.family, Job.owner, Job.workers, Job.worker_cpus, Job.worker_gpus),
    *(
        Job.state,
        Job.desired,
        Job.yields_to,
        Job.progress,
        Job.spec,
        Job.run_seconds,
        Job.training_workers,
        Job.due_at,
        Job.place,
    ),
)
"""What is read of each run that others wait for."""


def promised(session: Session) -> Mapping[int, tuple[str, ...]]:
    """For whom others make room, or made it and haven't gone on: by number, those that are still on the cluster.

    One whose priority was lowered since is nobody's better any more.
    """
    made = session.execute(_YIELDING).all()
    if not made:
        return {}
    waits = select(Job.number, Job.id, Job.priority).where(text(WAITING), Job.id.in_({row.yields_to for row in made}))
    return {
        number: tuple(sorted(row.id for row in made if row.yields_to == id_ and State(row.state).on_ray))
        for number, id_, priority in session.execute(waits)
        if any(row.yields_to == id_ and row.yields_priority <= priority for row in made)
    }


def ahead(session: Session, job: Job, first: Iterable[int], now: datetime, limit: int) -> Sequence[Row[Any]]:
    """The first runs in the line before that one, in order. first: those that others make room for."""
    promised = set(first) - {job.number}
    made = [] if not promised else list(session.execute(_line(now).where(Job.number.in_(promised))))
    if job.number in first:
        return [row for row in made if (row.place, row.number) < (job.place, job.number)][:limit]
    others = _line(now).where(_before(job), Job.number.not_in(promised)).limit(limit)
    return [*made, *session.execute(others)][:limit]


def line(session: Session, first: Collection[int], now: datetime, limit: int) -> Sequence[Row[Any]]:
    """The first of the whole line, in order. first: those that others make room for."""
    made = [] if not first else list(session.execute(_line(now).where(Job.number.in_(first))))
    return [*made, *session.execute(_line(now).where(Job.number.not_in(first)).limit(limit))][:limit]


def stretch(session: Session, first: Collection[int], now: datetime, begin: int, limit: int) -> Sequence[int]:
    """Those in the line from that place on, counted from 1, by number, in order."""
    return session.scalars(_ordered(first, now).offset(begin - 1).limit(limit)).all()


def length(session: Session, now: datetime) -> int:
    """How many are in the line."""
    return session.scalar(select(func.count()).where(_waits(now))) or 0


def resting(session: Session, now: datetime, limit: int) -> Sequence[int]:
    """Those that wait for their next attempt, by number: who is in the line soonest is the first."""
    asked = select(Job.number).where(text(WAITING), Job.desired == "run", Job.due_at > now)
    return session.scalars(asked.order_by(Job.due_at, Job.number).limit(limit)).all()


def turn(job: Row[Any] | Job, first: Collection[int]) -> tuple[bool, int, int]:
    """What the line is sorted by."""
    return job.number not in first, job.place, job.number


def count_ahead(session: Session, job: Job, first: Collection[int], now: datetime) -> int:
    """How many are in the line before that one."""
    if not first:
        return session.scalar(BEFORE, before(job, now)) or 0
    promised = set(first) - {job.number}
    made = select(func.count()).where(_waits(now), Job.number.in_(promised))
    if job.number in first:
        return session.scalar(made.where(_before(job))) or 0
    others = select(func.count()).where(_waits(now), _before(job), Job.number.not_in(promised))
    return (session.scalar(others) or 0) + ((session.scalar(made) or 0) if promised else 0)


def before(job: Job, now: datetime) -> dict[str, Any]:
    """What `BEFORE` is to be told of that one."""
    return {"now": now, "of_place": job.place, "of_number": job.number}


def count_passed(session: Session, job: Job, now: datetime) -> int:
    """How many of others are in the line before that one that were behind it if it weren't delayed."""
    undelayed = and_(Job.place > job.place - job.delay, Job.owner != job.owner)
    return session.scalar(select(func.count()).where(_waits(now), _before(job), undelayed)) or 0


def places(session: Session, first: Iterable[int], now: datetime) -> dict[int, int]:
    """The position of each that waits, by number."""
    asked = _ordered(first, now)
    return {number: position for position, number in enumerate(session.scalars(asked), 1)}


def running(session: Session) -> Sequence[Row[Any]]:
    """Those on the cluster."""
    on_cluster = [state for state in State if state.on_ray]
    return session.execute(select(*FACTS).where(text("watched"), Job.state.in_(on_cluster))).all()


def trials(session: Session, searches: Iterable[int]) -> dict[int, int]:
    """How many trials of each search run."""
    asked = select(Trial.job_number, func.count()).where(
        Trial.job_number.in_(list(searches)), Trial.state == TrialState.RUNNING
    )
    return dict(session.execute(asked.group_by(Trial.job_number)).tuples().all())


def lengths(asked: Connection | Session, family: str) -> list[Length]:
    """How long the newest jobs of that family took, of those that succeeded."""
    rows = asked.execute(_NEWEST_OF_FAMILY, {"of_family": family})
    return [Length(row.name, row.images, row.run_seconds) for row in rows]


def came(session: Session, priority: int, now: datetime) -> list[Came]:
    """Those of the newest that were submitted within the last day with a higher priority than that, the newest first.

    One that hasn't ended takes as long as it took so far, or as the others mostly did if that is more.
    """
    columns = (Job.owner, Job.workers, Job.worker_cpus, Job.worker_gpus, Job.priority, Job.created_at)
    newest = select(*columns, Job.run_seconds, Job.state).order_by(Job.number.desc()).limit(NEWEST).subquery().c
    asked = select(*newest).where(newest.created_at > now - DAY, newest.priority > priority)
    rows = session.execute(asked.order_by(newest.created_at.desc())).all()
    ended = [row.run_seconds for row in rows if State(row.state).ended]
    usual = median(ended) if ended else 0.0
    return [
        Came(
            row.owner,
            Need(row.workers, row.worker_cpus, row.worker_gpus),
            row.priority,
            row.created_at,
            row.run_seconds if State(row.state).ended else max(usual, row.run_seconds),
        )
        for row in rows
    ]


def _ordered(first: Iterable[int], now: datetime) -> Any:
    return select(Job.number).where(_waits(now)).order_by(Job.number.not_in(list(first)), Job.place, Job.number)


def _line(now: datetime) -> Any:
    return select(*FACTS).where(_waits(now)).order_by(Job.place, Job.number)


def _waits(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    return and_(text(WAITING), Job.desired == "run", Job.due_at <= now)


def _before(job: Job) -> ColumnElement[bool]:
    return or_(Job.place < job.place, and_(Job.place == job.place, Job.number < job.number))


# Made once: every submission executes them.
_YIELDING = select(Job.id, Job.state, Job.yields_to, Job.yields_priority).where(text(YIELDING))
ANY_YIELDS = select(Job.number.label("yields")).where(text(YIELDING)).limit(1)
_PLACE, _NUMBER = bindparam("of_place", type_=Job.place.type), bindparam("of_number", type_=Job.number.type)
BEFORE = select(func.count().label("ahead")).where(
    _waits(bindparam("now", type_=Job.due_at.type)),
    or_(Job.place < _PLACE, and_(Job.place == _PLACE, Job.number < _NUMBER)),
)
_NEWEST_OF_FAMILY = (
    select(Job.name, Job.spec["train", "images"].as_float().label("images"), Job.run_seconds)
    .where(Job.kind == JOB.name, Job.family == bindparam("of_family"), Job.state == State.SUCCEEDED)
    .order_by(Job.number.desc())
    .limit(LENGTHS)
)

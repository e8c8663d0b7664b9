"""Trials of searches: what their events make of the table, and all SQL on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import paging
from service.db.tables import Job, Trial
from service.errors import Conflict, NotFound
from trainer.search import SearchSpec, TrialRecord, TrialResult, TrialState
from trainer.search.trial import trial_id
from trainer.wire import EventKind, WireEvent

RUNNABLE = tuple(state.value for state in TrialState if not state.ended)
MAX_NUMBER = 2**31 - 1
SCORELESS = (TrialState.DIVERGED, TrialState.FAILED)
"""Whatever they scored, they are never the best."""


@dataclass(frozen=True)
class Standing:
    """How the trials of one search are."""

    states: Mapping[str, int] = field(default_factory=dict)
    """State → how many."""
    images: int = 0
    best: Trial | None = None


# -- from events


def take(session: Session, search: Job, events: Iterable[WireEvent]) -> bool:
    """Apply TRIAL events, which come in order and once; whether there was any. The caller holds the lock of the search's row.

    One that is no trial is passed over, as any value of an unexpected type is.
    """
    taken = False
    for event in events:
        found = _told(event.data) if event.kind is EventKind.TRIAL else None
        if found is None:
            continue
        told, newest = found
        row = session.get(Trial, (search.number, told.number))
        before = TrialRecord.model_validate(row.record) if row is not None else told
        record = told.replace(results=_results(session, search, before, told, newest))
        if row is None:
            row = Trial(job_number=search.number, number=record.number, id=record.id, stop=False)
            session.add(row)
        row.state, row.images = record.state.value, record.images
        row.score = None if record.state in SCORELESS else record.score
        row.record = record.model_dump(mode="json")
        session.flush()  # a clone among these events reads its source
        taken = True
    return taken


def _told(data: Mapping[str, Any]) -> tuple[TrialRecord, TrialResult | None] | None:
    """What one event says: the trial without its results, and its newest."""
    rest = {name: value for name, value in data.items() if name not in ("result", "results")}
    try:
        record = TrialRecord.model_validate(rest)
    except ValidationError:
        return None
    if not 0 <= record.number <= MAX_NUMBER or record.id != trial_id(record.number) or record.images >= 2**63:
        return None
    try:
        return record, TrialResult.model_validate(data.get("result"))
    except ValidationError:
        return record, None


def _results(
    session: Session, search: Job, before: TrialRecord, told: TrialRecord, newest: TrialResult | None
) -> tuple[TrialResult, ...]:
    """All of its evaluations: those known, after a clone its source's up to there, and the newest.

    After a restart from a checkpoint it scores steps anew; what it said of them before doesn't count any more.
    """
    if newest is None:
        return ()
    known = before.results
    if len(told.clones) > len(before.clones):
        clone = told.clones[-1]
        source = session.scalar(select(Trial).where(Trial.job_number == search.number, Trial.id == clone.source))
        taken = TrialRecord.model_validate(source.record).results if source is not None else ()
        known = tuple(result for result in taken if result.step <= clone.step)
    return (*(result for result in known if result.step < newest.step), newest)


# -- for requests


def to_stop(session: Session, search: Job) -> Sequence[str]:
    """Trials that were asked to end and have not."""
    wanted = select(Trial.id).where(Trial.job_number == search.number, Trial.stop, Trial.state.in_(RUNNABLE))
    return session.scalars(wanted.order_by(Trial.number)).all()


def get(session: Session, search: Job, trial: str) -> Trial:
    """One trial. Raises NotFound."""
    found = session.scalar(select(Trial).where(Trial.job_number == search.number, Trial.id == trial))
    if found is None:
        raise NotFound(f"search {search.id} has no trial {trial!r}; GET /v1/searches/{search.id}/trials lists them")
    return found


def stop(session: Session, search: Job, trial: str) -> Trial:
    """Write that the trial shall end. The caller holds the lock of the search's row. Raises NotFound, Conflict."""
    found = get(session, search, trial)
    if TrialState(found.state).ended:
        raise Conflict(f"trial {trial} is {found.state} already")
    found.stop = True
    return found


def page(
    session: Session, search: Job, *, state: TrialState | None, by_score: bool, limit: int, cursor: str | None
) -> tuple[Sequence[Trial], str | None]:
    """Best first (those without a score last), or as they were drawn.

    The cursor counts rows: places by score move while trials train, and a page is what it was when it was asked for.
    """
    begin = paging.decode(cursor) or 0
    statement = select(Trial).where(Trial.job_number == search.number)
    if state is not None:
        statement = statement.where(Trial.state == state.value)
    order = _by_score(search) if by_score else (Trial.number,)
    rows = session.scalars(statement.order_by(*order).offset(min(begin, MAX_NUMBER)).limit(limit + 1)).all()
    return rows[:limit], paging.encode(begin + limit) if len(rows) > limit else None


def standings(session: Session, searches: Sequence[Job]) -> dict[int, Standing]:
    """By number of the search."""
    numbers = [search.number for search in searches]
    counted = select(Trial.job_number, Trial.state, func.count(), func.sum(Trial.images))
    states: dict[int, dict[str, int]] = {number: {} for number in numbers}
    images = dict.fromkeys(numbers, 0)
    for number, state, count, shown in session.execute(
        counted.where(Trial.job_number.in_(numbers)).group_by(Trial.job_number, Trial.state)
    ):
        states[number][state] = count
        images[number] += int(shown)
    return {
        search.number: Standing(states[search.number], images[search.number], _best(session, search))
        for search in searches
    }


def _best(session: Session, search: Job) -> Trial | None:
    scored = select(Trial).where(Trial.job_number == search.number, Trial.score.is_not(None))
    return session.scalar(scored.order_by(*_by_score(search)).limit(1))


def best_score(session: Session, search: Job) -> dict[str, float | None]:
    """The best trial's score by the metric's name; None if none has one."""
    asked = _asked(search)
    best = func.min(Trial.score) if asked.minimises else func.max(Trial.score)
    return {asked.metric: session.scalar(select(best).where(Trial.job_number == search.number))}


def _by_score(search: Job) -> tuple[Any, ...]:
    score = Trial.score.asc() if _asked(search).minimises else Trial.score.desc()
    return (Trial.score.is_(None), score, Trial.number)


def _asked(search: Job) -> SearchSpec:
    """What it optimises: was valid when it was stored."""
    return SearchSpec.model_construct(**{name: search.spec[name] for name in ("metric", "mode")})

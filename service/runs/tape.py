"""The tape: all that runs tell, states and events, in one order that everyone hears, and goes on in after a break.

Whoever writes something that is told adds a `TapeEntry` in the same transaction (`service.runs.store.note`, `service.runs.ingest.take`).
It is heard once it has its place, which it is given after it is committed (`service.db.placing`): whoever has read up to one has missed
nothing before it, however the writers' transactions end. Of one run the order is that in which it was written: its writers
hold its row's lock.

Reading is `read(session, mark, limit)` over and over, with the mark that it returns; `place` must be called now and then, by any
process: before each look, if one is to hear what is new. A run that is deleted takes its entries with it. The tape begins with the
version of Agon that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, or_, select
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db import placing
from service.db.placing import MOST
from service.db.session import Database
from service.db.tables import Job, JobChange, JobEvent, JobLabel, TapeEntry
from service.runs.ingest import fields
from trainer import trace
from trainer.wire import WireEvent

__all__ = [
    "BEGIN", "EVERYTHING", "MOST", "Mark", "Stretch", "Told", "ToldEvent", "Wanted", "end", "event_of", "place", "read", "state_of",
]  # fmt: skip

NAME = "tape"
"""Of the row in `locks`; its turns: the last place that was given."""
SPAN = 5000
"""Places that one read looks at, however few of them are wanted."""
WHOLE = 2**63 - 1


class Mark(NamedTuple):
    """How far someone has heard: all before `place`, and at `place` the events up to `seq`."""

    place: int = 0
    seq: int = WHOLE

    def __str__(self) -> str:
        return str(self.place) if self.seq == WHOLE else f"{self.place}-{self.seq}"

    @classmethod
    def parse(cls, given: str) -> Mark:
        """Raises ValueError for what `str` didn't make."""
        place, dash, seq = given.partition("-")
        if not all(part.isascii() and part.isdigit() and len(part) < 20 for part in (place, *([seq] if dash else []))):
            raise ValueError(given)
        found = cls(int(place), int(seq) if dash else WHOLE)
        if str(found) != given or max(found) > WHOLE:
            raise ValueError(given)
        return found


BEGIN = Mark()


@dataclass(frozen=True)
class Wanted:
    """What of the tape someone hears."""

    kind: str | None = None
    """`job` or `search`."""
    runs: frozenset[str] = frozenset()
    """Ids; empty: any."""
    owner: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    """All of them, as the runs have them when it is read."""
    states: bool = False
    """Changes of state alone."""

    def takes(self, told: Told) -> bool:
        """Whether that is heard; says the same as `clauses`."""
        return (
            (self.kind is None or told.kind == self.kind)
            and (not self.runs or told.run in self.runs)
            and (self.owner is None or told.owner == self.owner)
            and (not self.states or told.is_state)
            and all(told.labels.get(name) == value for name, value in self.labels)
        )

    def clauses(self) -> Iterator[ColumnElement[bool]]:
        """The same for the database."""
        if self.kind is not None:
            yield Job.kind == self.kind
        if self.runs:
            yield Job.id.in_(self.runs)
        if self.owner is not None:
            yield Job.owner == self.owner
        if self.states:
            yield TapeEntry.change_id.is_not(None)
        for name, value in self.labels:
            of_run = (JobLabel.job_number == Job.number, JobLabel.name == name, JobLabel.value == value)
            yield select(1).where(*of_run).correlate(Job).exists()


EVERYTHING = Wanted()


class ToldEvent(WireEvent):
    """An event as people are told it."""

    trace: str | None
    """Of its run: the id of the trace that the run's submission is a part of (docs/tracing.md)."""


@dataclass(frozen=True)
class Told:
    """One thing that a run told."""

    mark: Mark
    """Whoever has heard it has heard all up to this."""
    run: str
    kind: str
    name: str
    owner: str
    labels: dict[str, str]
    event: str
    """`state`, or the event's kind."""
    data: dict[str, Any]
    """As the run's own stream tells it."""

    @property
    def is_state(self) -> bool:
        """Whether it is a change of state."""
        return self.event == "state"


class Stretch(NamedTuple):
    """A part of the tape."""

    told: Sequence[Told]
    mark: Mark
    """Go on behind it."""
    more: bool
    """Whether more has a place already."""


def place(db: Database) -> int:
    """Give places to what was committed since, `MOST` of it at most; how many were given."""
    return placing.place(db, TapeEntry, NAME)


def end(session: Session) -> Mark:
    """Behind all that has a place."""
    return Mark(placing.last(session, NAME))


def read(session: Session, after: Mark, limit: int, wanted: Wanted = EVERYTHING) -> Stretch:
    """What lies behind a mark, `limit` of it at most; of a stretch of which nothing is wanted, the mark behind it."""
    last = end(session).place
    upto = min(last, after.place + SPAN)
    rows = session.execute(_statement(after, upto, limit, wanted)).all()
    labels = _labels(session, {row.number for row in rows})
    told = [_told(row, labels.get(row.number, {})) for row in rows]
    if len(told) == limit:
        return Stretch(told, told[-1].mark, True)
    mark = max(after, Mark(upto))
    return Stretch(told, mark, mark.place < last)


_OF_RUN = (Job.number, Job.id, Job.kind, Job.name, Job.owner, Job.failure, Job.traceparent)


def _statement(after: Mark, upto: int, limit: int, wanted: Wanted) -> Any:
    of_entry = and_(JobEvent.job_number == TapeEntry.job_number, JobEvent.seq.between(TapeEntry.first, TapeEntry.last))
    return (
        select(TapeEntry.place, *_OF_RUN, JobEvent, JobChange)
        .join(Job, Job.number == TapeEntry.job_number)
        .outerjoin(JobChange, JobChange.id == TapeEntry.change_id)
        .outerjoin(JobEvent, of_entry)
        .where(TapeEntry.place.between(after.place, upto))
        .where(or_(TapeEntry.place > after.place, JobEvent.seq > after.seq))
        .where(*wanted.clauses())
        .order_by(TapeEntry.place, JobEvent.seq)
        .limit(limit)
    )


def _labels(session: Session, numbers: set[int]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    if numbers:
        for label in session.scalars(select(JobLabel).where(JobLabel.job_number.in_(numbers))):
            found.setdefault(label.job_number, {})[label.name] = label.value
    return found


def _told(row: Row[Any], labels: dict[str, str]) -> Told:
    change: JobChange | None = row.JobChange
    of = trace.id_of(row.traceparent)
    if change is None:
        mark, event = Mark(row.place, row.JobEvent.seq), row.JobEvent.kind
        data = event_of(row.JobEvent, of).model_dump(mode="json")
    else:
        mark, event, data = Mark(row.place), "state", state_of(change, row.failure, of)
    return Told(mark, row.id, row.kind, row.name, row.owner, labels, event, data)


def event_of(row: JobEvent, trace_id: str | None) -> ToldEvent:
    """What is told of an event. trace_id: the run's."""
    return ToldEvent(**fields(row), trace=trace_id)


def state_of(change: JobChange, failure: dict[str, Any] | None, trace_id: str | None) -> dict[str, Any]:
    """What is told of a change of state. failure, trace_id: the run's."""
    data: dict[str, Any] = {
        "state": change.state,
        "attempt": change.attempt,
        "reason": change.reason,
        "time": change.time.isoformat(),
        "trace": trace_id,
    }
    return {**data, "failure": failure} if change.state == State.FAILED else data

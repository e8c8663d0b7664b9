"""Lists of runs, newest first, by filters. What one filter asks for lies together in an index, in the list's order; of several, the
one that fewest runs match leads, and the others are looked up run by run."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import Query
from sqlalchemy import ColumnElement, Select, String, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from service import paging
from service.bodies.states import State
from service.db.tables import Job, JobLabel, JobScore
from service.errors import Invalid
from service.runs.kinds import Kind
from trainer.spec import FieldError
from trainer.spec.about import label_problem
from trainer.spec.errors import short

MOST_FILTERS = 8
FEW = 1000
"""Matches that are counted to see which filter leads; one with more is as good as any."""
COMPARED: dict[str, Callable[[Any, float], ColumnElement[bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_BOUND = re.compile(r"([A-Za-z][A-Za-z0-9_./-]{0,63}?)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)")

Filter = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Owner = Annotated[
    str | None,
    Query(
        max_length=64,
        pattern=r"^[A-Za-z0-9._@-]+$",
        description="Only this person's; `GET /v1/owners/me` says who you are.",
    ),
]
Labels = Annotated[
    list[str],
    Query(
        default_factory=list,
        alias="label",
        max_length=MOST_FILTERS,
        description="Only those with this label: `team=vision`. Several: with all of them.",
    ),
]
Scores = Annotated[
    list[str],
    Query(
        default_factory=list,
        alias="score",
        max_length=MOST_FILTERS,
        description="Only those whose newest score (of a search: its best trial's) is so: `fid<20`; also `<=`, `>`, `>=`.",
    ),
]


class Bound(NamedTuple):
    """`fid<20`."""

    name: str
    sign: str
    value: float


@dataclass(frozen=True)
class Wanted:
    """What of the runs a list shows."""

    state: State | None = None
    name: str | None = None
    family: str | None = None
    owner: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    scores: tuple[Bound, ...] = ()

    @property
    def of_row(self) -> bool:
        """Whether anything is asked of the run's own row."""
        return any(value is not None for value in (self.state, self.name, self.family, self.owner))

    @classmethod
    def read(cls, labels: Sequence[str], scores: Sequence[str], **others: Any) -> Wanted:
        """From a request's parameters. Raises Invalid."""
        return cls(labels=tuple(map(_label, labels)), scores=tuple(map(_bound, scores)), **others)


def page(
    session: Session, kind: Kind, wanted: Wanted, *, limit: int, cursor: str | None
) -> tuple[Sequence[Job], str | None]:
    """Newest first."""
    before = paging.decode(cursor)
    statement = listed(kind, wanted, leader_of(session, kind, wanted), before=before, limit=limit + 1)
    rows = session.scalars(statement).all()
    return rows[:limit], paging.encode(rows[limit - 1].number) if len(rows) > limit else None


class Unindexed(FunctionElement[str]):
    """A column by which no index is to be chosen. SQLite, which keeps no statistics, would take any index for as good as another.

    PostgreSQL keeps them, chooses by them, and knows nothing of an expression: it stays a column there.
    """

    name, type, inherit_cache = "unindexed", String(), True


@compiles(Unindexed)
def _plain(element: Unindexed, compiler: Any, **given: Any) -> str:
    return str(compiler.process(element.clauses, **given))


@compiles(Unindexed, "sqlite")
def _expression(element: Unindexed, compiler: Any, **given: Any) -> str:
    return f"({compiler.process(element.clauses, **given)} || '')"


Leader = tuple[str, str] | Bound | None
"""The label or score whose index is gone through; None: one of the runs' own."""


def listed(kind: Kind, wanted: Wanted, leader: Leader = None, *, before: int | None = None, limit: int) -> Select[Job]:
    """The statement behind a page."""
    statement = select(Job).limit(limit)
    number: Any = Job.number
    if leader is None:
        statement = statement.where(Job.kind == kind.name)
    else:
        number, of_leader = _entries(kind, leader)
        statement = statement.join(number.class_, number == Job.number).where(of_leader)
    others: list[tuple[str, str] | Bound] = [*wanted.labels, *wanted.scores]
    for item in others:
        if item != leader:
            of_item, matches = _entries(kind, item)
            statement = statement.where(select(1).where(of_item == Job.number, matches).correlate(Job).exists())
    statement = statement.where(*_of_row(wanted, leads=leader is None)).order_by(number.desc())
    return statement if before is None else statement.where(number < before)


def _of_row(wanted: Wanted, *, leads: bool = True) -> list[ColumnElement[bool]]:
    """What is asked of the row itself. Each filter, and state with another one, has an index of its own; of one name there are few.

    leads: whether these indexes are to be used.
    """
    of_state: Any = Job.state if leads else Unindexed(Job.state)
    of_name: Any = Job.name if leads else Unindexed(Job.name)
    of_family: Any = Job.family if leads and wanted.name is None else Unindexed(Job.family)
    of_owner: Any = Job.owner if leads and wanted.name is None and wanted.family is None else Unindexed(Job.owner)
    asked = (
        (of_state, wanted.state),
        (of_name, wanted.name),
        (of_family, wanted.family),
        (of_owner, wanted.owner),
    )
    return [column == value for column, value in asked if value is not None]


def _entries(kind: Kind, item: tuple[str, str] | Bound) -> tuple[Any, ColumnElement[bool]]:
    """Where the numbers of runs lie that match a label or score, and how they are told."""
    if isinstance(item, Bound):
        same = (JobScore.kind == kind.name) & (JobScore.name == item.name)
        return JobScore.job_number, same & COMPARED[item.sign](JobScore.value, item.value)
    name, value = item
    of_label = (JobLabel.kind == kind.name) & (JobLabel.name == name) & (JobLabel.value == value)
    return JobLabel.job_number, of_label


def leader_of(session: Session, kind: Kind, wanted: Wanted) -> Leader:
    """Whatever has the fewest matches. Few are counted, in an index; scores lead where nothing else is asked for."""
    if not wanted.labels:
        return wanted.scores[0] if wanted.scores and not wanted.of_row else None
    counted: list[tuple[int, Leader]] = []
    for label in wanted.labels:
        number, matches = _entries(kind, label)
        counted.append((_count(session, select(number).where(matches)), label))
    if wanted.of_row:
        counted.append((_count(session, select(Job.number).where(Job.kind == kind.name, *_of_row(wanted))), None))
    return min(counted, key=lambda item: item[0])[1]


def _count(session: Session, numbers: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(numbers.limit(FEW).subquery())) or 0


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    problem = label_problem(name, value) if equals else "write NAME=VALUE, e.g. team=vision"
    if problem is not None:
        raise Invalid([FieldError(path="label", message="is no label", value=short(text), fix=problem)])
    return name, value


def _bound(text: str) -> Bound:
    found = _BOUND.fullmatch(text.strip())
    if found is None:
        fix = "write a score's name, <, <=, > or >=, and a number, e.g. fid<20"
        raise Invalid([FieldError(path="score", message="bounds no score", value=short(text), fix=fix)])
    return Bound(found[1], found[2], float(found[3]))

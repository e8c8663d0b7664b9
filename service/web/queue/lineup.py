"""Who runs and who waits, as the page's template is given it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bodies.runs import Progress, Run
from service.bodies.states import State
from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.runs import limits, lines, replies, sight, waiting
from service.runs.kinds import KINDS
from service.runs.room import Need
from service.runs.telling import need_of_row, taken

PAGE = 25
"""Of those that wait."""
RUNNING, RESTING, NODES = 100, 20, 50
"""So many are shown of those that run, of those that rest between two attempts, and of the nodes."""
TOLD = 100
"""Up to this place in the line it is worked out when a run starts."""
PLACES = {"job": "/runs", "search": "/searches"}


@dataclass(frozen=True)
class Runner:
    """A run on the cluster, or one that was when the page was made."""

    id: str
    kind: str
    name: str
    owner: str
    state: State
    need: Need
    progress: Progress | None
    started_at: datetime | None
    ends_at: datetime | None
    """When a limit ends it."""
    yields: bool
    """Whether it makes room for another."""

    @property
    def where(self) -> str:
        """Its page."""
        return f"{PLACES[self.kind]}/{self.id}"


@dataclass(frozen=True)
class Waiter:
    """One that waits, or did when the page was made."""

    run: Run
    kind: str
    api: str
    """Its resource."""
    need: Need

    @property
    def where(self) -> str:
        """Its page."""
        return f"{PLACES[self.kind]}/{self.run.id}"

    @property
    def waits(self) -> bool:
        """Whether it still does."""
        return self.run.waiting is not None


@dataclass(frozen=True)
class Lineup:
    """All that the page shows of them."""

    nodes: Sequence[Node] | str | None
    running: Sequence[Runner]
    more_running: int
    waiting: Sequence[Waiter]
    begin: int
    """The place of the first one."""
    length: int
    """Of the line."""
    ids: tuple[tuple[str, ...], tuple[str, ...]]
    """Who runs and who waits by now, in order, as far as it would be shown."""


def read(
    session: Session, now: datetime, begin: int, shown: tuple[Sequence[str], Sequence[str]] | None = None
) -> Lineup:
    """shown: ids of those that run and of those that wait that someone looks at: it is these that are told of, in that order."""
    first = lines.promised(session)
    running = lines.running(session)
    numbers = [*lines.stretch(session, first, now, begin, PAGE)]
    numbers += lines.resting(session, now, RESTING) if begin == 1 else []
    on = [row.id for row in sorted(running, key=lambda row: row.number)[:RUNNING]]
    names = dict(session.execute(select(Job.number, Job.id).where(Job.number.in_(numbers))).tuples().all())
    ids = tuple(on), tuple(names[number] for number in numbers if number in names)
    runs, waits = ids if shown is None else shown
    jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_({*runs, *waits})))}
    trials = lines.trials(session, [job.number for job in jobs.values() if KINDS[job.kind].has_trials])
    waiters = [jobs[one] for one in waits if one in jobs]
    told = waiting.near(session, waiters, now, min(TOLD, begin + PAGE - 1), cheaper=begin == 1)
    return Lineup(
        nodes=sight.cluster(session, now),
        running=[_runner(jobs[one], taken(jobs[one], trials)) for one in runs if one in jobs],
        more_running=max(0, len(running) - RUNNING),
        waiting=[_waiter(job, told.get(job.number)) for job in waiters],
        begin=begin,
        length=lines.length(session, now),
        ids=ids,
    )


def _runner(job: Job, need: Need) -> Runner:
    return Runner(
        id=job.id, kind=job.kind, name=job.name, owner=job.owner, state=State(job.state), need=need,
        progress=Progress.model_validate(job.progress) if job.progress else None, started_at=job.started_at,
        ends_at=limits.ends_at(job), yields=job.yields_to is not None and job.desired == "run",
    )  # fmt: skip


def _waiter(job: Job, told: Any) -> Waiter:
    return Waiter(Run(**replies.common(job, told)), job.kind, f"{KINDS[job.kind].path}/{job.id}", need_of_row(job))


def change_words(change: dict[str, Any]) -> str:
    """What an edit that `cheaper` names does, for a person: `2 workers`."""
    parts = []
    for path, value in change.items():
        head, _, field = path.rpartition("resources.")
        if field in ("workers", "min_workers"):
            least = "at least " if field == "min_workers" else ""
            parts.append(f"{least}{value} worker{'' if value == 1 else 's'}{' a trial' if head else ''}")
        else:
            parts.append(f"{path} = {value}")
    return ", ".join(parts)

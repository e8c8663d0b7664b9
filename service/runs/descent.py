"""Whose training made a job's nets, one run after another: what joins the curves of parent and child.

All is counted in images that the nets were shown, from the first on: a job's own count and the offset of its fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bodies.curves import Stretch
from service.bodies.forks import Fork
from service.db.tables import Job

MOST = 100
"""Jobs that are gone back to."""


@dataclass(frozen=True)
class Share:
    """What a job has done for it: all of its training or, for those that were forked, that up to the fork."""

    job: Job
    offset: int = 0
    """Images before the job's own 0."""
    step: int | None = None
    """The last of its steps that counts."""
    forked_at: datetime | None = None


@dataclass(frozen=True)
class Descent:
    """A job and those before it, oldest first."""

    shares: Sequence[Share]
    stretches: Sequence[Stretch] = ()

    @property
    def job(self) -> Job:
        """Whose it is."""
        return self.shares[-1].job


def alone(job: Job) -> Descent:
    """The job as it counts itself, without what was before."""
    return Descent((Share(job),))


def descent(session: Session, job: Job) -> Descent:
    """With the jobs that it goes back to, as far as they are known: to one that is deleted, a trial or a package."""
    line = [job]
    while (fork := fork_of(line[0])) is not None and fork.job is not None and len(line) <= MOST:
        parent = session.scalar(select(Job).where(Job.id == fork.job))
        if parent is None:
            break
        line.insert(0, parent)
    forks = [fork_of(one) for one in line]
    found = []
    for one, fork, child, taken in zip(line, forks, [*line[1:], None], [*forks[1:], None], strict=True):
        offset = fork.offset if fork else 0
        found.append(Share(one, offset, taken.step if taken else None, child.created_at if child else None))
    return Descent(found, stretches([one.id for one in line], forks))


def fork_of(job: Job) -> Fork | None:
    """The checkpoint that it began with; None: it began afresh."""
    return Fork.model_validate(job.fork) if job.fork else None


def stretches(jobs: Sequence[str], forks: Sequence[Fork | None]) -> tuple[Stretch, ...]:
    """Who trained from which image to which: jobs, each forked from the one before it, oldest first, with what they began with.

    What the oldest of them was forked from comes before them all.
    """
    begins = [_begin(fork) for fork in forks]
    found = [
        Stretch(run=job, begin=begin, end=end, told=True)
        for job, begin, end in zip(jobs, begins, [*begins[1:], None], strict=True)
    ]
    oldest = forks[0]
    if oldest is not None:
        parent = oldest.trial or oldest.job or oldest.package or ""
        found.insert(0, Stretch(run=parent, begin=0, end=begins[0], told=False))
    return tuple(found)


def _begin(fork: Fork | None) -> int:
    """A state goes on with its parent's count, weights begin at 0 behind it."""
    if fork is None:
        return 0
    return fork.offset + (fork.images if fork.mode == "state" else 0)

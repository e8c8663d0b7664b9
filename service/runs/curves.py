"""Curves of a job from its events, in buckets: however long it trained, the answer is small, and made in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from service.bodies.curves import Curve, Curves
from service.db.tables import AT_ONCE, Job, JobEvent
from service.runs.descent import Descent, Share, fork_of
from trainer.wire import EventKind

MOST_METRICS = 200
"""A job with more names than that shows the first that it told."""
MOST_READ = 100_000
"""Of more events with training metrics an even selection is read."""
TRAINING = (EventKind.PROGRESS, EventKind.OBSERVED)
UNDOING = (EventKind.STARTED, EventKind.ROLLED_BACK)
SPEED = "images_per_second"


class Told(NamedTuple):
    """An event with measures."""

    seq: int
    step: int
    images: int
    scores: bool
    values: Mapping[str, Any]


class Undone(NamedTuple):
    """From this event on the training went on from that step: what it had told of later ones counts no more."""

    seq: int
    step: int
    time: datetime = AT_ONCE


def curves(session: Session, descent: Descent, buckets: int, metrics: frozenset[str]) -> Curves:
    """Of the events that are applied, of a job and of those that it goes back to. metrics: names; none: all."""
    spans = [span for share in descent.shares if (span := _span(session, share)) is not None]
    first, last = (min(begin for begin, _ in spans), max(end for _, end in spans)) if spans else (0, 0)
    found = Buckets(first, last, buckets)
    thin = -(-sum(share.job.acked for share in descent.shares) // MOST_READ)
    for share in descent.shares:
        undone = _undone(session, share.job)
        parted = parting(undone, share)
        undone = [mark for mark in undone if parted is None or mark.seq < parted]
        for told in kept(_told(session, share, parted, thin), undone):
            found.add(told._replace(images=told.images + share.offset), metrics)
    fork = fork_of(descent.job)
    return Curves(
        acked=descent.job.acked,
        offset=fork.offset if fork else 0,
        lineage=tuple(descent.stretches),
        training=found.curves(scores=False),
        scores=found.curves(scores=True),
    )


def parting(undone: Sequence[Undone], share: Share) -> int | None:
    """The event by which the job, once forked, went back behind the fork's checkpoint: from then on it tells another history.

    None: it never did. Clocks, which may differ, are compared in this rare case alone.
    """
    if share.step is None or share.forked_at is None:
        return None
    return next((mark.seq for mark in undone if mark.step < share.step and mark.time > share.forked_at), None)


def kept(told: Iterable[Told], undone: Sequence[Undone]) -> Iterator[Told]:
    """Those that nothing behind them has undone; both come in order."""
    least: list[int] = []
    for mark in reversed(undone):
        least.append(min(mark.step, least[-1]) if least else mark.step)
    least.reverse()  # of each mark, the earliest step that it or a later one went back to
    place = 0
    for event in told:
        while place < len(undone) and undone[place].seq <= event.seq:
            place += 1
        if place == len(undone) or event.step <= least[place]:
            yield event


@dataclass
class _Bucket:
    count: int = 0
    total: float = 0.0
    least: float = math.inf
    greatest: float = -math.inf
    last: tuple[int, int, float] = (0, 0, 0.0)

    def add(self, told: Told, value: float) -> None:
        self.count, self.total = self.count + 1, self.total + value
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        self.last = (told.images, told.step, value)

    @property
    def mean(self) -> float:
        """Within its least and greatest value, whatever was rounded."""
        return min(max(self.total / self.count, self.least), self.greatest)


@dataclass
class Buckets:
    """Values by metric, in `count` buckets over the images from `first` to `last`."""

    first: int
    last: int
    count: int
    _found: dict[tuple[bool, str], dict[int, _Bucket]] = field(default_factory=dict)

    def add(self, told: Told, metrics: frozenset[str] = frozenset()) -> None:
        """Count what an event tells; values that are no finite numbers are passed over."""
        where = (told.images - self.first) * self.count // (self.last - self.first + 1)
        for name, value in told.values.items():
            if metrics and name not in metrics:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                continue
            key = (told.scores, name)
            if key in self._found or len(self._found) < MOST_METRICS:
                self._found.setdefault(key, {}).setdefault(where, _Bucket()).add(told, float(value))

    def curves(self, *, scores: bool) -> dict[str, Curve]:
        """By name."""
        return {
            name: _curve([bucket for _, bucket in sorted(found.items())])
            for (scored, name), found in sorted(self._found.items())
            if scored == scores
        }


def _curve(buckets: Sequence[_Bucket]) -> Curve:
    return Curve(
        images=tuple(bucket.last[0] for bucket in buckets),
        steps=tuple(bucket.last[1] for bucket in buckets),
        mean=tuple(bucket.mean for bucket in buckets),
        least=tuple(bucket.least for bucket in buckets),
        greatest=tuple(bucket.greatest for bucket in buckets),
        last=tuple(bucket.last[2] for bucket in buckets),
    )


def _of(share: Share) -> list[ColumnElement[bool]]:
    """Its events."""
    applied = [JobEvent.job_number == share.job.number, JobEvent.seq <= share.job.acked]
    return applied if share.step is None else [*applied, JobEvent.step <= share.step]


def _span(session: Session, share: Share) -> tuple[int, int] | None:
    """The first and the last of the images at which something was measured."""
    measured = JobEvent.kind.in_((*TRAINING, EventKind.SCORES))
    asked = select(func.min(JobEvent.images), func.max(JobEvent.images)).where(*_of(share), measured)
    first, last = session.execute(asked).one()
    return None if first is None else (int(first) + share.offset, int(last) + share.offset)


def _told(session: Session, share: Share, parted: int | None, thin: int) -> Iterator[Told]:
    """In order; every so manieth of very many, and every score."""
    columns = (JobEvent.seq, JobEvent.step, JobEvent.images, JobEvent.kind, JobEvent.data)
    trained = and_(JobEvent.kind.in_(TRAINING), JobEvent.seq % thin == 0) if thin > 1 else JobEvent.kind.in_(TRAINING)
    asked = select(*columns).where(*_of(share), or_(trained, JobEvent.kind == EventKind.SCORES))
    asked = asked if parted is None else asked.where(JobEvent.seq < parted)
    for seq, step, images, kind, data in session.execute(asked.order_by(JobEvent.seq).execution_options(yield_per=500)):
        scored = kind == EventKind.SCORES
        values = data.get("scores" if scored else "metrics")
        values = dict(values) if isinstance(values, dict) else {}
        if kind == EventKind.PROGRESS:
            values[SPEED] = data.get(SPEED)
        yield Told(seq, step, images, scored, values)


def _undone(session: Session, job: Job) -> list[Undone]:
    asked = select(JobEvent.seq, JobEvent.kind, JobEvent.step, JobEvent.time, JobEvent.data).where(
        JobEvent.job_number == job.number, JobEvent.seq <= job.acked, JobEvent.kind.in_(UNDOING)
    )
    found = []
    for seq, kind, step, time, data in session.execute(asked.order_by(JobEvent.seq)):
        if kind == EventKind.ROLLED_BACK:
            found.append(Undone(seq, step, time))
        else:  # an attempt that begins anew has undone everything
            resumed = data.get("resumed_from")
            found.append(Undone(seq, resumed if isinstance(resumed, int) else -1, time))
    return found

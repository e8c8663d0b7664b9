"""What happened to a run: changes of its state, what it told now and then, and what its sentinel found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from service.db.tables import RARE, Job, JobChange, JobEvent
from service.figures import short
from service.runs.timeline import Moment, Timeline
from trainer.wire import EventKind

MOST = 100
"""Of each kind; the newest."""
FOUND = ("warning", "rolled-back")
COLLAPSE = "the training "
"""A warning of the sentinel begins so: it may have collapsed, or has."""
_RATE = re.compile(r"optimizers\.([A-Za-z0-9_]+)\.lr")


@dataclass(frozen=True)
class Finding:
    """A collapse that the sentinel told of."""

    seq: int
    time: datetime
    kind: str
    message: str
    step: int
    """When it was told."""
    began: int
    """The first of the looks that showed it."""
    images: int | None
    before: Moment | None
    """Grids from before it began, and from when it was told."""
    after: Moment | None
    checkpoint: int | None
    """The last one that is kept from before."""
    fix: str
    """Changes of a fork, as they are typed."""


@dataclass(frozen=True)
class Happened:
    """Something that happened."""

    time: datetime
    what: str
    step: int | None
    words: str
    bad: bool = False


def findings(session: Session, job: Job, grids: Timeline, kept: Sequence[int]) -> list[Finding]:
    """Newest first. kept: the steps of checkpoints, newest first."""
    rows = [row for row in rare(session, job, FOUND) if row.kind == EventKind.ROLLED_BACK or _collapsed(row)]
    return [_finding(job.spec, row, grids, kept) for row in rows]


def history(session: Session, job: Job) -> list[Happened]:
    """Newest first."""
    asked = select(JobChange).where(JobChange.job_number == job.number).order_by(JobChange.id.desc()).limit(MOST)
    found = [
        Happened(row.time, row.state, None, "" if row.reason == row.state else row.reason, row.state == "failed")
        for row in session.scalars(asked)
    ]
    found += [
        Happened(row.time, row.kind, row.step, words, row.kind in ("failed", *FOUND))
        for row in rare(session, job)
        for words in [_words(row.kind, row.data)]
    ]
    return sorted(found, key=lambda one: one.time, reverse=True)[:MOST]


def rare(session: Session, job: Job, kinds: Sequence[str] = ()) -> Sequence[JobEvent]:
    """The newest of these events, newest first."""
    asked = select(JobEvent).where(JobEvent.job_number == job.number, text(RARE), JobEvent.seq <= job.acked)
    asked = asked.where(JobEvent.kind.in_(kinds)) if kinds else asked
    return session.scalars(asked.order_by(JobEvent.seq.desc()).limit(MOST)).all()


def _collapsed(row: JobEvent) -> bool:
    message = str(row.data.get("message", ""))
    return message.startswith(COLLAPSE) and "collapsed" in message


def _finding(spec: Mapping[str, Any], row: JobEvent, grids: Timeline, kept: Sequence[int]) -> Finding:
    sentinel = spec.get("sentinel") or {}
    undone = row.kind == EventKind.ROLLED_BACK
    step = _count(row.data.get("from_step")) if undone else row.step
    began = max(0, step - (int(sentinel.get("patience", 1)) - 1) * int(sentinel.get("every_steps", 0)))
    message = str(row.data.get("reason" if undone else "message", ""))
    after = grids.nearest(step)
    if after is not None and undone and _drawn(after) > row.time.timestamp():
        after = None  # it went back, and drew that step anew
    return Finding(
        seq=row.seq,
        time=row.time,
        kind=row.kind,
        message=message,
        step=step,
        began=began,
        images=grids.images(began),
        before=grids.before(began - 1),
        after=after,
        checkpoint=next((one for one in kept if one < began), None),
        fix="\n".join(_fix(spec, message)),
    )


def _fix(spec: Mapping[str, Any], message: str) -> Iterator[str]:
    """Smaller rates, as a roll back takes them: of the nets that the finding names, else of all."""
    rates = {name: optimizer["lr"] for name, optimizer in spec["optimizers"].items() if optimizer}
    named = [name for name in _RATE.findall(message) if name in rates]
    factor = (spec.get("sentinel") or {}).get("lr_factor", 0.5)
    for name in named or rates:
        yield f"optimizers.{name}.lr={rates[name] * factor:g}"


def _drawn(grid: Moment) -> float:
    return int(grid.tag.partition("-")[0], 16) / 1e9


def _words(kind: str, data: Mapping[str, Any]) -> str:
    """What an event says, for a person."""
    match kind:
        case "started":
            resumed = data.get("resumed_from")
            workers = f"{data.get('workers', '?')} worker(s), {data.get('device', '')}"
            return workers + (f", resumed from step {resumed}" if resumed is not None else "")
        case "rolled-back":
            return f"from step {data.get('from_step')} to {data.get('to_step')}: {data.get('reason', '')}"
        case "published":
            return f"{data.get('model')} version {data.get('version')}: {data.get('verdict', '')}"
        case "finished":
            return str(data.get("outcome", ""))
        case _:
            return str(data.get("message") or data.get("reason") or "")


def _count(given: object) -> int:
    return given if isinstance(given, int) and 0 <= given < 2**63 else 0


def summary(found: Sequence[Finding]) -> str:
    """In a line: the newest, and how many more."""
    if not found:
        return ""
    newest, more = found[0], len(found) - 1
    where = f"step {newest.began:,}" + (f" ({short(newest.images)} images)" if newest.images is not None else "")
    told = "A collapse began at" if newest.kind == EventKind.ROLLED_BACK else "A collapse may have begun at"
    return f"{told} {where}" + (f", and {more} more finding{'s' if more != 1 else ''}" if more else "")

"""What stands at the top of a run's page: what it is, and what one may do with it now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from service.bodies.base import Page
from service.bodies.checkpoints import Checkpoint
from service.bodies.jobs import Job
from service.bodies.states import State
from service.context import Context
from service.db import tables
from service.errors import Conflict
from service.jobs import checkpoints, replies
from service.runs import checkpoints as kept
from service.runs import files, keeping, limits, output, store, waiting, wishes
from service.runs.kinds import JOB
from service.runs.limits import limits_of
from service.web.words import without_password
from trainer.spec.limits import period

NO = {
    "ended": "it has ended",
    "stop": "it is being cancelled",
    "pause": "it is being paused",
    "saving": "it is still saving its checkpoint; once it is paused, it can be resumed",
    "paused": "it is paused",
    "going": "it is not paused",
    "leaving": "its process is still leaving the cluster; in a moment",
    "live": "cancel it first",
    "pinned": "unpin its checkpoints first",
    "unsaved": "it has no checkpoint yet",
    "done": "it has succeeded, so neither its turn nor its limits matter any more",
}
WISHES = {"stop": "cancelling", "pause": "pausing"}
FORKED = 10
"""So many of the newest checkpoints are offered to be forked from wherever one is; the list of them offers all."""


@dataclass(frozen=True)
class Head:
    """The run, and what stands around it."""

    run: Job
    row: tables.Job
    why_not: dict[str, str]
    """By what one might do: why it can't be done now; "" if it can."""
    checkpoints: Page[Checkpoint]
    limits: dict[str, str]
    """As they are typed; "": none."""
    report: bool
    mlflow: str | None
    """Where its record is looked at."""

    @property
    def wish(self) -> str:
        """What someone has asked for and is not carried out yet; "": nothing."""
        carried_out = self.run.ended or self.run.state in (State.STOPPING, State.PAUSED)
        return "" if carried_out else WISHES.get(self.run.desired, "")

    @property
    def trains(self) -> bool:
        """Whether its speed is one of now."""
        return self.run.state in (State.RUNNING, State.STOPPING)


def read(ctx: Context, job_id: str) -> Head:
    """Raises NotFound."""
    now = datetime.now(UTC)
    with ctx.db.read() as session:
        row = store.get(session, job_id)
        run = replies.job(row, waiting.fully(session, row, now))
    return Head(
        run=run,
        row=row,
        why_not=_why_not(ctx, row, now),
        checkpoints=keeping.page(ctx, checkpoints.owner(ctx, row), FORKED, None),
        limits=_limits(row),
        report=output.report(ctx.settings, row) is not None,
        mlflow=_record(ctx, row),
    )


def kind_of(session: Session, run_id: str) -> str:
    """`job` or `search`. Raises NotFound."""
    return store.get(session, run_id, None).kind


def _why_not(ctx: Context, row: tables.Job, now: datetime) -> dict[str, str]:
    """As `service.runs.wishes` refuses it, or would find nothing to do."""
    state, folder = State(row.state), files.job_dir(ctx.settings, row.id)
    root = ctx.settings.jobs_root
    asked = "ended" if state.ended else "stop" if row.desired == "stop" else ""
    found = {
        "pause": asked or ("paused" if state is State.PAUSED else "pause" if row.desired == "pause" else ""),
        "cancel": asked,
        "resume": _resume(row, state),
        "delete": "" if store.at_rest(row) else "leaving" if state.ended else "live",
        "fork": "" if kept.newest(folder) or kept.pins(root, folder) else "unsaved",
        "turn": "done" if state is State.SUCCEEDED else "",
    }
    told = {name: NO.get(why, why) for name, why in found.items()}
    if not told["delete"] and kept.pins(root, folder):
        told["delete"] = NO["pinned"]
    told["retry"] = "" if state in (State.FAILED, State.CANCELLED) else _retry(state)
    spent = _spent(row, now) if state in (State.FAILED, State.CANCELLED, State.PAUSED) else ""
    return told | {name: spent for name in ("retry", "resume") if spent and not told[name]}


def _retry(state: State) -> str:
    return f"it {wishes.NOT_RETRIED[state]}" if state in wishes.NOT_RETRIED else "it has not ended"


def _resume(row: tables.Job, state: State) -> str:
    if state.ended or row.desired == "stop":
        return "ended" if state.ended else "stop"
    if row.desired == "pause" and state is not State.PAUSED:
        return "saving" if state.on_ray and row.yields_to is None else ""
    return "" if state is State.PAUSED else "going"


def _spent(row: tables.Job, now: datetime) -> str:
    try:
        limits.refuse_spent(JOB, row, now)
    except Conflict:
        spent = limits.over(row, now) or {}
        return f"it would end at once, {spent.get('reason', '')}; raise that limit first"
    return ""


def _limits(row: tables.Job) -> dict[str, str]:
    def typed(name: str, value: Any) -> str:
        return "" if value is None else period(value) if name in ("wait", "run", "wall") else f"{value:g}"

    return {name: typed(name, value) for name, value in limits_of(row.spec)}


def _record(ctx: Context, row: tables.Job) -> str | None:
    uri = ctx.settings.mlflow_uri or ""
    if row.mlflow_run_id is None or not uri.startswith(("http://", "https://")):
        return None
    return f"{without_password(uri).rstrip('/')}/#/runs/{row.mlflow_run_id}"

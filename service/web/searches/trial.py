"""A trial: what it trains with, how it did, what it drew and saved, and who goes on with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.callers import User
from service.bodies.forks import Lineage
from service.bodies.states import State
from service.context import Ctx
from service.db import tables
from service.runs import files, keeping, lineage, timeline, trials
from service.runs import store as runs
from service.runs.kinds import SEARCH
from service.searches import checkpoints
from service.searches.routes import SearchId, TrialId
from service.web import frame
from service.web.frame import View
from service.web.searches import look
from service.web.searches.look import SECTION, Row
from trainer.search import SearchSpec, TrialRecord
from trainer.search.space import at, trial_spec
from trainer.search.trial import trial_dir
from trainer.spec import SpecError, dump_spec

router = APIRouter(include_in_schema=False)
MOST_SAVED = 50
MOST_CHILDREN = 50


@router.get("/searches/{search_id}/trials/{trial_id}")
def show(
    search_id: SearchId,
    trial_id: TrialId,
    ctx: Ctx,
    caller: User,
    request: Request,
    step: Annotated[int | None, Query(ge=0, lt=10**18)] = None,
    by: Literal["step", "images"] = "step",
) -> Response:
    """One, as part of its search. step: the grid to look at, or the one next to it."""
    with ctx.db.read() as session:
        search = runs.get(session, search_id, SEARCH)
        row = trials.get(session, search, trial_id)
        record = TrialRecord.model_validate(row.record)
        best = trials.standings(session, [search])[search.number].best
        onward = _onward(session, search, record.id)
    found = look.of(search, [Row(record, row.stop)])
    drawn = timeline.of(ctx.settings.jobs_root, trial_dir(files.job_dir(ctx.settings, search.id), record.id))
    newest = drawn.moments[-1] if drawn.moments else None
    saved = keeping.page(ctx, checkpoints.find(search_id, trial_id, ctx), MOST_SAVED, None)
    base, text = _spec(found.spec, record)
    return frame.page(
        request, caller, "searches/trial.html",
        View(f"{record.id} of {search.name}", SECTION, events=f"run={search.id}", scripts=("searches/trial.js",), charts=True),
        search=search, over=State(search.state).ended, trial=record, stop=row.stop, best=best is not None and best.id == record.id,
        found=found, series=_series(record, found.metric), base=base, text=text,
        grids=drawn, shown=newest if step is None else drawn.nearest(step, images=by == "images"), saved=saved.items, onward=onward,
    )  # fmt: skip


def _onward(session: Session, search: tables.Job, trial: str) -> Lineage:
    """The newest jobs that went on with it."""
    asked = select(tables.Job).where(tables.Job.parent == search.id, tables.Job.trial == f"{search.id}/{trial}")
    rows = session.scalars(asked.order_by(tables.Job.number.desc()).limit(MOST_CHILDREN)).all()
    return Lineage(ancestors=(), children=tuple(map(lineage.relative, rows)))


def _series(record: TrialRecord, metric: str) -> list[dict[str, Any]]:
    """The score that trials are compared by and, dashed, each evaluation by itself."""
    images = [result.images for result in record.results]
    smooth = {"label": "score", "images": images, "mean": [result.score for result in record.results]}
    return [
        smooth,
        {"label": metric, "images": images, "mean": [result.value for result in record.results], "dashed": True},
    ]


def _spec(search: SearchSpec | None, record: TrialRecord) -> tuple[dict[str, Any], str]:
    """The base's values of the fields, and the whole of what it trains; nothing of a search of another version."""
    if search is None:
        return {}, ""
    raw, base = search.base.model_dump(mode="json"), {}
    for path in record.current:
        try:
            base[path] = at(raw, path)
        except KeyError:  # a field that the base doesn't have
            continue
    try:
        return base, dump_spec(trial_spec(search, record.current, record.number))
    except (SpecError, KeyError):  # the space was changed since it was drawn
        return base, ""

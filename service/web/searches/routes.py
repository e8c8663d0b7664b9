"""A search, with its trials beside each other in several ways."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BeforeValidator

from service.access.callers import User
from service.context import Ctx
from service.paging import Cursor
from service.runs import files, lineage, trials, waiting
from service.runs import store as runs
from service.runs.kinds import SEARCH
from service.searches import replies
from service.searches.routes import SearchId
from service.searches.store import EXTENSIBLE
from service.web import frame
from service.web.frame import View
from service.web.searches import look, pictures
from service.web.searches.listing import ended
from service.web.searches.look import MOST, MOST_CLONES, MOST_LINES, SECTION
from trainer.search import TrialRecord, TrialState
from trainer.spec.text import write_yaml

router = APIRouter(include_in_schema=False)
blank = BeforeValidator(lambda given: given or None)
"""A form sends its empty fields, too."""
MOST_IMPORTANT = 1000
"""Trials that the importance of fields is worked out from."""
CHILDREN = 20
FEW = 4
"""Trials that are offered to be compared."""


@dataclass(frozen=True)
class Asked:
    """How the trials are to be shown."""

    state: TrialState | None
    sort: str
    images: int | None
    cursor: str | None

    def query(self, **changes: object) -> str:
        """The page's, with other values of these."""
        now = {"state": self.state, "sort": self.sort, "images": self.images, "cursor": self.cursor, **changes}
        kept = {
            name: value for name, value in now.items() if value not in (None, "") and (name, value) != ("sort", "score")
        }
        return f"?{urlencode(kept)}" if kept else "?"


def _asked(
    state: Annotated[TrialState | None, blank] = None,
    sort: Annotated[str, Query(max_length=200)] = look.SCORE,
    images: Annotated[int | None, Query(ge=0, lt=2**63), blank] = None,
    cursor: Cursor = None,
) -> Asked:
    return Asked(state, sort or look.SCORE, images, cursor)


How = Annotated[Asked, Depends(_asked)]


@router.get("/searches/{search_id}")
def show(search_id: SearchId, ctx: Ctx, caller: User, asked: How, request: Request) -> Response:
    """A search, with its trials."""
    with ctx.db.read() as session:
        row = runs.get(session, search_id, SEARCH)
        search = replies.search(
            row, trials.standings(session, [row])[row.number], waiting.fully(session, row, datetime.now(UTC))
        )
        found = look.read(session, row, asked.state, asked.cursor)
        onward = lineage.of(session, search_id, SEARCH, limit=CHILDREN, cursor=None)
    shown = found.by(asked.sort)
    folder = files.job_dir(ctx.settings, row.id)
    steps = pictures.newest(ctx.settings.jobs_root, folder, shown.records)
    sheet = pictures.at(ctx.settings.jobs_root, folder, row.id, found.spec, found.best_first, steps, asked.images)
    return frame.page(
        request, caller, "searches/search.html",
        View(search.name, SECTION, events=f"run={search.id}", scripts=("searches/search.js",), charts=True),
        search=search, asked=asked, found=shown, steps=steps, sheet=sheet, onward=onward, url_of=pictures.url_of, few=FEW,
        beside="/compare?" + urlencode([("run", f"{row.id}/{one.trial.id}") for one in sheet[:FEW]]),
        most_images=max((trial.images for trial in found.records), default=0), ended=ended(search),
        extensible=search.state in EXTENSIBLE, states=list(TrialState), most=MOST, most_lines=MOST_LINES,
        most_clones=MOST_CLONES, text=write_yaml(search.search),
    )  # fmt: skip


@router.get("/searches/{search_id}/importance")
def importance(search_id: SearchId, ctx: Ctx, caller: User, request: Request) -> Response:
    """How much each field matters. It is asked for by itself: what works it out takes seconds to load, once."""
    with ctx.db.read() as session:
        row = runs.get(session, search_id, SEARCH)
        drawn, _ = trials.page(session, row, state=None, by_score=False, limit=MOST_IMPORTANT, cursor=None)
        found = look.of(row, [look.Row(TrialRecord.model_validate(one.record), one.stop) for one in drawn])
    shares, why = found.importances()
    return frame.page(
        request, caller, "searches/importance.html", View(f"What matters in {row.name}", SECTION),
        search=row, shares=shares, why=why, finished=sum(trial.state.ended for trial in found.records),
    )  # fmt: skip

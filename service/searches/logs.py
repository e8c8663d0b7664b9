"""A search's log, which is its driver's, and those of its trials' workers."""

from __future__ import annotations

from fastapi import APIRouter

from service.context import Ctx
from service.runs import files, logbook, store, trials
from service.runs.kinds import SEARCH
from service.runs.logowner import Owner
from service.searches.routes import SearchId, TrialId
from trainer.search.trial import trial_dir

PATH = "/v1/searches/{search_id}/logs"
TRIALS = "/v1/searches/{search_id}/trials/{trial_id}/logs"


def _find(search_id: SearchId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        search = store.get(session, search_id, SEARCH)
    folder = files.job_dir(ctx.settings, search.id)
    return Owner(search, folder, f"search {search.id}", PATH.format(search_id=search.id))


def _find_trial(search_id: SearchId, trial_id: TrialId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        search = store.get(session, search_id, SEARCH)
        trial = trials.get(session, search, trial_id)
    folder = trial_dir(files.job_dir(ctx.settings, search.id), trial.id)
    url = TRIALS.format(search_id=search.id, trial_id=trial.id)
    return Owner(search, folder, f"trial {search.id}/{trial.id}", url, trial.id)


router = APIRouter(tags=["searches"])
logbook.add(router, PATH, _find)
logbook.add(router, TRIALS, _find_trial)

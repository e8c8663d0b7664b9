"""The checkpoints of a search's trials, as those of jobs."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter

from service.context import Ctx
from service.runs import checkpointbook, files, scores, store, trials
from service.runs.keeping import Owner
from service.runs.kinds import SEARCH
from service.searches.routes import SearchId, TrialId
from trainer.search.trial import trial_dir

PATH = "/v1/searches/{search_id}/trials/{trial_id}/checkpoints"


def find(search_id: SearchId, trial_id: TrialId, ctx: Ctx) -> Owner:
    """Raises NotFound."""
    with ctx.db.read() as session:
        search = store.get(session, search_id, SEARCH)
        trial = trials.get(session, search, trial_id)
    folder = trial_dir(files.job_dir(ctx.settings, search.id), trial.id)
    url = PATH.format(search_id=search.id, trial_id=trial.id)
    scored = partial(scores.of_trial, search, trial)
    return Owner(folder, f"trial {search.id}/{trial.id}", url, f"{search.id}-{trial.id}", search.id, scored)


router = APIRouter(tags=["searches"])
checkpointbook.add(router, PATH, find)

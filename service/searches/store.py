"""What is asked of a search beyond what is asked of a job: extend it, stop a trial."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from service.bodies.searches import Extension
from service.bodies.states import State
from service.db.tables import Job, Trial
from service.errors import Conflict
from service.runs import limits, planned, trials
from service.runs import store as runs
from service.runs.kinds import SEARCH
from service.runs.lifecycle import Trigger
from service.searches import draft
from trainer.search import parse_search

EXTENSIBLE = (State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED)


def extend(session: Session, search_id: str, by: Extension) -> Job:
    """Let a search that has ended, or is paused, do more. Raises NotFound, Conflict, Invalid."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    state = State(search.state)
    if state not in EXTENSIBLE:
        raise Conflict(f"search {search_id} is {state}; {', '.join(EXTENSIBLE)} ones can be extended; pause it first")
    spec = draft.extended(parse_search(search.spec), by)
    limits.refuse_spent(SEARCH, search, datetime.now(UTC))
    search.spec, search.spec_digest = spec.model_dump(mode="json"), spec.digest()
    planned.write(session, search)
    runs.put_back(session, search, Trigger.EXTEND, f"extended to {spec.trials} trials", "run")
    return search


def stop_trial(session: Session, search_id: str, trial: str) -> Trial:
    """Write that one trial shall end. Raises NotFound, Conflict."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    if State(search.state).ended:
        trials.get(session, search, trial)
        raise Conflict(f"search {search_id} has {search.state}: none of its trials runs")
    return trials.stop(session, search, trial)

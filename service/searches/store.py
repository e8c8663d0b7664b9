"""What is asked of a search beyond what is asked of a job: pause, resume, extend, stop a trial."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.db.tables import Job, Trial
from service.errors import Conflict
from service.jobs import store as runs
from service.jobs.kinds import SEARCH
from service.jobs.lifecycle import State, Trigger
from service.searches import draft, trials
from service.searches.schemas import Extension
from trainer.search import parse_search

EXTENSIBLE = (State.PAUSED, State.SUCCEEDED, State.FAILED, State.CANCELLED)
RESUMABLE = (State.PAUSED, State.FAILED)
"""A failed one keeps its trials, and what failed it may be mended: a registry that was down. Trials that failed stay so."""


def pause(session: Session, search_id: str) -> Job:
    """Write that the search shall save and end for now. Raises NotFound, Conflict."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    state = State(search.state)
    if state.ended or state is State.PAUSED:
        raise Conflict(f"search {search_id} is {state}; only one that waits or runs can be paused{_instead(state)}")
    if search.desired == "stop":
        raise Conflict(f"search {search_id} is being cancelled; once it is cancelled, extend lets it go on")
    if search.desired != "pause":
        runs.want(search, "pause")
    return search


def resume(session: Session, search_id: str) -> Job:
    """Put a search that is paused, or has failed, back into the queue. Raises NotFound, Conflict."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    state = State(search.state)
    if state not in RESUMABLE:
        raise Conflict(
            f"search {search_id} is {state}; only one that is paused or has failed can be resumed{_not_paused(search)}"
        )
    runs.put_back(session, search, Trigger.RESUME, "resumed", "run")
    return search


def extend(session: Session, search_id: str, by: Extension) -> Job:
    """Let a search that has ended, or is paused, do more. Raises NotFound, Conflict, Invalid."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    state = State(search.state)
    if state not in EXTENSIBLE:
        raise Conflict(f"search {search_id} is {state}; {', '.join(EXTENSIBLE)} ones can be extended; pause it first")
    spec = draft.extended(parse_search(search.spec), by)
    search.spec, search.spec_digest = spec.model_dump(mode="json"), spec.digest()
    runs.put_back(session, search, Trigger.EXTEND, f"extended to {spec.samples} trials", "run")
    return search


def stop_trial(session: Session, search_id: str, trial: str) -> Trial:
    """Write that one trial shall end. Raises NotFound, Conflict."""
    search = runs.get(session, search_id, SEARCH, lock=True)
    if State(search.state).ended:
        trials.get(session, search, trial)
        raise Conflict(f"search {search_id} has {search.state}: none of its trials runs")
    return trials.stop(session, search, trial)


def _not_paused(search: Job) -> str:
    """What became of a pause that was asked for, or what to do instead."""
    state = State(search.state)
    if search.desired != "pause":
        return _instead(state)
    if state.ended:
        return f"; it ended before it could be paused{_instead(state)}"
    return "; it is still saving its trials: try again once it is paused"


def _instead(state: State) -> str:
    if state is State.FAILED:
        return "; resume tries again what failed, extend adds to it"
    return "; extend lets it go on" if state in EXTENSIBLE and state is not State.PAUSED else ""

"""Options of several verbs."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import typer

JobStates = Literal["submitted", "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled"]
"""Those that a job can have: only a search can be paused."""
SearchStates = Literal[
    "submitted", "queued", "starting", "running", "stopping", "paused", "succeeded", "failed", "cancelled"
]
TrialStates = Literal["pending", "running", "paused", "stopped", "completed", "diverged", "failed"]


def _state(of: str, states: object) -> typer.models.OptionInfo:
    names = ", ".join(get_args(states))
    found: typer.models.OptionInfo = typer.Option("--state", metavar="STATE", help=f"Only {of} in this state: {names}.")
    return found


JobState = Annotated[JobStates | None, _state("jobs", JobStates)]
SearchState = Annotated[SearchStates | None, _state("searches", SearchStates)]
TrialState = Annotated[TrialStates | None, _state("trials", TrialStates)]

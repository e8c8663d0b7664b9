"""What of a run may be edited, and when; and how it is written. Pure, but for `write`.

Three kinds of fields may change: what people note about a run, at any time; what the control plane alone goes by, until the run has
ended for good; and where and how it is run, while no attempt of it may be on the cluster. A checkpoint depends on none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.tables import AT_ONCE, Job
from service.errors import Conflict, Invalid
from service.runs import limits, marks, noting, planned
from service.runs.kinds import JOB, SEARCH, Kind, kind_of
from service.runs.noting import NOTED
from service.runs.store import take_turn
from trainer.search import SearchSpec
from trainer.spec import FieldError, JobSpec
from trainer.spec.errors import short
from trainer.spec.identity import identity

ABSENT = object()
DEPENDS = "can't change: what is trained depends on it"
ANOTHER_SEARCH = "submit another search"


class When(Enum):
    """When a field may change."""

    ALWAYS = "at any time"
    LIVE = "until it has ended for good"
    RESTING = "while it waits or is paused"


ALIKE = {
    **dict.fromkeys(NOTED, When.ALWAYS),
    "limits": When.LIVE,
    "limits.no_better_after": When.RESTING,  # which the training asks itself
}
"""Of jobs and searches."""
RULES: Mapping[str, Mapping[str, When]] = {
    JOB.name: {**ALIKE, "queue": When.LIVE, **dict.fromkeys(("resources", "retry", "publish"), When.RESTING)},
    SEARCH.name: {
        **ALIKE,
        "base.queue": When.LIVE,
        **dict.fromkeys(("max_concurrent", "base.resources", "base.retry", "base.publish"), When.RESTING),
    },
}
"""Of each kind the fields, or sections, that may be edited. All others may not."""
EXTENDED = ("trials", "budget")
"""Of a search: these have a call of their own."""
FINAL = {JOB.name: (State.SUCCEEDED,), SEARCH.name: ()}
"""Where a run has ended for good: no call lets it go on."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The paths at which two stored specs differ, with the values of the second; ABSENT where it has none."""
    old, new = dict(flat(before)), dict(flat(after))
    paths = [*new, *(path for path in old if path not in new)]
    return {path: new.get(path, ABSENT) for path in paths if new.get(path, ABSENT) != old.get(path, ABSENT)}


def check(job: Job, spec: JobSpec | SearchSpec, changes: Mapping[str, Any]) -> None:
    """Whether the run, as it is now, may get this spec, which differs so from the one that it has.

    Raises Invalid that names every field that can't be edited at all, Conflict if some can't now.
    """
    if errors := list(_uneditable(job, spec, changes)):
        raise Invalid(errors, "request")
    kind, state = kind_of(job), State(job.state)
    when = {path: _when(kind, path) for path in changes}
    late = [path for path, rule in when.items() if rule is not When.ALWAYS]
    if late and state in FINAL[kind.name]:
        raise Conflict(f"{kind.name} {job.id} has {state}, so {late[0]} changes nothing any more; {_fork(job)}")
    early = [path for path, rule in when.items() if rule is When.RESTING]
    if early and state.on_ray:
        raise Conflict(f"{kind.name} {job.id} is {state}, and {early[0]} can change only {_pause_first(kind, job)}")


def write(session: Session, job: Job, spec: JobSpec | SearchSpec, changes: Collection[str]) -> None:
    """Give the run that spec. The caller holds the row's lock, and has checked it.

    What the queue or the reconciler has decided by the spec before is void: they count the row's revision.
    """
    job.spec, job.spec_digest, job.name = spec.model_dump(mode="json"), spec.digest(), spec.name
    marks.write_labels(session, job)
    sections = {path.partition(".")[0] for path in changes}
    noting.edited(job, sections.intersection(NOTED))
    if sections.issubset(NOTED):
        return
    job.workers, job.worker_cpus, job.worker_gpus = kind_of(job).need(job.spec)
    take_turn(job)
    if "limits" in sections:
        job.warned = ""
    limits.watch(job, datetime.now(UTC))
    planned.edited(session, job, resources=any("resources." in path for path in changes))
    job.revision, job.due_at = job.revision + 1, AT_ONCE if job.watched else job.due_at


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Its fields by dotted path."""
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _when(kind: Kind, path: str) -> When | None:
    """None: never. Of a section and a field in it, the field's rule holds."""
    rules = RULES[kind.name]
    found = [section for section in rules if path == section or path.startswith(f"{section}.")]
    return rules[max(found, key=len)] if found else None


def _uneditable(job: Job, spec: JobSpec | SearchSpec, changes: Mapping[str, Any]) -> Iterator[FieldError]:
    kind = kind_of(job)
    never = {path: value for path, value in changes.items() if _when(kind, path) is None}
    computed = (
        {f"base.{path}" for path in identity(spec.base)} if isinstance(spec, SearchSpec) else identity(spec).keys()
    )
    for path, value in never.items():
        if value is ABSENT and any(other is not ABSENT for other in never.values()):
            continue  # what a section had that is another one now
        depends = path in computed or path.startswith(("space", "base.arch", "arch"))
        message = DEPENDS if depends else "can't be edited"
        shown = "" if value is ABSENT else short(value)
        yield FieldError(path=path, message=message, value=shown, fix=_instead(kind, job, path))


def _instead(kind: Kind, job: Job, path: str) -> str:
    if kind.has_trials:
        extend = path.partition(".")[0] in EXTENDED
        return f"POST /v1/searches/{job.id}/extend changes it" if extend else ANOTHER_SEARCH
    return _fork(job) if job.attempt else "cancel it and submit it anew; nothing of it is trained yet"


def _fork(job: Job) -> str:
    return f'fork it instead: "from": {{"job": "{job.id}"}} in a new job (agon fork {job.id})'


def _pause_first(kind: Kind, job: Job) -> str:
    if job.desired == "pause":
        return f"{When.RESTING.value}; it is being paused: try again once it is paused"
    if job.desired == "stop":
        return f"{When.RESTING.value}; it is being cancelled: try again once it is cancelled"
    return f"{When.RESTING.value}: pause it first (POST {kind.path}/{job.id}/pause), edit it, and resume it"

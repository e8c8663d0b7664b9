"""Edits of runs that there are: what is asked for becomes a whole spec, is checked as at its submission, and is written if the run
is still as it was when it was looked at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import JsonValue
from starlette.concurrency import run_in_threadpool

from service import etags
from service.context import Context
from service.db.tables import Job
from service.elsewhere import Errand
from service.errors import Conflict, Invalid
from service.runs import edits, replies, store
from service.runs.kinds import JOB, SEARCH, Kind
from service.settings import Settings
from service.specs.draft import by_path, check_publish
from trainer.search import SearchSpec, parse_search, with_search_values
from trainer.spec import FieldError, JobSpec, SpecError, parse_spec, with_values
from trainer.spec.errors import short

S = TypeVar("S", JobSpec, SearchSpec)
SPACE = "space"
TRIES = 5
"""So often an edit is made anew because another one came between; each takes as long as its checks."""


@dataclass(frozen=True)
class Editor(Generic[S]):
    """How the runs of one kind are edited."""

    kind: Kind
    read: Callable[[object], S]
    change: Callable[[S, Mapping[str, JsonValue]], S]
    base: str
    """Where the job's spec lies in the run's, with a dot behind it."""
    fits: Callable[[S, Context, Errand], Awaitable[None]]
    """Raises Invalid if the cluster could never hold it."""

    async def edit(
        self, ctx: Context, errand: Errand, run_id: str, values: Mapping[str, JsonValue], if_match: str | None = None
    ) -> Job:
        """The run after the edit; its row is locked only to be written. Raises NotFound, Invalid, Conflict, PreconditionFailed.

        if_match: the edition that it must be of, unless the edit changes nothing any more: it may have been sent again.
        """
        for _ in range(TRIES):
            seen = await run_in_threadpool(self._look, ctx, run_id, values, if_match)
            if not seen.changes:
                return seen.job
            if any(path.startswith(f"{self.base}resources") for path in seen.changes):
                await self.fits(seen.spec, ctx, errand)
            job = await run_in_threadpool(self._write, ctx, seen, if_match)
            if job is not None:
                ctx.ring(job.number)
                return job
        raise Conflict(f"{self.kind.name} {run_id} is being edited by others; try again")

    def _look(self, ctx: Context, run_id: str, values: Mapping[str, JsonValue], if_match: str | None) -> Seen[S]:
        with ctx.db.read() as session:
            job = store.get(session, run_id, self.kind)
        try:
            before = self.read(job.spec)
            spec = self.change(before, values)
        except SpecError as error:
            self._check_edition(job, if_match)  # another's edit may be why
            raise Invalid(error.errors, "edit") from error
        changes = edits.differences(before.model_dump(mode="json"), spec.model_dump(mode="json"))
        if changes:
            self._check_edition(job, if_match)
        edits.check(job, spec, changes)
        if any(path.startswith(f"{self.base}publish") for path in changes):
            self._check_registry(spec, ctx.settings)
        return Seen(job, spec, changes)

    def _check_edition(self, job: Job, if_match: str | None) -> None:
        etags.check(if_match, replies.etag(job), f"{self.kind.name} {job.id}")

    def _check_registry(self, spec: S, settings: Settings) -> None:
        job = spec.base if isinstance(spec, SearchSpec) else spec
        if errors := check_publish(job, settings):
            found = [error.model_copy(update={"path": self.base + error.path}) for error in errors]
            raise Invalid(found, "edit")

    def _write(self, ctx: Context, seen: Seen[S], if_match: str | None) -> Job | None:
        """None if someone else has edited the run since it was seen."""
        with ctx.db.begin() as session:
            job = store.get(session, seen.job.id, self.kind, lock=True)
            if job.spec != seen.job.spec:
                return None
            self._check_edition(job, if_match)
            edits.check(job, seen.spec, seen.changes)
            edits.write(session, job, seen.spec, seen.changes)
            return job


@dataclass(frozen=True)
class Seen(Generic[S]):
    """A run as it was when its edit was checked."""

    job: Job
    spec: S
    """The one that it shall have."""
    changes: Mapping[str, Any]


def _job(spec: JobSpec, values: Mapping[str, JsonValue]) -> JobSpec:
    found, errors = by_path(values, spec)
    return with_values(spec, found.items(), errors)


def _search(search: SearchSpec, values: Mapping[str, JsonValue]) -> SearchSpec:
    found, errors = by_path(values, search)
    for path in [path for path in found if path.partition(".")[0] == SPACE]:  # whose names are paths themselves
        value = short(found.pop(path))
        errors.append(FieldError(path=path, message=edits.DEPENDS, value=value, fix=edits.ANOTHER_SEARCH))
    return with_search_values(search, found.items(), errors)


def of_jobs(fits: Callable[[JobSpec, Context, Errand], Awaitable[None]]) -> Editor[JobSpec]:
    """Of jobs."""
    return Editor(JOB, parse_spec, _job, "", fits)


def of_searches(fits: Callable[[SearchSpec, Context, Errand], Awaitable[None]]) -> Editor[SearchSpec]:
    """Of searches."""
    return Editor(SEARCH, parse_search, _search, "base.", fits)

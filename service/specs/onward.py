"""The spec of a job that goes on with another run: its checkpoint, or the values of a trial."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.bodies.forks import From
from service.bodies.jobs import JobRequest
from service.context import Context
from service.datasets.places import absolute
from service.db.tables import Job
from service.elsewhere import Errand
from service.errors import Conflict, Invalid, NotFound
from service.runs import files, origins, trials
from service.runs import store as runs
from service.runs.kinds import JOB, SEARCH, Kind
from service.runs.origins import Source, Taken
from service.specs import registered
from trainer.errors import BadDataError
from trainer.origin.judge import WEIGHTS, differing, nothing_left
from trainer.search import TrialRecord, parse_search
from trainer.search.space import applied
from trainer.search.trial import trial_dir
from trainer.spec import FieldError, JobSpec, SpecError, parse_spec
from trainer.spec.errors import short
from trainer.spec.identity import identity
from trainer.wire import Fork

TIMES = 10
"""How much longer than the trial the job trains, unless it is told."""
SCRATCH = 'send "from": "scratch" (--scratch), or leave it as it is'


@dataclass(frozen=True)
class Origin:
    """What a job goes on with. `taken` and `fork`: the checkpoint; None: it takes values alone."""

    base: JobSpec
    parent: str | None
    trial: str | None = None
    taken: Taken | None = None
    fork: Fork | None = None
    fix: str = WEIGHTS
    """What to do about a field that can't change."""


async def origin_of(request: JobRequest, ctx: Context, errand: Errand, aside: Path | None = None) -> Origin | None:
    """What the request goes on with; None: nothing. aside: the folder that its checkpoint is to be held in; None: it isn't held.

    Raises Invalid for a run or model that isn't known, Conflict if it has no such checkpoint, Unavailable, OSError.
    """
    begun = request.begun
    if begun is None and request.trial is None:
        return None
    if begun is not None and begun.model is not None:
        begun = await registered.found(begun, ctx, errand)
    return await run_in_threadpool(_origin, request, begun, ctx, aside)


def _origin(request: JobRequest, begun: From | None, ctx: Context, aside: Path | None) -> Origin | None:
    if begun is not None and begun.package is not None:
        return _of_package(ctx, begun.package, begun, aside)
    path = "from." if isinstance(request.from_, From) else ""
    if begun is not None and begun.job is not None:
        return _of_job(ctx, begun.job, begun, path, aside)
    trial = begun.trial if begun is not None else request.trial
    return _of_trial(ctx, trial, begun, path, aside) if trial is not None else None


def check(origin: Origin, spec: JobSpec, told: Collection[str]) -> None:
    """Raises Invalid if the job can't go on with the state that it would take. told: paths that the request sets."""
    if origin.taken is None or origin.fork is None or origin.fork.mode != "state":
        return
    if errors := differing(spec, origin.taken.facts, origin.base, origin.fix):
        raise Invalid(errors, "spec")
    if "train.images" not in told and (error := nothing_left(spec, origin.taken.facts)) is not None:
        raise Invalid([error], "spec")


def _of_job(ctx: Context, job: str, begun: From, path: str, aside: Path | None) -> Origin:
    with ctx.db.read() as session:
        row = _known(session, job, JOB, f"{path}job")
    source = Source(files.job_dir(ctx.settings, row.id), f"job {row.id}")
    taken = origins.take(ctx.settings.jobs_root, source, begun.checkpoint, begun.mode, aside)
    before = Fork.model_validate(row.fork).offset if row.fork else 0
    try:
        base = parse_spec(row.spec)
    except SpecError as error:
        raise Invalid(_unreadable(f"{path}job", job, error), "request") from error
    return Origin(base, row.id, None, taken, _fork(begun, taken, before))


def _of_package(ctx: Context, path: str, begun: From, aside: Path | None) -> Origin:
    path = absolute(path, ctx.settings.data_roots)
    try:
        taken = origins.take_package(path, ctx.settings.access, aside)
    except BadDataError as error:
        raise Invalid([FieldError(path="from.package", message=str(error), value=short(path))]) from error
    return Origin(taken.facts.spec, None, None, taken, _fork(begun, taken, 0).replace(package=path))


def _of_trial(ctx: Context, trial: str, begun: From | None, path: str, aside: Path | None) -> Origin:
    """With its values or, if `begun` says so, its checkpoint; ten times as long, and published as the search's base says."""
    search_id, _, name = trial.partition("/")
    with ctx.db.read() as session:
        row = _known(session, search_id, SEARCH, f"{path}trial", trial)
        try:
            record = TrialRecord.model_validate(trials.get(session, row, name).record)
        except NotFound as error:
            raise Invalid(
                [FieldError(path=f"{path}trial", message=error.detail, value=short(trial))], "spec"
            ) from error
    try:
        search = parse_search(row.spec)
    except SpecError as error:
        raise Invalid(_unreadable(f"{path}trial", trial, error), "request") from error
    base = applied(search.base, search.space, record.current)
    name, images = f"{search.name}-{record.id.replace('-', '')}", TIMES * base.train.images
    if begun is None:
        return Origin(_named(base, name, images), row.id, trial)
    source = Source(trial_dir(files.job_dir(ctx.settings, row.id), record.id), f"trial {trial}")
    try:
        taken = origins.take(ctx.settings.jobs_root, source, begun.checkpoint, begun.mode, aside)
    except Conflict as error:
        if path:
            raise
        if aside is None:  # what its spec would be can be said all the same
            return Origin(_named(base, name, images), row.id, trial)
        raise Conflict(f'{error.detail}; or send "from": "scratch"') from error
    base = _named(_as_trained(base, taken.facts.spec), name, images)
    return Origin(base, row.id, trial, taken, _fork(begun, taken, 0), WEIGHTS if path else SCRATCH)


def _named(spec: JobSpec, name: str, images: int) -> JobSpec:
    return spec.replace(name=name, train=spec.train.replace(images=images))


def _as_trained(spec: JobSpec, theirs: JobSpec) -> JobSpec:
    """With what an older checkpoint of the trial computed: a population's trial may have gone on with other values since."""
    if identity(spec) == identity(theirs):
        return spec
    train = spec.train.replace(**{name: getattr(theirs.train, name) for name in ("batch", "precision", "seed")})
    return spec.replace(
        arch=theirs.arch, objective=theirs.objective, optimizers=theirs.optimizers, ema=theirs.ema, train=train
    )


def _fork(begun: From, taken: Taken, before: int) -> Fork:
    facts = taken.facts
    return Fork(
        mode=begun.mode,
        job=begun.job,
        trial=begun.trial,
        model=begun.model,
        step=facts.step,
        images=facts.images,
        offset=before + (facts.images if begun.mode == "weights" else 0),
        restart=begun.restart,
    )


def _known(session: Session, run_id: str, kind: Kind, path: str, value: str = "") -> Job:
    """Raises Invalid."""
    try:
        return runs.get(session, run_id, kind)
    except NotFound as error:
        raise Invalid([FieldError(path=path, message=error.detail, value=short(value or run_id))], "spec") from error


def _unreadable(path: str, value: str, error: SpecError) -> list[FieldError]:
    message = f"has a spec that this version can't read ({error.errors[0].line()})"
    return [FieldError(path=path, message=message, value=short(value), fix="submit a whole spec instead")]

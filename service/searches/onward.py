"""A job that goes on with a trial: its spec, and the trial's newest checkpoint in the job's folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from service.db.session import Database
from service.errors import Conflict, Invalid, NotFound
from service.jobs import store as runs
from service.jobs.kinds import SEARCH
from service.reconciler import files
from service.searches import trials
from service.settings import Settings
from trainer.search import TrialRecord, parse_search
from trainer.search.space import applied
from trainer.search.trial import trial_dir
from trainer.spec import FieldError, JobSpec, SpecError
from trainer.spec.errors import short
from trainer.spec.identity import identity

TIMES = 10
"""How much longer than the trial the job trains, unless it is told."""
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"
"""Written last, so a checkpoint that has one is complete."""
_STEP = re.compile(r"^step-(\d{9,18})$")


def longer(db: Database, trial: str) -> JobSpec:
    """The trial's spec as a job of its own, ten times as long and published as the search's base says. Raises SpecError."""
    search_id, _, name = trial.partition("/")
    try:
        with db.read() as session:
            row = runs.get(session, search_id, SEARCH)
            record = TrialRecord.model_validate(trials.get(session, row, name).record)
    except NotFound as error:
        raise SpecError([FieldError(path="trial", message=error.detail, value=short(trial))]) from error
    search = parse_search(row.spec)
    spec = applied(search.base, search.space, record.current)
    return spec.replace(
        name=f"{search.name}-{record.id.replace('-', '')}",
        train=spec.train.replace(images=TIMES * spec.train.images),
    )


def refuse_other(trial: JobSpec, job: JobSpec) -> None:
    """Raises Invalid if the job computes something else than the checkpoint that it would begin with."""
    ours, theirs = identity(job), identity(trial)
    fix = 'send "from": "scratch" (--scratch), or leave it as it is'
    errors = [
        FieldError(path=path, message="can't change on the way from a checkpoint", value=short(ours.get(path)), fix=fix)
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]
    if errors:
        raise Invalid(errors, "spec")


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a job's or trial's folder."""
    return next(iter(_complete(folder)), None)


def begin(settings: Settings, job_id: str, trial: str) -> None:
    """Make the job's folder with the trial's newest checkpoint, all at once. Raises Conflict if there is none, OSError."""
    search_id, _, name = trial.partition("/")
    source = trial_dir(files.job_dir(settings, search_id), name)
    aside = settings.jobs_root / f".{job_id}.{secrets.token_hex(6)}"
    (aside / CHECKPOINTS).mkdir(mode=0o700, parents=True)
    try:
        for step in _complete(source):
            if _link(step, aside / CHECKPOINTS / step.name):
                aside.chmod(0o700)
                aside.rename(files.job_dir(settings, job_id))
                return
        raise Conflict(
            f'trial {trial} has no complete checkpoint; wait for its first evaluation, or send "from": "scratch"'
        )
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def discard(settings: Settings, job_id: str) -> None:
    """Remove the folder of a job that was not made after all."""
    shutil.rmtree(files.job_dir(settings, job_id), ignore_errors=True)


def _complete(folder: Path) -> list[Path]:
    """Checkpoints with a manifest, newest first."""
    try:
        steps = [entry for entry in (folder / CHECKPOINTS).iterdir() if _STEP.match(entry.name)]
    except OSError:
        return []
    return sorted(
        (step for step in steps if (step / MANIFEST).is_file()), key=lambda step: int(step.name[5:]), reverse=True
    )


def _link(source: Path, target: Path) -> bool:
    """The checkpoint's files in a second folder: they are never written to again. False if the trial removes it meanwhile."""
    target.mkdir(mode=0o700)
    try:
        for path in source.iterdir():
            try:
                os.link(path, target / path.name)
            except FileNotFoundError:
                raise
            except OSError:  # another file system, or one without hard links
                shutil.copy2(path, target / path.name)
        complete = (target / MANIFEST).is_file()
    except FileNotFoundError:
        complete = False
    if not complete:
        shutil.rmtree(target, ignore_errors=True)
    return complete

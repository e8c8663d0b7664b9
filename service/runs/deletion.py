"""Deleting a run that has ended: its row with all that hangs on it, then its folder and, if asked, its records in MLflow.

The row goes in one transaction, which leaves a row in `deletions`: from then on nobody sees the run, and whatever is left of it
elsewhere is found by that row, which goes last. So a crash between any two steps leaves what `finish` goes on with. Each step
does nothing where it has been done.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Deletion, Job, Token
from service.errors import Conflict
from service.gateway.registry import Registry, RegistryMissingError, RegistryRefusedError, RegistryUnreachableError
from service.runs import accounts, checkpoints, files, numbers
from service.runs.kinds import kind_of
from service.runs.store import at_rest
from service.settings import Settings
from trainer.mirror import copying
from trainer.mirror.place import MirrorError, Place
from trainer.search.trial import TRIALS

DELETED = ".deleted-"
"""What the name of a folder begins with whose run is deleted."""
NAMED = 5
"""At most so many things are named that forbid a deletion."""


def check(settings: Settings, job: Job) -> None:
    """Raise Conflict, with the way out, unless the run may be deleted."""
    kind = kind_of(job)
    if not at_rest(job):
        if State(job.state).ended:
            raise Conflict(f"{kind.name} {job.id} has a driver that is still leaving; delete it in a moment")
        raise Conflict(f"{kind.name} {job.id} is {job.state}; cancel it first: POST {kind.path}/{job.id}/cancel")
    pinned = pins(settings, job)
    if pinned:
        more = f" and {len(pinned) - NAMED} more" if len(pinned) > NAMED else ""
        raise Conflict(
            f"{kind.name} {job.id} has pinned checkpoints; unpin them first: DELETE {', '.join(pinned[:NAMED])}{more}"
        )


def pins(settings: Settings, job: Job) -> list[str]:
    """The paths of its pins."""
    folder, path = files.job_dir(settings, job.id), f"{kind_of(job).path}/{job.id}"
    every = [(folder, path)]
    if kind_of(job).has_trials:
        with suppress(OSError):
            every += [(trial, f"{path}/{TRIALS}/{trial.name}") for trial in sorted((folder / TRIALS).iterdir())]
    return [
        f"{url}/checkpoints/{step}/pin"
        for place, url in every
        for step in sorted(checkpoints.pins(settings.jobs_root, place))
    ]


def begin(session: Session, settings: Settings, job: Job, *, mlflow: bool) -> Deletion:
    """Forget the run. The caller holds the row's lock. Raises Conflict."""
    check(settings, job)
    left = Deletion(
        id=job.id,
        kind=job.kind,
        owner=job.owner,
        mlflow_run_id=job.mlflow_run_id if mlflow else None,
        created_at=datetime.now(UTC),
    )
    session.add(left)
    accounts.remember(session, job)
    numbers.keep(session, job.number)
    session.execute(delete(Token).where(Token.job_id == job.id))
    session.execute(delete(Job).where(Job.number == job.number))  # events, changes, trials, … go with it
    return left


def unfinished(session: Session, after: str = "", limit: int = 100) -> Sequence[Deletion]:
    """Deletions of which something may be left, by id behind `after`."""
    return session.scalars(select(Deletion).where(Deletion.id > after).order_by(Deletion.id).limit(limit)).all()


def finish(db: Database, settings: Settings, registry: Registry | None, deletion: Deletion) -> list[str]:
    """Remove what is left of a deleted run; what can't be removed now, and why, for a person."""
    left = [*_clear(settings, deletion.id), *_forget(registry, deletion), *_from_mirror(settings, deletion.id)]
    if not left:
        with db.begin() as session:
            session.execute(delete(Deletion).where(Deletion.id == deletion.id))
    return left


def folders(settings: Settings, run_id: str) -> tuple[Path, Path]:
    """The run's folder, and its name while it is removed."""
    return files.job_dir(settings, run_id), settings.jobs_root / f"{DELETED}{run_id}"


def _clear(settings: Settings, run_id: str) -> list[str]:
    here, aside = folders(settings, run_id)
    try:
        if here.is_symlink():  # wherever it leads is not the run's
            here.unlink()
        elif here.exists():
            shutil.rmtree(aside, ignore_errors=True)
            here.rename(aside)
        if aside.exists():
            shutil.rmtree(aside)
    except FileNotFoundError:  # another does the same
        return [] if not here.exists() and not aside.exists() else [f"its folder {aside} is being removed"]
    except OSError as error:
        return [f"its folder can't be removed: {error}"]
    return []


def _from_mirror(settings: Settings, run_id: str) -> list[str]:
    if not settings.mirror:
        return []
    try:
        copying.forget(Place(settings.mirror), run_id)
    except MirrorError as error:
        return [f"its second copy: {error}"]
    return []


def _forget(registry: Registry | None, deletion: Deletion) -> list[str]:
    """Records that a version stands on are never deleted, whenever it was registered."""
    record = deletion.mlflow_run_id
    if record is None:
        return []
    if registry is None:
        return ["no MLflow is configured, and its records there were to be deleted, too; set AGON_MLFLOW_URI"]
    try:
        records = registry.records(record, deletion.id)
        standing = {found.record for found in registry.standing_on(records)}
        for found in sorted(set(records) - standing, key=lambda found: found == record):  # its own last
            registry.delete_record(found)
    except (RegistryUnreachableError, RegistryRefusedError, RegistryMissingError) as error:
        return [f"its records in MLflow: {error}"]
    return []

"""The folder of a job that begins with a checkpoint: it has it before anyone can see the job."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.db.session import Database
from service.db.tables import Job
from service.errors import BUSY, NotFound
from service.runs import files, store, submissions
from service.settings import Settings

LEFT_SECONDS = 24 * 3600.0
"""After which a folder aside is one that a process left behind when it was killed: no request takes as long."""


@contextmanager
def aside(settings: Settings, job_id: str) -> Iterator[Path]:
    """A path for the job's folder to be, which is gone afterwards unless `create` has put it into its place."""
    folder = settings.jobs_root / f".{job_id}.{secrets.token_hex(6)}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create(settings: Settings, db: Database, asked: submissions.Submission, folder: Path) -> tuple[Job, bool]:
    """As `submissions.create`, of a job whose checkpoint is held in that folder. Raises as it does, and OSError."""
    _clear(settings.jobs_root)
    place = files.job_dir(settings, asked.id)
    folder.chmod(0o700)
    folder.rename(place)
    try:
        job, new = submissions.create(db, asked)
    except Exception:
        if not _may_be_there(db, asked.id):
            shutil.rmtree(place, ignore_errors=True)
        raise
    if not new:
        shutil.rmtree(place, ignore_errors=True)
    return job, new


def _may_be_there(db: Database, job_id: str) -> bool:
    """Whether its row is, or nobody can tell: what the database answered to its commit may be lost."""
    try:
        with db.read() as session:
            store.get(session, job_id)
    except NotFound:
        return False
    except BUSY:
        return True  # a folder that no job has is garbage a day later
    return True


def _clear(root: Path) -> None:
    """Remove what processes that were killed left aside."""
    for left in root.glob(".j-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

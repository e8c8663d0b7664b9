"""What a run leaves to look at: its report; `samples.py` has its sample grids, `logs.py` its logs."""

from __future__ import annotations

from pathlib import Path

from service.db.tables import Job
from service.runs import files
from service.settings import Settings

REPORT_FILE = "report.html"


def report(settings: Settings, job: Job) -> Path | None:
    """The job's report, or None. Only a regular file that lies in the job's own folder is served."""
    folder = files.job_dir(settings, job.id).resolve()
    path = folder / REPORT_FILE
    inside = folder.is_relative_to(settings.jobs_root.resolve())
    return path if inside and path.is_file() and not path.is_symlink() else None

"""What a job leaves to look at: its log, its sample grids and its report."""

from __future__ import annotations

from pathlib import Path

from service.db.tables import Job
from service.errors import Unavailable
from service.gateway.ray_jobs import RayJobs, RayUnreachableError
from service.jobs.lifecycle import State
from service.reconciler import files
from service.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n"
REPORT_FILE = "report.html"


def log(settings: Settings, ray: RayJobs, job: Job, tail: int | None = None, offset: int = 0) -> str:
    """The newest attempt's log: from Ray while it knows it, else the copy that was kept. Raises Unavailable.

    offset: characters to leave out at the beginning; of the rest, `tail` last lines.
    """
    if job.attempt == 0:
        return ""
    text = files.saved_log(settings, job, job.attempt) if State(job.state).ended else None
    if text is None:
        try:
            text = ray.logs(files.submission_id(job.id, job.attempt))
        except RayUnreachableError as error:
            text = files.saved_log(settings, job, job.attempt)
            if text is None:
                raise Unavailable(f"{error}; the log lies with Ray") from error
    if text is None:
        text = files.saved_log(settings, job, job.attempt) or ""
    text = text[offset:]
    return text if tail is None else "".join(text.splitlines(keepends=True)[-tail:])


def is_kept(settings: Settings, job: Job) -> bool:
    """Whether its log is at hand, or there is none: Ray need not be asked."""
    return job.attempt == 0 or (State(job.state).ended and files.has_saved_log(settings, job))


def newest_samples(settings: Settings, job: Job) -> Path | None:
    """The newest grid, or None. Only regular PNG files that lie in the job's own folder are served."""
    folder = (files.job_dir(settings, job.id) / "samples").resolve()
    if not folder.is_relative_to(settings.jobs_root.resolve()):
        return None
    for path in sorted(folder.glob("step-*.png"), reverse=True):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(len(PNG)) == PNG:
                return path
    return None


def report(settings: Settings, job: Job) -> Path | None:
    """The job's report, or None. Only a regular file that lies in the job's own folder is served."""
    folder = files.job_dir(settings, job.id).resolve()
    path = folder / REPORT_FILE
    inside = folder.is_relative_to(settings.jobs_root.resolve())
    return path if inside and path.is_file() and not path.is_symlink() else None

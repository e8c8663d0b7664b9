"""A run's folder as the reconciler uses it: job.json or search.json, the driver's log, and the log of events that the job writes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from service.body import strict_json
from service.db.tables import Job
from service.errors import BadRequest
from service.runs import ingest, logs
from service.runs.kinds import kind_of
from service.runs.logs import Log
from service.settings import Settings
from trainer import trace
from trainer.plain import plain
from trainer.wire import WireEvent, log_file

EVENTS = "events.jsonl"
MAX_EVENTS = 5_000
MAX_END = 64 * 1024
"""Bytes among which the last lines of a log are looked for."""


def job_dir(settings: Settings, job_id: str) -> Path:
    """The job's folder."""
    return settings.jobs_root / job_id


def submission_id(job_id: str, attempt: int) -> str:
    """Ray's name for an attempt: the same whoever computes it, so nothing starts twice."""
    return f"agon-{job_id}-{attempt}"


def parse_submission_id(text: str) -> tuple[str, int] | None:
    """Job and attempt; None for a name that isn't ours."""
    prefix, _, rest = text.partition("-")
    job_id, _, attempt = rest.rpartition("-")
    return (job_id, int(attempt)) if prefix == "agon" and job_id and attempt.isdigit() else None


def run_file(settings: Settings, job: Job) -> Path:
    """Path of `job.json` or `search.json`."""
    return job_dir(settings, job.id) / kind_of(job).file


def written_token(settings: Settings, job: Job) -> str | None:
    """The token in the run's file, if that is of the job's newest attempt."""
    try:
        content = json.loads(run_file(settings, job).read_bytes())
        return str(content["token"]) if content["attempt"] == job.attempt else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def run_file_draft(settings: Settings, job: Job, token: str) -> Iterator[Callable[[], Path]]:
    """Write the run's file aside, readable by its owner alone; what it yields puts it into its place and returns its path.

    Raises OSError, SpecError.
    """
    folder = job_dir(settings, job.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    common = {
        "job_id": job.id,
        "attempt": job.attempt,
        "job_dir": str(folder),
        "cache_dir": str(settings.cache_dir),
        "shard_cache_dir": str(settings.shard_cache_dir) if settings.shard_cache_dir else None,
        "data_roots": settings.data_roots,
        "private_hosts": settings.private_hosts,
        "api_url": settings.api_url,
        "token": token,
        "mlflow_uri": settings.mlflow_uri,
        "noted": job.noted,
        "mirror": settings.mirror or None,
        "told": job.acked,
        "max_nodes": settings.max_nodes,
        "nodes_seconds": settings.nodes_seconds,
        "traceparent": _traceparent(job),
        "mlflow_experiment": settings.mlflow_experiment,
    }
    path = run_file(settings, job)
    with _draft(path, kind_of(job).content(job, common).model_dump_json(indent=2)) as draft:
        yield lambda: draft.replace(path)


def _traceparent(job: Job) -> str | None:
    """Of an attempt: in the trace of the run's submission, below what hands it over."""
    before = trace.parse(job.traceparent)
    here = trace.current()
    if before is None:
        return None
    return str(here if here is not None and here.id == before.id else before.child())


def save_log(settings: Settings, job: Job, attempt: int, text: str) -> None:
    """Keep what Ray has of an attempt's log, unless the driver has written one itself: that is never overwritten. Raises OSError."""
    folder = job_dir(settings, job.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = log_path(settings, job.id, attempt)
    with _draft(path, text) as draft:
        if path.is_symlink():  # nobody's log, wherever it leads
            path.unlink()
        try:
            os.link(draft, path)  # unlike a rename, this replaces nothing
        except FileExistsError:
            return
        except OSError:  # a file system without links
            if not path.exists():
                draft.replace(path)


def log_path(settings: Settings, job_id: str, attempt: int) -> Path:
    """Where the log of an attempt's driver lies: the driver writes there itself once it can, and what Ray has of one that
    never could is kept there."""
    return job_dir(settings, job_id) / log_file(attempt)


def driver_log(settings: Settings, job: Job, attempt: int) -> Log:
    """What the driver of an attempt printed."""
    return Log(settings.jobs_root, job_dir(settings, job.id), attempt)


def has_log(settings: Settings, job: Job, attempt: int) -> bool:
    """Whether the log of an attempt is in the job's folder."""
    return driver_log(settings, job, attempt).exists()


def end_of_log(settings: Settings, job: Job, attempt: int, lines: int) -> str:
    """Its last lines, as a database and a terminal may have them; empty if there is no log."""
    return plain(logs.tail(driver_log(settings, job, attempt), lines, MAX_END).text).rstrip()


@contextmanager
def _draft(path: Path, text: str) -> Iterator[Path]:
    """A file beside `path` with that text, on the disk; gone afterwards unless it was renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


class EventLog:
    """Reads the jobs' own logs of events from where it stopped, for jobs that can't reach the API."""

    def __init__(self) -> None:
        self._offsets: dict[Path, int] = {}

    def after(self, path: Path, acked: int) -> list[WireEvent]:
        """Events behind `acked`, in order; a line that is torn or damaged ends it."""
        found: list[WireEvent] = []
        offset = self._offsets.get(path, 0)
        for line in _lines(path, offset):
            event = _event(line)
            if event is None or len(found) == MAX_EVENTS:
                break
            if event.seq > acked:
                found.append(event)
            elif not found:
                offset += len(line)
        self._offsets[path] = offset
        return found

    def forget(self, path: Path) -> None:
        """The job has ended."""
        self._offsets.pop(path, None)


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                offset = 0
            file.seek(offset)
            yield from file
    except OSError:
        return


def _event(line: bytes) -> WireEvent | None:
    try:
        strict_json(line)  # what the API would refuse, the database can't hold
        event = WireEvent.model_validate_json(line)
    except (BadRequest, ValidationError):
        return None
    return event if line.endswith(b"\n") and ingest.storable(event) else None

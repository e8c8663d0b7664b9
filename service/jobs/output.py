"""What a job leaves to look at: its log, its sample grids and its report."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.db.tables import Job
from service.errors import Unavailable
from service.gateway.ray_jobs import RayJobs, RayUnreachableError
from service.reconciler import files
from service.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n"
REPORT_FILE = "report.html"
MAX_PIECE = 1_000_000
"""Bytes of a log in one answer to whoever follows it."""
LONGEST_CHARACTER = 4
"""Bytes, in UTF-8."""
MAX_TAIL = 4_000_000
"""Bytes among which a log's last lines are looked for."""


@dataclass(frozen=True)
class Piece:
    """A part of a log."""

    text: str
    end: int = 0
    """Bytes of the log up to the end of this part: the offset of the next."""


def log(
    settings: Settings, ray: RayJobs, job: Job, attempt: int, tail: int | None = None, offset: int | None = None
) -> Piece:
    """Of the log of an attempt: its `tail` last lines, what lies behind `offset` (at most MAX_PIECE bytes), or all of it.

    It lies in the job's folder once the driver has begun; before that Ray may have something. Raises Unavailable.
    """
    if attempt == 0:
        return Piece("")
    if files.has_log(settings, job, attempt):
        with files.log_path(settings, job.id, attempt).open("rb") as file:
            return _cut(file, tail, offset)
    try:
        text = ray.logs(files.submission_id(job.id, attempt)) or ""
    except RayUnreachableError as error:
        raise Unavailable(f"{error}; the log lies with Ray") from error
    return _cut(io.BytesIO(text.encode()), tail, offset)


def whole(settings: Settings, job: Job, attempt: int) -> tuple[Iterator[bytes], int]:
    """All of a log that lies in the job's folder, piece by piece, as long as it is now; and where to go on. Raises OSError."""
    path = files.log_path(settings, job.id, attempt)
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_CHARACTER))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(file.read(LONGEST_CHARACTER))
        end = file.tell() - len(decoder.getstate()[0])

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(min(MAX_PIECE, end - file.tell())):
                yield piece

    return pieces(), end


def _cut(file: BinaryIO, tail: int | None, offset: int | None) -> Piece:
    size = file.seek(0, os.SEEK_END)
    if tail is not None and offset is None:
        offset = max(0, size - MAX_TAIL)
    begin = min(offset or 0, size)
    file.seek(begin)
    data = file.read(MAX_PIECE if tail is None and offset is not None else size - begin)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    end = begin + len(data) - len(decoder.getstate()[0])  # a character that is cut in two comes with the next part
    return Piece(text if tail is None else "".join(text.splitlines(keepends=True)[-tail:]), end)


def is_kept(settings: Settings, job: Job, attempt: int) -> bool:
    """Whether that log is at hand, or there is none: Ray need not be asked."""
    return attempt == 0 or files.has_log(settings, job, attempt)


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

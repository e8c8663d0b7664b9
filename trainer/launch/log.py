"""Where a driver's output goes: into the job's folder, from where the control plane serves it by offset.

Ray keeps the output of its jobs on the head's disk, gives it whole or not at all, and forgets it with its session. Lines of
the workers come to the driver (Ray's `log_to_driver`), so the file has those, too.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from trainer.wire import RunFile, log_file


def say(text: str, to: TextIO | None = None) -> None:
    """A line of the log. One that can't be written (the disk is full, the shared folder is away) is lost, and nothing else."""
    with suppress(OSError):
        print(text, file=to or sys.stdout, flush=True)


def keep(file: RunFile) -> None:
    """From now on, what this process and its children print goes to `driver-N.log` in the run's folder (N: its attempt).

    Appends, so that a driver that Ray starts twice loses nothing. Where the file can't be opened all stays as it is.
    """
    path = Path(file.job_dir) / log_file(file.attempt)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        print(f"the log stays here, with Ray: {error}", flush=True)  # noqa: T201
        return
    print(f"the log goes on in {path}", flush=True)  # noqa: T201
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)

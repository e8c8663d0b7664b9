"""Where the output of a run's processes goes: into its folder, from where the control plane serves it, by attempt and rank.

Ray keeps the output of its processes on their nodes' disks, gives it whole or not at all, and forgets it with its session.
Lines of the workers come to the driver, too (Ray's `log_to_driver`), as far as it lives and they aren't too many.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

from trainer.launch.output import Output, be_patient
from trainer.wire import RunFile, log_file

_KEPT: dict[str, Output] = {}
"""Of this process: at most one, by the path of its first part."""


def say(text: str, to: TextIO | None = None) -> None:
    """A line of the log. One that can't be written (the disk is full, the shared folder is away) is lost, and nothing else."""
    with suppress(OSError):
        print(text, file=to or sys.stdout, flush=True)


def keep(file: RunFile) -> None:
    """From now on, what this process and its children print goes to the driver's log of the run's attempt.

    Appends, so that a driver that Ray starts twice loses nothing. Where the file can't be opened all stays as it is.
    """
    name = partial(log_file, file.attempt, None)
    say(f"the log goes on in {Path(file.job_dir) / name(1)}")
    _keep(Path(file.job_dir), name, f"driver of attempt {file.attempt}", echo=False)


def keep_rank(job_dir: str, attempt: int, rank: int, world: int) -> None:
    """The same for one of `world` workers; what it prints goes to where it went before, too.

    A process that becomes another worker, as a search's do, then keeps that one's.
    """
    faulthandler.enable(2)  # of all threads: a crash shows where each of them was
    name = partial(log_file, attempt, rank)
    _keep(Path(job_dir), name, f"rank {rank} of {world}, attempt {attempt}", echo=True)


def settle() -> None:
    """Pass on what a worker has printed just now: its process may be ended at any time."""
    for kept in _KEPT.values():
        kept.look()


atexit.register(settle)


def _keep(folder: Path, name: Callable[[int], str], who: str, *, echo: bool) -> None:
    first = str(folder / name(1))
    if first in _KEPT:
        return
    for former in [*_KEPT]:
        _KEPT.pop(former).end()
    kept = Output(folder, name, echo=echo)
    here = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        kept.begin(f"{who}: {here}, {datetime.now(UTC).isoformat(timespec='seconds')}")
    except OSError as error:
        say(f"the log stays here, with Ray: {error}")
        return
    be_patient()
    _KEPT[first] = kept

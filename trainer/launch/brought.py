"""A driver whose folder is empty though its run isn't new: on another cluster, or after the volume was lost. It goes on with the copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trainer.launch import log
from trainer.mirror.bringing import MARK, bring_back
from trainer.mirror.place import MirrorError, Place
from trainer.origin.place import held
from trainer.sinks.spool import ACKED_FILE, read_cursor, write_cursor
from trainer.wire import JobFile, RunFile

PATIENCE_SECONDS, PAUSE_SECONDS = 600.0, 10.0
"""How long an attempt waits for a store that is away, and between two tries: its folder is nowhere else."""


def bring(run: RunFile, sleep: Callable[[float], None] = time.sleep) -> None:
    """Before anything is written into the folder. Raises MirrorError, OSError: to begin anew instead would be another training."""
    folder = Path(run.job_dir)
    if run.mirror is None or (folder / MARK).exists():
        return
    lacks_origin = isinstance(run, JobFile) and run.fork is not None and held(folder) is None
    fresh = run.attempt == 1 and run.told == 0 and not lacks_origin
    try:
        said = _brought(folder, run.mirror, run.job_id, 0.0 if fresh else PATIENCE_SECONDS, sleep)
    except MirrorError as error:
        if not fresh:
            raise
        log.say(
            f"whether there is a copy of it is not known, and it is new: {error}"
        )  # no bucket keeps a new run from starting
        return
    for words in said:
        log.say(words)
    if not said and run.told:
        raise MirrorError(f"it has told {run.told} events, and neither {folder} nor {run.mirror} has anything of it")
    if run.told > read_cursor(folder / ACKED_FILE):
        # The copy is some older than what was told: a number that was used is never used again.
        write_cursor(folder / ACKED_FILE, run.told)


def _brought(folder: Path, url: str, prefix: str, patience: float, sleep: Callable[[float], None]) -> list[str]:
    end = time.monotonic() + patience
    while True:
        try:
            return bring_back(folder, Place(url), prefix)
        except MirrorError as error:
            if time.monotonic() + PAUSE_SECONDS >= end:
                raise
            log.say(f"its folder can't be brought back now, trying again: {error}")
            sleep(PAUSE_SECONDS)

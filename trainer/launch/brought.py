"""A driver whose folder is empty though its run isn't new: on another cluster, or after the volume was lost. It goes on with the copy."""

from __future__ import annotations

from pathlib import Path

from trainer.launch import log
from trainer.mirror.bringing import bring_back
from trainer.mirror.place import Place
from trainer.sinks.spool import ACKED_FILE, read_cursor, write_cursor
from trainer.wire import JobFile, RunFile


def bring(run: RunFile) -> None:
    """Before anything is written into the folder. Raises MirrorError, OSError: to begin anew instead would be another training."""
    fresh = run.attempt == 1 and not (isinstance(run, JobFile) and run.fork)
    if run.mirror is None or fresh:
        return
    folder = Path(run.job_dir)
    said = bring_back(folder, Place(run.mirror), run.job_id)
    for words in said:
        log.say(words)
    if said and run.told > read_cursor(folder / ACKED_FILE):
        # The copy is some older than what was told: a number that was used is never used again.
        write_cursor(folder / ACKED_FILE, run.told)

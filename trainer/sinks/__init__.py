"""What listens to the loop's events: console, sample grids, the event spool with its push and MLflow.

>>> listeners = sinks.for_job(job, distributed)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.engine.distributed import Distributed
    from trainer.engine.events import Listener
    from trainer.wire import JobFile


def for_job(job: JobFile, distributed: Distributed) -> list[Listener]:
    """The job's listeners: rank 0 shows, draws and reports; the other ranks listen to nothing here."""
    if not distributed.is_main:
        return []
    # The driver, which imports no torch, needs this package's spool and push.
    from trainer.sinks.console import ConsoleSink
    from trainer.sinks.events import EventSink
    from trainer.sinks.samples import SampleGrids

    return [ConsoleSink(), SampleGrids(job.spec, Path(job.job_dir)), EventSink(job)]

"""What listens to the loop's events: console, sample grids, the event spool with its push and MLflow.

>>> listeners = sinks.for_job(job, distributed)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.engine.events import Listener
from trainer.sinks.console import ConsoleSink
from trainer.sinks.events import EventSink
from trainer.sinks.report import Reporter
from trainer.sinks.samples import SampleGrids
from trainer.wire import JobFile

if TYPE_CHECKING:
    from trainer.engine.distributed import Distributed

__all__ = ["ConsoleSink", "EventSink", "Reporter", "SampleGrids", "for_job"]


def for_job(job: JobFile, distributed: Distributed) -> list[Listener]:
    """The job's listeners: rank 0 shows, draws and reports; the other ranks listen to nothing here."""
    if not distributed.is_main:
        return []
    return [ConsoleSink(), SampleGrids(job.spec, Path(job.job_dir)), EventSink(job)]

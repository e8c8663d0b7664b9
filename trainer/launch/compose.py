"""All the wiring of one training, the same for a laptop and for a Ray worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainer import sinks
from trainer.checkpoint import Checkpointer, restore
from trainer.data.stream import open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Listener, Outcome
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState
from trainer.evaluate import Evaluator
from trainer.publish import Publisher
from trainer.report.listener import Reporting
from trainer.wire import JobFile

CHECKPOINTS = "checkpoints"


def train(job: JobFile, distributed: Distributed, extra: Sequence[Listener] = ()) -> Outcome:
    """Train the job in this process, one of `distributed.world`, from its newest checkpoint or from the start.

    In order: open the data (rank 0 first, because a builtin set is packed on first use) · build the state · restore ·
    attach the listeners (sinks, Checkpointer, Evaluator, Publisher, Reporting, `extra`) · run the loop · close every
    listener, also after a failure. Raises TrainingError and whatever a listener raises; `trainer.errors.classify` names
    the kind.
    """
    spec, directory = job.spec, Path(job.job_dir) / CHECKPOINTS
    with distributed.main_first():
        dataset = open_dataset(spec, cache_dir=Path(job.cache_dir), roots=job.data_roots)
    state = TrainState.create(spec, distributed)
    state.extras["dataset"] = dataset.manifest.digest
    restored = restore(state, directory, distributed)
    listeners = [
        *sinks.for_job(job, distributed),
        Checkpointer(directory, spec, restored.warnings),
        Evaluator(spec, dataset, Path(job.cache_dir), job.data_roots),
        Publisher(job, dataset),
        Reporting(job, dataset),
        *extra,
    ]
    with closing(listeners):
        return Loop(spec, state, distributed, dataset, listeners).run()


@contextmanager
def closing(listeners: Sequence[Listener]) -> Iterator[None]:
    """Close every listener at the end, the last first, even if another's `close` raises."""
    with ExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        yield

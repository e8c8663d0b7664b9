"""All the wiring of one training, the same for a laptop and for a Ray worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainer import sinks
from trainer.checkpoint import Checkpointer, RollBacks, restore
from trainer.data.stream import Dataset, open_dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Listener, Outcome
from trainer.engine.loop import Loop
from trainer.engine.memory import give_back
from trainer.engine.state import TrainState
from trainer.errors import CollapsedError, NonFiniteError
from trainer.evaluate import Evaluator
from trainer.launch import rollback
from trainer.launch.beginning import begin, check
from trainer.launch.plateau import Plateau
from trainer.publish import Publisher
from trainer.report.listener import Reporting
from trainer.sentinel import Sentinel
from trainer.wire import JobFile


def train(job: JobFile, distributed: Distributed, extra: Sequence[Listener] = ()) -> Outcome:
    """Train the job in this process, one of `distributed.world`, from its newest checkpoint or from the start.

    In order: see that a fork's nets can be taken · open the data (rank 0 first, because a builtin set is packed on first use) ·
    build the state · restore, or begin with what a fork took · attach the listeners (sinks, Checkpointer, Sentinel, Evaluator,
    Publisher, Reporting, `extra`) · run the loop · close every listener, also after a failure. With `sentinel.policy: rollback` a
    collapse is recorded and the rest begins again, as after a restart; sinks and `extra` live on and hear `RunStarted` again.
    Raises TrainingError and whatever a listener raises; `trainer.errors.classify` names the kind.
    """
    spec = job.spec
    check(job)
    with distributed.main_first():
        shards = Path(job.shard_cache_dir) if job.shard_cache_dir is not None else None
        dataset = open_dataset(spec, cache_dir=Path(job.cache_dir), access=job.access, shard_cache=shards)
    lasting = sinks.for_job(job, distributed)
    try:
        with closing([*lasting, *extra]):
            while True:
                sentinel = Sentinel(spec, spec.sentinel) if spec.sentinel else None
                record = rollback.shared(job, distributed)
                try:
                    return _run(job, dataset, distributed, record, sentinel, lasting, extra)
                except (CollapsedError, NonFiniteError) as error:
                    if sentinel is None or not rollback.wanted(spec):
                        raise
                    rollback.give_up(job, distributed, record, sentinel, error)
                distributed.forget()
    finally:
        give_back()  # a search's processes live on, and train other trials


def _run(
    job: JobFile,
    dataset: Dataset,
    distributed: Distributed,
    record: RollBacks,
    sentinel: Sentinel | None,
    lasting: Sequence[Listener],
    extra: Sequence[Listener],
) -> Outcome:
    """One run: until the end, or until an error; no listener of it outlives it."""
    spec, directory = job.spec, rollback.checkpoints(job)
    state = TrainState.create(spec, distributed, record.correction)
    state.extras["dataset"] = dataset.manifest.digest
    restored = restore(state, directory, distributed)
    warnings = [*restored.warnings, *(begin(job, state) if restored.path is None else [])]
    own: list[Listener] = [
        Checkpointer(directory, spec, warnings),
        *([sentinel] if sentinel else []),
        Evaluator(spec, dataset, Path(job.cache_dir), job.access),
        Plateau(spec),
        Publisher(job, dataset),
        *([] if job.is_trial else [Reporting(job, dataset)]),  # a search has one report of all its trials
    ]
    with closing(own):
        loop = Loop(spec, state, distributed, dataset, [*lasting, *own, *extra])
        for event in rollback.news(record, restored.rollbacks):
            loop.emit(event)
        outcome = loop.run()
    if sentinel is not None and sentinel.collapse is not None:
        raise CollapsedError(sentinel.collapse)
    return outcome


@contextmanager
def closing(listeners: Sequence[Listener]) -> Iterator[None]:
    """Close every listener at the end, the last first, even if another's `close` raises."""
    with ExitStack() as stack:
        for listener in listeners:
            stack.callback(listener.close)
        yield

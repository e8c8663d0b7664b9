"""What a launcher reports itself, outside of any training loop: waiting, restarts, and how the run ended.

Only the launcher knows the end: every worker has closed, or died before it could say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from trainer.sinks.mlflow import MlflowSink
from trainer.sinks.push import Pusher
from trainer.sinks.spool import Spool
from trainer.wire import EventKind, FailureKind, JobFile, RunFile

PUSH_SECONDS = 30.0
MLFLOW_SECONDS = 60.0
"""How long the end of a run waits for its receivers; what does not arrive stays in the spool."""


class Reporter:
    """Writes a launcher's own events to the job's spool and delivers them. A context manager; closing delivers."""

    def __init__(self, job: RunFile) -> None:
        self._job = job
        self._spool = Spool(Path(job.job_dir))
        self._pusher: Pusher | None = None

    @property
    def last_seq(self) -> int:
        """Highest event number when this reporter last wrote."""
        return self._spool.last_seq

    @property
    def desired(self) -> Literal["run", "stop"]:
        """What the control plane wanted when it last answered this reporter."""
        return self._pusher.desired if self._pusher else "run"

    @property
    def stop_trials(self) -> tuple[str, ...]:
        """Trials that shall end, as the control plane said when it last answered."""
        return self._pusher.stop_trials if self._pusher else ()

    @property
    def hold(self) -> bool:
        """Whether a search shall start no further trial, as the control plane said when it last answered."""
        return self._pusher.hold if self._pusher else False

    def say(
        self,
        event: EventKind,
        fields: Mapping[str, Any] | None = None,
        *,
        step: int | None = None,
        images: int | None = None,
        **data: Any,
    ) -> None:
        """Spool one event and see to it that it is delivered soon. `fields`: data whose names are arguments here.

        Without `step` and `images` it is where the newest event is.
        """
        self._spool.append(self._job.attempt, event, step=step, images=images, data={**(fields or {}), **data})
        self.wake()

    def wake(self) -> None:
        """Deliver, and hear what is wanted, until `rest`."""
        if self._job.api_url and self._pusher is None:
            self._pusher = Pusher(self._spool, self._job)
            self._pusher.start()

    def rest(self) -> None:
        """Stop delivering until there is something to say again: the workers deliver now."""
        if self._pusher is not None:
            self._pusher.close(0.0)
            self._pusher = None

    def finished(self, outcome: Literal["completed", "stopped"]) -> None:
        """The run ended as it should."""
        self.say(EventKind.FINISHED, outcome=outcome)

    def failed(self, kind: FailureKind, reason: str, rank: int | None = None) -> None:
        """The run ended otherwise. rank: the worker whose log says more."""
        self.say(EventKind.FAILED, {} if rank is None else {"rank": rank}, kind=kind, reason=reason)

    @contextmanager
    def told_of_failure(self, classify: Callable[[BaseException], tuple[FailureKind, str]]) -> Iterator[None]:
        """Report an exception of the block, and let it pass."""
        try:
            yield
        except Exception as error:
            self.failed(*classify(error))
            raise

    def close(self) -> None:
        """Deliver what is left: to the control plane first, then to MLflow."""
        if self._pusher is not None:
            self._pusher.close(PUSH_SECONDS)
        if self._job.mlflow_uri and isinstance(self._job, JobFile):  # a search's own run is its driver's
            sink = MlflowSink(self._spool, self._job)
            sink.start()
            sink.close(MLFLOW_SECONDS)
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

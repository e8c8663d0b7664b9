"""The platform's side: a stack of its own, and each training as a job of it that is found again instead of started twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from service import local
from service.cli.stack import Board
from service.cli.watch import watch
from service.client import Client, Job
from service.stack.layout import Layout
from service.stack.parts import WARM_ENV, Config
from service.stack.ports import Ports
from trainer.spec import Checkpointing, JobSpec, SpecError, parse_spec

ATTEMPTS = 50
"""A training of hours is to survive every restart of the machine that it meets."""


class JobEnded(Exception):  # noqa: N818 — reads as what it is
    """A job failed or was cancelled, so there is nothing to evaluate."""


class Api(Protocol):
    """What is needed of `service.client.Client`."""

    def every_job(self, **filters: Any) -> Iterator[Job]: ...
    def submit(self, spec: JobSpec, *, idempotency_key: str | None = None) -> Job: ...
    def job(self, job: str) -> Job: ...


def find_or_submit(api: Api, spec: JobSpec) -> tuple[Job, bool]:
    """The newest job of exactly this training that runs, waits or has succeeded; else a new one. Second value: it is new.

    Two commands that ask at once get one job: the idempotency key is made of the spec's digest and of how many such
    jobs have failed or were cancelled before.
    """
    ended = 0
    for job in api.every_job(name=spec.name):
        if _training(job.spec) != _training(spec.model_dump(mode="json")):
            continue
        if job.state not in ("failed", "cancelled"):
            return job, False
        ended += 1
    key = f"reproduce-{spec.digest()}-{ended}"
    return api.submit(spec, idempotency_key=key), True


def _training(raw: dict[str, Any]) -> JobSpec | None:
    """What is trained. None for a spec of another version.

    Without the data's digest, which the API fills in, and without what is kept of the training on the way: a job that
    keeps fewer states is the same training, and hours of it are not repeated for that.
    """
    try:
        spec = parse_spec(raw)
    except SpecError:
        return None
    return spec.replace(data=spec.data.replace(digest=None), checkpoint=Checkpointing())


class Platform:
    """The stack below `home`. Started when the first job needs it; jobs go on in it when this process ends."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home.absolute())
        self._client: Client | None = None

    @property
    def data(self) -> Path:
        """Folder that jobs may read data from."""
        return self.layout.home / "data"

    def job_folder(self, job_id: str) -> Path:
        """Where the job's checkpoints, events and package lie."""
        return self.layout.home / "jobs" / job_id

    def submit(self, spec: JobSpec) -> tuple[Job, bool]:
        """As `find_or_submit`, on the stack, which is started if it does not run."""
        with self._held():
            return find_or_submit(self._up(), spec)

    def follow(self, job: Job) -> Job:
        """Show the job's progress until it has ended. Raises JobEnded unless it succeeded."""
        done = watch(self._up(), job)
        if done.state != "succeeded":
            why = f"{done.failure.kind}: {done.failure.reason}" if done.failure else done.reason
            raise JobEnded(
                f"job {done.id} {done.state}: {why} (its folder: {self.job_folder(done.id)}); the same command starts another"
            )
        return done

    def leave(self) -> bool:
        """Stop the stack unless one of its jobs is not at its end yet. True if it was stopped."""
        with self._held():
            if self._client is None or any(not job.ended for job in self._client.every_job()):
                return False
            self._client.close()
            self._client = None
            return local.down(self.layout) > 0

    def _up(self) -> Client:
        if self._client is None:
            os.environ.setdefault(WARM_ENV, "0")  # warm processes save seconds; a training of hours wants their memory
            with Board() as board:
                record = local.up(Config(self.layout, Ports.free()), board.report).record
            self._client = Client(record.api_url, self.layout.token.read_text().strip(), patience=120.0)
        return self._client

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Between `up` and the submitted job, no other command may find the stack idle and stop it."""
        self.layout.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.layout.home / "reproduce.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

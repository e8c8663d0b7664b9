"""A Ray that runs nothing: behaves as the real Jobs API does (the contract tests hold both to it), and does what a test tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import RLock

from service.gateway.ray_jobs import Node, RayAwayError, RayFailedError, RayJob, RayRefusedError, RayStatus


class FakeRay:
    """In memory. `before` and `after` run around each call and may raise, as a network or a killed process would."""

    def __init__(self, cpus: float = 2.0, gpus: float = 0.0) -> None:
        self.cluster = [Node("node-1", cpus, cpus, gpus, gpus)]
        self.jobs: dict[str, RayJob] = {}
        self.output: dict[str, str] = {}
        self.entrypoints: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.starts: list[str] = []
        """Submission ids in the order in which drivers really started."""
        self.unreachable = False
        self.refuse = ""
        self.fail = ""
        """What every submission ends in, as an error of Ray's own."""
        self.before: Callable[[str, str], None] = lambda call, submission_id: None
        self.after: Callable[[str, str], None] = lambda call, submission_id: None
        self._lock = RLock()

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """See RayJobs."""
        self._enter("submit", submission_id)
        with self._lock:
            if self.refuse and submission_id not in self.jobs:
                raise RayRefusedError(self.refuse)
            if self.fail and submission_id not in self.jobs:
                raise RayFailedError(self.fail)
            if submission_id not in self.jobs:
                self.jobs[submission_id] = RayJob(submission_id, RayStatus.PENDING, "Job has not started yet.")
                self.entrypoints[submission_id] = entrypoint
                self.starts.append(submission_id)
        self.after("submit", submission_id)

    def status(self, submission_id: str) -> RayJob | None:
        """See RayJobs."""
        self._enter("status", submission_id)
        found = self.jobs.get(submission_id)
        self.after("status", submission_id)
        return found

    def stop(self, submission_id: str) -> None:
        """See RayJobs."""
        self._enter("stop", submission_id)
        with self._lock:
            job = self.jobs.get(submission_id)
            if job is not None and not job.status.ended:
                self.jobs[submission_id] = replace(
                    job, status=RayStatus.STOPPED, message="Job was intentionally stopped."
                )
        self.after("stop", submission_id)

    def logs(self, submission_id: str) -> str | None:
        """See RayJobs."""
        self._enter("logs", submission_id)
        return self.output.get(submission_id, "") if submission_id in self.jobs else None

    def submissions(self) -> list[RayJob]:
        """See RayJobs."""
        self._enter("submissions", "")
        return list(self.jobs.values())

    def nodes(self) -> list[Node]:
        """See RayJobs."""
        self._enter("nodes", "")
        return list(self.cluster)

    def ping(self) -> None:
        """See RayJobs."""
        self._enter("ping", "")

    def close(self) -> None:
        """Nothing to close."""

    def move(self, submission_id: str, status: RayStatus, *, message: str = "", exit_code: int | None = None) -> None:
        """What the driver does."""
        with self._lock:
            self.jobs[submission_id] = RayJob(submission_id, status, message, exit_code)

    def forget(self) -> None:
        """The head is restarted without storage."""
        with self._lock:
            self.jobs.clear()

    def _enter(self, call: str, submission_id: str) -> None:
        self.calls.append((call, submission_id))
        self.before(call, submission_id)
        if self.unreachable:
            raise RayAwayError("Ray at http://fake can't be reached (connection refused)", nobody=True)

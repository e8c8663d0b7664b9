"""One outage is met once a round, not once a job: what nobody answered isn't asked again before the next round."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from service.gateway.ray_jobs import Node, RayAwayError, RayJob, RayJobs

T = TypeVar("T")


class OncePerRound:
    """RayJobs that asks no more, until `begin`, when nobody is there; nor for what was left without an answer.

    An answer that is an error of one job's keeps no other from being asked for.
    """

    def __init__(self, ray: RayJobs) -> None:
        self.ray = ray
        self._silent: dict[str, RayAwayError] = {}

    def begin(self) -> None:
        """A new round: ask again."""
        self._silent.clear()

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """See RayJobs."""
        self._ask("submit", lambda: self.ray.submit(submission_id, entrypoint, metadata))

    def status(self, submission_id: str) -> RayJob | None:
        """See RayJobs."""
        return self._ask("status", lambda: self.ray.status(submission_id))

    def stop(self, submission_id: str) -> None:
        """See RayJobs."""
        self._ask("stop", lambda: self.ray.stop(submission_id))

    def logs(self, submission_id: str) -> str | None:
        """See RayJobs."""
        return self._ask("logs", lambda: self.ray.logs(submission_id))

    def submissions(self) -> list[RayJob]:
        """See RayJobs."""
        return self._ask("submissions", self.ray.submissions)

    def nodes(self) -> list[Node]:
        """See RayJobs."""
        return self._ask("nodes", self.ray.nodes)

    def ping(self) -> None:
        """See RayJobs."""
        self._ask("ping", self.ray.ping)

    def close(self) -> None:
        """See RayJobs."""
        self.ray.close()

    def _ask(self, call: str, ask: Callable[[], T]) -> T:
        known = self._silent.get("") or self._silent.get(call)
        if known is not None:
            raise RayAwayError(str(known), nobody=known.nobody)
        try:
            return ask()
        except RayAwayError as error:
            self._silent["" if error.nobody else call] = error
            raise

"""Pushes the job's events to the control plane; its answers say what is wanted of the job."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from trainer import trace
from trainer.sinks.forward import Forwarder, RefusedError, UnavailableError
from trainer.sinks.spool import ACKED_FILE, Spool
from trainer.wire import EventBatch, EventReply, RunFile, WireEvent

if TYPE_CHECKING:
    import httpx

REQUEST_SECONDS = 10.0
ASK_SECONDS = 3.0
"""Longest time without hearing what is wanted of the job."""
FINAL_STATUS = frozenset({400, 401, 403, 404, 410, 413, 422})
"""Answers that a later try can't change: the token is void, the job is gone, or the API speaks another version."""


class Pusher(Forwarder):
    """Delivers events to `POST {api_url}/v1/jobs/{id}/events` with the job's own token."""

    receiver = "the control plane"
    pace_seconds = 0.25

    def __init__(self, spool: Spool, job: RunFile) -> None:
        super().__init__(spool, spool.path.with_name(ACKED_FILE))
        self.desired: Literal["run", "stop"] = "run"
        """What was wanted of the job when the control plane last answered."""
        self.stop_trials: tuple[str, ...] = ()
        """Of a search: trials that shall end, as of that answer."""
        self.hold = False
        """Of a search: whether it starts no further trial, as of that answer."""
        self._job = job
        self._client: httpx.Client | None = None
        self._heard = 0.0

    def deliver(self, events: Sequence[WireEvent]) -> int:
        """Post one batch."""
        body = EventBatch(events=tuple(events)).model_dump_json()
        return self._call("POST", "events", body).acked

    def idle(self) -> None:
        """Ask what is wanted if there was no answer for a while."""
        if time.monotonic() - self._heard >= ASK_SECONDS:
            self._call("GET", "desired", None)

    def _call(self, method: str, path: str, body: str | None) -> EventReply:
        import httpx  # takes 0.2 s: not on the way to the first step

        if self._client is None:
            logging.getLogger("httpx").setLevel(
                logging.WARNING
            )  # a line for each question would be most of a job's log
            headers = {"Authorization": f"Bearer {self._job.token or ''}", "Content-Type": "application/json"}
            if (run := trace.parse(self._job.traceparent)) is not None:
                headers[trace.HEADER] = str(replace(run, sampled=False))  # in the API's log, not a span every second
            self._client = httpx.Client(
                base_url=f"{(self._job.api_url or '').rstrip('/')}/v1/jobs/{self._job.job_id}/",
                headers=headers,
                timeout=REQUEST_SECONDS,
                trust_env=False,  # the control plane is named outright; a proxy from the environment is not for it
            )
        try:
            response = self._client.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._job.api_url}: {error}") from error
        # A proxy in front of an API that is being replaced says 404 too, but not as a problem document.
        ours = response.headers.get("content-type", "").startswith("application/problem+json")
        if response.status_code in FINAL_STATUS and ours:
            raise RefusedError(f"the control plane refused this job's events (HTTP {response.status_code})")
        if response.status_code >= 300:
            raise UnavailableError(f"{self._job.api_url} answered HTTP {response.status_code}")
        try:
            reply = EventReply.model_validate_json(response.content)
        except ValueError as error:
            raise UnavailableError(f"{self._job.api_url} gave no event reply") from error
        self._heard = time.monotonic()
        self.desired, self.stop_trials, self.hold = reply.desired, reply.stop_trials, reply.hold
        return reply

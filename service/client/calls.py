"""The calls, one method each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from service.bodies.base import Page
from service.bodies.cluster import Cluster
from service.bodies.jobs import Job, Recipe, RecipeSummary
from service.bodies.waiting import Waiting
from service.client import stream
from service.client.audit import AuditCalls
from service.client.base import SUBMIT_SECONDS, label_words, part
from service.client.checkpoints import CheckpointCalls
from service.client.connection import Connection, discover
from service.client.curves import CurveCalls
from service.client.datasets import DatasetCalls
from service.client.deletion import DeletionCalls
from service.client.disk import DiskCalls
from service.client.edits import EditCalls
from service.client.errors import JobFailed, UnreadableReply
from service.client.events import EventCalls
from service.client.forks import ForkCalls
from service.client.logs import LogCalls
from service.client.models import ModelCalls
from service.client.owners import OwnerCalls
from service.client.samples import SampleCalls
from service.client.searches import SearchCalls
from service.client.serving import ServingCalls
from service.client.stream import Event
from service.client.tokens import TokenCalls
from service.client.webhooks import WebhookCalls
from trainer.plan.result import Plan
from trainer.spec import JobSpec


class Client(
    SearchCalls,
    SampleCalls,
    CheckpointCalls,
    CurveCalls,
    EditCalls,
    EventCalls,
    ForkCalls,
    LogCalls,
    DeletionCalls,
    DiskCalls,
    OwnerCalls,
    DatasetCalls,
    ModelCalls,
    ServingCalls,
    TokenCalls,
    AuditCalls,
    WebhookCalls,
):
    """One API, by URL and bearer token. Use it as a context manager, or call `close`.

    url, token: default to AGON_URL and AGON_TOKEN, else to the stack that runs from AGON_HOME. Raises NotConfigured.
    timeout: seconds for one answer. patience: seconds for which calls are tried again while the API restarts.
    All methods raise ApiError (see `service.client.errors`), Unreachable or UnreadableReply.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0, patience: float = 20.0
    ) -> None:
        self.url, secret = discover(url, token)
        super().__init__(Connection(self.url, secret, timeout=timeout, patience=patience))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    # -- jobs

    def submit(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        recipe: str | None = None,
        trial: str | None = None,
        scratch: bool = False,
        set: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a full spec; or a recipe, or a `trial` of a search (`SEARCH/TRIAL`), with some fields `set` by dotted path.

        A trial's job goes on from its newest checkpoint, ten times as long unless `train.images` is set; scratch: it
        starts over. Raises Invalid with every wrong field, Conflict if the trial has no checkpoint.

        A key is made if none is given, so that trying again after a lost answer starts no second job.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        body = _trial_body(trial, scratch, set) if trial is not None else _job_body(spec, recipe, set)
        return self._read(Job, "POST", "/v1/jobs", body=body, headers=headers, timeout=SUBMIT_SECONDS)

    def jobs(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        family: str | None = None,
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        scores: Sequence[str] = (),
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """One page of jobs, newest first; of all filters' matches: with all `labels`, and `scores` within bounds (`fid<20`)."""
        marks = {"label": label_words(labels), "score": list(scores)}
        params = {
            "state": state,
            "name": name,
            "family": family,
            "owner": owner,
            **marks,
            "limit": limit,
            "cursor": cursor,
        }
        return self._read(Page[Job], "GET", "/v1/jobs", params=params)

    def every_job(self, **filters: Any) -> Iterator[Job]:
        """All jobs, page by page; filters as in `jobs`."""
        cursor = None
        while True:
            page = self.jobs(cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def job(self, job: str) -> Job:
        """One job, by id."""
        return self._read(Job, "GET", f"/v1/jobs/{part(job)}")

    def cancel(self, job: str) -> Job:
        """Ask a job to checkpoint and stop. Raises Conflict once it has ended."""
        return self._read(Job, "POST", f"/v1/jobs/{part(job)}/cancel")

    def pause(self, job: str) -> Job:
        """Ask a job to checkpoint and leave the cluster until it is resumed. Raises Conflict once it has ended."""
        return self._read(Job, "POST", f"/v1/jobs/{part(job)}/pause")

    def resume(self, job: str) -> Job:
        """Let a paused job go on, with the weights that it had. Raises Conflict while it still saves, and once it has ended."""
        return self._read(Job, "POST", f"/v1/jobs/{part(job)}/resume")

    def retry(self, job: str) -> Job:
        """Let a job that has failed or was cancelled go on from its newest checkpoint. Raises Conflict in another state."""
        return self._read(Job, "POST", f"/v1/jobs/{part(job)}/retry")

    def report(self, job: str) -> bytes:
        """The newest report, one HTML page in UTF-8 that opens offline. Raises NotFound before the first."""
        return self._connection.call("GET", f"/v1/jobs/{part(job)}/report").content

    def events(self, job: str, *, after: str | None = None) -> Iterator[Event]:
        """Every event of the job from the first (or behind `after`, an `Event.id`), then new ones as they come.

        Ends once the job has ended; a pause doesn't end it. Goes on where it was when the connection breaks or the API restarts.
        """
        return stream.events(self._connection, f"/v1/jobs/{part(job)}/events", after, lambda: self.job(job).ended)

    def wait(self, job: str, *, on_event: Callable[[Event], object] | None = None, check: bool = False) -> Job:
        """Wait until the job has ended, also through a pause. `check`: raise JobFailed unless it succeeded."""
        for event in self.events(job):
            if on_event:
                on_event(event)
        ended = self.job(job)
        if check and ended.state != "succeeded":
            raise JobFailed(ended)
        return ended

    def validate(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        recipe: str | None = None,
        set: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The resolved spec, as `submit` would start it. Raises Invalid with every wrong field."""
        response = self._connection.call("POST", "/v1/validate", body=_job_body(spec, recipe, set))
        return _mapping(response.json())

    def forecast(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        recipe: str | None = None,
        set: Mapping[str, Any] | None = None,
    ) -> Waiting:
        """What it would wait for, and when it would start, if it were submitted now. Raises Invalid with every wrong field."""
        return self._read(Waiting, "POST", "/v1/forecast", body=_job_body(spec, recipe, set))

    def plan(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        recipe: str | None = None,
        set: Mapping[str, Any] | None = None,
        gpus: int | None = None,
        gpu: str | None = None,
        wait: float = 120.0,
    ) -> Plan:
        """What a job would cost on `gpus` workers with one device `gpu` each: parameters, FLOPs, memory, traffic, time.

        Defaults: the spec's workers, the cluster's device. wait: seconds for which it asks again while the plan is made.
        Raises Invalid with every wrong field, Unavailable where the API can't make plans.
        """
        body = {**_job_body(spec, recipe, set), "gpus": gpus, "gpu": gpu}
        return self._read(Plan, "POST", "/v1/plans", body=body, patience=wait)

    # -- recipes

    def recipes(self) -> tuple[RecipeSummary, ...]:
        """All recipes."""
        return self._read(Page[RecipeSummary], "GET", "/v1/recipes").items

    def recipe(self, name: str) -> Recipe:
        """One recipe with its full spec."""
        return self._read(Recipe, "GET", f"/v1/recipes/{part(name)}")

    def schema(self) -> dict[str, Any]:
        """JSON schema of JobSpec."""
        return _mapping(self._connection.call("GET", "/v1/schema").json())

    # -- the rest

    def cluster(self) -> Cluster:
        """What the Ray cluster has, and what of it is free."""
        return self._read(Cluster, "GET", "/v1/cluster")

    def healthy(self) -> dict[str, Any]:
        """Whether the API runs."""
        return _mapping(self._connection.call("GET", "/healthz").json())

    def metrics(self) -> str:
        """What Prometheus reads, in its text format."""
        return self._connection.call("GET", "/metrics").text

    def ready(self) -> dict[str, Any]:
        """Each part that the API depends on with its state; `ready` says whether the API can do its work."""
        return _mapping(self._connection.call("GET", "/readyz", accept=(503,)).json())


def _job_body(
    spec: JobSpec | Mapping[str, Any] | None, recipe: str | None, overrides: Mapping[str, Any] | None
) -> dict[str, Any]:
    if (spec is None) == (recipe is None):
        raise TypeError("give either spec or recipe")
    if recipe is not None:
        return {"recipe": recipe, "set": dict(overrides or {})}
    if overrides:
        raise TypeError("set goes with a recipe; change the spec itself instead")
    return {"spec": spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec or {})}


def _trial_body(trial: str, scratch: bool, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"trial": trial, "from": "scratch" if scratch else "checkpoint", "set": dict(overrides or {})}


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableReply(f"expected a JSON object, got {type(value).__name__}")
    return value

"""The calls, one method each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from service.client import stream
from service.client.base import SUBMIT_SECONDS, part
from service.client.connection import Connection, discover
from service.client.errors import JobFailed, UnreadableReply
from service.client.replies import (
    Cluster,
    Dataset,
    DatasetCheck,
    Event,
    Job,
    LogPiece,
    Model,
    ModelVersion,
    NewToken,
    Page,
    Recipe,
    RecipeSummary,
    Token,
)
from service.client.searches import SearchCalls
from trainer.plan.result import Plan
from trainer.spec import JobSpec

CHECK_SECONDS = 630.0
"""For the answer to a check of a dataset: the API gives up after ten minutes."""


class Client(SearchCalls):
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
        return self._read(Job, "POST", "/v1/jobs", body=body, headers=headers, repeatable=True, timeout=SUBMIT_SECONDS)

    def jobs(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        family: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """One page of jobs, newest first."""
        params = {"state": state, "name": name, "family": family, "limit": limit, "cursor": cursor}
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

    def retry(self, job: str) -> Job:
        """Let a job that has failed or was cancelled go on from its newest checkpoint. Raises Conflict in another state."""
        return self._read(Job, "POST", f"/v1/jobs/{part(job)}/retry")

    def logs(self, job: str, *, tail: int | None = None, attempt: int | None = None) -> str:
        """The log of an attempt's driver, the newest's by default; `tail`: only its last lines."""
        params = {"tail": tail, "attempt": attempt}
        return self._connection.call("GET", f"/v1/jobs/{part(job)}/logs", params=params).text

    def log_piece(self, job: str, *, offset: int = 0, attempt: int | None = None, tail: int | None = None) -> LogPiece:
        """What of a log lies behind `offset` bytes (at most a million; empty: nothing more for now), or its last lines."""
        params = {"tail": tail, "attempt": attempt} | ({"offset": offset} if tail is None else {})
        reply = self._connection.call("GET", f"/v1/jobs/{part(job)}/logs", params=params)
        return LogPiece(reply.text, int(reply.headers.get("x-log-offset", 0)))

    def samples(self, job: str) -> bytes:
        """The newest sample grid, a PNG. Raises NotFound before the first."""
        return self._connection.call("GET", f"/v1/jobs/{part(job)}/samples").content

    def report(self, job: str) -> bytes:
        """The newest report, one HTML page in UTF-8 that opens offline. Raises NotFound before the first."""
        return self._connection.call("GET", f"/v1/jobs/{part(job)}/report").content

    def events(self, job: str, *, after: str | None = None) -> Iterator[Event]:
        """Every event of the job from the first (or behind `after`, an `Event.id`), then new ones as they come.

        Ends once the job has ended. Goes on where it was when the connection breaks or the API restarts.
        """
        return stream.events(self._connection, f"/v1/jobs/{part(job)}/events", after, lambda: self.job(job).ended)

    def wait(self, job: str, *, on_event: Callable[[Event], object] | None = None, check: bool = False) -> Job:
        """Wait until the job has ended. `check`: raise JobFailed unless it succeeded."""
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
        response = self._connection.call("POST", "/v1/validate", body=_job_body(spec, recipe, set), repeatable=True)
        return _mapping(response.json())

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
        return self._read(Plan, "POST", "/v1/plans", body=body, repeatable=True, patience=wait)

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

    # -- datasets

    def register_dataset(self, name: str, url: str) -> Dataset:
        """Register a packed dataset; its manifest is read now."""
        return self._read(Dataset, "POST", "/v1/datasets", body={"name": name, "url": url})

    def datasets(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Dataset]:
        """One page of registered datasets."""
        return self._read(Page[Dataset], "GET", "/v1/datasets", params={"limit": limit, "cursor": cursor})

    def dataset(self, name: str) -> Dataset:
        """One registered dataset."""
        return self._read(Dataset, "GET", f"/v1/datasets/{part(name)}")

    def check_dataset(self, name: str) -> DatasetCheck:
        """Verify every shard's hash; ten minutes at most."""
        path = f"/v1/datasets/{part(name)}/check"
        return self._read(DatasetCheck, "POST", path, repeatable=True, timeout=CHECK_SECONDS)

    def delete_dataset(self, name: str) -> None:
        """Forget a dataset; its files stay."""
        self._connection.call("DELETE", f"/v1/datasets/{part(name)}")

    # -- models

    def models(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Model]:
        """One page of registered models."""
        return self._read(Page[Model], "GET", "/v1/models", params={"limit": limit, "cursor": cursor})

    def model(self, name: str) -> Model:
        """One registered model."""
        return self._read(Model, "GET", f"/v1/models/{part(name)}")

    def model_versions(self, name: str, *, limit: int | None = None, cursor: str | None = None) -> Page[ModelVersion]:
        """One page of its versions."""
        params = {"limit": limit, "cursor": cursor}
        return self._read(Page[ModelVersion], "GET", f"/v1/models/{part(name)}/versions", params=params)

    def set_alias(self, model: str, alias: str, version: str) -> Model:
        """Point an alias at a version."""
        path = f"/v1/models/{part(model)}/aliases/{part(alias)}"
        return self._read(Model, "PUT", path, body={"version": version})

    # -- tokens, for administrators

    def create_token(self, name: str, *, scope: str = "user") -> NewToken:
        """Make a token (`scope`: user or admin). Its secret is in this answer and nowhere else."""
        return self._read(NewToken, "POST", "/v1/tokens", body={"name": name, "scope": scope})

    def tokens(self) -> tuple[Token, ...]:
        """People's tokens, oldest first."""
        return self._read(Page[Token], "GET", "/v1/tokens").items

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token; it stops working at once."""
        self._connection.call("DELETE", f"/v1/tokens/{part(token_id)}")

    # -- the rest

    def cluster(self) -> Cluster:
        """What the Ray cluster has, and what of it is free."""
        return self._read(Cluster, "GET", "/v1/cluster")

    def healthy(self) -> dict[str, Any]:
        """Whether the API runs."""
        return _mapping(self._connection.call("GET", "/healthz").json())

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

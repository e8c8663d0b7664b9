"""Calls about forks: jobs that begin with another training's checkpoint."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from service.bodies.forks import Lineage
from service.bodies.jobs import Job
from service.client.base import SUBMIT_SECONDS, Calls, part


class ForkCalls(Calls):
    """Part of `Client`."""

    def fork(
        self,
        job: str | None = None,
        *,
        trial: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
        package: str | None = None,
        checkpoint: Literal["latest", "best"] | int | None = None,
        mode: Literal["state", "weights"] = "state",
        restart: Sequence[str] = (),
        set: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job that begins with a checkpoint of a job or of a trial (`SEARCH/TRIAL`), by default the latest, with the one that a
        `version` of a registered `model` was made of (default: its champion), or with the weights of a `package`; with some fields
        `set` by path.

        mode: `state` goes on exactly, and what the training computes can't change; `weights` takes the nets alone. restart: what
        of these starts anew (`changed`, `PLAYER`, `PLAYER/NAME`).
        Raises Invalid with every wrong field, Conflict if there is no such checkpoint.

        A key is made if none is given, so that trying again after a lost answer starts no second job.
        """
        whose = {"job": job, "trial": trial, "model": model, "version": version, "package": package}
        begun = {**whose, "checkpoint": checkpoint, "mode": mode, "restart": list(restart)}
        body = {"from": {name: value for name, value in begun.items() if value is not None}, "set": dict(set or {})}
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._read(Job, "POST", "/v1/jobs", body=body, headers=headers, timeout=SUBMIT_SECONDS)

    def lineage(self, job: str, *, limit: int | None = None, cursor: str | None = None) -> Lineage:
        """The run that a job goes on with, that one's, and so on; and a page of the jobs that went on with it."""
        params = {"limit": limit, "cursor": cursor}
        return self._read(Lineage, "GET", f"/v1/jobs/{part(job)}/lineage", params=params)

    def search_lineage(self, search: str, *, limit: int | None = None, cursor: str | None = None) -> Lineage:
        """A page of the jobs that went on with a search's trials."""
        params = {"limit": limit, "cursor": cursor}
        return self._read(Lineage, "GET", f"/v1/searches/{part(search)}/lineage", params=params)

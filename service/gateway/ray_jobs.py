"""Ray as the reconciler sees it: the Jobs API and the cluster's capacity, over plain HTTP (this process has no Ray).

Read in ray 2.60: `dashboard/modules/job/job_head.py`, `…/node/node_head.py`, `…/reporter/reporter_head.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol
from urllib.parse import quote

import httpx

from service.gateway import node_use
from service.gateway.dashboard import Dashboard, RayAwayError, RayUnreachableError, last_line
from trainer.nodes import ACCELERATOR, GROUP

__all__ = [
    "HttpRayJobs",
    "Node",
    "RayAwayError",
    "RayFailedError",
    "RayJob",
    "RayJobs",
    "RayRefusedError",
    "RayStatus",
    "RayUnreachableError",
]


class RayFailedError(Exception):
    """Ray is there, and answered this very submission with an error of its own: nothing was started. It may pass, or not."""


class RayRefusedError(Exception):
    """Ray answered that it won't; trying the same again is pointless."""


class RayStatus(StrEnum):
    """Status of a Ray job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self not in (RayStatus.PENDING, RayStatus.RUNNING)


@dataclass(frozen=True)
class RayJob:
    """What Ray knows of one submission."""

    submission_id: str
    status: RayStatus
    message: str = ""
    exit_code: int | None = None


NodeState = Literal["there", "spare", "late"]


@dataclass(frozen=True)
class Node:
    """One node: what it has and what of it is free (Ray's report of use is up to some seconds old)."""

    id: str
    cpus: float
    cpus_free: float
    gpus: float = 0.0
    gpus_free: float = 0.0
    memory: float = 0.0
    memory_free: float = 0.0
    gpu: str = ""
    """Ray's name of its GPUs' kind; empty if it has none or Ray knows no name for them."""
    group: str = ""
    """Ray's name of the group of nodes that it belongs to; empty: of none."""
    head: bool = False
    """Whether it is Ray's head, where the drivers run."""
    state: NodeState = "there"
    """`spare`: an autoscaler may start it. `late`: so it may, but it was asked for long ago and hasn't come."""
    grows: bool = False
    """Whether its cluster is one that an autoscaler makes larger."""

    @property
    def resources(self) -> dict[str, float]:
        """As Ray counts them, for `trainer.plan.preflight`."""
        kind = {f"{ACCELERATOR}{self.gpu}": 1.0} if self.gpu else {}
        return {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory, **kind}


class RayJobs(Protocol):
    """Calls raise RayUnreachableError when nothing is known of their effect."""

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """Start a driver. An id that Ray knows already is success: the job was submitted before.

        Raises RayRefusedError, RayFailedError.
        """

    def status(self, submission_id: str) -> RayJob | None:
        """None if Ray doesn't know it."""

    def stop(self, submission_id: str) -> None:
        """SIGTERM, later SIGKILL. A job that has ended, or that Ray doesn't know, is success."""

    def logs(self, submission_id: str) -> str | None:
        """The driver's whole output; None if Ray doesn't know the job or its node is gone."""

    def submissions(self) -> list[RayJob]:
        """All jobs that came through the Jobs API."""

    def nodes(self) -> list[Node]:
        """All living nodes."""

    def ping(self) -> None:
        """Whether Ray answers."""

    def close(self) -> None:
        """Release connections."""


class HttpRayJobs(Dashboard):
    """The real one. Thread-safe."""

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """See RayJobs. The driver takes no CPU of its own, and no runtime_env keeps it from a fresh worker process."""
        body = {
            "submission_id": submission_id,
            "entrypoint": entrypoint,
            "entrypoint_num_cpus": 0,
            "metadata": metadata,
        }
        response = self.call("POST", "/api/jobs/", json=body)
        if response.is_success:
            return
        # A duplicate is a 400 of the agent that the head turns into a 500, so ask rather than read the text.
        if self.status(submission_id) is not None:
            return
        if response.status_code == 400 or "status code 400" in response.text:
            raise RayRefusedError(last_line(response.text))
        if _of_its_own(response):
            raise RayFailedError(last_line(response.text))
        raise RayUnreachableError(f"Ray at {self.address} answered {response.status_code}: {last_line(response.text)}")

    def status(self, submission_id: str) -> RayJob | None:
        """See RayJobs."""
        response = self.call("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        return None if response.status_code == 404 else _job(self.json(response))

    def stop(self, submission_id: str) -> None:
        """See RayJobs."""
        response = self.call("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")
        if response.status_code != 404:
            self.json(response)

    def logs(self, submission_id: str) -> str | None:
        """See RayJobs."""
        response = self.call("GET", f"/api/jobs/{quote(submission_id, safe='')}/logs")
        return None if response.status_code in (404, 500) else str(self.json(response)["logs"])

    def submissions(self) -> list[RayJob]:
        """See RayJobs."""
        return [_job(item) for item in self.json(self.call("GET", "/api/jobs/")) if item["type"] == "SUBMISSION"]

    def nodes(self) -> list[Node]:
        """See RayJobs. Totals are live; use is what the autoscaler's monitor last reported (every 5 s), or what the dashboard has."""
        listed = self.json(self.call("GET", "/api/v0/nodes", params={"limit": 10_000, "detail": 1}))
        usage = node_use.of_numbers(
            self.json(self.call("GET", "/api/cluster_status"))["data"].get("clusterStatus") or {}
        )
        if usage is None:
            summary = self.json(self.call("GET", "/nodes", params={"view": "summary"}))["data"]
            usage = node_use.of_text(summary.get("nodeLogicalResources") or {})
        alive = [item for item in listed["data"]["result"]["result"] if item["state"] == "ALIVE"]
        return [_node(item, usage.get(item["node_id"], {})) for item in alive]

    def ping(self) -> None:
        """See RayJobs."""
        self.json(self.call("GET", "/api/version"))


def _job(item: dict[str, Any]) -> RayJob:
    return RayJob(
        submission_id=item["submission_id"],
        status=RayStatus(item["status"]),
        message=item.get("message") or "",
        exit_code=item.get("driver_exit_code"),
    )


def _node(item: dict[str, Any], usage: node_use.Use) -> Node:
    total = item["resources_total"]

    def pair(name: str) -> tuple[float, float]:
        amount = float(total.get(name, 0.0))
        return amount, max(0.0, amount - usage.get(name, 0.0))

    (cpus, cpus_free), (gpus, gpus_free), (memory, memory_free) = pair("CPU"), pair("GPU"), pair("memory")
    kinds = [name.removeprefix(ACCELERATOR) for name in total if name.startswith(ACCELERATOR)]
    sizes = (cpus, cpus_free, gpus, gpus_free, memory, memory_free)
    group = (item.get("labels") or {}).get(GROUP, "")
    return Node(item["node_id"], *sizes, kinds[0] if kinds else "", group, bool(item.get("is_head_node")))


_NO_AGENT = re.compile(r"No available agent|status code (?!500\b)\d+")
"""The head found no agent in time; or the agent, or what stands before it, answered with another status, such as 503."""
_NO_ANSWER = re.compile(
    r"(aiohttp\.\S*\.)?(Client|Server)\w*Error\b|(asyncio\.\S*\.)?TimeoutError\b|Connection\w*Error\b"
)
"""How the last line of a traceback begins where one part of Ray didn't reach another."""


def _of_its_own(response: httpx.Response) -> bool:
    """Whether an answer to a submission is an error that this met in Ray; else a part of Ray is away or still starts.

    Both are a 500 of the head with a traceback as its text: of what it met itself, or of what its agent answered.
    """
    text = response.text
    return response.status_code == 500 and not _NO_AGENT.search(text) and not _NO_ANSWER.match(last_line(text))

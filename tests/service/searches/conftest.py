"""A search on the control plane, with a driver that says what a test tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from service.gateway.ray_jobs import RayStatus

SEARCH: dict[str, Any] = {
    "name": "rates",
    "base": {"recipe": "dcgan-digits", "set": {"train.images": 1000, "retry": {"attempts": 1}}},
    "space": {"optimizers.G.lr": {"loguniform": [1e-5, 1e-2]}},
    "algorithm": "random",
    "trials": 4,
}


@dataclass
class Searches:
    """What tests do with searches."""

    world: Any

    def submit(self, headers: dict[str, str] | None = None, **fields: Any) -> str:
        """Create one; returns its id."""
        reply = self.world.client.post("/v1/searches", json={"search": {**SEARCH, **fields}}, headers=headers)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def show(self, search: str) -> dict[str, Any]:
        """As the API shows it."""
        reply = self.world.client.get(f"/v1/searches/{search}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def state(self, search: str) -> str:
        """Where it is."""
        return str(self.show(search)["state"])

    def running(self, **fields: Any) -> str:
        """One whose driver has begun."""
        search = self.submit(**fields)
        self.world.round()
        self.begin(search)
        return search

    def begin(self, search: str, attempt: int = 1) -> None:
        """Its driver starts."""
        self.world.ray.move(f"agon-{search}-{attempt}", RayStatus.RUNNING)
        self.world.tell(search, "started", attempt, total_images=None, workers=4, device="cpu", resumed_from=None)
        self.world.round()
        assert self.state(search) == "running"

    def end(self, search: str, attempt: int = 1, outcome: str = "stopped") -> None:
        """Its driver says its last word and is gone."""
        self.world.tell(search, "finished", attempt, outcome=outcome)
        self.world.ray.move(f"agon-{search}-{attempt}", RayStatus.SUCCEEDED)
        self.world.round()

    def call(self, search: str, verb: str, body: Any = None) -> Any:
        """POST on the search."""
        return self.world.client.post(f"/v1/searches/{search}/{verb}", json=body)

    def trial(self, search: str, number: int, attempt: int = 1, /, **fields: Any) -> dict[str, Any]:
        """Its driver tells of a trial; the reply."""
        return dict(self.world.tell(search, "trial", attempt, **told(number, **fields)))

    def trials(self, search: str, **params: Any) -> list[dict[str, Any]]:
        """As the API lists them."""
        reply = self.world.client.get(f"/v1/searches/{search}/trials", params=params)
        assert reply.status_code == 200, reply.text
        return list(reply.json()["items"])


def told(number: int, score: float | None = None, step: int = 10, **fields: Any) -> dict[str, Any]:
    """Data of a TRIAL event."""
    result = {"step": step, "images": 64 * step, "value": score, "score": score, "spread": 0.5, "seconds": 1.0}
    usual = {
        "id": f"t-{number:05d}", "number": number, "state": "running", "values": {"optimizers.G.lr": 10.0 ** -(number + 2)},
        "images": 64 * step, "seconds": 1.0, "result": result if score is not None else None,
    }  # fmt: skip
    return {**usual, **fields}


@pytest.fixture
def searches(world: Any) -> Searches:
    """On each database."""
    return Searches(world)

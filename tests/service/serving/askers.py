"""The API around a fake Ray Serve whose applications answer as a test says, as tests need it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.testclient import TestClient

from service.app import create_app
from service.db.session import Database
from service.db.times import time_in
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.fake_serve import FakeServe
from service.gateway.ray_serve import Answer, AppState
from service.plans.planner import Planner
from service.reconciler.loop import Reconciler
from service.runs import served
from service.runs.served import Place
from service.settings import Settings
from trainer.serve.wire import MODEL_HEADER, MODELS, Reason, Refusal


def refuses(reason: Reason, message: str = "no", **more: Any) -> Answer:
    """What an application answers that won't."""
    refusal = Refusal(reason=reason, message=message, **more)
    return Answer(reason.status, refusal.model_dump_json().encode(), {"content-type": "application/json"})


async def tells(path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Says what it was asked."""
    told = {"path": path, "model": headers[MODEL_HEADER], "question": json.loads(body)}
    return Answer(200, json.dumps(told).encode(), {"content-type": "application/json"})


class House:
    """The API, its database, and who answers."""

    def __init__(self, settings: Settings, db: Database, planner: Planner | None = None) -> None:
        self.settings, self.db = settings, db
        self.ray, self.registry, self.serve = FakeRay(cpus=4), FakeRegistry(), FakeServe()
        self.serve.answer = tells
        for _ in range(3):
            self.registry.add("demo")
        self.registry.set_alias("demo", "champion", "2")
        self.app = create_app(settings, self.ray, self.registry, planner, self.serve)
        self.client = TestClient(self.app)
        self.reconciler = Reconciler(db, self.ray, settings, "r", serve=self.serve, beside=lambda work: work())

    def round(self, times: int = 1) -> None:
        """What a reconciler does in the meantime."""
        for _ in range(times):
            self.reconciler.round()

    def ready(self, name: str = MODELS, **values: Any) -> None:
        """It has a place, and a replica that answers."""
        with self.db.begin() as session:
            place = served.touch(session, name, time_in(session))
            facts = {"phase": "ready", "cpus": 1.0, "replicas": 1, "running": 1, "token": "secret", **values}
            assert served.change(session, place, **facts)
        self.serve.there = True
        self.serve.applications[name] = AppState("RUNNING", running=1)

    def place(self, name: str = MODELS) -> Place:
        with self.db.read() as session:
            return next((place for place in served.places(session) if place.name == name), Place(name))

    def ask(self, what: str = "generate", body: Any = None, **options: Any) -> Any:
        return self.client.post(f"/v1/models/demo/{what}", json={} if body is None else body, **options)


def opened(settings: Settings, db: Database, planner: Planner | None = None) -> Iterator[House]:
    house = House(settings, db, planner)
    with house.client:
        house.client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield house

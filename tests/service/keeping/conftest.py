"""An API that all tests here share, each with runs of its own; and parts of the control plane without an API."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rows
from fastapi.testclient import TestClient

from service.app import create_app
from service.db.session import Database
from service.disk.gauge import Gauge
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.settings import Settings
from trainer.search.trial import trial_dir


@dataclass
class Parts:
    """Settings, database and registry, on SQLite."""

    settings: Settings
    db: Database
    registry: FakeRegistry

    def folder(self, run: str) -> Path:
        """The run's folder."""
        return self.settings.jobs_root / run


@dataclass
class World(Parts):
    """And an API."""

    client: TestClient


@dataclass
class Trained:
    """Something that trains: its checkpoints' path in the API, its folder, and how it tells of a score."""

    url: str
    folder: Path
    run: str
    score: Callable[[int, float], None]


def _settings(home: Path, template: Path) -> Settings:
    shutil.copy(template, home / "agon.db")
    return Settings(
        home=home, allowed_hosts=("testserver",), reconciler=False, api_url="http://127.0.0.1:1", disk_low=0
    )


@pytest.fixture
def parts(sqlite_template: Path, tmp_path: Path) -> Iterator[Parts]:
    """Of one test alone."""
    settings = _settings(tmp_path, sqlite_template)
    db = Database(settings.database_url)
    yield Parts(settings, db, FakeRegistry())
    db.close()


@pytest.fixture(scope="session")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Of all tests here, each of which has runs of its own."""
    settings, registry = _settings(tmp_path_factory.mktemp("world"), sqlite_template), FakeRegistry()
    with TestClient(create_app(settings, FakeRay(cpus=64), registry)) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        db = Database(settings.database_url)
        yield World(settings, db, registry, client)
        db.close()


@pytest.fixture
def own(world: World, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The API on the parts of one test alone."""
    context = world.client.app.state.context  # type: ignore[attr-defined]
    for name in ("settings", "db", "registry"):
        monkeypatch.setattr(context, name, getattr(parts, name))
    monkeypatch.setattr(context, "parts", (Gauge(parts.settings), *context.parts))
    return world.client


@pytest.fixture
def job(world: World) -> Trained:
    """A job that trains."""
    db, run = world.db, rows.run(world.db)
    world.folder(run).mkdir(parents=True)
    url = f"/v1/jobs/{run}/checkpoints"
    return Trained(
        url, world.folder(run), run, lambda step, value: rows.score(db, run, step, fid=value, kid=value / 10)
    )


@pytest.fixture(params=["job", "trial"])
def trained(request: pytest.FixtureRequest, world: World) -> Trained:
    """A job or a trial that trains."""
    if request.param == "job":
        found: Trained = request.getfixturevalue("job")
        return found
    db = world.db
    search, told = rows.run(db, "search"), dict[int, float]()
    trial = rows.trial(db, search, 3)
    folder = trial_dir(world.folder(search), trial)
    folder.mkdir(parents=True)

    def scored(step: int, value: float) -> None:
        told[step] = value
        rows.trial(db, search, 3, *sorted(told.items()))

    return Trained(f"/v1/searches/{search}/trials/{trial}/checkpoints", folder, search, scored)


@pytest.fixture
def end(world: World) -> Callable[[Trained], None]:
    """Have it end: its driver leaves."""
    return lambda trained: rows.change(
        world.db, trained.run, state="cancelled", watched=False, finished_at=datetime.now(UTC)
    )

"""An API that tests of roles and sessions share, with people in it and what is theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rows
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.datasets import store as datasets
from service.db.session import Database
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.settings import Settings

FACTS = {
    "resolution": 8, "channels": 1, "classes": [], "class_counts": [], "samples": 1, "shards": 1, "bytes": 1, "digest": "d",
}  # fmt: skip


@dataclass
class House:
    """The API, and headers of whoever asks."""

    app: FastAPI
    client: TestClient
    db: Database
    settings: Settings
    registry: FakeRegistry
    admin: dict[str, str]

    def person(self, name: str, scope: str = "user", **fields: Any) -> dict[str, str]:
        """Headers of a new token of theirs."""
        return {"Authorization": f"Bearer {self.token(name, scope, **fields)['token']}"}

    def token(self, name: str, scope: str = "user", **fields: Any) -> dict[str, Any]:
        """A new token of theirs."""
        made = self.client.post("/v1/tokens", json={"name": name, "scope": scope, **fields}, headers=self.admin)
        assert made.status_code == 201, made.text
        return dict(made.json())

    def things(self, owner: str) -> dict[str, str]:
        """One of each that has an owner, by the parameter of its path."""
        job, search = (rows.run(self.db, kind, "succeeded", owner=owner) for kind in ("job", "search"))
        trial = rows.trial(self.db, search, 0)
        datasets.create(self.db, f"of-{owner}", "memory://x", FACTS, owner)
        token = self.token(owner)["id"]
        return {
            "job_id": job, "search_id": search, "trial_id": trial, "name": f"of-{owner}", "token_id": token,
            "step": "500", "tile": "0", "alias": "champion",
        }  # fmt: skip


def _house(home: Path, template: Path, **values: Any) -> tuple[FastAPI, Settings, FakeRegistry]:
    shutil.copy(template, home / "agon.db")
    settings = Settings(
        home=home, allowed_hosts=("testserver",), reconciler=False, api_url="http://127.0.0.1:1", disk_low=0, **values
    )
    registry = FakeRegistry()
    return create_app(settings, FakeRay(cpus=64), registry), settings, registry


@pytest.fixture(scope="module")
def house(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Of all tests of a file, which have people of their own."""
    app, settings, registry = _house(tmp_path_factory.mktemp("house"), sqlite_template)
    with TestClient(app) as client:
        db = Database(settings.database_url)
        admin = {"Authorization": f"Bearer {settings.token_file.read_text().strip()}"}
        yield House(app, client, db, settings, registry, admin)
        db.close()


PROXY = ("10.0.0.5", 40_000)


@pytest.fixture(scope="module")
def behind(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], TestClient]]:
    """An API behind a proxy that signs people on, as someone with that address reaches it."""
    home = tmp_path_factory.mktemp("behind")
    app, _, _ = _house(home, sqlite_template, sso_header="X-Forwarded-User", sso_proxies=("10.0.0.5", "10.1.0.0/16"))
    with TestClient(app):
        yield lambda address: TestClient(app, client=(address, 40_000))

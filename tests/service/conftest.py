"""Both databases for real, and the control plane around a fake Ray and a fake registry."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from service.app import create_app
from service.db.migrate import upgrade
from service.db.session import Database
from service.db.tables import Base
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.ray_jobs import RayStatus
from service.reconciler.loop import Reconciler
from service.settings import Settings

SPEC = {
    "name": "small",
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
    "train": {"images": 1000},
    "retry": {"attempts": 2},
}


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL server that lives as long as the session."""
    if shutil.which("initdb") is None:
        missing = "PostgreSQL's initdb and postgres are not on PATH"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)  # a laptop may lack them, CI may not
    root = os.geteuid() == 0
    user = "nobody" if root else getpass.getuser()  # postgres refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="agon-pg-"))
    if root:
        shutil.chown(folder, user)
    options: dict[str, Any] = {"user": user, "cwd": folder} if root else {"cwd": folder}
    subprocess.run(
        ["initdb", "-D", folder / "data", "-U", "agon", "-A", "trust", "-N", "--no-instructions"],
        check=True, stdout=subprocess.DEVNULL, **options,
    )  # fmt: skip
    port = _port()
    settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off", "max_connections=60")
    command = ["postgres", "-D", str(folder / "data"), "-p", str(port), *(f"--{item}" for item in settings)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, **options)
    try:
        url = f"postgresql://agon@127.0.0.1:{port}/postgres"
        _wait_until_ready(url, server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown: the gentle one waits for whoever is connected
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        database = Database(Settings(database_url=url).database_url)
        try:
            with database.read() as session:
                session.execute(text("SELECT 1"))
            return
        except Exception:
            if server.poll() is not None:
                pytest.fail(f"postgres did not start: {log.read_text()}")
            time.sleep(0.1)
        finally:
            database.close()
    pytest.fail("postgres did not answer")


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Each test has an engine of its own; their statements are the same, and compiling them costs a tenth of these tests.

    Engines of SQLite share the dialect, which is part of what a compiled statement is found by, and what has been compiled.
    """
    make = Database.__init__
    first: list[Engine] = []

    def made(self: Database, url: str) -> None:
        make(self, url)
        engine = self.engine
        if self.is_sqlite:
            first[:] = first or [engine]
            engine.dialect = engine.pool._dialect = first[0].dialect
            engine._compiled_cache = first[0]._compiled_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "__init__", made)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` asks SQLite everything, and PostgreSQL what depends on how a database locks, orders and plans; the rest of
    PostgreSQL's follows in `make test-long`."""
    for item in items:
        database = getattr(item, "callspec", None) and item.callspec.params.get("database_url")  # type: ignore[attr-defined]
        if database == "postgres" and item.get_closest_marker("databases") is None:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str) -> str:
    """URL of a migrated PostgreSQL database for all tests, one after the other."""
    url = Settings(database_url=postgres_server).database_url
    database = Database(url)
    upgrade(database)
    database.close()
    return url


@pytest.fixture(scope="session")
def empty_postgres(postgres_database: str) -> Callable[[], str]:
    """Takes all rows out of that database, that others have left there; returns its URL."""

    def empty() -> str:
        database = Database(postgres_database)
        with database.begin() as session:
            names = ", ".join(name for name in Base.metadata.tables if name != "locks")
            session.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        database.close()
        return postgres_database

    return empty


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty, migrated database of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "agon.db")
        return f"sqlite:///{tmp_path / 'agon.db'}"
    return str(request.getfixturevalue("empty_postgres")())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """A control plane of its own in the test's folder."""
    (tmp_path / "data").mkdir()
    return Settings(
        home=tmp_path,
        database_url=database_url,
        allowed_hosts=("testserver",),
        reconciler=False,
        webhooks=False,
        stop_grace_seconds=60,
        api_url="http://127.0.0.1:1",
        disk_low=0,
        serve_start_seconds=0,
    )


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The database."""
    database = Database(settings.database_url)
    yield database
    database.close()


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.ahead += timedelta(seconds=seconds)


@dataclass
class World:
    """The API, its database, a fake Ray and a reconciler that runs when the test says so."""

    client: TestClient
    settings: Settings
    db: Database
    ray: FakeRay
    registry: FakeRegistry
    clock: Clock
    seqs: dict[str, int] = field(default_factory=dict)

    def reconciler(self, owner: str = "r1") -> Reconciler:
        """A new one, as after a restart."""
        return Reconciler(self.db, self.ray, self.settings, owner, clock=self.clock)

    def round(self, seconds: float = 2.0) -> None:
        """Let time pass, then reconcile."""
        self.clock.forward(seconds)
        self.reconciler().round()

    def submit(self, *, headers: dict[str, str] | None = None, **sections: Any) -> str:
        """Create a job; returns its id."""
        reply = self.client.post("/v1/jobs", json={"spec": {**SPEC, **sections}}, headers=headers)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        """As the API shows it."""
        reply = self.client.get(f"/v1/jobs/{job}")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def folder(self, job: str) -> Path:
        """The job's folder."""
        return self.settings.jobs_root / job

    def token(self, job: str) -> str:
        """What the driver reads."""
        name = "search.json" if job.startswith("s-") else "job.json"
        return str(json.loads((self.folder(job) / name).read_text())["token"])

    def send(self, job: str, *events: dict[str, Any], token: str | None = None) -> Any:
        """Post events as the job does."""
        headers = {"Authorization": f"Bearer {token or self.token(job)}"}
        return self.client.post(f"/v1/jobs/{job}/events", json={"events": list(events)}, headers=headers)

    def tell(self, job: str, name: str, attempt: int = 1, /, **data: Any) -> dict[str, Any]:
        """The job's next event."""
        self.seqs[job] = self.seqs.get(job, 0) + 1
        reply = self.send(job, event(self.seqs[job], name, attempt, **data))
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def running(self, **sections: Any) -> str:
        """A job that trains."""
        job = self.submit(**sections)
        self.round()
        self.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
        self.tell(job, "started", total_images=1000, workers=1)
        self.round()
        assert self.job(job)["state"] == "running"
        return job


def event(seq: int, name: str, attempt: int = 1, /, **data: Any) -> dict[str, Any]:
    """A WireEvent as JSON."""
    when = datetime.now(UTC).isoformat()
    return {"seq": seq, "attempt": attempt, "time": when, "kind": name, "step": seq, "images": 64 * seq, "data": data}


@pytest.fixture
def world(settings: Settings, db: Database) -> Iterator[World]:
    """Everything, on each database."""
    ray, registry = FakeRay(cpus=4), FakeRegistry()
    with TestClient(create_app(settings, ray, registry)) as client:
        client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
        yield World(client, settings, db, ray, registry, Clock())

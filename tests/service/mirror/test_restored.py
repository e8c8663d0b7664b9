"""After the loss of everything but a backup of the database and the second copy: who had a token has it, and runs go on."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from service.app import create_app
from service.db.session import Database
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.mirror.loop import Mirror
from service.reconciler.loop import Reconciler
from tests.checkpoints import save
from trainer.launch.brought import bring
from trainer.mirror.place import Place
from trainer.sinks.spool import ACKED_FILE, Spool, read_cursor
from trainer.wire import JOB_FILE, EventKind, JobFile, read_run_file


def backed_up(url: str, folder: Path) -> Path:
    """As docs/operations.md says."""
    file = folder / "backup"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(make_url(url).database or "")) as connection:
            connection.execute(f"VACUUM INTO '{file}'")
    else:
        subprocess.run(["pg_dump", "--format=custom", f"--file={file}", plain(url)], check=True)
    return file


def restored(url: str, file: Path, home: Path) -> str:
    """Another database, of that backup; its URL."""
    if url.startswith("sqlite"):
        shutil.copyfile(file, home / "agon.db")
        return f"sqlite:///{home / 'agon.db'}"
    other = make_url(url).set(database="restored")
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS restored")
        connection.execute("CREATE DATABASE restored")
    target = plain(other.render_as_string(hide_password=False))
    subprocess.run(["pg_restore", "--no-owner", f"--dbname={target}", str(file)], check=True)
    return other.render_as_string(hide_password=False)


def plain(url: str) -> str:
    """As PostgreSQL's own programs read it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.databases
def test_a_backup_and_the_second_copy_are_enough(world: Any, tmp_path: Path) -> None:
    mirrored = world.settings.model_copy(update={"mirror": str(tmp_path / "copies")})
    world.settings = mirrored
    (tmp_path / "copies").mkdir()
    person = world.client.post("/v1/tokens", json={"name": "laptop", "owner": "ada"}).json()["token"]
    job = world.running()
    folder = mirrored.jobs_root / job
    save(folder, 500)
    spool = Spool(folder)
    for step in range(4):
        spool.append(1, EventKind.PROGRESS, step=step, images=step)
    spool.close()
    backup = backed_up(mirrored.database_url, tmp_path)
    world.tell(job, "progress", images_per_second=1.0)  # told after the backup: the copy of the events has it
    Mirror(world.db, mirrored, lambda: Place(mirrored.mirror)).copy(job, rests=False)

    home = tmp_path / "other"
    (home / "data").mkdir(parents=True)
    url = restored(mirrored.database_url, backup, home)
    shutil.rmtree(mirrored.jobs_root)
    settings = mirrored.model_copy(
        update={"home": home, "database_url": url, "jobs_root": home / "jobs", "token_file": home / "token"}
    )
    ray, db = FakeRay(cpus=4), Database(url)
    with TestClient(create_app(settings, ray, FakeRegistry())) as client:
        client.headers["Authorization"] = f"Bearer {person}"
        assert client.get(f"/v1/jobs/{job}").json()["attempt"] == 1, "who had a token has it, and sees the run"
        for _ in range(12):
            world.clock.forward(60.0)
            Reconciler(db, ray, settings, "r9", clock=world.clock).round()
            if f"agon-{job}-2" in ray.starts:
                break
        assert f"agon-{job}-2" in ray.starts, client.get(f"/v1/jobs/{job}").json()
    db.close()
    run = read_run_file(JobFile, settings.jobs_root / job / JOB_FILE)
    bring(run)
    there = settings.jobs_root / job
    assert (there / "checkpoints" / "step-000000500" / "manifest.json").exists()
    assert read_cursor(there / ACKED_FILE) >= run.told >= 1
    again = Spool(there)
    event = again.append(2, EventKind.STARTED, step=500, images=500)
    again.close()
    assert event is not None and event.seq > max(4, run.told), "no number is given twice"

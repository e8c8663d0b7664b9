"""The same runs for both: many that have ended, and one with a long line of sample grids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import insert, select

from benchmarks.control_plane.rows import clones
from service.db.migrate import upgrade
from service.db.session import Database
from service.db.tables import Job, JobEvent, JobScore
from service.runs import files
from service.settings import Settings
from trainer.images import GridFacts, grid, save_png

EVERY = 50
"""Steps between two grids."""
BATCH = 64
IMAGES, SIZE = 64, 32
"""Of a grid, and their pixels."""
CHUNK = 2000


@dataclass(frozen=True)
class Sizes:
    """How much there is."""

    runs: int
    grids: int


@dataclass(frozen=True)
class Ended:
    """One run that has ended."""

    name: str
    owner: str
    state: str
    fid: float
    began: datetime


def ended(sizes: Sizes, seed: int) -> Iterator[Ended]:
    """All of them, the oldest first."""
    draw, now = random.Random(seed), datetime.now(UTC)
    for place in range(sizes.runs):
        state = draw.choice(("succeeded", "succeeded", "succeeded", "failed", "cancelled"))
        began = now - timedelta(minutes=sizes.runs - place)
        yield Ended(f"digits-{place}", f"person-{place % 20}", state, round(draw.uniform(5, 80), 2), began)


def measures(sizes: Sizes, seed: int) -> Iterator[tuple[int, dict[str, float]]]:
    """What the long one measured: step and values."""
    draw = random.Random(seed)
    for number in range(1, sizes.grids + 1):
        yield number * EVERY, {"D/loss": 0.7 + draw.gauss(0, 0.05), "G/loss": 1.3 + draw.gauss(0, 0.1)}


def draw_grids(folder: Path, sizes: Sizes, seed: int) -> None:
    """Its grids, as a training names them: noise that a PNG can't make small, as colour photographs can't be."""
    noise = np.random.default_rng(seed)
    for number in range(1, sizes.grids + 1):
        images = noise.integers(0, 256, (IMAGES, SIZE // 4, SIZE // 4, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
        step = number * EVERY
        facts = GridFacts.of(images, 8, step, step * BATCH)
        save_png(folder / f"step-{step:09d}.png", grid(images, 8), facts)


def fill_agon(settings: Settings, sizes: Sizes, grids: Path, seed: int) -> str:
    """Agon's database and folders; the long one's id, which is the newest."""
    db = Database(settings.database_url)
    upgrade(db)
    every = list(ended(sizes, seed))

    def change(place: int) -> dict[str, object]:
        one = every[place]
        done = {"step": 780, "images": 50_000, "total_images": 50_000, "metrics": {}, "scores": {"fid": one.fid}}
        return {
            "name": one.name, "owner": one.owner, "state": one.state, "created_at": one.began, "started_at": one.began,
            "finished_at": one.began + timedelta(minutes=1), "progress": done,
        }  # fmt: skip

    made = clones(db, sizes.runs, change)
    with db.begin() as session:
        scores = [
            {"job_number": number, "name": "fid", "value": one.fid, "kind": "job"}
            for (number, _), one in zip(made, every, strict=True)
        ]
        for begin in range(0, len(scores), CHUNK):
            session.execute(insert(JobScore), scores[begin : begin + CHUNK])
    ((number, long),) = clones(db, 1, lambda _: {"name": "long", "owner": "person-0", "state": "succeeded"})
    _tell(db, number, sizes, seed)
    folder = files.job_dir(settings, long)
    folder.mkdir(parents=True)
    _link_all(grids, folder / "samples")
    db.close()
    return long


def _tell(db: Database, number: int, sizes: Sizes, seed: int) -> None:
    """The long one's events."""
    now, rows = datetime.now(UTC), []
    total = sizes.grids * EVERY * BATCH
    for step, values in measures(sizes, seed):
        same = {"job_number": number, "attempt": 1, "time": now, "step": step, "images": step * BATCH}
        progress = {
            "metrics": values,
            "images_per_second": 400.0,
            "eta_seconds": 1.0,
            "shares": {},
            "total_images": total,
        }
        rows.append({**same, "seq": len(rows) + 1, "kind": "progress", "data": progress})
        rows.append({**same, "seq": len(rows) + 1, "kind": "samples", "data": {"path": f"samples/step-{step:09d}.png"}})
    with db.begin() as session:
        for begin in range(0, len(rows), CHUNK):
            session.execute(insert(JobEvent), rows[begin : begin + CHUNK])
        job = session.scalars(select(Job).where(Job.number == number)).one()
        job.acked = len(rows)
        job.progress = {"step": step, "images": total, "total_images": total, "metrics": values, "scores": {}}


def _link_all(source: Path, target: Path) -> None:
    """A hard link of each file: both pages read the same bytes, and neither follows a symbolic link."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        (target / path.name).hardlink_to(path)


def fill_mlflow(uri: str, artifacts: Path, sizes: Sizes, grids: Path, seed: int) -> tuple[str, str]:
    """MLflow's database and artifacts, as Agon's trainings log to it; ids of the experiment and of the long run."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, artifacts.as_uri())
    experiment = store.create_experiment("agon", artifact_location=artifacts.as_uri())
    long = "f" * 32
    with store.ManagedSessionMaker() as session:
        for place, one in enumerate(ended(sizes, seed)):
            _mlflow_run(
                session, SqlRun, f"{place:032x}", one.name, one.owner, one.state, one.began, experiment, artifacts
            )
            facts = {"run_uuid": f"{place:032x}"}
            session.add(SqlParam(key="arch.family", value="dcgan", **facts))
            session.add(SqlTag(key="mlflow.runName", value=one.name, **facts))
            told = {"key": "fid", "value": one.fid, "timestamp": 1, "step": 780, "is_nan": False, **facts}
            session.add_all([SqlMetric(**told), SqlLatestMetric(**told)])
        _mlflow_run(session, SqlRun, long, "long", "person-0", "succeeded", datetime.now(UTC), experiment, artifacts)
        session.add(SqlTag(key="mlflow.runName", value="long", run_uuid=long))
        for step, values in measures(sizes, seed):
            for key, value in values.items():
                session.add(SqlMetric(key=key, value=value, timestamp=step, step=step, is_nan=False, run_uuid=long))
        for key, value in values.items():
            session.add(SqlLatestMetric(key=key, value=value, timestamp=step, step=step, is_nan=False, run_uuid=long))
    _link_all(grids, artifacts / long / "artifacts" / "samples")
    return str(experiment), long


def _mlflow_run(
    session: object,
    kind: type,
    run: str,
    name: str,
    owner: str,
    state: str,
    began: datetime,
    experiment: str,
    artifacts: Path,
) -> None:
    status = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}[state]
    start = int(began.timestamp() * 1000)
    session.add(  # type: ignore[attr-defined]
        kind(
            run_uuid=run, name=name, source_type="LOCAL", source_name="", entry_point_name="", user_id=owner, status=status,
            start_time=start, end_time=start + 60_000, source_version="", lifecycle_stage="active",
            artifact_uri=f"{artifacts.as_uri()}/{run}/artifacts", experiment_id=int(experiment),
        )
    )  # fmt: skip

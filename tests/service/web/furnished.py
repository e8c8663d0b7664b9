"""A control plane with something to look at: jobs in every state, a long training with its grids, curves and checkpoints, a search,
models, datasets. `opened` serves it to a real browser; `python tests/service/web/furnished.py` to a person.
"""

from __future__ import annotations

import argparse
import math
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from sqlalchemy import insert

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))


import shelf

from service.app import create_app
from service.db.migrate import upgrade
from service.db.session import Database
from service.db.tables import Job, JobChange, JobEvent, JobLabel, JobScore, Trial
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.fake_serve import FakeServe
from service.gateway.ray_jobs import Node
from service.plans.fake import FakeMake
from service.plans.planner import Planner
from service.runs import files, ingest
from service.runs.sight import Watch
from service.settings import Settings
from tests import checkpoints, forks, rows
from trainer.images import GridFacts, grid, save_png
from trainer.search import SearchSpec, TrialRecord, TrialState, parse_search
from trainer.search.trial import trial_dir
from trainer.wire import EventKind, WireEvent

BATCH = 64
LONG = {"state": "running", "name": "digits-long", "attempt": 2, "reason": "training", "started_attempt": 2}
COLLAPSED = (
    "the training may have collapsed: G's samples lie 0.02 times as far apart as real images: G has collapsed to one picture; lower the "
    "learning rates, or make D weaker (objective.d_steps, optimizers.D.lr)"
)
OTHERS: tuple[dict[str, Any], ...] = (
    {"state": "succeeded", "name": "digits-first", "owner": "ada", "reason": "completed"},
    {"state": "failed", "name": "digits-nan", "owner": "ada", "reason": "a loss is not finite",
     "failure": {"kind": "non-finite", "reason": "D/loss is nan at step 420", "rank": 0}},
    {"state": "cancelled", "name": "tried", "owner": "grace", "reason": "cancelled by grace"},
    {"state": "paused", "name": "rests", "owner": "ada", "desired": "pause", "reason": "paused by ada"},
    {"state": "queued", "name": "waits", "owner": "grace", "reason": "needs 2 CPUs, 0 are free", "lacks": "cpu",
     "workers": 1, "worker_cpus": 2.0},
    {"state": "queued", "name": "waits-too", "owner": "ada", "reason": "needs 2 CPUs, 0 are free", "lacks": "cpu",
     "workers": 1, "worker_cpus": 2.0},
    {"state": "running", "name": "short", "owner": "grace", "reason": "training"},
)  # fmt: skip


@dataclass
class Furnished:
    """What is there to look at."""

    settings: Settings
    db: Database
    ray: FakeRay = field(default_factory=lambda: FakeRay(cpus=4))
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    serve: FakeServe = field(default_factory=FakeServe)
    long: str = ""
    """The long training's id."""
    search: str = ""
    by_name: dict[str, str] = field(default_factory=dict)
    """Ids of all jobs."""
    url: str = ""
    """Where it is served, if it is."""

    @property
    def token(self) -> str:
        """The administrator's."""
        return self.settings.token_file.read_text().strip()

    def folder(self, job_id: str) -> Path:
        """A job's."""
        return files.job_dir(self.settings, job_id)


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Of a control plane of its own."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    quiet: dict[str, Any] = {"reconciler": False, "webhooks": False, "disk_low": 0, "serve_start_seconds": 0}
    return Settings(home=folder, allowed_hosts=("*",), api_url="http://127.0.0.1:1", **{**quiet, **changes})


def furnish(settings: Settings, *, grids: int = 12, jobs: int = 0, trials: int = 12) -> Furnished:
    """All of it. grids: of the long training, a checkpoint for every fourth; jobs: so many more that have ended; trials: of the search."""
    db = Database(settings.database_url)
    upgrade(db)
    house = Furnished(settings, db)
    _more(db, jobs)  # they are older
    for values in OTHERS:
        house.by_name[values["name"]] = _run(db, **values)
    house.long = house.by_name[LONG["name"]] = _run(
        db, **LONG, owner="ada", labels={"team": "vision", "data": "digits"}, notes="The first long one."
    )
    _train(house, grids)
    _begin(house, "short")
    house.search = _search(house, "lr-search", trials, owner="ada", notes="Which learning rates?")
    house.by_name["population"] = _search(house, "population", 6, owner="grace", algorithm="pbt")
    shelf.fill(house)
    return house


def tell(house: Furnished, kind: str, step: int, **data: Any) -> None:
    """What the long training tells, as if it had just come."""
    with house.db.begin() as session:
        job = session.query(Job).filter(Job.id == house.long).one()
        event = WireEvent(
            seq=job.acked + 1, attempt=job.attempt, time=datetime.now(UTC), kind=EventKind(kind), step=step, images=step * BATCH, data=data
        )  # fmt: skip
        ingest.take(session, job, [event])


def crowd(house: Furnished, waiting: int = 4) -> None:
    """Fill its cluster, and have so many more wait: the first with two workers of 2 CPUs, where 2 are free."""
    cpus = {name: 2.0 if name == "short" else 1.0 for name in ("short", "digits-long", "lr-search", "population")}
    for name, each in cpus.items():
        rows.change(house.db, house.by_name.get(name, house.search), workers=1, worker_cpus=each, run_seconds=1500.0)
    now, spec = datetime.now(UTC), rows.spec("job")
    wide = {**spec, "resources": {**spec["resources"], "workers": 2, "cpus_per_worker": 2}}
    for number in range(waiting):
        house.by_name[f"wide-{number}"] = _run(
            house.db, state="queued", name=f"wide-{number}", owner=("ada", "grace")[number % 2], workers=2, worker_cpus=2.0, lacks="cpu",
            reason="waits for 4 CPUs, 2 are free", queued_at=now, place=-1 if number == 0 else 10**6 + number, resources=wide["resources"],
            **({"delay": 2 * 3600 * 10**6, "load": {"used": 1.5, "held": 0.5}} if number == 1 else {}),
        )  # fmt: skip
    house.ray.cluster = [Node("node-a", 8.0, 1.0, 2.0, 2.0, gpu="L4"), Node("node-b", 8.0, 1.0)]
    Watch(house.db).see(house.ray.cluster, now)


@contextmanager
def opened(house: Furnished, port: int = 0) -> Iterator[Furnished]:
    """The same, served on a port of this machine."""
    app = create_app(house.settings, house.ray, house.registry, Planner(5.0, FakeMake()), house.serve)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that ended a moment ago leaves the port behind
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        time.sleep(0.02)
    house.url = f"http://127.0.0.1:{port}"
    try:
        yield house
    finally:
        server.should_exit = True
        thread.join(10)


def _run(db: Database, *, labels: dict[str, str] | None = None, **values: Any) -> str:
    now = datetime.now(UTC)
    state = values.pop("state")
    spec = {
        **rows.spec("job"),
        "name": values.get("name", "run"),
        "labels": labels or {},
        "notes": values.pop("notes", ""),
        **({"resources": values.pop("resources")} if "resources" in values else {}),
    }
    began = None if state in ("queued", "submitted") else now - timedelta(minutes=40)
    run_id = rows.run(db, "job", state, spec=spec, created_at=now - timedelta(hours=1), started_at=began, **values)
    with db.begin() as session:
        job = session.query(Job).filter(Job.id == run_id).one()
        if state not in ("queued", "submitted"):
            done = 1.0 if state == "succeeded" else 0.4
            job.progress = {
                "step": int(780 * done), "images": int(50_000 * done), "total_images": 50_000, "images_per_second": 410.0,
                "eta_seconds": 120.0, "metrics": {"D/loss": 0.9, "G/loss": 1.4}, "scores": {"fid": 20.0 + job.number},
            }  # fmt: skip
            session.add(JobScore(job_number=job.number, name="fid", value=20.0 + job.number, kind="job"))
        if job.failure:
            job.failure = {"rank": None, **job.failure}
        for name, value in (labels or {}).items():
            session.add(JobLabel(job_number=job.number, name=name, value=value, kind="job"))
        session.add(JobChange(job_number=job.number, time=now, state=state, attempt=1, reason=job.reason))
    return run_id


def _train(house: Furnished, grids: int) -> None:
    """What a training leaves behind: it improves, collapses at two thirds, and is rolled back."""
    chance, folder, every = random.Random(0), house.folder(house.long), 50
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text("{}")
    told: list[tuple[str, int, dict[str, Any]]] = [
        ("started", 0, {"total_images": grids * every * BATCH * 2, "resumed_from": None, "workers": 1, "device": "cpu"})
    ]
    collapse = grids * 2 // 3
    for number in range(1, grids + 1):
        step, bad = number * every, number == collapse
        share = number / grids
        metrics = {
            "D/loss": 0.6 + 0.5 * math.exp(-4 * share) + chance.gauss(0, 0.02), "G/loss": 1.2 + share + chance.gauss(0, 0.1),
            "D/accuracy_real": 0.7 + chance.gauss(0, 0.02), "D/accuracy_fake": 0.75 + chance.gauss(0, 0.02),
        }  # fmt: skip
        told.append(("progress", step, {
            "metrics": metrics, "images_per_second": 400 + chance.gauss(0, 9), "eta_seconds": 60.0 * (grids - number),
            "shares": {}, "total_images": grids * every * BATCH * 2,
        }))  # fmt: skip
        told.append(
            ("observed", step, {"metrics": {"sentinel/diversity": 0.08 if bad else 0.9 + chance.gauss(0, 0.02)}})
        )
        told.append(("samples", step, {"path": f"samples/step-{step:09d}.png"}))
        if number % 4 == 0:
            told.append(("checkpoint", step, {"path": f"checkpoints/step-{step:09d}"}))
            fid = 80 * math.exp(-3 * share) + 12
            told.append(("scores", step, {"scores": {"fid": fid, "fid_spread": 0.4, "precision": 0.6, "recall": 0.4},
                                          "provenance": {"extractor": "classifier", "samples": 1000, "resizer": "antialias"}}))  # fmt: skip
            forks.trained(folder, rows.spec("job"), step)
        if bad:
            told.append(
                (
                    "warning",
                    step,
                    {"message": COLLAPSED},
                )
            )
        _draw(folder / "samples" / f"step-{step:09d}.png", step, 0.05 if bad else share)
    if grids >= 4:
        checkpoints.best(folder, grids // 4 * 4 * every)
    _log(folder)
    now = datetime.now(UTC)
    with house.db.begin() as session:
        job = session.query(Job).filter(Job.id == house.long).one()
        numbered = [
            {"job_number": job.number, "seq": seq, "attempt": 1, "time": now - timedelta(seconds=len(told) - seq), "kind": kind,
             "step": step, "images": step * BATCH, "data": data}
            for seq, (kind, step, data) in enumerate(told, 1)
        ]  # fmt: skip
        session.execute(insert(JobEvent), numbered)
        job.acked = len(told)


def _begin(house: Furnished, name: str) -> None:
    """A training of another spec that has come a little way, to compare with the long one."""
    run = house.by_name[name]
    for step in (40, 80, 120, 160):
        rows.score(house.db, run, step, fid=90.0 - step / 4)
        _draw(house.folder(run) / "samples" / f"step-{step:09d}.png", step, step / 400)
    with house.db.begin() as session:
        job = session.query(Job).filter(Job.id == run).one()
        generator = {**job.spec["optimizers"]["G"], "lr": 0.002}
        job.spec = {**job.spec, "optimizers": {**job.spec["optimizers"], "G": generator}}


def _draw(path: Path, step: int, quality: float, count: int = 64, size: int = 16) -> None:
    """Blobs that come out of noise."""
    noise = np.random.default_rng(7)
    across = np.arange(size) - size / 2
    images = np.empty((count, size, size, 1), np.uint8)
    for number in range(count):
        x, y, r = noise.uniform(-4, 4), noise.uniform(-4, 4), noise.uniform(2, 5)
        blob = 255 * np.exp(-((across[None] - x) ** 2 + (across[:, None] - y) ** 2) / r**2)
        fuzz = np.random.default_rng(step * 1000 + number).uniform(0, 255, (size, size))
        images[number, :, :, 0] = np.clip(quality * blob + (1 - quality) * fuzz, 0, 255)
    save_png(path, grid(images, 8), GridFacts.of(images, 8, step, step * BATCH))


def _log(folder: Path) -> None:
    (folder / "driver-1.log").write_text("the driver has begun\n")
    for rank in range(2):
        path = folder / "logs" / "attempt-1" / f"rank-{rank:05d}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(f"2026-12-01T04:00:{second:02d}Z step {second * 10} <b>D/loss</b> 0.7\n" for second in range(40))
        )


SPACE: dict[str, Any] = {
    "optimizers.G.lr": {"loguniform": [1e-5, 1e-2]},
    "optimizers.D.lr": {"loguniform": [1e-5, 1e-2]},
    "objective.loss": ["non-saturating", "hinge"],
    "train.batch": [32, 64, 128],
}


def _search(house: Furnished, name: str, trials: int, **values: Any) -> str:
    """One of which one trial diverged, one was stopped, and the last one still trains; the first ones have drawn samples."""
    chance, algorithm = random.Random(1), values.pop("algorithm", "asha+optuna")
    space = SPACE if algorithm != "pbt" else dict(list(SPACE.items())[:2])
    spec = parse_search({
        "name": name, "base": "dcgan-digits", "space": space, "algorithm": algorithm,
        "trials": max(trials, 16), "notes": values.pop("notes", ""),
    })  # fmt: skip
    search = rows.run(
        house.db,
        "search",
        "running",
        name=name,
        spec=spec.model_dump(mode="json"),
        started_at=datetime.now(UTC),
        **values,
    )
    known: list[TrialRecord] = []
    with house.db.begin() as session:
        job = session.query(Job).filter(Job.id == search).one()
        for number in range(trials):
            record = _trial(chance, number, trials, spec, known)
            known.append(record)
            score = None if record.state is TrialState.DIVERGED else record.score
            session.add(Trial(job_number=job.number, number=number, id=record.id, state=record.state, score=score,
                              images=record.images, record=record.model_dump(mode="json"), stop=False))  # fmt: skip
    for record in known[: min(6, trials)]:
        checkpoints.save(trial_dir(house.folder(search), record.id), 300)
        for step in (100, 200, 300):
            path = trial_dir(house.folder(search), record.id) / "samples" / f"step-{step:09d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _draw(path, step, step / 300 * (1 - record.number / 8), 16)
    return search


def _trial(chance: random.Random, number: int, trials: int, spec: SearchSpec, others: list[TrialRecord]) -> TrialRecord:
    """Good where the learning rates are near 3e-4 and the loss is the hinge."""
    values: dict[str, Any] = {
        "optimizers.G.lr": 10 ** chance.uniform(-5, -2), "optimizers.D.lr": 10 ** chance.uniform(-5, -2),
        "objective.loss": chance.choice(["non-saturating", "hinge"]), "train.batch": chance.choice([32, 64, 128]),
    }  # fmt: skip
    loss = values["objective.loss"]
    values = {path: value for path, value in values.items() if path in spec.space}
    bad = sum(abs(math.log10(values[f"optimizers.{player}.lr"]) + 3.5) for player in "GD")
    end = 14 + 14 * bad + 6 * (loss != "hinge") + chance.gauss(0, 1)
    state = {trials - 1: "running", 2: "diverged", 4: "stopped"}.get(number, "completed")
    until = 200 if state in ("running", "stopped") else 400
    told = [
        {"step": step, "images": BATCH * step, "value": end + 5000 / step, "score": end + 5000 / step, "spread": 0.5, "seconds": 1.0}
        for step in range(50, until, 50)
    ]  # fmt: skip
    clones = [
        {"source": other.id, "step": 100 * place, "images": BATCH * 100 * place, "values": {**values, "optimizers.G.lr": 3e-4 * place}}
        for place, other in enumerate(others[-2:], 1) if spec.algorithm == "pbt" and number % 3 == 0
    ]  # fmt: skip
    return TrialRecord.model_validate({
        "id": f"t-{number:05d}", "number": number, "values": values, "state": state, "results": told, "clones": clones,
        "images": until * BATCH, "seconds": 60.0, "reason": "a loss is not finite" if state == "diverged" else "",
    })  # fmt: skip


def _more(db: Database, count: int) -> None:
    """Jobs that have ended, in one statement each thousand."""
    now, spec = datetime.now(UTC), rows.spec("job")
    for begin in range(0, count, 1000):
        some = range(begin, min(begin + 1000, count))
        with db.begin() as session:
            session.execute(insert(Job), [
                {"id": f"j-f{number:011x}", "kind": "job", "name": f"old-{number}", "family": "dcgan", "spec": spec, "spec_digest": "d",
                 "principal": "bootstrap", "owner": ("ada", "grace")[number % 2], "request_digest": "r", "due_at": now,
                 "created_at": now - timedelta(days=2), "started_at": now - timedelta(days=2), "finished_at": now - timedelta(days=1),
                 "state": ("succeeded", "failed", "cancelled")[number % 3], "attempt": 1, "place": number,
                 "progress": {"step": 780, "images": 50_000, "total_images": 50_000, "metrics": {}, "scores": {"fid": 30.0}}}
                for number in some
            ])  # fmt: skip


def main() -> None:
    """Serve it to a person."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--grids", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--trials", type=int, default=12)
    given = parser.parse_args()
    furnished = furnish(settings_in(given.home), grids=given.grids, jobs=given.jobs, trials=given.trials)
    crowd(furnished)
    with opened(furnished, given.port) as house:
        sys.stdout.write(f"{house.url}\ntoken {house.token}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()

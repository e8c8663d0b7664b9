"""What ten thousand waiting jobs cost: the reconciler's rounds, and a submission beside them.

Everything is real but Ray and the network: the database on disk (SQLite, as by default), the application with all that a
request passes, the reconciler. Figures are CPU time of this process, so that a busy machine tells little less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert, select, update

from benchmarks.common import Report
from service.access.tokens import Principal, Scope
from service.app import create_app
from service.bodies.owners import EVERYONE
from service.db.session import Database
from service.db.tables import AT_ONCE, Job, OwnerCaps
from service.gateway.fake_ray import FakeRay
from service.gateway.ray_jobs import Node
from service.reconciler.loop import Reconciler
from service.runs import order
from service.runs.kinds import JOB
from service.runs.submissions import Submission, create
from service.settings import Settings
from service.specs.catalog import recipe_spec

NODES, CPUS, GPUS = 64, 64, 8
REQUEST = {"recipe": "dcgan-digits", "set": {"publish": None}}
ROUND_MS = 100.0
OWNERS = 20
TIMES = 1.2
"""Times what a submission costs while nobody waits."""


def measure(report: Report, options: argparse.Namespace) -> None:
    """Rows and targets of what the queue costs."""
    count = min(options.jobs, 500) if options.quick else options.jobs
    posts = min(options.posts, 20) if options.quick else options.posts
    alone = submissions(report, options, waiting=0, posts=posts)
    beside = submissions(report, options, waiting=count, posts=posts)
    worst = rounds(report, options, count, "")
    capped = rounds(report, options, count, f"{OWNERS} owners with caps")
    report.note(
        f"{NODES} nodes of {CPUS} CPUs and {GPUS} GPUs; needs, priorities and owners of the waiting jobs drawn by the seed"
    )
    report.at_most(
        f"a round that decides of all {count} waiting jobs on {NODES} nodes", ROUND_MS, measured=worst, unit="ms CPU"
    )
    report.at_most(f"the same, of {OWNERS} owners with caps", ROUND_MS, measured=capped, unit="ms CPU")
    report.at_most(
        f"CPU of a submission and its round with {count} waiting ÷ with none", TIMES, measured=beside / alone
    )


def rounds(report: Report, options: argparse.Namespace, count: int, caps: str) -> float:
    """CPU milliseconds of the dearest round that finds everyone's reason written: what comes again every time that something changes."""
    with control_plane(options, count) as (settings, db, ray, _):
        if caps:
            cap(db)
        reconciler = Reconciler(db, ray, settings, "benchmark")
        first = cpu_ms(reconciler.round)
        report.row(what="the first round, which writes every reason", waiting=count, caps=caps, cpu_ms=first)
        worst = 0.0
        for name, change in (
            ("nothing changed", lambda: None),
            ("one job came", lambda: add(db, 1, options.seed + 1)),
            ("a node's use changed", lambda: use(ray, 0.25)),
            ("a node left", lambda: ray.cluster.pop()),
            ("a job was cancelled", lambda: cancel(db)),
        ):
            taken = []
            for _ in range(5):
                change()
                taken.append(cpu_ms(reconciler.round))
            report.row(what=f"a round after: {name}", waiting=count, caps=caps, cpu_ms=statistics.median(taken))
            worst = max(worst, statistics.median(taken))
        if caps:
            return worst
        ray.cluster[0] = Node(ray.cluster[0].id, CPUS, 32.0, GPUS, 0.0)
        before, taken = len(ray.starts), cpu_ms(reconciler.round)
        started = len(ray.starts) - before
        report.row(what=f"a round that starts {started} and hands them to Ray", waiting=count, caps=caps, cpu_ms=taken)
        return worst


def submissions(report: Report, options: argparse.Namespace, waiting: int, posts: int) -> float:
    """CPU milliseconds of `POST /v1/jobs` with the round that it rings for."""
    with control_plane(options, waiting) as (settings, db, ray, client):
        reconciler = Reconciler(db, ray, settings, "benchmark")
        reconciler.round()
        for _ in range(5):
            post(client)
        reconciler.round()
        wall, requests, both = [], [], []
        for _ in range(posts):
            began, used = time.perf_counter(), time.process_time()
            post(client)
            wall.append(1e3 * (time.perf_counter() - began))
            requests.append(1e3 * (time.process_time() - used))
            reconciler.round()
            both.append(1e3 * (time.process_time() - used))
        facts = {"cpu_ms": statistics.median(requests), "with_round_cpu_ms": statistics.median(both)}
        p99 = sorted(wall)[int(0.99 * (len(wall) - 1))]
        report.row(what="POST /v1/jobs", waiting=waiting, **facts, wall_ms=statistics.median(wall), wall_p99_ms=p99)
        return statistics.median(both)


@contextmanager
def control_plane(
    options: argparse.Namespace, waiting: int
) -> Iterator[tuple[Settings, Database, FakeRay, TestClient]]:
    """Application, database and a full cluster, with so many jobs waiting."""
    with tempfile.TemporaryDirectory(prefix="agon-queue-") as folder:
        settings = Settings(
            home=Path(folder),
            allowed_hosts=("testserver",),
            reconciler=False,
            preflight_seconds=0.0,
            log_level="WARNING",
        )
        ray = FakeRay()
        ray.cluster = [Node(f"node-{index}", CPUS, 0.0, GPUS, 0.0) for index in range(NODES)]
        with TestClient(create_app(settings, ray)) as client:
            client.headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
            db = Database(settings.database_url)
            add(db, waiting, options.seed)
            yield settings, db, ray, client
            db.close()


def add(db: Database, count: int, seed: int) -> None:
    """Jobs as requests make them, with needs of many kinds."""
    if not count:
        return
    draw = random.Random(seed)
    first, _ = create(
        db,
        Submission(
            JOB.new_id(), recipe_spec("dcgan-digits"), Principal("benchmark", "benchmark", "benchmark", Scope.USER), "d"
        ),
    )
    names = [column.key for column in Job.__table__.columns if column.key not in ("number", "id")]
    same: dict[str, Any] = {name: getattr(first, name) for name in names}
    with db.begin() as session:
        for _ in range(0, count - 1, 500):
            rows = [{**same, "id": JOB.new_id(), **drawn(draw)} for _ in range(500)]
            session.execute(insert(Job), rows)
        last = session.scalar(select(Job.number).order_by(Job.number).offset(count - 1).limit(1)) if count > 1 else None
        if last is not None:
            session.execute(Job.__table__.delete().where(Job.number > last))


def drawn(draw: random.Random) -> dict[str, Any]:
    """What the queue decides by."""
    priority = draw.choice([20, 50, 50, 50, 80])
    arrived = int(datetime.now(UTC).timestamp() * order.SECOND)
    return {
        "workers": draw.choice([1, 2, 4, 8, 16, 32]),
        "worker_cpus": draw.choice([0.5, 1.0, 2.0, 4.0, 8.0]),
        "worker_gpus": draw.choice([0.0, 0.0, 1.0]),
        "priority": priority,
        "place": order.place(arrived, priority),
        "owner": f"owner-{draw.randrange(OWNERS)}",
    }


def cap(db: Database) -> None:
    """Everyone may have so much."""
    with db.begin() as session:
        session.add(OwnerCaps(owner=EVERYONE, running=200, workers=400, gpus=100, changed_at=datetime.now(UTC)))


def use(ray: FakeRay, cpus: float) -> None:
    """A node has other free CPUs than before."""
    node = ray.cluster[0]
    free = 0.0 if node.cpus_free else cpus
    ray.cluster[0] = Node(node.id, node.cpus, free, node.gpus, node.gpus_free)


def cancel(db: Database) -> None:
    """One from the middle of the line."""
    with db.begin() as session:
        number = session.scalar(
            select(Job.number).where(Job.state == "queued").order_by(Job.number).offset(50).limit(1)
        )
        session.execute(update(Job).where(Job.number == number).values(desired="stop", due_at=AT_ONCE))


def post(client: TestClient) -> None:
    reply = client.post("/v1/jobs", json=REQUEST)
    if reply.status_code != 201:
        raise RuntimeError(reply.text)


def cpu_ms(work: Callable[[], object]) -> float:
    """Of this process."""
    used = time.process_time()
    work()
    return 1e3 * (time.process_time() - used)

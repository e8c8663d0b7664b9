"""CPU of the reconciler: of one round by how many jobs have ended, and of a server that nobody asks anything."""

from __future__ import annotations

import statistics
import time

from benchmarks.control_plane import rows
from benchmarks.control_plane.scale import FLAT, Scale
from benchmarks.control_plane.server import full_cluster
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service.db.session import Database
from service.gateway.ray_jobs import RayJob, RayStatus
from service.reconciler.loop import Reconciler
from service.runs.files import submission_id
from service.settings import Settings

ACTIVE, WAITING = 8, 100
ROUNDS = 20
IDLE_SECONDS = 6.0


def some_at_work(db: Database, scale: Scale) -> list[str]:
    """A few jobs on the cluster and some that wait; the submissions of the former."""
    rows.waiting(db, WAITING, scale.seed)
    return [submission_id(name, 1) for _, name, _ in rows.running(db, ACTIVE)]


def measure(book: Book, world: World, db: Database, scale: Scale, submissions: list[str]) -> dict[int, float]:
    """CPU milliseconds of a round with none ended, a tenth of them, and all; they stay in the database."""
    found: dict[int, float] = {}
    there = 0
    for count in (0, scale.jobs // 10, scale.jobs):
        rows.ended(db, count - there, scale.seed + count) if count > there else None
        rows.settle(db)
        there = count
        found[count] = _round(world, db, submissions)
        book.row("rounds", f"{ACTIVE} active, {WAITING} waiting", ended=count, round_cpu_ms=round(found[count], 2))
    ratio = found[scale.jobs] / found[0]
    book.at_most(f"CPU of a round with {scale.jobs} jobs ended ÷ with none", FLAT, ratio, "")
    return found


def _round(world: World, db: Database, submissions: list[str]) -> float:
    """Of the median one in which every active job is due."""
    ray = full_cluster()
    for name in submissions:
        ray.jobs[name] = RayJob(name, RayStatus.RUNNING, "")
    settings = Settings(home=world.home, database_url=world.url, poll_seconds=0.001)
    reconciler = Reconciler(db, ray, settings, "benchmark")
    taken = []
    for _ in range(ROUNDS):
        time.sleep(0.01)
        used = time.thread_time()
        reconciler.round()
        taken.append(1e3 * (time.thread_time() - used))
    return statistics.median(taken)


def idle(book: Book, world: World, scale: Scale, submissions: list[str]) -> None:
    """A server that nobody asks anything."""
    world.start([(name, "RUNNING") for name in submissions])
    time.sleep(2.0)
    with world.measured() as spent:
        time.sleep(min(IDLE_SECONDS, 2 * scale.seconds))
    facts = spent.row(1)
    book.row("idle", f"{ACTIVE} active, {WAITING} waiting", ended=scale.jobs, cores=round(facts["cores"], 3))
    book.profile("idle", "nobody asks anything", spent)

"""The server ends and starts again while many jobs are on the cluster."""

from __future__ import annotations

import time

from sqlalchemy import func, or_, select

from benchmarks.control_plane import rows
from benchmarks.control_plane.scale import RESTART_S, Scale
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service.db.session import Database
from service.db.tables import AT_ONCE, Job
from service.runs.files import submission_id

ENDED_EACH = 10
"""One of so many ended while nobody looked."""
PATIENCE = 120.0
BEFORE_SECONDS = 3.0


def measure(book: Book, world: World, scale: Scale) -> None:
    """A row and a target."""
    with world.fresh() as db:
        running = rows.running(db, scale.active)
        rows.settle(db)
        names = [submission_id(name, 1) for _, name, _ in running]
        world.start([(name, "RUNNING") for name in names])
        time.sleep(BEFORE_SECONDS)
        world.stop()
        ended = {number for place, (number, _, _) in enumerate(running) if place % ENDED_EACH == 0}
        rows.due(db, [number for number, _, _ in running])
        away = [
            (name, "SUCCEEDED" if number in ended else "RUNNING")
            for name, (number, _, _) in zip(names, running, strict=True)
        ]
        server = world.start(away)
        with world.measured() as spent:
            done = _looked_at(db, len(running), len(ended))
        book.row(
            "restart",
            f"{len(running)} active, {len(ended)} ended meanwhile",
            start_s=round(server.answers - server.began, 2),
            all_looked_at_s=round(done - server.answers, 2),
            **spent.row(len(running)),
        )
        book.profile("restart", "until all were looked at", spent)
        name = f"{len(running)} active jobs looked at after the server answers again"
        book.at_most(name, RESTART_S, done - server.answers, "s")


def _looked_at(db: Database, active: int, ended: int) -> float:
    """When all were, that is: none is due at once. By the monotonic clock; `PATIENCE` later if they never are."""
    until = time.monotonic() + PATIENCE
    asked = select(func.count()).select_from(Job).where(or_(Job.state == "succeeded", Job.due_at > AT_ONCE))
    over = select(func.count()).select_from(Job).where(Job.state == "succeeded")
    while time.monotonic() < until:
        with db.read() as session:
            if session.scalar(over) == ended and session.scalar(asked) == active:
                break
        time.sleep(0.05)
    return time.monotonic()

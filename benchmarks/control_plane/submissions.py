"""`POST /v1/jobs` by many clients: into an empty queue, and into a long one."""

from __future__ import annotations

import json
import time

from sqlalchemy import func, select

from benchmarks.control_plane import rows
from benchmarks.control_plane.load import Ask, Outcome, apart, arrivals, made, quantiles
from benchmarks.control_plane.scale import SUBMIT_MS, WAITING_MS, Scale
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service.db.session import Database
from service.db.tables import Job

BODY = json.dumps({"recipe": "dcgan-digits", "set": {"publish": None}}).encode()
TOO_MANY = 2.0
"""Times the target's rate is more than the server can do."""
HALF = 0.5
SETTLE_SECONDS = 120.0


def measure(book: Book, world: World, scale: Scale) -> None:
    """Rows and targets."""
    with world.fresh() as db:
        _at_all_rates(book, world, db, scale, 0)
    with world.fresh() as db:
        rows.waiting(db, scale.waiting, scale.seed)
        rows.settle(db)
        _at_all_rates(book, world, db, scale, scale.waiting)


def _at_all_rates(book: Book, world: World, db: Database, scale: Scale, waiting: int) -> None:
    scenario = "waiting" if waiting else "submissions"
    world.start()
    post(world, scale, min(10.0, scale.rate), "warm-up", scale.seconds / 2)
    settled(db)
    most = _load(book, world, scale, scenario, "more than it can do", TOO_MANY * scale.rate)
    capacity = most.answered / most.seconds if most.seconds else 0.0
    settled(db)
    asked = _load(book, world, scale, scenario, "the target's rate", scale.rate)
    settled(db)
    half = _load(book, world, scale, scenario, "half of what it can do", max(1.0, HALF * capacity))
    name, bound = (f"with {waiting} waiting", WAITING_MS) if waiting else ("into an empty queue", SUBMIT_MS)
    book.at_least(f"submissions sustained, {scale.clients} clients, {name}", scale.rate, capacity, "/s")
    for what, outcome in ((f"{scale.rate:g}/s", asked), ("half of what it can do", half)):
        book.at_most(
            f"p99 of submissions, {name}, at {what}", bound, 1e3 * quantiles(outcome.latencies)["p99_ms"], "ms"
        )


def _load(book: Book, world: World, scale: Scale, scenario: str, what: str, rate: float) -> Outcome:
    with world.measured() as spent:
        outcome = post(world, scale, rate, what, scale.seconds)
    book.load(scenario, what, outcome, rate, spent)
    return outcome


def post(world: World, scale: Scale, rate: float, what: str, seconds: float) -> Outcome:
    """Submissions at that rate."""
    assert world.server is not None
    lane = [Ask(due, "POST", "/v1/jobs", BODY, what=what) for due in arrivals(rate, seconds, scale.seed)]
    return apart(made, world.server.url, world.token, [lane], scale.clients)


def settled(db: Database) -> None:
    """Wait until the reconciler has looked at everyone who came."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        with db.read() as session:
            if not session.scalar(select(func.count()).select_from(Job).where(Job.state == "submitted")):
                return
        time.sleep(0.2)

"""`GET /v1/jobs` of very many jobs: the newest, by filters, and pages far back."""

from __future__ import annotations

from itertools import cycle

from sqlalchemy import select

from benchmarks.control_plane.load import Ask, apart, arrivals, made, quantiles
from benchmarks.control_plane.rows import FAMILIES
from benchmarks.control_plane.scale import LIST_MS, Scale
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service import paging
from service.db.session import Database
from service.db.tables import Job

RATE = 20.0
"""Pages a second."""
CLIENTS = 10
LONGER = 2.0
"""Times as long as other loads: a page in a hundred is what is asked for."""


def queries(db: Database, jobs: int) -> dict[str, str]:
    """Paths, by what they ask for. There are `jobs` of them, of which some wait."""
    with db.read() as session:
        first = session.scalars(select(Job.number).order_by(Job.number).limit(1)).one()
    return {
        "newest": "",
        "far back": f"?cursor={paging.encode(first + jobs // 10)}",
        "state": "?state=failed",
        "waiting": "?state=queued",
        "name": "?name=job-17",
        "family and state": f"?family={FAMILIES[1]}&state=succeeded",
        "owner": "?owner=owner-3",
        "label": "?label=team=team-3",
        "two labels": "?label=team=team-3&label=sweep=sweep-17",
        "label and state": "?label=team=team-3&state=failed",
        "score": "?score=fid%3C8",
    }


def measure(book: Book, world: World, db: Database, scale: Scale) -> None:
    """Rows and a target. The database has its jobs."""
    world.start()
    assert world.server is not None
    asked = queries(db, scale.jobs)
    warm = [Ask(0.0, "GET", f"/v1/jobs{query}") for query in asked.values()]
    apart(made, world.server.url, world.token, [warm], 1)
    lane = [
        Ask(due, "GET", f"/v1/jobs{query}", what=what)
        for due, (what, query) in zip(arrivals(RATE, LONGER * scale.seconds, scale.seed), cycle(asked.items()))
    ]
    with world.measured() as spent:
        outcome = apart(made, world.server.url, world.token, [lane], CLIENTS)
    book.load("lists", f"all of {scale.jobs} jobs", outcome, RATE, spent)
    for what, latencies in outcome.by.items():
        found = {name: round(1e3 * value, 1) for name, value in quantiles(latencies).items()}
        book.row("lists", what, pages=len(latencies), **found)
    p99 = 1e3 * quantiles(outcome.latencies)["p99_ms"]
    book.at_most(f"p99 of a page of 50 of {scale.jobs} jobs, {RATE:g}/s", LIST_MS, p99, "ms")

"""`POST /v1/jobs/{id}/events`: what running jobs report, in batches of several sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from benchmarks.control_plane import rows
from benchmarks.control_plane.load import Ask, Outcome, apart, arrivals, made
from benchmarks.control_plane.scale import Scale
from benchmarks.control_plane.told import Book
from benchmarks.control_plane.world import World
from service.db.session import Database
from service.db.tables import Job
from service.runs.files import submission_id

JOBS = 50
BATCHES = (1, 20, 200)
USUAL = 20
"""Events of a batch that the target is for."""
MORE = {1: 1.0, 20: 4.0, 200: 8.0}
"""Times the target's rate that is offered in batches of a size: more than the server takes."""
Running = Sequence[tuple[int, str, str]]


def batch(first: int, count: int, at: float = 0.0) -> bytes:
    """The body that reports so many steps. at: goes with them, among the metrics."""
    now = datetime.now(UTC).isoformat()
    metrics = {"loss_g": 0.6931, "loss_d": 1.3862, "at": round(at, 4)}
    facts: dict[str, Any] = {"attempt": 1, "time": now, "kind": "progress"}
    data = {"metrics": metrics, "images_per_second": 812.5, "eta_seconds": 120.0, "total_images": 6_400_000}
    events = [
        {"seq": seq, **facts, "step": seq, "images": 64 * seq, "data": data} for seq in range(first, first + count)
    ]
    return json.dumps({"events": events}).encode()


def lanes(running: Running, dues: Sequence[float], size: int, seqs: dict[str, int]) -> list[list[Ask]]:
    """A lane for each job, which report by turns. seqs: the last of each, which goes on."""
    found: list[list[Ask]] = [[] for _ in running]
    for turn, due in enumerate(dues):
        _, name, token = running[turn % len(running)]
        body = batch(seqs.get(name, 0) + 1, size, due)
        seqs[name] = seqs.get(name, 0) + size
        found[turn % len(running)].append(Ask(due, "POST", f"/v1/jobs/{name}/events", body, token))
    return found


def measure(book: Book, world: World, scale: Scale) -> None:
    """Rows and a target."""
    with world.fresh() as db:
        running = rows.running(db, min(JOBS, scale.active))
        rows.settle(db)
        world.start([(submission_id(name, 1), "RUNNING") for _, name, _ in running])
        seqs: dict[str, int] = {}
        _post(world, lanes(running, [0.0] * len(running), 1, seqs))
        for size in BATCHES:
            rate = MORE[size] * scale.events
            dues = arrivals(rate / size, scale.seconds, scale.seed)
            with world.measured() as spent:
                outcome = _post(world, lanes(running, dues, size, seqs))
            for (
                _,
                name,
                _,
            ) in running:  # what was given up leaves a gap, behind which the next load would not be applied
                seqs[name] = _acked(db, name)
            reached = size * outcome.answered / outcome.seconds if outcome.seconds else 0.0
            book.row(
                "events",
                f"batches of {size}",
                offered_events_per_s=rate,
                reached_events_per_s=round(reached, 1),
                **outcome.row(rate / size),
                **spent.row(size * outcome.answered),
            )
            book.profile("events", f"batches of {size}", spent)
            if size == USUAL:
                book.at_least(f"events taken, in batches of {size} by {len(running)} jobs", scale.events, reached, "/s")


def _post(world: World, asked: list[list[Ask]]) -> Outcome:
    assert world.server is not None
    return apart(made, world.server.url, world.token, asked, len(asked))


def _acked(db: Database, name: str) -> int:
    with db.read() as session:
        return int(session.scalars(select(Job.acked).where(Job.id == name)).one())

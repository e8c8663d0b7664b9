"""One round: a world is put up, used and broken until so many are dead; then it is left in peace, and judged."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import Any

import psycopg

from benchmarks.chaos import people
from benchmarks.chaos.death import KILLS, STARTS, lines
from benchmarks.chaos.havoc import Havoc
from benchmarks.chaos.judge import Verdict, judge
from benchmarks.chaos.stage import Stage

PEOPLE, WAITING = 4, 10
SETTLE_SECONDS = 180.0
"""In which all jobs must have ended once all is calm: a lost attempt waits for half a minute at most, and is a few seconds long."""
SECONDS_PER_KILL = 6.0
"""After so much time for each a round has what it has."""
YIELDS = "SELECT COALESCE(SUM(yields), 0) FROM jobs"


def play(
    database: str, replicas: int, kills: int, seed: int, *, crowd: int = PEOPLE, waiting: int = WAITING
) -> tuple[dict[str, Any], Verdict]:
    """What happened, and what came of it. crowd: how many people use it. waiting: jobs in the queue beyond which they submit none."""
    began = time.monotonic()
    with Stage(database, replicas, seed) as stage:
        ledger, havoc = people.Ledger(), Havoc(stage, seed)
        clients = [stage.client() for _ in range(crowd)]
        persons = [people.Person(f"p{n}", client, ledger, f"{seed}", waiting) for n, client in enumerate(clients)]
        for person in persons:
            person.start()
        havoc.until(kills, 10 + SECONDS_PER_KILL * kills)
        stage.calm()
        for person in persons:
            person.stopping.set()
        for person in persons:
            person.join()
        calm = time.monotonic()
        with stage.client(patience=60) as client:
            stuck = people.finish(ledger, client, SETTLE_SECONDS)
            settled = time.monotonic() - calm
            verdict = judge(stage.world, ledger, client, stuck)
        for client in clients:
            client.close()
        happened = _happened(stage, ledger, havoc)
        facts = {"seconds": time.monotonic() - began, "settled_seconds": settled, "world": str(stage.world)}
        if any(verdict.counts.values()):
            stage.kept = True
        return {"database": database, "replicas": replicas, "seed": seed, **happened, **facts}, verdict


def _happened(stage: Stage, ledger: people.Ledger, havoc: Havoc) -> dict[str, Any]:
    killed = Counter((kill["part"], kill["point"]) for kill in lines(stage.world / KILLS))
    return {
        "kills": killed.total(),
        "killed": [[part, point, count] for (part, point), count in sorted(killed.items())],
        "jobs": len(ledger.known()),
        "starts": len(lines(stage.world / STARTS)),
        "preempted": _preempted(stage),
        "verbs": dict(ledger.done),
        "unanswered": sum(ledger.unanswered.values()),
        "cut": sum((stage.to_api.harm + stage.to_ray.harm).values()),
        "clock_steps": havoc.other["clock steps"],
    }


def _preempted(stage: Stage) -> int:
    """How often a run made room for another."""
    if stage.store.url.startswith("sqlite"):
        with sqlite3.connect(stage.home / "agon.db") as connection:
            return int(connection.execute(YIELDS).fetchone()[0])
    with psycopg.connect(stage.store.url) as connection:
        found = connection.execute(YIELDS).fetchone()
        return int(found[0]) if found else 0

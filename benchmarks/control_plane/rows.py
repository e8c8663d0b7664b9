"""Rows that were there before, inserted in bulk: copies of one that a submission's own code has made, changed in a few columns."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from service.access.tokens import Principal, Scope, digest, new_token
from service.db.session import Database
from service.db.tables import AT_ONCE, Job, JobChange, JobLabel, JobScore, Token
from service.runs import order
from service.runs.kinds import JOB
from service.runs.submissions import Submission, create
from service.specs.catalog import recipe_spec

CHUNK = 1000
OWNERS = 20
ENDED = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")
FAMILIES = ("dcgan", "wgan-gp", "biggan", "vae", "lsgan")
TEAMS, NAMES = 10, 5000


def clones(db: Database, count: int, change: Callable[[int], Mapping[str, Any]]) -> list[tuple[int, str]]:
    """So many jobs; the number and id of each, in order. change: what differs, by place."""
    who = Principal("benchmark", "benchmark", "benchmark", Scope.USER)
    first, _ = create(db, Submission(JOB.new_id(), recipe_spec("dcgan-digits"), who, "d"))
    same = {column.key: getattr(first, column.key) for column in Job.__table__.columns if column.key != "number"}
    with db.begin() as session:
        session.execute(delete(Job).where(Job.number == first.number))
        for begin in range(0, count, CHUNK):
            places = range(begin, min(begin + CHUNK, count))
            session.execute(insert(Job), [{**same, "id": JOB.new_id(), **change(place)} for place in places])
        made = session.execute(select(Job.number, Job.id, Job.state).order_by(Job.number.desc()).limit(count)).all()
        now = datetime.now(UTC)
        told = [{"job_number": row.number, "time": now, "state": row.state, "attempt": 0, "reason": ""} for row in made]
        for begin in range(0, count, CHUNK):
            session.execute(insert(JobChange), told[begin : begin + CHUNK])
    return [(number, name) for number, name, _ in reversed(made)]


def waiting(db: Database, count: int, seed: int) -> None:
    """Jobs in the queue, with needs of many kinds."""
    draw, now = random.Random(seed), datetime.now(UTC)

    def change(place: int) -> dict[str, Any]:
        priority = draw.choice([20, 50, 50, 50, 80])
        return {
            "workers": draw.choice([1, 2, 4, 8, 16, 32]),
            "worker_cpus": draw.choice([0.5, 1.0, 2.0, 4.0, 8.0]),
            "worker_gpus": draw.choice([0.0, 0.0, 1.0]),
            "priority": priority,
            "place": order.place(int((now - timedelta(seconds=count - place)).timestamp() * order.SECOND), priority),
            "owner": f"owner-{draw.randrange(OWNERS)}",
        }

    clones(db, count, change)


def running(db: Database, count: int) -> list[tuple[int, str, str]]:
    """Jobs on the cluster whose training has begun: number, id and token of each."""
    now = datetime.now(UTC)
    facts = {
        "state": "running",
        "attempt": 1,
        "started_attempt": 1,
        "watched": True,
        "submitted_at": now,
        "started_at": now,
        "queued_at": None,
        "due_at": AT_ONCE,
    }
    made = clones(db, count, lambda _: facts)
    tokens = [new_token() for _ in made]
    rows = [
        {
            "id": f"t-{name}",
            "name": name,
            "scope": Scope.JOB,
            "digest": digest(token),
            "job_id": name,
            "attempt": 1,
            "created_at": now,
        }
        for (_, name), token in zip(made, tokens, strict=True)
    ]
    with db.begin() as session:
        session.execute(insert(Token), rows)
    return [(number, name, token) for (number, name), token in zip(made, tokens, strict=True)]


def ended(db: Database, count: int, seed: int) -> None:
    """Jobs of many names, families and owners that are over, with labels and scores."""
    draw, now = random.Random(seed), datetime.now(UTC)

    def change(place: int) -> dict[str, Any]:
        then = now - timedelta(minutes=count - place)
        return {
            "name": f"job-{place % NAMES}",
            "family": draw.choice(FAMILIES),
            "owner": f"owner-{draw.randrange(OWNERS)}",
            "state": draw.choice(ENDED),
            "attempt": 1,
            "created_at": then,
            "queued_at": None,
            "started_at": then,
            "finished_at": then + timedelta(minutes=5),
            "progress": {"step": 1000, "images": 64000, "metrics": {"loss_g": 0.7, "loss_d": 1.3}},
        }

    numbers = [number for number, _ in clones(db, count, change)]
    with db.begin() as session:
        for begin in range(0, count, CHUNK):
            part = numbers[begin : begin + CHUNK]
            session.execute(insert(JobLabel), [row for number in part for row in _labels(number, draw)])
            session.execute(insert(JobScore), [_score(number, draw) for number in part])


def settle(db: Database) -> None:
    """Have the database know its sizes, as it does after a while of use."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not db.is_sqlite:
            connection.exec_driver_sql("VACUUM ANALYZE")


def due(db: Database, numbers: Sequence[int]) -> None:
    """Have the reconciler look at these."""
    with db.begin() as session:
        session.execute(update(Job).where(Job.number.in_(numbers)).values(due_at=AT_ONCE))


def _labels(number: int, draw: random.Random) -> list[dict[str, Any]]:
    labels = {"team": f"team-{draw.randrange(TEAMS)}", "sweep": f"sweep-{draw.randrange(NAMES)}"}
    return [{"job_number": number, "kind": JOB.name, "name": name, "value": value} for name, value in labels.items()]


def _score(number: int, draw: random.Random) -> dict[str, Any]:
    return {"job_number": number, "kind": JOB.name, "name": "fid", "value": draw.uniform(5.0, 300.0)}

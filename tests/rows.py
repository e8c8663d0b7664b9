"""Runs, put into the database as they are, without a request, a cluster and a reconciler."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from functools import cache
from typing import Any

from service.bodies.searches import EXAMPLE
from service.db.session import Database
from service.db.tables import AT_ONCE, Job, JobEvent, Trial
from trainer.families.table import recipes
from trainer.search import TrialRecord, parse_search

_NUMBERS = itertools.count(1)


@cache
def spec(kind: str) -> dict[str, Any]:
    """Of a job or a search."""
    job = recipes()["dcgan-digits"]().model_dump(mode="json")
    if kind == "job":
        return job
    return parse_search({**EXAMPLE, "base": job}).model_dump(mode="json")


def run(db: Database, kind: str = "job", state: str = "running", **values: Any) -> str:
    """A job or search in that state; its id."""
    number, now = next(_NUMBERS), datetime.now(UTC)
    usual = {
        "id": f"{kind[0]}-{number:012x}",
        "kind": kind,
        "name": f"run-{number}",
        "family": "dcgan",
        "spec": spec(kind),
        "spec_digest": "d",
        "principal": "bootstrap",
        "owner": "admin",
        "request_digest": "r",
        "created_at": now,
        "due_at": AT_ONCE,
        "state": state,
        "attempt": 1,
        "watched": state in ("starting", "running", "stopping"),
        "finished_at": now if state in ("succeeded", "failed", "cancelled") else None,
        "priority": 50,
        "place": number,
    }
    with db.begin() as session:
        row = Job(**{**usual, **values})
        session.add(row)
    return row.id


def change(db: Database, run_id: str, **values: Any) -> None:
    """Other values of a run's row."""
    with db.begin() as session:
        session.query(Job).filter(Job.id == run_id).update(values)


def score(db: Database, job_id: str, step: int, **scores: float) -> None:
    """What a job told of a step."""
    with db.begin() as session:
        job = session.query(Job).filter(Job.id == job_id).one()
        job.acked += 1
        session.add(
            JobEvent(
                job_number=job.number, seq=job.acked, attempt=1, time=datetime.now(UTC), kind="scores", step=step,
                images=64 * step, data={"scores": scores},
            )
        )  # fmt: skip


def trial(db: Database, search_id: str, number: int, *results: tuple[int, float]) -> str:
    """A trial with these evaluations, as step and value, in place of the one before; its id."""
    told = [
        {"step": step, "images": 64 * step, "value": value, "score": value, "spread": 0.0, "seconds": 1.0}
        for step, value in results
    ]
    record = TrialRecord.model_validate(
        {"id": f"t-{number:05d}", "number": number, "values": {}, "state": "running", "results": told}
    )
    with db.begin() as session:
        search = session.query(Job).filter(Job.id == search_id).one()
        session.merge(
            Trial(
                job_number=search.number, number=number, id=record.id, state="running", score=record.score, images=0,
                record=record.model_dump(mode="json"), stop=False,
            )
        )  # fmt: skip
    return record.id

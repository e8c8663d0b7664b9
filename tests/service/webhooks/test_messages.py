"""What is told, to whom, and how often: once, signed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hooks import (
    Clock,
    Receiver,
    deliveries,
    dispatcher,
    drain,
    found,
    hook,
    tell,
    told,
)

from service.db.session import Database
from service.db.tables import Job
from service.runs import marks, tape
from service.runs import store as runs

MODEL = {"name": "faces", "version": "3", "champion": True, "verdict": "better"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
databases = pytest.mark.databases


@databases
def test_what_happens_arrives_once_signed_and_in_words(db: Database, receiver: Receiver, clock: Clock) -> None:
    webhook = hook(db)
    run = told(db, "queued", "running", name="faces", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    tell(db, run, "failed", "NaN in the loss of D", failure={"kind": "non-finite", "reason": "NaN", "rank": None})
    drain(dispatcher(db, receiver, clock))
    assert receiver.types == ["job.queued", "job.running", "job.failed"]
    last = json.loads(receiver.came[-1][1])
    assert last["data"] == {
        "id": run, "kind": "job", "name": "faces", "owner": "admin", "labels": {}, "url": f"/v1/jobs/{run}", "trace": TRACE,
        "state": "failed", "attempt": 1, "reason": "NaN in the loss of D", "failure": {"kind": "non-finite", "rank": None},
    }  # fmt: skip
    assert datetime.fromisoformat(last["timestamp"]).tzinfo is not None
    assert {(row.outcome, row.attempts, row.status, row.due_at) for row in deliveries(db, webhook)} == {
        ("delivered", 1, 204, None)
    }
    drain(dispatcher(db, receiver, clock))
    assert len(receiver.came) == 3
    with db.read() as session:
        assert found(db, webhook).place == tape.end(session).place, "nobody reads it again"


def test_each_webhook_hears_of_the_runs_and_types_that_it_asked_for(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    asked: dict[str, dict[str, Any]] = {
        "all": {"runs_of": "*"},
        "mine": {"owner": "ada"},
        "failed": {"runs_of": "*", "events": ["job.failed", "search.*"]},
        "models": {"runs_of": "*", "events": ["model.*"]},
        "vision": {"runs_of": "*", "labels": {"team": "vision"}},
    }
    ids = {name: hook(db, url=f"https://x.example/{name}", **given_) for name, given_ in asked.items()}
    told(db, "failed", owner="ada")
    told(db, "running", kind="search", owner="bob")
    best = told(db, "running", model=MODEL)
    with db.begin() as session:
        job = session.query(Job).filter(Job.id == best).one()
        job.spec = {**job.spec, "labels": {"team": "vision"}}
        marks.write_labels(session, job)
    tell(db, best, "succeeded")
    drain(dispatcher(db, receiver, clock))
    heard = {name: [row.type for row in deliveries(db, id_)] for name, id_ in ids.items()}
    succeeded = ["job.succeeded", "model.registered", "model.champion"]
    assert heard == {
        "all": ["job.failed", "search.running", "job.running", *succeeded],
        "mine": ["job.failed"],
        "failed": ["job.failed", "search.running"],
        "models": succeeded[1:],
        "vision": ["job.running", *succeeded],
    }


def test_a_note_about_a_run_is_no_other_state(db: Database, receiver: Receiver, clock: Clock) -> None:
    hook(db)
    run = told(db, "running")
    with db.begin() as session:
        runs.note(session, session.query(Job).filter(Job.id == run).one(), "limits.run: 90% are used")
    tell(db, run, "succeeded")
    drain(dispatcher(db, receiver, clock))
    assert receiver.types == ["job.running", "job.note", "job.succeeded"]


def test_a_webhook_hears_of_what_happens_after_it_was_added(db: Database, receiver: Receiver, clock: Clock) -> None:
    run = told(db, "queued")
    hook(db)
    tell(db, run, "running")
    drain(dispatcher(db, receiver, clock))
    assert receiver.types == ["job.running"]


def test_a_long_reason_is_cut_and_a_message_stays_below_20_kb(db: Database, receiver: Receiver, clock: Clock) -> None:
    hook(db)
    run = told(db, "running", owner="admin")
    tell(db, run, "failed", "\x01€" * 50_000, failure={"kind": "internal", "reason": "x" * 50_000, "rank": 3})
    drain(dispatcher(db, receiver, clock))
    assert max(len(body.encode()) for _, body in receiver.came) < 20_000

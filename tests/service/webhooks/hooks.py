"""Webhooks, what happens to runs, and receivers, as tests need them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import rows
from sqlalchemy import select
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier

from service.access import store as tokens
from service.access.tokens import Scope
from service.bodies.webhooks import WebhookRequest
from service.db.session import Database
from service.db.tables import Job, Webhook, WebhookDelivery
from service.runs import store as runs
from service.webhooks import gather, store
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.schedule import Answer

OK, DOWN = Answer(204), Answer(None, "the server refuses connections")
URL = "https://hooks.example.com/agon"


def hook(db: Database, owner: str = "admin", **asked: Any) -> str:
    """A new webhook's id; its owner has a token, of an administrator's scope."""
    gather.placed(db)
    with db.begin() as session:
        if not tokens.count(session, owner):
            tokens.create(session, "hears", Scope.ADMIN, owner)
        return store.add(session, owner, WebhookRequest(**{"url": URL, **asked})).id


def tell(db: Database, run: str, state: str, reason: str = "", **values: Any) -> None:
    """A run's state has become that."""
    with db.begin() as session:
        job = session.scalars(select(Job).where(Job.id == run).with_for_update()).one()
        job.state, job.reason = state, reason
        for name, value in values.items():
            setattr(job, name, value)
        runs.record_change(session, job)


def told(db: Database, *states: str, kind: str = "job", **values: Any) -> str:
    """A run that has had these states; its id."""
    run = rows.run(db, kind, **values)
    for state in states:
        tell(db, run, state)
    return run


def deliveries(db: Database, webhook: str) -> list[WebhookDelivery]:
    """Of a webhook, as they were made."""
    found = select(WebhookDelivery).join(Webhook).where(Webhook.id == webhook).order_by(WebhookDelivery.number)
    with db.read() as session:
        return list(session.scalars(found))


def found(db: Database, webhook: str) -> Webhook:
    """Its row."""
    with db.read() as session:
        return session.scalars(select(Webhook).where(Webhook.id == webhook)).one()


class Clock:
    """A time that stands until it is moved on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Gone(BaseException):
    """The process was killed."""


class Breaking:
    """A database whose user is killed `before` the next commit, or just `after` it."""

    def __init__(self, db: Database) -> None:
        self._db, self.read, self.is_sqlite, self.breaks = db, db.read, db.is_sqlite, ""

    @contextmanager
    def begin(self, *, unseen: bool = False) -> Iterator[Session]:
        how = "" if unseen else self.breaks  # the tape's own are tested with it
        self.breaks = self.breaks if unseen else ""
        with self._db.begin(unseen=unseen) as session:
            yield session
            if how == "before":
                raise Gone
        if how == "after":
            raise Gone


@dataclass
class Receiver:
    """Answers as `answer` says, and keeps what came. Every signature is verified."""

    db: Database
    answer: Callable[[str], Answer] = lambda _: OK
    came: list[tuple[str, str]] = field(default_factory=list)
    """Each `webhook-id` with its body."""
    taken: set[str] = field(default_factory=set)
    """Those that were answered with 2xx."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        with self.db.read() as session:
            secrets = session.scalars(select(Webhook.secret).where(Webhook.url == url)).all()
        assert any(_verifies(secret, body, headers) for secret in secrets)
        self.came.append((headers["webhook-id"], body))
        answer = self.answer(url)
        if answer.delivered:
            self.taken.add(headers["webhook-id"])
        return answer

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.came]


def _verifies(secret: str, body: str, headers: Mapping[str, str]) -> bool:
    try:
        Verifier(secret).verify(body, dict(headers))
    except Exception:
        return False
    return True


def dispatcher(db: Any, post: Receiver, clock: Clock) -> Dispatcher:
    """Without a thread; delays have no jitter."""
    return Dispatcher(db, post, timedelta(days=30), clock, lambda: 0.0)


def sent(one: Dispatcher) -> int:
    """Gather, and make one attempt of each delivery that may be sent now; how many."""
    one.gatherer.gather()
    parcels = one.take()
    for parcel in parcels:
        asyncio.run(one.deliver(parcel))
    return len(parcels)


def drain(one: Dispatcher) -> None:
    """Until nothing is due now."""
    while sent(one):
        pass

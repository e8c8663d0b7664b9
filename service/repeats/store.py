"""All SQL on kept answers.

A request with a key claims it in a transaction of its own, is done, and is answered once its answer is kept. Of several that claim a
key one gets it, on whichever replica. Whoever holds a claim renews it; one that is not renewed any more belongs to the next, because
its process has died. Times are this process's: one that lies ahead was written by a clock set back since, and counts for as old.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.db.session import Database, insert_into
from service.db.tables import KeptAnswer
from service.errors import UnderWay
from service.repeats.key import HEADER, other_body
from trainer import strict

LEASE = timedelta(seconds=30)
"""So long after it was last renewed, a claim is another one's to take."""
BATCH, BATCHES = 500, 20
"""Answers that are forgotten in one transaction, and transactions at a time."""
MOST_OF_ONE, MOST_BYTES_OF_ONE = 10_000, 64 * 2**20
"""Answers of one owner that are kept at once, and bytes of them, about: who sends keys without end fills no database."""
FORGOTTEN_FOR_ROOM = 100
LOOKED_AT = 32
"""One of so many new keys has its owner's answers counted: there may be thousands. In the mean more are forgotten then than came."""


@dataclass(frozen=True)
class Asked:
    """A request with a key."""

    id: str
    """SHA-256 of whose key it is, of method, path and key."""
    request: str
    """SHA-256 of query and body: what the key stands for."""
    owner: str = ""
    """Whose key it is."""

    @classmethod
    def of(cls, owner: str, method: str, path: str, query: bytes, key: str, body: bytes) -> Asked:
        """body: strict JSON, or empty. Order of fields and blanks don't matter."""
        canonical = json.dumps(strict.loads(body), sort_keys=True, separators=(",", ":")).encode() if body else b""
        return cls(_digest(*(part.encode() for part in (owner, method, path, key))), _digest(query, canonical), owner)


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def _digest(*parts: bytes) -> str:
    """Of parts that can't run into each other."""
    return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()


def claim(db: Database, asked: Asked, now: datetime, life: timedelta) -> str | Answer:
    """A new claim, by its name, or the answer that was given before. Raises Invalid for another body, UnderWay."""
    while True:
        with db.begin(unseen=True) as session:
            found = _claim(session, asked, now, life)
        if found is not None:
            return found


def _claim(session: Session, asked: Asked, now: datetime, life: timedelta) -> str | Answer | None:
    """None: the row that was in the way has gone."""
    mine = secrets.token_hex(16)
    fresh = {"id": asked.id, "request": asked.request, "claim": mine, "at": now, "owner": asked.owner, "size": 0}
    made = insert_into(session, KeptAnswer).values(**fresh).on_conflict_do_nothing().returning(KeptAnswer.id)
    if session.scalar(made) is not None:
        if secrets.randbelow(LOOKED_AT) == 0:
            _make_room(session, asked.owner)
        return mine
    row = session.scalar(select(KeptAnswer).where(KeptAnswer.id == asked.id).with_for_update())
    if row is None:
        return None
    age = abs(now - row.at)
    if age < life:
        if row.request != asked.request:
            raise other_body()
        if row.status is not None:
            return Answer(row.status, row.headers or {}, row.body or b"")
        if age < LEASE:
            raise UnderWay(f"the request with this {HEADER} is under way; ask again for its answer")
    row.request, row.claim, row.at = asked.request, mine, now
    row.status = row.headers = row.body = None
    row.size = 0
    return mine


def _make_room(session: Session, owner: str) -> None:
    """Forget the oldest answers of an owner of whom more is kept than may be, some at a time."""
    of_owner = KeptAnswer.owner == owner
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(KeptAnswer.size), 0)).where(of_owner)
    ).one()
    if count > MOST_OF_ONE or size > MOST_BYTES_OF_ONE:
        oldest = select(KeptAnswer.id).where(of_owner, KeptAnswer.status.is_not(None)).order_by(KeptAnswer.at)
        ids = session.scalars(oldest.limit(FORGOTTEN_FOR_ROOM)).all()
        session.execute(delete(KeptAnswer).where(KeptAnswer.id.in_(ids)))


def renew(db: Database, asked: Asked, mine: str, now: datetime) -> None:
    """Hold on to a claim."""
    _change(db, asked, mine, at=now)


def keep(db: Database, asked: Asked, mine: str, answer: Answer, now: datetime) -> None:
    """Keep the answer, unless the claim is another one's by now."""
    _change(db, asked, mine, at=now, **_columns(answer))


def _columns(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "headers": dict(answer.headers), "body": answer.body, "size": len(answer.body)}


def _change(db: Database, asked: Asked, mine: str, **values: Any) -> None:
    with db.begin(unseen=True) as session:
        session.execute(update(KeptAnswer).where(*_held(asked, mine)).values(**values))


def let_go(db: Database, asked: Asked, mine: str) -> None:
    """Nothing was done, or nothing is kept of it: the key is free."""
    with db.begin(unseen=True) as session:
        session.execute(delete(KeptAnswer).where(*_held(asked, mine)))


def _held(asked: Asked, mine: str) -> tuple[Any, ...]:
    return (KeptAnswer.id == asked.id, KeptAnswer.claim == mine, KeptAnswer.status.is_(None))


def forget(db: Database, now: datetime, life: timedelta) -> int:
    """Delete answers, and claims, that are older than that; how many there were."""
    gone = 0
    for _ in range(BATCHES):
        with db.begin(unseen=True) as session:
            old = or_(KeptAnswer.at <= now - life, KeptAnswer.at >= now + life)
            ids = session.scalars(select(KeptAnswer.id).where(old).order_by(KeptAnswer.at).limit(BATCH)).all()
            if ids:  # asked again: a key that was claimed anew meanwhile is young
                session.execute(delete(KeptAnswer).where(KeptAnswer.id.in_(ids), old))
        gone += len(ids)
        if len(ids) < BATCH:
            break
    return gone

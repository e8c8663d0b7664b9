"""All SQL on browser sessions."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.access import store
from service.access.live import has_secret, unexpired
from service.access.tokens import Principal, digest
from service.db.session import Database
from service.db.tables import BrowserSession, Person, Token


def begin(session: Session, caller: Principal, hours: float) -> tuple[str, datetime]:
    """A session of whoever came with a token: what its cookie holds, and when it ends, which is not later than the token does."""
    now, secret = datetime.now(UTC), secrets.token_urlsafe(32)
    ends = now + timedelta(hours=hours)
    if caller.token_ends_at is not None:
        ends = min(ends, caller.token_ends_at)
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))
    row = BrowserSession(digest=digest(secret), token_digest=caller.digest, created_at=now, expires_at=ends)
    session.add(row)
    return secret, ends


def find(db: Database, secret: str) -> Principal | None:
    """Whose session it is; None: of nobody, any more."""
    now, wanted = datetime.now(UTC), digest(secret)
    statement = (
        select(BrowserSession.expires_at, Token, Person.role)
        .join(Token, has_secret(BrowserSession.token_digest, now))
        .outerjoin(Person, Person.name == Token.owner)
        .where(BrowserSession.digest == wanted, BrowserSession.expires_at > now, unexpired(now))
    )
    with db.read() as session:
        found = session.execute(statement).first()
    if found is None:
        return None
    ends, token, role = found
    behind = store.principal(token, role, wanted)
    return replace(behind, by="session", expires_at=ends)


def end(session: Session, caller: Principal) -> None:
    """End the session that the caller came with."""
    session.execute(delete(BrowserSession).where(BrowserSession.digest == caller.digest))

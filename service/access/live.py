"""What is still good, of tokens and of sessions. A secret may have been revoked, have expired, have been replaced; a session lives
no longer than the secret that it was begun with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from service.db.tables import BrowserSession, Token

PAGE = 400
"""Digests that are asked for at once, each named twice: SQLite binds some thousands."""


def unexpired(now: datetime) -> ColumnElement[bool]:
    """Whether the token is good then."""
    return or_(Token.expires_at.is_(None), Token.expires_at > now)


def has_secret(digest: Any, now: datetime) -> ColumnElement[bool]:
    """Whether that is its secret then, or one that was replaced and still works."""
    return or_(Token.digest == digest, and_(Token.old_digest == digest, Token.old_until > now))


def valid_digests(session: Session, digests: Collection[str]) -> set[str]:
    """Those of them whose secret, a token's or a session's, is good now."""
    now, wanted, found = datetime.now(UTC), list(digests), set[str]()
    of_token = select(BrowserSession.digest).join(Token, has_secret(BrowserSession.token_digest, now))
    for begin in range(0, len(wanted), PAGE):
        chunk = wanted[begin : begin + PAGE]
        old = and_(Token.old_digest.in_(chunk), Token.old_until > now)
        for row in session.execute(
            select(Token.digest, Token.old_digest, Token.old_until).where(
                unexpired(now), or_(Token.digest.in_(chunk), old)
            )
        ):
            found.add(row.digest)
            if row.old_digest is not None and row.old_until > now:
                found.add(row.old_digest)
        ours = of_token.where(BrowserSession.digest.in_(chunk), BrowserSession.expires_at > now, unexpired(now))
        found.update(session.scalars(ours))
    return found & set(wanted)

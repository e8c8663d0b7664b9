"""What is still good: of tokens, of sessions, and of streams that go on for as long as their followers may hear them.

A secret may have been revoked, have expired, have been replaced; a session lives no longer than the secret that it was begun with. A
person may have been given a lesser role. Of whom a proxy has named, the proxy alone knows whether they are still signed on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from service.access.rules import ROLES, least
from service.access.tokens import BOOTSTRAP, Principal, Scope
from service.db.tables import BrowserSession, Person, Token

PAGE = 400
"""Digests that are asked for at once, each named twice: SQLite binds some thousands."""
PROXIED = timedelta(minutes=10)
"""For so long what a proxy has said counts for a stream; its follower is to come through the proxy again then."""


@dataclass(eq=False)
class Ticket:
    """Of one stream: by what its follower was let in."""

    who: Principal
    until: datetime | None = None
    """The stream ends then at the latest; None: at no certain time."""
    over: bool = False
    """Whether the follower may hear no more."""

    @classmethod
    def of(cls, caller: Principal) -> Ticket:
        """Of a stream that begins now."""
        return cls(caller, datetime.now(UTC) + PROXIED if caller.by == "proxy" else None)


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


def over(session: Session, tickets: Sequence[Ticket]) -> list[Ticket]:
    """Those of them that are: what the follower came with is good no more, or lets them do less than when the stream began."""
    now = datetime.now(UTC)
    good = valid_digests(session, {ticket.who.digest for ticket in tickets if ticket.who.digest})
    above = {ticket.who.owner for ticket in tickets if ticket.who.scope is not ROLES[0]}
    has = _roles(session, list(above))
    return [ticket for ticket in tickets if not _is_good(ticket, now, good, has)]


def _roles(session: Session, names: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for begin in range(0, len(names), PAGE):
        rows = session.execute(select(Person.name, Person.role).where(Person.name.in_(names[begin : begin + PAGE])))
        found.update((name, role) for name, role in rows)
    return found


def _is_good(ticket: Ticket, now: datetime, digests: set[str], has: dict[str, str | None]) -> bool:
    who = ticket.who
    if ticket.until is not None and ticket.until <= now:
        return False
    if who.digest and who.digest not in digests:
        return False
    role = has.get(who.owner)
    if role is None:  # nobody has set one: a token does what it says, and through a proxy people read
        return who.by != "proxy" or who.scope is ROLES[0]
    return who.id == BOOTSTRAP or least(who.scope, Scope(role)) is who.scope

"""What people may do at all, whatever they come with: for what goes on in their name while they are away."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.live import PAGE, unexpired
from service.access.rules import ROLES, least
from service.access.tokens import BOOTSTRAP, Scope
from service.db.tables import Person, Token


def most(session: Session, owners: Collection[str], *, proxied: bool) -> dict[str, Scope]:
    """The most that any good token of theirs may do, by person. Who isn't in it has none, and comes in by nothing.

    proxied: a proxy signs people on; whom it has named once, or who was given a role, may still come through it.
    """
    names, now = sorted(set(owners)), datetime.now(UTC)
    found: dict[str, Scope] = {}
    for begin in range(0, len(names), PAGE):
        chunk = names[begin : begin + PAGE]
        roles = {row.name: row.role for row in session.scalars(select(Person).where(Person.name.in_(chunk)))}
        if proxied:
            found.update((name, Scope(role or Scope.VIEWER)) for name, role in roles.items())
        of_file = Token.id == BOOTSTRAP
        good = select(Token.owner, Token.scope, of_file).where(Token.owner.in_(chunk), unexpired(now))
        for owner, scope, unbound in session.execute(good.where(Token.scope != Scope.JOB).distinct()):
            role = None if unbound else roles.get(owner)
            may = least(Scope(scope), Scope(role) if role else None)
            found[owner] = max(may, found.get(owner, may), key=ROLES.index)
    return found

"""What those who follow a stream came with."""

from __future__ import annotations

from service.access.live import Ticket
from service.access.tokens import Principal, Scope, digest


def ticket(secret: str = "", owner: str = "ada", scope: Scope = Scope.VIEWER) -> Ticket:
    """Of somebody with that token, or that cookie; with neither, nothing ends what they hear."""
    return Ticket(Principal("t-1", owner, owner, scope, digest=digest(secret) if secret else ""))

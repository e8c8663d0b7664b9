"""Webhooks of people who may not hear any more. They are held, not switched off: what stands behind their place on the tape waits, and
is sent once their owner may hear it again. Nothing of that is stored: it follows from tokens and roles as they are now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy.orm import Session

from service.access import scopes
from service.access.tokens import Scope


class Whose(NamedTuple):
    """Of a webhook."""

    number: int
    owner: str
    runs_of: str


def held(session: Session, hooks: Iterable[Whose], *, proxied: bool) -> dict[int, str]:
    """Why nothing is sent, by number; those that aren't held aren't in it. proxied: a proxy signs people on."""
    hooks = list(hooks)
    may = scopes.most(session, {hook.owner for hook in hooks}, proxied=proxied)
    return {hook.number: why for hook in hooks if (why := _why(hook, may.get(hook.owner)))}


def _why(hook: Whose, scope: Scope | None) -> str:
    if scope is None:
        return f"{hook.owner} has no token that is good; what is to be told waits until they have one"
    if hook.runs_of != hook.owner and scope is not Scope.ADMIN:
        return f"{hook.owner} is no administrator any more, and it hears of others' runs; it waits until they are one"
    return ""

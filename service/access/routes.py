"""Tokens for people: everyone's own, and for administrators all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.access import expiry, rules, store
from service.access.callers import User
from service.access.tokens import BOOTSTRAP, Principal, Scope
from service.bodies.base import Page
from service.bodies.tokens import PERSON, NewToken, Rotation, Token, TokenRequest
from service.context import Ctx
from service.db import tables
from service.db.session import take_turn
from service.errors import Conflict, Forbidden
from service.repeats.key import once

MOST_OWN = 100
"""Tokens that someone has who is no administrator: making another is refused."""
router = APIRouter(prefix="/v1/tokens", tags=["tokens"])
TokenId = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$", examples=["t-0123456789ab"])]
Whose = Annotated[str | None, Query(pattern=PERSON, description="Only this person's.")]


@router.post("", status_code=201)
def create(body: TokenRequest, ctx: Ctx, caller: User, request: Request) -> NewToken:
    """Make a token: of one's own with at most one's role, or, as an administrator, anybody's. The secret is in this answer and nowhere else:
    the same request again is answered 409.

    With AGON_TOKEN_DAYS it ends then, if not before. One that is made with a token which ends doesn't outlive that.
    """
    is_admin = caller.scope is Scope.ADMIN
    owner, scope = body.owner or (body.name if is_admin else caller.owner), Scope(body.scope)
    if not rules.may_grant(caller.scope, caller.owner, scope, owner):
        raise Forbidden(_refusal(caller, scope, owner))
    with ctx.db.begin() as session:
        if not is_admin:
            take_turn(session, f"tokens of {owner}")
        if not is_admin and store.count(session, owner) >= MOST_OWN:
            raise Conflict(f"{owner} has {MOST_OWN} tokens; revoke one first: GET /v1/tokens lists them")
        ends = expiry.of_new(body, ctx.settings, caller, datetime.now(UTC))
        row, secret = store.create(session, body.name, scope, owner, ends)
    once(
        request,
        f"this request made token {row.id}, and its secret was told once; if it is lost, revoke that token and make another",
    )
    return NewToken(**dict(_reply(row)), token=secret)


@router.get("")
def list_tokens(ctx: Ctx, caller: User, owner: Whose = None) -> Page[Token]:
    """One's own tokens, for administrators all people's, oldest first; without their secrets."""
    if caller.scope is not Scope.ADMIN:
        if owner not in (None, caller.owner):
            raise Forbidden("only an administrator sees others' tokens; leave owner out")
        owner = caller.owner
    with ctx.db.read() as session:
        return Page(items=[_reply(row) for row in store.people(session, owner)])


@router.post("/{token_id}/rotate")
def rotate(token_id: TokenId, ctx: Ctx, caller: User, request: Request, body: Rotation | None = None) -> NewToken:
    """Give a token another secret, at once; the old one works on for `overlap`. What was begun with the old one ends with it.

    Rotated again meanwhile, the first old secret keeps its time, and the one between them stops working.
    """
    if token_id == BOOTSTRAP:
        raise Conflict(_BOOTSTRAP)
    asked, now = body or Rotation(), datetime.now(UTC)
    with ctx.db.begin() as session:
        row = store.get(session, token_id)
        ends = expiry.of_rotated(asked, row.expires_at, ctx.settings, caller, row.id == caller.id, now)
        if not rules.may_grant(caller.scope, caller.owner, Scope(row.scope), row.owner):
            raise Forbidden(_refusal(caller, Scope(row.scope), row.owner))
        secret = store.rotate(row, timedelta(seconds=asked.overlap), ends)
    once(
        request, f"this request gave token {row.id} another secret, which was told once; if it is lost, rotate it again"
    )
    return NewToken(**dict(_reply(row)), token=secret)


@router.delete("/{token_id}", status_code=204)
def revoke(token_id: TokenId, ctx: Ctx, caller: User) -> Response:
    """Revoke a token; it stops working at once, with the sessions that were begun with it and the streams that it follows."""
    if token_id == BOOTSTRAP:
        raise Conflict(_BOOTSTRAP)
    with ctx.db.begin() as session:
        store.get(session, token_id)
        store.revoke(session, token_id)
    return Response(status_code=204)


_BOOTSTRAP = "the bootstrap token comes from AGON_TOKEN_FILE; change the file and restart the API"


def _refusal(caller: Principal, scope: Scope, owner: str) -> str:
    if owner != caller.owner:
        return f"only {owner} or an administrator may make a token of {owner}'s; leave owner out for one of your own"
    return f"{caller.owner} is a {caller.scope} here, and their tokens are at most that; {scope} is more: ask an administrator"


def _reply(row: tables.Token) -> Token:
    old = row.old_until if row.old_until is not None and row.old_until > datetime.now(UTC) else None
    return Token(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scope=row.scope,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        rotated_at=row.rotated_at,
        old_until=old,
    )

"""Tokens for people: an administrator makes and revokes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.access import store
from service.access.callers import Admin
from service.access.tokens import Scope
from service.bodies.base import Page
from service.bodies.tokens import NewToken, Token, TokenRequest
from service.context import Ctx
from service.db import tables
from service.errors import Conflict, NotFound
from service.repeats.key import once

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.post("", status_code=201)
def create(body: TokenRequest, ctx: Ctx, caller: Admin, request: Request) -> NewToken:
    """Make a token. The secret is in this answer and nowhere else: the same request again is answered 409."""
    with ctx.db.begin() as session:
        row, secret = store.create(session, body.name, Scope(body.scope), body.owner or body.name)
    once(
        request,
        f"this request made token {row.id}, and its secret was told once; if it is lost, revoke that token and make another",
    )
    return NewToken(**dict(_reply(row)), token=secret)


@router.get("")
def list_tokens(ctx: Ctx, caller: Admin) -> Page[Token]:
    """People's tokens, oldest first."""
    with ctx.db.read() as session:
        return Page(items=[_reply(row) for row in store.people(session)])


@router.delete("/{token_id}", status_code=204)
def revoke(token_id: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")], ctx: Ctx, caller: Admin) -> Response:
    """Revoke a token; it stops working at once."""
    if token_id == store.BOOTSTRAP:
        raise Conflict("the bootstrap token comes from AGON_TOKEN_FILE; change the file and restart the API")
    with ctx.db.begin() as session:
        if not store.revoke(session, token_id):
            raise NotFound(f"no token {token_id!r}")
    return Response(status_code=204)


def _reply(row: tables.Token) -> Token:
    return Token(id=row.id, name=row.name, owner=row.owner, scope=row.scope, created_at=row.created_at)

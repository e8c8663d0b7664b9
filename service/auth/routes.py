"""Tokens for people: an administrator makes and revokes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from service.auth import store
from service.auth.access import Admin
from service.auth.tokens import Scope
from service.context import Ctx
from service.db.tables import Token
from service.errors import Conflict, NotFound
from service.paging import Page

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


class TokenRequest(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ada", "scope": "user"}]})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    scope: Literal["admin", "user"] = "user"


class TokenReply(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    scope: str
    created_at: datetime

    @classmethod
    def of(cls, row: Token) -> TokenReply:
        """From its row."""
        return cls(id=row.id, name=row.name, scope=row.scope, created_at=row.created_at)


class NewToken(TokenReply):
    """A token that was just made."""

    token: str = Field(description="The secret; it is shown this once.")


@router.post("", status_code=201)
def create(body: TokenRequest, ctx: Ctx, caller: Admin) -> NewToken:
    """Make a token. The secret is in this answer and nowhere else."""
    with ctx.db.begin() as session:
        row, secret = store.create(session, body.name, Scope(body.scope))
    return NewToken(**TokenReply.of(row).model_dump(), token=secret)


@router.get("")
def list_tokens(ctx: Ctx, caller: Admin) -> Page[TokenReply]:
    """People's tokens, oldest first."""
    with ctx.db.read() as session:
        return Page(items=[TokenReply.of(row) for row in store.people(session)])


@router.delete("/{token_id}", status_code=204)
def revoke(token_id: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$")], ctx: Ctx, caller: Admin) -> Response:
    """Revoke a token; it stops working at once."""
    if token_id == store.BOOTSTRAP:
        raise Conflict("the bootstrap token comes from AGON_TOKEN_FILE; change the file and restart the API")
    with ctx.db.begin() as session:
        if not store.revoke(session, token_id):
            raise NotFound(f"no token {token_id!r}")
    return Response(status_code=204)

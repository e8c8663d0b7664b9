"""Owners: what people have and may have. Administrators set it, everyone sees their own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service import etags
from service.access import people
from service.access.callers import Admin, User
from service.access.tokens import Scope
from service.bodies.base import Page
from service.bodies.owners import OWNER, CapsRequest, Owner, RoleRequest
from service.bodies.tokens import PERSON
from service.context import Ctx
from service.errors import Forbidden, NotFound
from service.etags import UNCHANGED, IfMatch, IfNoneMatch
from service.owners import store

router = APIRouter(prefix="/v1/owners", tags=["owners"])
Name = Annotated[str, Path(pattern=OWNER, description="A person; `*`: all who have no caps of their own.")]
Someone = Annotated[str, Path(pattern=PERSON, description="A person.")]


@router.get("")
def list_owners(ctx: Ctx, caller: Admin) -> Page[Owner]:
    """Everyone who has a token, runs, caps or a role, or came through a proxy's sign-on, with what they have and may have."""
    with ctx.db.read() as session:
        return Page(items=store.owners(session))


@router.get("/me", response_model=Owner, responses=UNCHANGED)
def me(ctx: Ctx, caller: User, if_none_match: IfNoneMatch = None) -> Response:
    """Whose token this is, with what they have and may have."""
    with ctx.db.read() as session:
        return etags.answer(store.owner(session, caller.owner, ctx.settings.fair_share_hours), if_none_match)


@router.get("/{name}", response_model=Owner, responses=UNCHANGED)
def show(name: Name, ctx: Ctx, caller: User, if_none_match: IfNoneMatch = None) -> Response:
    """One owner; others' are for administrators."""
    if caller.scope is not Scope.ADMIN and name != caller.owner:
        raise Forbidden("only an administrator sees what others have; GET /v1/owners/me shows yours")
    with ctx.db.read() as session:
        return etags.answer(store.owner(session, name, ctx.settings.fair_share_hours), if_none_match)


@router.put("/{name}/role")
def set_role(name: Someone, body: RoleRequest, ctx: Ctx, caller: Admin) -> Owner:
    """Set the most that anything of a person's may do, at once: their tokens, browser sessions, and what they do through a proxy's sign-on.

    The token in AGON_TOKEN_FILE stays what it is.
    """
    with ctx.db.begin() as session:
        people.set_role(session, name, None if body.role is None else Scope(body.role))
    with ctx.db.read() as session:
        return store.owner(session, name, ctx.settings.fair_share_hours)


@router.put("/{name}/caps")
def cap(name: Name, body: CapsRequest, ctx: Ctx, caller: Admin, if_match: IfMatch = None) -> Owner:
    """Set what an owner may have at once, in place of what was set before. What is on the cluster already stays there.

    412 if the owner's `etag` is not the one given as `If-Match`: someone has changed their caps since.
    """
    with ctx.db.begin() as session:
        store.cap(session, name, body, if_match)
    ctx.ring()
    with ctx.db.read() as session:
        return store.owner(session, name, ctx.settings.fair_share_hours)


@router.delete("/{name}/caps", status_code=204)
def uncap(name: Name, ctx: Ctx, caller: Admin, if_match: IfMatch = None) -> Response:
    """Take an owner's caps away; those of `*` apply, if there are any. `If-Match` as when they are set."""
    with ctx.db.begin() as session:
        if not store.uncap(session, name, if_match):
            raise NotFound(f"{name} has no caps of their own; GET /v1/owners lists them")
    ctx.ring()
    return Response(status_code=204)

"""Who may call what, as dependencies of the routes. `permitted` stands before every route of the application.

They are coroutines, though they wait for nothing: FastAPI would send each of them to a thread of its own, and back.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from service.access import entry, rules, things
from service.access.rules import Action
from service.access.things import Thing
from service.access.tokens import Principal, Scope
from service.context import context
from service.db.session import Database
from service.elsewhere import Errand
from service.errors import Forbidden

_bearer = HTTPBearer(auto_error=False, description="The token in `AGON_HOME/token`, or one made from it.")
_cookie = APIKeyCookie(
    name=entry.COOKIE,
    auto_error=False,
    description="A browser session: `POST /v1/session` begins one. What changes something has to come from a page of this server.",
)


async def permitted(request: Request) -> None:
    """Raise Forbidden for what the caller's role keeps them from, and for changes to what is somebody else's.

    It goes by the route's method and path, so a new endpoint is under it without a word.
    """
    caller: Principal | None = getattr(request.state, "principal", None)
    if caller is None:  # anyone may: `service.http.Guard` lets nothing else come so far
        return
    template = request.scope["route"].path
    action = rules.action_of(request.method, template)
    if not rules.may(caller.scope, action):
        raise Forbidden(_refusal(caller, action))
    if action is Action.READ:
        return
    if caller.by != "token":
        entry.check_own_page(request.headers)
    kind = things.kind_of(template)
    if action is Action.CHANGE and kind is not None and caller.scope is not Scope.ADMIN:
        thing = await run_in_threadpool(_look, context(request).db, kind, request.path_params)
        if thing is not None and not rules.may_change(caller.scope, caller.owner, thing.owner):
            raise Forbidden(_not_theirs(thing))


def _look(db: Database, kind: things.Kind, params: dict[str, str]) -> Thing | None:
    with db.read() as session:
        return things.find(session, kind, params)


def _refusal(caller: Principal, action: Action) -> str:
    if caller.scope is Scope.JOB:
        return f"this token may only report events of job {caller.job_id}"
    if action is Action.REPORT:
        return "only the job's own token may do this"
    return (
        f"{caller.owner} asks as a viewer, who sees everything and changes nothing; an administrator can give {caller.owner} the role "
        f"user, PUT /v1/owners/{caller.owner}/role, and a token of that scope, POST /v1/tokens"
    )


def _not_theirs(thing: Thing) -> str:
    return f"{thing.name} is {thing.owner}'s: only {thing.owner} or an administrator may change it; ask them, or {thing.instead}"


async def principal(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    __: Annotated[str | None, Depends(_cookie)],
) -> Principal:
    """Who asks: `service.http.Guard` has looked, before it read the body."""
    found: Principal = request.state.principal
    return found


Caller = Annotated[Principal, Depends(principal)]


async def user(caller: Caller) -> Principal:
    """A person; whether they may do this `permitted` has said. Raises Forbidden for a job's token."""
    if caller.scope is Scope.JOB:
        raise Forbidden(_refusal(caller, Action.READ))
    return caller


async def admin(caller: Annotated[Principal, Depends(user)]) -> Principal:
    """An administrator. Raises Forbidden."""
    if caller.scope is not Scope.ADMIN:
        raise Forbidden("only an administrator may do this")
    return caller


async def own_job(request: Request, caller: Caller) -> Principal:
    """The token of the job in the path. Raises Forbidden for any other."""
    if caller.scope is not Scope.JOB or caller.job_id != request.path_params["job_id"]:
        raise Forbidden("only the job's own token may do this")
    return caller


async def errand(request: Request, caller: Caller) -> Errand:
    """For what the request makes this process do elsewhere."""
    return Errand(caller.id, request.is_disconnected)


Away = Annotated[Errand, Depends(errand)]
User = Annotated[Principal, Depends(user)]
Admin = Annotated[Principal, Depends(admin)]
OwnJob = Annotated[Principal, Depends(own_job)]

"""Who may call what, as dependencies of the routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from service.access import store
from service.access.tokens import Principal, Scope
from service.db.session import Database
from service.elsewhere import Errand
from service.errors import Forbidden, Unauthenticated

_bearer = HTTPBearer(auto_error=False, description="The token in `AGON_HOME/token`, or one made from it.")


def whose(db: Database, token: str) -> Principal:
    """Whose token it is. Raises Unauthenticated."""
    found = store.find(db, token)
    if found is None:
        raise Unauthenticated("this token is not known here; it may have been revoked", invalid=True)
    return found


def principal(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
    """Whose token the request carries: `service.http.Guard` has looked, before it read the body."""
    found: Principal = request.state.principal
    return found


Caller = Annotated[Principal, Depends(principal)]


def user(caller: Caller) -> Principal:
    """A person's token. Raises Forbidden for a job's."""
    if caller.scope is Scope.JOB:
        raise Forbidden(f"this token may only report events of job {caller.job_id}")
    return caller


def admin(caller: Annotated[Principal, Depends(user)]) -> Principal:
    """An administrator's token. Raises Forbidden."""
    if caller.scope is not Scope.ADMIN:
        raise Forbidden("only an administrator's token may do this")
    return caller


def owned(caller: Principal, owner: str, what: str) -> None:
    """For what can't be undone: only whose it is, and administrators. Raises Forbidden. owner "": nobody knows whose it is."""
    if owner not in ("", caller.owner) and caller.scope is not Scope.ADMIN:
        raise Forbidden(f"{what} is {owner}'s; only {owner} or an administrator can do this")


def own_job(request: Request, caller: Caller) -> Principal:
    """The token of the job in the path. Raises Forbidden for any other."""
    if caller.scope is not Scope.JOB or caller.job_id != request.path_params["job_id"]:
        raise Forbidden("only the job's own token may do this")
    return caller


def errand(request: Request, caller: Caller) -> Errand:
    """For what the request makes this process do elsewhere."""
    return Errand(caller.id, request.is_disconnected)


Away = Annotated[Errand, Depends(errand)]
User = Annotated[Principal, Depends(user)]
Admin = Annotated[Principal, Depends(admin)]
OwnJob = Annotated[Principal, Depends(own_job)]

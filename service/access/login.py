"""Browser sessions: a cookie in place of a token, and who asks."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from service.access import entry, sessions
from service.access.callers import User
from service.access.entry import COOKIE, Entry
from service.access.tokens import Principal, Scope
from service.bodies.tokens import SessionRequest, Who
from service.context import Context, Ctx
from service.errors import BadRequest, Forbidden, Unauthenticated

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.post("", status_code=201, openapi_extra={"security": [{"HTTPBearer": []}, {}]})
def begin(request: Request, response: Response, ctx: Ctx, body: SessionRequest | None = None) -> Who:
    """Begin a browser session with a token, in the header `Authorization` or in the body. Its cookie is HttpOnly and SameSite=Strict.

    It may do what the token may, ends after AGON_SESSION_HOURS and with the token's secret, and changes things for pages of this
    server alone.
    """
    caller = _with_token(request, ctx.of(Entry), body)
    if caller.scope is Scope.JOB:
        raise Forbidden("a job's token begins no browser session; use a person's")
    request.state.principal = caller  # whom the audit names
    ends = give(request, response, ctx, caller)
    response.headers["Cache-Control"] = "no-store"
    return Who(owner=caller.owner, name=caller.name, scope=caller.scope, by="session", expires_at=ends)


@router.get("")
def show(caller: User, response: Response) -> Who:
    """Who asks, how they said so, and what they may do."""
    response.headers["Cache-Control"] = "no-store"
    return Who(owner=caller.owner, name=caller.name, scope=caller.scope, by=caller.by, expires_at=caller.expires_at)


@router.delete("", status_code=204)
def end(request: Request, caller: User, ctx: Ctx) -> Response:
    """End the browser session that the request came with; the streams that it follows end, too."""
    if caller.by != "session":
        raise BadRequest(f"this request came by a {caller.by}; a browser session ends with the cookie {COOKIE}")
    with ctx.db.begin() as session:
        sessions.end(session, caller)
    response = Response(status_code=204)
    forget(request, response)
    return response


def give(request: Request, response: Response, ctx: Context, caller: Principal) -> datetime:
    """Begin a session of theirs, and have the answer bring its cookie; when it ends."""
    with ctx.db.begin() as session:
        secret, ends = sessions.begin(session, caller, ctx.settings.session_hours)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=max(1, int((ends - datetime.now(UTC)).total_seconds())),
        path="/",
        secure=entry.is_secure(request.url.scheme, request.headers),
        httponly=True,
        samesite="strict",
    )
    return ends


def forget(request: Request, response: Response) -> None:
    """Have the answer take the cookie away."""
    secure = entry.is_secure(request.url.scheme, request.headers)
    response.delete_cookie(COOKIE, path="/", secure=secure, httponly=True, samesite="strict")


def _with_token(request: Request, door: Entry, body: SessionRequest | None) -> Principal:
    """Whose token came, in the header or in the body. Raises Unauthenticated, BadRequest."""
    caller: Principal | None = getattr(request.state, "principal", None)
    if caller is not None and body is not None:
        raise BadRequest("the token came twice; send it in the header `Authorization` or in the body")
    if caller is None:
        if body is None:
            raise Unauthenticated('send `Authorization: Bearer TOKEN`, or the token in the body: {"token": "…"}')
        caller = door.whose(body.token.get_secret_value())
        request.state.principal = caller
    return caller

"""Signing in with a token, and out again: plain forms, which work without JavaScript."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access import login, sessions
from service.access.callers import User
from service.access.entry import Entry
from service.access.tokens import Scope
from service.context import Context, Ctx
from service.errors import Forbidden, Unauthenticated
from service.web import frame
from service.web.face import SIGN_IN
from service.web.frame import View
from trainer.proxies import LOOPBACK

router = APIRouter(include_in_schema=False)
Next = Annotated[str, Query(max_length=2000)]
VIEW = View(title="Sign in")


@router.get(SIGN_IN)
async def show(request: Request, ctx: Ctx, next: Next = "/") -> Response:
    """The form."""
    return _form(request, ctx, next)


@router.post(SIGN_IN)
async def sign_in(request: Request, ctx: Ctx, next: Next = "/") -> Response:
    """Begin a session with the token that was typed, and go where one wanted to."""
    given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0].strip()
    try:
        return await run_in_threadpool(_begin, request, ctx, given, next)
    except (Unauthenticated, Forbidden) as problem:
        return _form(request, ctx, next, problem.detail, problem.status)


@router.post("/sign-out")
def sign_out(request: Request, caller: User, ctx: Ctx) -> Response:
    """End the session; without one, go to where one begins."""
    response = RedirectResponse(SIGN_IN, 303)
    if caller.by == "session":
        with ctx.db.begin() as session:
            sessions.end(session, caller)
    login.forget(request, response)
    return response


def _begin(request: Request, ctx: Context, token: str, onward: str) -> Response:
    """Raises Unauthenticated, Forbidden."""
    if not token:
        raise Unauthenticated("type a token")
    caller = ctx.of(Entry).whose(token)
    if caller.scope is Scope.JOB:
        raise Forbidden("this is a job's token; sign in with a person's")
    request.state.principal = caller  # whom the audit names
    response = RedirectResponse(inside(onward), 303, {"Cache-Control": "no-store"})
    login.give(request, response, ctx, caller)
    return response


def _form(request: Request, ctx: Context, onward: str, wrong: str = "", status: int = 200) -> Response:
    return frame.page(
        request, None, "signin/page.html", VIEW, status=status, next=inside(onward), wrong=wrong,
        token_file=str(ctx.settings.token_file) if _is_here(request) else "",
    )  # fmt: skip


def _is_here(request: Request) -> bool:
    """Whether whoever asks sits at this machine, as far as one can tell: it is they who find the token's file."""
    return request.client is not None and request.client.host in LOOPBACK and "x-forwarded-for" not in request.headers


def inside(where: str) -> str:
    """The path if it is one of this server, else the first page: a link that signs in leads nowhere else."""
    parts = urlsplit(where)
    own = where.startswith("/") and not where.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return where if own and where.isprintable() and "\\" not in where else "/"

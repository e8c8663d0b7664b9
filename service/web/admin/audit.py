"""The audit: who changed what, and who was refused a change; of everyone for administrators, else of oneself."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError

from service.access.callers import User
from service.access.tokens import Principal, Scope
from service.audit import replies, store
from service.audit.routes import Action, Actor, Moment, Target, TokenId
from service.audit.store import Outcome, Wanted
from service.audit.witness import Watch
from service.context import Ctx
from service.errors import Forbidden, Invalid
from service.paging import Cursor
from service.web.admin.tabs import page
from trainer.spec import FieldError
from trainer.spec.errors import short

router = APIRouter(include_in_schema=False)
PAGE = 50
FIELDS = (
    ("actor", "Person", "ada"),
    ("action", "Action", "job or job.pause"),
    ("target", "Of what", "id or name"),
    ("token", "Token", "t-0123456789ab"),
    ("since", "Since", "2026-11-01"),
    ("until", "Until", "2026-12-01T12:00Z"),
)
"""What is filtered by: name, caption, an example."""
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
FIXES = {"outcome": "it is one of " + ", ".join(Outcome)} | {name: f"write it like {like}" for name, _, like in FIELDS}


class _Fields(BaseModel):
    """What REST checks each by."""

    actor: Actor = None
    token: TokenId = None
    action: Action = None
    target: Target = None
    outcome: Outcome | None = None
    since: Moment = None
    until: Moment = None


@router.get("/admin/audit")
def show_audit(request: Request, caller: User, ctx: Ctx, cursor: Cursor = None) -> Response:
    """Newest first."""
    given = {name: value for name in _Fields.model_fields if (value := request.query_params.get(name, "").strip())}
    wanted = _wanted(caller, given)
    ctx.of(Watch).refusals.write()
    with ctx.db.read() as session:
        rows, following = store.page(session, wanted, limit=PAGE, cursor=cursor)
        entries = [replies.entry(row) for row in rows]
    query = urlencode(_read(given).model_dump(mode="json", exclude_none=True))
    fields = [field for field in FIELDS if caller.scope is Scope.ADMIN or field[0] != "actor"]
    return page(
        request, caller, "audit", entries=entries, following=following, fields=fields, given=given, outcomes=list(Outcome),
        query=query, kept=urlencode(given), first=cursor is None,
    )  # fmt: skip


def _wanted(caller: Principal, given: dict[str, str]) -> Wanted:
    """Raises Invalid, Forbidden."""
    asked = _read(given)
    if caller.scope is not Scope.ADMIN:
        if asked.actor not in (None, caller.owner):
            raise Forbidden("only an administrator sees what others did; leave the person out to see what you did")
        asked.actor = caller.owner
    return Wanted(asked.actor, asked.token, asked.action, asked.target, asked.outcome, asked.since, asked.until)


def _read(given: dict[str, str]) -> _Fields:
    """A day is its beginning in UTC. Raises Invalid."""
    days = {name: f"{value}T00:00:00Z" for name, value in given.items() if _DAY.fullmatch(value)}
    try:
        return _Fields.model_validate({**given, **days})
    except ValidationError as error:
        names = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
        raise Invalid(
            [
                FieldError(path=name, message="can't be read", value=short(given[name]), fix=FIXES[name])
                for name in names
            ]
        ) from error

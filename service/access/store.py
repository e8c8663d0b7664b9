"""All SQL on tokens."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.rules import least
from service.access.tokens import BOOTSTRAP, Principal, Scope, digest, new_token
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Base, Job, JobChange, Token
from service.errors import NotFound, Unauthenticated

ADMIN = "admin"
"""Owner of the bootstrap token: whoever runs the API."""


def bootstrap(db: Database, token: str) -> None:
    """Make the token file's token the one bootstrap token; a token that the file held before stops working."""
    try:
        with db.begin() as session:
            row = session.get(Token, BOOTSTRAP)
            if row is None:
                row = Token(
                    id=BOOTSTRAP,
                    name=BOOTSTRAP,
                    owner=ADMIN,
                    scope=Scope.ADMIN,
                    attempt=0,
                    created_at=datetime.now(UTC),
                )
                session.add(row)
            row.digest = digest(token)
    except IntegrityError:  # another process was first, with the same file
        if find(db, token) is None:
            raise


def find(db: Database, token: str, noted: Callable[[str, datetime | None], None] | None = None) -> Principal | None:
    """Whose token it is; None if it isn't known. Raises Unauthenticated, saying since when, for one that was good once.

    noted: is told the id of a person's token that is good, and when its row says that it was last used.
    """
    now, wanted = datetime.now(UTC), digest(token)
    with db.look() as connection:
        row = connection.execute(_WITH_SECRET, {"wanted": wanted}).first()
    if row is None:
        return None
    current = hmac.compare_digest(row.digest, wanted)
    if not current and not hmac.compare_digest(row.old_digest or "", wanted):
        return None
    _check_good(row, current, now)
    if noted is not None and row.scope != Scope.JOB:
        noted(row.id, row.used_at)
    return principal(row, row.role, wanted)


# Made once, and of columns alone: every request executes it.
_TOKENS, _PEOPLE = Base.metadata.tables["tokens"], Base.metadata.tables["people"]
_WITH_SECRET = (
    select(_TOKENS, _PEOPLE.c.role)
    .outerjoin(_PEOPLE, _PEOPLE.c.name == _TOKENS.c.owner)
    .where(or_(_TOKENS.c.digest == bindparam("wanted"), _TOKENS.c.old_digest == bindparam("wanted")))
)


def principal(row: Token | Row[Any], role: str | None, secret_digest: str) -> Principal:
    """Who comes with a token of which that is the secret. role: its owner's, which bounds all tokens but the token file's."""
    bound = Scope(role) if role and row.id != BOOTSTRAP else None
    scope = least(Scope(row.scope), bound)
    ends = row.expires_at
    return Principal(
        row.id, row.name, row.owner, scope, row.job_id, row.attempt, secret_digest, expires_at=ends, token_ends_at=ends
    )


def _check_good(row: Token | Row[Any], current: bool, now: datetime) -> None:
    if row.expires_at is not None and row.expires_at <= now:
        since = f"this token expired on {_moment(row.expires_at)}"
        raise Unauthenticated(f"{since}; use another one, or ask an administrator for one", invalid=True)
    if not current and (row.old_until is None or row.old_until <= now):
        since = f" on {_moment(row.old_until)}" if row.old_until else ""
        raise Unauthenticated(
            f"this token's secret was replaced and stopped working{since}; use the new one", invalid=True
        )


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d at %H:%M:%S} UTC"


def create(
    session: Session, name: str, scope: Scope, owner: str, expires_at: datetime | None = None
) -> tuple[Token, str]:
    """A new token for a person; the second value is the only time that it is seen."""
    token = new_token()
    row = add(session, token, name, scope)
    row.owner, row.expires_at = owner, expires_at
    return row, token


def get(session: Session, token_id: str) -> Token:
    """A person's token, locked until the transaction ends. Raises NotFound."""
    wanted = select(Token).where(Token.id == token_id, Token.scope != Scope.JOB)
    row = session.scalar(wanted.with_for_update())
    if row is None:
        raise NotFound(f"no token {token_id!r}; GET /v1/tokens lists them")
    return row


def rotate(row: Token, overlap: timedelta, expires_at: datetime | None) -> str:
    """Give a locked token another secret, seen here alone. The one that it replaces works on for `overlap`.

    Of several that were replaced within that time the first does: the answer with a later one may have been lost.
    """
    now, token = datetime.now(UTC), new_token()
    if not overlap:
        row.old_digest, row.old_until = None, None
    elif row.old_until is None or row.old_until <= now:
        row.old_digest, row.old_until = row.digest, now + overlap
    row.digest, row.rotated_at, row.expires_at = digest(token), now, expires_at
    return token


def add(session: Session, token: str, name: str, scope: Scope, job_id: str | None = None, attempt: int = 0) -> Token:
    """Make this token known; it is nobody's."""
    row = Token(
        id=f"t-{secrets.token_hex(6)}",
        name=name,
        scope=scope,
        digest=digest(token),
        job_id=job_id,
        attempt=attempt,
        created_at=datetime.now(UTC),
    )
    session.add(row)
    return row


def is_of(session: Session, token: str, job_id: str, attempt: int) -> bool:
    """Whether it is known as that attempt's."""
    same = (Token.digest == digest(token), Token.job_id == job_id, Token.attempt == attempt)
    return session.scalar(select(Token.id).where(*same)) is not None


def forget_ended(db: Database, grace: timedelta) -> int:
    """Delete the tokens of jobs that ended, or were paused, longer ago than that and whose drivers are gone; how many there were."""
    now = datetime.now(UTC)
    recent = Job.finished_at.between(now - grace, now)  # one that lies ahead was written by a clock set back since
    ended = and_(Job.finished_at.is_not(None), ~recent)
    changed = JobChange.time.between(now - grace, now)
    paused = and_(
        Job.state == State.PAUSED, ~select(JobChange.id).where(JobChange.job_number == Job.number, changed).exists()
    )
    over = select(Job.id).where(or_(ended, paused), ~Job.watched, Job.id == Token.job_id).exists()
    with db.begin() as session:
        return len(session.scalars(delete(Token).where(Token.scope == Scope.JOB, over).returning(Token.id)).all())


def people(session: Session, owner: str | None = None) -> Sequence[Token]:
    """Tokens of people, or of one, oldest first; the jobs' own aren't listed."""
    wanted = select(Token).where(Token.scope != Scope.JOB).order_by(Token.created_at, Token.id)
    return session.scalars(wanted if owner is None else wanted.where(Token.owner == owner)).all()


def count(session: Session, owner: str) -> int:
    """How many tokens are this person's."""
    return session.scalar(select(func.count()).select_from(Token).where(Token.owner == owner)) or 0


def revoke(session: Session, token_id: str) -> bool:
    """Whether there was such a token; what was begun with it ends, too."""
    gone = session.scalar(delete(Token).where(Token.id == token_id, Token.scope != Scope.JOB).returning(Token.id))
    return gone is not None

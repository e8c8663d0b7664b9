"""All SQL on tokens."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.access.tokens import Principal, Scope, digest, new_token
from service.bodies.states import State
from service.db.session import Database
from service.db.tables import Job, JobChange, Token

BOOTSTRAP = "bootstrap"
ADMIN = "admin"
"""Owner of the bootstrap token: whoever runs the API."""
PAGE = 500


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


def find(db: Database, token: str) -> Principal | None:
    """Whose token it is; None if it isn't known."""
    wanted = digest(token)
    with db.read() as session:
        row = session.scalar(select(Token).where(Token.digest == wanted))
    if row is None or not hmac.compare_digest(row.digest, wanted):
        return None
    return Principal(row.id, row.name, row.owner, Scope(row.scope), row.job_id, row.attempt, wanted)


def create(session: Session, name: str, scope: Scope, owner: str) -> tuple[Token, str]:
    """A new token for a person; the second value is the only time that it is seen."""
    token = new_token()
    row = add(session, token, name, scope)
    row.owner = owner
    return row, token


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


def people(session: Session) -> Sequence[Token]:
    """Tokens of people, oldest first; the jobs' own aren't listed."""
    return session.scalars(select(Token).where(Token.scope != Scope.JOB).order_by(Token.created_at, Token.id)).all()


def revoke(session: Session, token_id: str) -> bool:
    """Whether there was such a token."""
    gone = session.scalar(delete(Token).where(Token.id == token_id).returning(Token.id))
    return gone is not None


def valid_digests(session: Session, digests: Collection[str]) -> set[str]:
    """Those of them that are known tokens'."""
    wanted, found = list(digests), set[str]()
    for begin in range(0, len(wanted), PAGE):
        found.update(session.scalars(select(Token.digest).where(Token.digest.in_(wanted[begin : begin + PAGE]))))
    return found

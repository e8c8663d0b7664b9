"""All SQL on caps that requests need."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from service import etags
from service.access import people
from service.bodies.owners import EVERYONE, Caps, CapsRequest, Owner, Share, Use
from service.db.session import insert_into
from service.db.tables import OwnerCaps, Token
from service.errors import Conflict
from service.runs import caps, order, share
from trainer.spec import Queue


def owners(session: Session) -> list[Owner]:
    """All who have a token, runs, caps or a role, or came through a proxy, by name; `*` first, if it has caps."""
    known, using, roles = caps.read(session), caps.uses(session, datetime.now(UTC)), people.roles(session)
    with_token = session.scalars(select(Token.owner).distinct())
    return [_owner(name, known, using, roles) for name in sorted({*with_token, *known, *using, *roles} - {""})]


def owner(session: Session, name: str, most_delay: float) -> Owner:
    """One of them, or anyone. most_delay: as the server allows it, in hours."""
    now = datetime.now(UTC)
    found = _owner(name, caps.read(session), caps.uses(session, now), people.roles(session))
    return found if name == EVERYONE else found.model_copy(update={"share": _share(session, name, most_delay, now)})


def cap(session: Session, name: str, asked: CapsRequest, if_match: str | None = None) -> None:
    """Set an owner's caps, in place of those that there were: of that edition. Raises PreconditionFailed, Conflict."""
    new = {**asked.model_dump(), "changed_at": datetime.now(UTC)}
    write = insert_into(session, OwnerCaps).values(owner=name, **new)
    if if_match in etags.WHATEVER:
        session.execute(write.on_conflict_do_update(index_elements=[OwnerCaps.owner], set_=new))
        return
    if caps.read(session).get(name) == Caps(**asked.model_dump()):
        return  # it may have been sent again
    seen = _seen(session, name, if_match)
    change = write.on_conflict_do_nothing() if seen is None else update(OwnerCaps).where(_still(name, seen)).values(new)
    _check_made(session.scalar(change.returning(OwnerCaps.owner)), name)


def uncap(session: Session, name: str, if_match: str | None = None) -> bool:
    """Whether there were any: of that edition. Raises PreconditionFailed, Conflict."""
    gone = delete(OwnerCaps).returning(OwnerCaps.owner)
    if if_match in etags.WHATEVER:
        return session.scalar(gone.where(OwnerCaps.owner == name)) is not None
    seen = _seen(session, name, if_match)
    if seen is None:
        return False
    _check_made(session.scalar(gone.where(_still(name, seen))), name)
    return True


def _seen(session: Session, name: str, if_match: str | None) -> Caps | None:
    """An owner's own caps. Raises PreconditionFailed unless they are of that edition."""
    found = caps.read(session).get(name)
    etags.check(if_match, _edition(found), f"what {name} may have")
    return found


def _still(name: str, seen: Caps) -> ColumnElement[bool]:
    """Whether nobody has changed them since they were seen."""
    same = [getattr(OwnerCaps, what).is_not_distinct_from(most) for what, most in seen.model_dump().items()]
    return and_(OwnerCaps.owner == name, *same)


def _check_made(made: str | None, name: str) -> None:
    if made is None:
        raise Conflict(f"what {name} may have is being changed by others; get it, and try again")


def _edition(own: Caps | None) -> str:
    return etags.edition(own and own.model_dump())


def _share(session: Session, name: str, most: float, now: datetime) -> Share | None:
    mine, arrived = share.of(session, name, Queue().priority, now), int(now.timestamp() * order.SECOND)
    if mine.size is None or not most:
        return None
    delay = share.behind_own(share.delay(mine.load, most), arrived, mine.newest, mine.latest)
    return Share(
        cpu_hours=mine.used.cpus,
        gpu_hours=mine.used.gpus,
        used_hours=mine.load.used,
        held_hours=mine.load.held,
        delay_hours=round(delay / order.POINT, 2),
    )


def _owner(name: str, known: dict[str, Caps], using: dict[str, Use], roles: dict[str, str | None]) -> Owner:
    found = known.get(name) or known.get(EVERYONE) or caps.NO_CAPS
    use = Use() if name == EVERYONE else using.get(name, Use())
    etag = _edition(known.get(name))
    return Owner(name=name, etag=etag, caps=found, own=name in known, use=use, role=roles.get(name))

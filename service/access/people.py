"""All SQL on people's roles."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.access.tokens import Scope
from service.db.session import Database, insert_into
from service.db.tables import Person


def named(db: Database, name: str) -> Scope:
    """The role of someone whom a proxy has named; who is new here gets the least one."""
    with db.read() as session:
        row = session.get(Person, name)
    if row is None:
        with db.begin(unseen=True) as session:
            write = insert_into(session, Person).values(name=name, role=None, changed_at=datetime.now(UTC))
            session.execute(write.on_conflict_do_nothing())
    return Scope.VIEWER if row is None or row.role is None else Scope(row.role)


def roles(session: Session) -> dict[str, str | None]:
    """Of everyone whose role was set, or whom a proxy has named."""
    return {person.name: person.role for person in session.scalars(select(Person))}


def set_role(session: Session, name: str, role: Scope | None) -> None:
    """The most that this person may do from now on; None: what each token says, and through a proxy the least."""
    new = {"role": role, "changed_at": datetime.now(UTC)}
    write = insert_into(session, Person).values(name=name, **new)
    session.execute(write.on_conflict_do_update(index_elements=[Person.name], set_=new))

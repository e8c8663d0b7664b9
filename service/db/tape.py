"""The tape: what runs tell, in the one order in which everyone hears it (`service.runs.tape`)."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship, remote

from service.db.base import Base, BigId
from service.db.runs import JobChange

UNPLACED = "place IS NULL"


class TapeEntry(Base):
    """A change of a run's state, or the events that one transaction made known; they themselves lie in their own tables."""

    __tablename__ = "tape"
    __table_args__ = (
        Index("ix_tape_place", "place", unique=True),
        Index("ix_tape_unplaced", "id", sqlite_where=text(UNPLACED), postgresql_where=text(UNPLACED)),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    """Of one run's entries the order in which they were written, under the lock of its row. Of several runs' it says nothing."""
    place: Mapped[int | None] = mapped_column(BigInteger)
    """Where it is heard; None: nobody has looked since it was committed."""
    job_number: Mapped[int] = mapped_column(ForeignKey("jobs.number", ondelete="CASCADE"), index=True)
    change_id: Mapped[int | None] = mapped_column(BigInteger)
    """The `JobChange`; no foreign key: both go with their run."""
    first: Mapped[int | None] = mapped_column(BigInteger)
    """Or the events, from this seq …"""
    last: Mapped[int | None] = mapped_column(BigInteger)
    """… to this one."""

    change: Mapped[JobChange | None] = relationship(
        JobChange, primaryjoin=lambda: foreign(TapeEntry.change_id) == remote(JobChange.id), lazy="raise"
    )

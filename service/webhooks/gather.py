"""From the tape to deliveries: what has happened since a webhook heard last, once each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from service.bodies.owners import EVERYONE
from service.db.session import Database, insert_into
from service.db.tables import AT_ONCE, Job, JobChange, TapeEntry, Webhook, WebhookDelivery
from service.runs import tape
from service.runs.tape import Mark, Told, Wanted
from service.webhooks.events import Happened, Message, messages, wanted
from service.webhooks.holding import Whose, held

BATCH, MOST_PARTS = 200, 100
SKEW = timedelta(minutes=1)
"""By so much the times of what was written one after the other, on several machines, may go back."""


class Gatherer:
    """One per process. What it remembers only spares reading again what nobody wants."""

    def __init__(self, db: Database, *, proxied: bool) -> None:
        """proxied: a proxy signs people on."""
        self._db, self._proxied = db, proxied
        self._read: dict[int, tuple[int, int]] = {}
        """By webhook: its place, and how far there is nothing behind that for it."""

    def gather(self) -> bool:
        """Make deliveries of all that there is; whether there is a webhook at all that isn't held."""
        with self._db.read() as session:
            enabled = session.scalars(select(Webhook).where(Webhook.enabled)).all()
            whose = [Whose(hook.number, hook.owner, hook.runs_of) for hook in enabled]
            waits = held(session, whose, proxied=self._proxied)
            hooks = [hook for hook in enabled if hook.number not in waits]
        if not hooks:
            self._read.clear()
            return False
        placed(self._db)
        for hook in hooks:
            while self._step(hook):
                pass
        known = {hook.number for hook in hooks}
        self._read = {number: seen for number, seen in self._read.items() if number in known}
        return True

    def _step(self, hook: Webhook) -> bool:
        """The next part for one of them; whether there is more. `hook` is moved on with it."""
        base, begin = self._read.get(hook.number, (hook.place, hook.place))
        if base != hook.place:  # another has gathered, or it is to be sent again
            begin = hook.place
        with self._db.read() as session:
            if begin >= tape.end(session).place:
                return False
            stretch = tape.read(session, Mark(begin), BATCH, _wanted(hook))
            happened = _happened(session, stretch.told)
        if not happened:
            self._read[hook.number] = (hook.place, stretch.mark.place)
            return stretch.more
        with self._db.begin() as session:
            row = session.scalar(select(Webhook).where(Webhook.number == hook.number).with_for_update())
            if row is None or not row.enabled or row.place != hook.place:
                return False
            told = [message for what in happened for message in messages(what) if wanted(row.events, message.type)]
            add(session, row, told)
            row.place = stretch.mark.place
        hook.place = stretch.mark.place
        return stretch.more


def placed(db: Database) -> None:
    """What has happened so far has its place, as far as it was committed: a webhook that begins now doesn't hear of it."""
    for _ in range(MOST_PARTS):
        if not tape.place(db):
            return


def add(session: Session, hook: Webhook, told: Sequence[Message]) -> None:
    """Messages that it shall get; what it has already stays as it is."""
    if told:
        facts = {"webhook_number": hook.number, "outcome": "pending", "attempts": 0, "fence": 0, "error": ""}
        rows = [{**vars(message), **facts, "due_at": AT_ONCE} for message in told]
        session.execute(insert_into(session, WebhookDelivery).on_conflict_do_nothing(), rows)


def before(session: Session, moment: datetime) -> int:
    """The place on the tape behind which everything lies that happened from that moment on, found by halving: times go up along
    it, but for what several wrote at about the same time."""
    moment -= SKEW
    low, high = 0, tape.end(session).place
    behind = select(TapeEntry.place, JobChange.time).join(JobChange, JobChange.id == TapeEntry.change_id)
    while low < high:
        middle = (low + high) // 2
        found = session.execute(
            behind.where(TapeEntry.place > middle, TapeEntry.place <= high).order_by(TapeEntry.place).limit(1)
        ).first()
        if found is None or found.time >= moment:
            high = middle
        else:
            low = found.place
    return low


def _wanted(hook: Webhook) -> Wanted:
    owner = None if hook.runs_of == EVERYONE else hook.runs_of
    return Wanted(owner=owner, labels=tuple(sorted(hook.labels.items())), states=True)


def _happened(session: Session, told: Sequence[Told]) -> list[Happened]:
    """With what the run's stream doesn't say: the state before, and what was registered."""
    if not told:
        return []
    earlier = aliased(JobChange)
    state = (
        select(earlier.state)
        .where(earlier.job_number == JobChange.job_number, earlier.id < JobChange.id)
        .order_by(earlier.id.desc())
        .limit(1)
        .correlate(JobChange)
        .scalar_subquery()
    )
    more = (
        select(TapeEntry.place, state.label("before"), Job.model)
        .join(JobChange, JobChange.id == TapeEntry.change_id)
        .join(Job, Job.number == TapeEntry.job_number)
        .where(TapeEntry.place.in_([item.mark.place for item in told]))
    )
    known = {row.place: row for row in session.execute(more)}
    return [
        _of(item, known[item.mark.place].before, known[item.mark.place].model)
        for item in told
        if item.mark.place in known
    ]


def _of(told: Told, before: str | None, model: dict[str, object] | None) -> Happened:
    return Happened(
        run=told.run,
        kind=told.kind,
        name=told.name,
        owner=told.owner,
        labels=told.labels,
        place=told.mark.place,
        told_at=datetime.fromisoformat(told.data["time"]),
        state=told.data["state"],
        before=before,
        attempt=told.data["attempt"],
        reason=told.data["reason"],
        trace=told.data["trace"],
        failure=told.data.get("failure"),
        model=model,
    )

"""What is sent again when somebody asks for it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rows
from hooks import (
    OK,
    Clock,
    Receiver,
    deliveries,
    dispatcher,
    drain,
    hook,
    tell,
    told,
)
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import delete, func, select, update

from service.bodies.webhooks import WebhookEdit
from service.db.session import Database
from service.db.tables import Job, JobChange
from service.runs import store as runs
from service.runs import tape
from service.webhooks import deliveries as sql
from service.webhooks import gather, store
from service.webhooks.schedule import Answer

databases = pytest.mark.databases


@databases
def test_a_replay_sends_again_with_the_same_id_and_brings_what_was_missed(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    since, run = datetime.now(UTC), told(db, "queued")
    drain(one)
    receiver.answer = lambda _: Answer(410)
    tell(db, run, "starting")
    drain(one)
    tell(db, run, "running")
    drain(one)
    assert len(receiver.came) == 2, "it is off"
    receiver.answer = lambda _: OK
    gather.placed(db)
    with db.begin() as session:
        row = store.get(session, webhook, None, lock=True)
        store.edit(session, row, WebhookEdit(enabled=True), None)
    tell(db, run, "succeeded")
    drain(one)
    told(db, "queued", owner="eve")  # of no concern to it, so it is remembered that there is nothing
    drain(one)
    assert receiver.types == ["job.queued", "job.starting", "job.succeeded"]
    with db.begin() as session:
        row = store.get(session, webhook, None, lock=True)
        row.place = min(row.place, gather.before(session, since))
        assert sql.again_since(session, row, since, delivered=False) == 1
    drain(one)
    assert sorted(receiver.types[3:]) == ["job.running", "job.starting"]
    assert Counter(id_ for id_, _ in receiver.came)[receiver.came[1][0]] == 2
    assert {item.outcome for item in deliveries(db, webhook)} == {"delivered"}


@given(times=st.lists(st.integers(0, 10_000), max_size=30), at=st.integers(-10, 10_010))
@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_place_before_a_moment_leaves_nothing_out_and_not_much_in(
    plain: Database, times: list[int], at: int
) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with plain.begin() as session:
        session.execute(delete(Job))
    run = rows.run(plain)
    with plain.read() as session:
        low = tape.end(session).place
    for seconds in sorted(times):
        with plain.begin() as session:
            job = session.query(Job).filter(Job.id == run).one()
            runs.note(session, job, "")
            session.flush()
            session.execute(_set_time(begin + timedelta(seconds=seconds), job.number))
    while tape.place(plain):
        pass
    with plain.read() as session:
        place = gather.before(session, begin + timedelta(seconds=at))
    behind = [seconds for number, seconds in enumerate(sorted(times)) if low + 1 + number > place]
    wanted = [seconds for seconds in sorted(times) if seconds >= at - 60]
    assert behind == wanted


def _set_time(moment: datetime, number: int) -> Any:
    newest = select(func.max(JobChange.id)).where(JobChange.job_number == number).scalar_subquery()
    return (
        update(JobChange).where(JobChange.id == newest).values(time=moment).execution_options(synchronize_session=False)
    )

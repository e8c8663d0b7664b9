"""What follows what a receiver answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import hooks
import pytest
from hooks import (
    DOWN,
    OK,
    Clock,
    Receiver,
    deliveries,
    dispatcher,
    drain,
    found,
    hook,
    sent,
    tell,
    told,
)

from service.db.session import Database
from service.db.tables import Webhook, WebhookDelivery
from service.webhooks import deliveries as sql
from service.webhooks import store
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.schedule import DELAYS, FAILING, Answer

databases = pytest.mark.databases


@databases
def test_a_receiver_that_is_down_is_tried_by_the_schedule_and_never_sooner(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = lambda _: DOWN
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    told(db, "running")
    for number, delay in enumerate(DELAYS, 1):
        if delay:
            clock.forward(delay - 0.5)
            assert sent(one) == 0
            clock.forward(0.5)
        assert sent(one) == 1, number
        (row,) = deliveries(db, webhook)
        assert (row.attempts, row.outcome) == (number, "failed" if number == len(DELAYS) else "pending")
    clock.forward(1e6)
    assert (sent(one), len(set(receiver.came))) == (0, 1), "the same id and the same bytes each time"
    assert row.error == DOWN.error
    assert found(db, webhook).enabled, "it failed for three days, not for five"


def test_what_is_being_sent_is_sent_by_nobody_else_until_its_time_is_over(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    hook(db)
    told(db, "running")
    one, other = dispatcher(db, receiver, clock), dispatcher(db, receiver, clock)
    one.gatherer.gather()
    (parcel,) = one.take()
    assert other.take() == []
    clock.forward(sql.LEASE.total_seconds() + 1)
    (again,) = other.take()
    assert asyncio.run(one.deliver(parcel)) is None, "it is the other's now"
    assert asyncio.run(other.deliver(again)).delivered  # type: ignore[union-attr]
    assert [id_ for id_, _ in receiver.came] == [parcel.id, parcel.id]


def test_what_is_replayed_while_it_is_being_sent_is_sent_again(db: Database, receiver: Receiver, clock: Clock) -> None:
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    told(db, "running")
    one.gatherer.gather()
    (parcel,) = one.take()
    with db.begin() as session:
        sql.again(sql.get(session, store.get(session, webhook, None), parcel.id))
    assert asyncio.run(one.deliver(parcel)) is None, "what came of it says nothing of the replay"
    drain(one)
    assert [id_ for id_, _ in receiver.came] == [parcel.id, parcel.id]
    assert [row.outcome for row in deliveries(db, webhook)] == ["delivered"]


def test_gone_switches_it_off_and_what_waited_has_failed(db: Database, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda _: Answer(410)
    webhook = hook(db)
    told(db, "queued", "running", "succeeded")
    drain(dispatcher(db, receiver, clock))
    row = found(db, webhook)
    assert (row.enabled, "410" in row.reason) == (False, True)
    assert {item.outcome for item in deliveries(db, webhook)} == {"failed"}
    assert all(item.ended_at and item.due_at is None for item in deliveries(db, webhook))


def test_a_receiver_that_asks_to_be_left_alone_gets_nothing_meanwhile_and_others_do(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    busy, other = "https://busy.example/", "https://other.example/"
    receiver.answer = lambda url: Answer(429, retry_after=600.0) if url == busy else OK
    hook(db, url=busy)
    hook(db, url=other)
    one = dispatcher(db, receiver, clock)
    run = told(db, "queued")
    drain(one)
    tell(db, run, "running")
    clock.forward(599)
    drain(one)
    assert (
        Counter(id_ for id_, _ in receiver.came).most_common()
        == Counter({receiver.came[0][0]: 2, receiver.came[-1][0]: 1}).most_common()
    )
    receiver.answer = lambda _: OK
    clock.forward(2)
    drain(one)
    assert len(receiver.taken) == 2


def test_one_that_takes_nothing_for_five_days_is_switched_off_and_says_why(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    receiver.answer = lambda _: DOWN
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    began, run = clock.now, told(db, "queued")
    for state in ("starting", "running"):  # ten attempts of each message take three days
        for delay in DELAYS:
            clock.forward(delay)
            sent(one)
        assert found(db, webhook).enabled == (state == "starting")
        tell(db, run, state)
    row = found(db, webhook)
    assert (row.enabled, "no attempt has succeeded since" in row.reason, DOWN.error in row.reason) == (
        False,
        True,
        True,
    )
    assert clock.now - began >= FAILING
    assert {item.outcome for item in deliveries(db, webhook)} == {"failed"}


def test_one_that_takes_something_is_not_failing_any_more(db: Database, receiver: Receiver, clock: Clock) -> None:
    receiver.answer = lambda _: DOWN
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    told(db, "running")
    sent(one)
    assert found(db, webhook).failing_since == clock.now
    receiver.answer = lambda _: OK
    clock.forward(5)
    sent(one)
    assert found(db, webhook).failing_since is None


def test_old_secrets_sign_too_for_a_day(db: Database, clock: Clock) -> None:
    webhook, now = hook(db), datetime.now(UTC)
    with db.begin() as session:
        row = session.query(Webhook).filter(Webhook.id == webhook).one()
        old = row.secret
        store.rotate(row, now)
        assert store.signing(row, now) == [row.secret, old]
        assert store.signing(row, now + timedelta(hours=24, seconds=1)) == [row.secret]
        for _ in range(9):
            store.rotate(row, now)
        assert len(store.signing(row, now)) == 1 + store.MOST_OLD
        assert old not in store.signing(row, now)
        assert len(set(store.signing(row, now))) == 1 + store.MOST_OLD


def test_what_has_ended_is_forgotten_after_its_days_and_nothing_else(
    db: Database, receiver: Receiver, clock: Clock
) -> None:
    webhook, one = hook(db), dispatcher(db, receiver, clock)
    told(db, "queued")
    drain(one)
    receiver.answer = lambda _: DOWN
    told(db, "running")
    drain(one)
    assert sql.forget(db, clock.now) == 0
    assert sql.forget(db, clock.now + timedelta(seconds=1)) == 1
    assert [row.outcome for row in deliveries(db, webhook)] == ["pending"]


def test_deliveries_of_a_webhook_go_with_it(db: Database, receiver: Receiver, clock: Clock) -> None:
    webhook = hook(db)
    told(db, "running")
    drain(dispatcher(db, receiver, clock))
    with db.begin() as session:
        session.delete(store.get(session, webhook, None, lock=True))
    with db.read() as session:
        assert session.query(WebhookDelivery).count() == 0


def test_the_thread_begins_and_ends(db: Database) -> None:
    stop = Dispatcher(db, hooks.Receiver(db), timedelta(days=30)).start()
    stop()
    stop()

"""Every message arrives at least once, with one id, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import rows
from hooks import (
    DOWN,
    OK,
    Breaking,
    Clock,
    Gone,
    Receiver,
    deliveries,
    dispatcher,
    drain,
    found,
    hook,
    tell,
)
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import delete

from service.bodies.webhooks import Outcome, WebhookEdit
from service.db.session import Database
from service.db.tables import AT_ONCE, Job, Webhook
from service.webhooks import deliveries as sql
from service.webhooks import store
from service.webhooks.schedule import DELAYS, Answer
from service.webhooks.sending import headers

ANSWERS = [OK, Answer(200), DOWN, Answer(500), Answer(301), Answer(429, retry_after=90.0), Answer(503), Answer(404)]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.integers(0, 2), st.sampled_from(["queued", "running", "paused", "succeeded"])),
        st.tuples(st.just("gather"), st.integers(0, 1), st.sampled_from(["", "before", "after"])),
        st.tuples(st.just("take"), st.integers(0, 1), st.sampled_from(["", "before", "after"])),
        st.tuples(st.just("deliver"), st.integers(0, 1), st.sampled_from(["", "before", "after", "lost"])),
        st.tuples(st.just("answer"), st.integers(0, len(ANSWERS) - 1), st.just("")),
        st.tuples(st.just("forward"), st.sampled_from([1, 6, 61, 400, 100_000]), st.just("")),
    ),
    max_size=40,
)


@examples(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whoever_dies_wherever_and_whatever_is_answered_all_arrives_with_one_id(
    plain: Database, steps: list[Any]
) -> None:
    with plain.begin() as session:
        session.execute(delete(Webhook))
        session.execute(delete(Job))
    play = Play(plain)
    for step, number, what in steps:
        getattr(play, step)(number, what)
    play.end()


class Play:
    """Two dispatchers beside each other, each killed now and then; two webhooks, of everything and of what succeeds."""

    def __init__(self, db: Database) -> None:
        self.db, self.clock, self.receiver = db, Clock(), Receiver(db)
        self.all, self.some = (
            hook(db, url="https://a.example/"),
            hook(db, url="https://b.example/", events=["job.succeeded"]),
        )
        self.begin = found(db, self.all).place
        self.runs = [rows.run(db, state="submitted") for _ in range(3)]
        self.told: list[tuple[str, str]] = []
        self.backs = [Breaking(db), Breaking(db)]
        self.ones = [dispatcher(back, self.receiver, self.clock) for back in self.backs]
        self.hands: list[list[Any]] = [[], []]

    def tell(self, number: int, state: str) -> None:
        tell(self.db, self.runs[number], state)
        self.told.append((self.runs[number], state))

    def gather(self, who: int, breaks: str) -> None:
        self._dying(who, breaks, lambda: self.ones[who].gatherer.gather())

    def take(self, who: int, breaks: str) -> None:
        self._dying(who, breaks, lambda: self.hands[who].extend(self.ones[who].take()))

    def deliver(self, who: int, breaks: str) -> None:
        if self.hands[who]:
            parcel = self.hands[who].pop()
            if breaks == "lost":  # it arrives, and its sender dies
                asyncio.run(self.receiver(parcel.url, _signed(parcel), parcel.body))
                self._die(who)
            else:
                self._dying(who, breaks, lambda: asyncio.run(self.ones[who].deliver(parcel)))

    def answer(self, number: int, _: str) -> None:
        self.receiver.answer = lambda _: ANSWERS[number]

    def forward(self, seconds: int, _: str) -> None:
        self.clock.forward(seconds)

    def _dying(self, who: int, breaks: str, work: Any) -> None:
        self.backs[who].breaks = breaks
        with suppress(Gone):
            work()
            self.backs[who].breaks = ""
            return
        self._die(who)

    def _die(self, who: int) -> None:
        self.backs[who].breaks, self.hands[who] = "", []
        self.ones[who] = dispatcher(self.backs[who], self.receiver, self.clock)

    def end(self) -> None:
        """Receivers work again, what failed for good is replayed: nothing is missing, and nothing is there twice."""
        self.receiver.answer = lambda _: OK
        last = dispatcher(self.db, self.receiver, self.clock)
        last.gatherer.gather()
        with self.db.begin() as session:
            for webhook in (self.all, self.some):
                row = store.get(session, webhook, None, lock=True)
                if not row.enabled:  # it failed for days
                    store.edit(session, row, WebhookEdit(enabled=True), None)
                    row.place = self.begin
                sql.again_since(session, row, AT_ONCE, delivered=False)
        for _ in range(60):
            drain(last)
            self.clock.forward(DELAYS[-1])
            if all(
                row.outcome == Outcome.DELIVERED
                for hook_ in (self.all, self.some)
                for row in deliveries(self.db, hook_)
            ):
                break
        expected = {
            self.all: self._types(self.told),
            self.some: self._types([t for t in self.told if t[1] == "succeeded"]),
        }
        for webhook, wanted in expected.items():
            made = deliveries(self.db, webhook)
            only = ["job.succeeded"] if webhook == self.some else None
            assert Counter((row.run, row.type) for row in made) == Counter(self._filtered(only))
            assert {row.outcome for row in made} <= {"delivered"}
            assert {row.id for row in made} <= self.receiver.taken
            assert len({row.id for row in made}) == len(made)
            assert len(made) <= len(wanted)
        assert len(dict(self.receiver.came)) == len(set(self.receiver.came)), "one id, one body"

    def _types(self, told_: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(run, f"job.{state}") for run, state in told_]

    def _filtered(self, only: list[str] | None) -> list[tuple[str, str]]:
        """What there is to hear: the same state twice in a row is a note."""
        state: dict[str, str] = {}
        heard = []
        for run, new in self.told:
            type_ = "job.note" if state.get(run) == new else f"job.{new}"
            state[run] = new
            if only is None or type_ in only:
                heard.append((run, type_))
        return heard


def _signed(parcel: Any) -> dict[str, str]:
    return headers(parcel.id, parcel.body, parcel.secrets, datetime.now(UTC))

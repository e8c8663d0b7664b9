"""Claims and answers against a model, in any order: with crashes, with time that passes and clocks that are set back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from service.db.session import Database
from service.errors import Invalid, UnderWay
from service.repeats import store
from service.repeats.store import LEASE, Answer, Asked

LIFE = timedelta(hours=24)
KEYS = st.sampled_from(["a", "b"])
BODIES = {b'{"a": 1, "b": [2]}': 1, b'{"b":[2],"a":1}': 1, b'{"a":2}': 2, b"": 3}
"""And which of them are the same."""
TIMES = [timedelta(seconds=1), LEASE / 2, LEASE, LIFE / 2, LIFE, -LEASE / 2, -2 * LIFE]


@dataclass(frozen=True)
class Row:
    """What the model knows of a key."""

    body: int
    claim: str
    at: datetime
    answer: Answer | None = None


class Machine(RuleBasedStateMachine):
    """One owner's keys."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.db, self.owner, self.now = db, uuid4().hex, datetime(2026, 11, 30, tzinfo=UTC)
        self.rows: dict[str, Row] = {}
        self.held: list[tuple[str, Asked, str]] = []

    def age(self, row: Row) -> timedelta:
        """Whichever way the clock went."""
        return abs(self.now - row.at)

    @rule(key=KEYS, body=st.sampled_from(list(BODIES)))
    def claim(self, key: str, body: bytes) -> None:
        asked = Asked.of(self.owner, "POST", "/v1/x", b"", key, body)
        row = self.rows.get(key)
        old = row is None or self.age(row) >= LIFE
        same = row is not None and row.body == BODIES[body]
        try:
            found = store.claim(self.db, asked, self.now, LIFE)
        except Invalid:
            assert not old
            assert not same
            return
        except UnderWay:
            assert row is not None
            assert same
            assert row.answer is None
            assert self.age(row) < LEASE
            return
        if isinstance(found, Answer):
            assert row is not None
            assert (not old, same, row.answer) == (True, True, found)
            return
        assert old or (row is not None and same and row.answer is None and self.age(row) >= LEASE)
        self.rows[key] = Row(BODIES[body], found, self.now)
        self.held.append((key, asked, found))

    def _mine(self, key: str, claim: str) -> bool:
        row = self.rows.get(key)
        return row is not None and row.claim == claim and row.answer is None

    @precondition(lambda self: self.held)
    @rule(data=st.data(), status=st.sampled_from([200, 201, 204]))
    def answer(self, data: Any, status: int) -> None:
        """By whoever holds the claim, or held it once and was thought dead."""
        key, asked, claim = data.draw(st.sampled_from(self.held))
        given = Answer(status, {"content-type": "application/json"}, claim.encode())
        store.keep(self.db, asked, claim, given, self.now)
        if self._mine(key, claim):
            self.rows[key] = replace(self.rows[key], at=self.now, answer=given)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        key, asked, claim = data.draw(st.sampled_from(self.held))
        store.let_go(self.db, asked, claim)
        if self._mine(key, claim):
            del self.rows[key]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renew(self, data: Any) -> None:
        key, asked, claim = data.draw(st.sampled_from(self.held))
        store.renew(self.db, asked, claim, self.now)
        if self._mine(key, claim):
            self.rows[key] = replace(self.rows[key], at=self.now)

    @rule(time=st.sampled_from(TIMES))
    def wait(self, time: timedelta) -> None:
        """A crash is a claim of which nothing is heard any more."""
        self.now += time

    @rule()
    def forget(self) -> None:
        store.forget(self.db, self.now, LIFE)
        self.rows = {key: row for key, row in self.rows.items() if self.age(row) < LIFE}


@pytest.mark.databases
def test_a_key_stands_for_one_body_one_claim_and_one_answer(db: Database) -> None:
    quick = settings(max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Machine(db), settings=quick)  # type: ignore[arg-type]

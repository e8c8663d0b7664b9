"""Tokens that end, get another secret, and say when they were last used; and what ends with them. On both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rows
from tickets import ticket

from service.access import people, sessions, store
from service.access.live import PROXIED, Ticket, over, valid_digests
from service.access.tokens import Principal, Scope, digest
from service.access.uses import RARELY, Uses
from service.db.tables import BrowserSession, Person, Token
from service.errors import Unauthenticated
from service.runs import store as runs
from service.runs.stream import Hub, follow

pytestmark = pytest.mark.databases
HOUR = timedelta(hours=1)


def make(db: Any, name: str = "ada", scope: Scope = Scope.USER, expires_at: datetime | None = None) -> tuple[str, str]:
    """Id and secret."""
    with db.begin() as session:
        row, secret = store.create(session, name, scope, name, expires_at)
    return row.id, secret


def change(db: Any, token_id: str, **values: Any) -> None:
    with db.begin() as session:
        for name, value in values.items():
            setattr(session.get_one(Token, token_id), name, value)


def rotate(db: Any, token_id: str, overlap: timedelta) -> str:
    with db.begin() as session:
        return store.rotate(store.get(session, token_id), overlap, None)


def begun(db: Any, secret: str, hours: float = 12) -> str:
    """The cookie of a session."""
    found = store.find(db, secret)
    assert found is not None
    with db.begin() as session:
        return sessions.begin(session, found, hours)[0]


def valid(db: Any, *secrets: str) -> list[bool]:
    with db.read() as session:
        found = valid_digests(session, [digest(secret) for secret in secrets])
    assert found <= {digest(secret) for secret in secrets}
    return [digest(secret) in found for secret in secrets]


def works(db: Any, *secrets: str) -> list[bool]:
    found = []
    for secret in secrets:
        try:
            found.append(store.find(db, secret) is not None)
        except Unauthenticated:
            found.append(False)
    return found


def test_what_ends_a_secret_ends_its_sessions_and_streams_and_nothing_else(db: Any) -> None:
    (one, first), (_, other) = make(db), make(db, "bob")
    mine, theirs = begun(db, first), begun(db, other)
    assert valid(db, first, other, mine, theirs, "x") == [True, True, True, True, False]
    second = rotate(db, one, HOUR)
    assert valid(db, first, second, mine) == [*works(db, first, second), True] == [True, True, True]
    later = begun(db, second)
    change(db, one, old_until=datetime.now(UTC) - HOUR)
    assert valid(db, first, second, mine, later) == [False, True, False, True]
    assert works(db, first, second) == [False, True]
    change(db, one, expires_at=datetime.now(UTC) - HOUR)
    assert valid(db, first, second, mine, later) == [False] * 4
    change(db, one, expires_at=None)
    with db.begin() as session:
        assert store.revoke(session, one)
        assert not store.revoke(session, one)
    assert valid(db, first, second, mine, later, other, theirs) == [False] * 4 + [True] * 2
    assert works(db, first, second, other) == [False, False, True]
    assert [sessions.find(db, cookie) is not None for cookie in (mine, later, theirs)] == [False, False, True]


def test_a_secret_replaced_at_once_is_over_at_once(db: Any) -> None:
    token, first = make(db)
    cookie = begun(db, first)
    second = rotate(db, token, timedelta())
    assert valid(db, first, second, cookie) == [False, True, False]
    assert works(db, first, second) == [False, True]


def test_rotated_again_the_secret_that_is_in_use_keeps_its_time(db: Any) -> None:
    token, first = make(db)
    lost = rotate(db, token, HOUR)
    with db.read() as session:
        until = session.get_one(Token, token).old_until
    second = rotate(db, token, 5 * HOUR)
    assert works(db, first, lost, second) == [True, False, True]
    with db.read() as session:
        assert session.get_one(Token, token).old_until == until
    third = rotate(db, token, timedelta())
    assert works(db, first, lost, second, third) == [False, False, False, True]


def test_a_token_that_was_good_once_says_why_it_is_not(db: Any) -> None:
    token, first = make(db, expires_at=datetime.now(UTC) + HOUR)
    rotate(db, token, HOUR)
    change(db, token, old_until=datetime.now(UTC) - HOUR)
    with pytest.raises(Unauthenticated, match=r"was replaced and stopped working on 20\d\d-"):
        store.find(db, first)
    _, over = make(db, expires_at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    with pytest.raises(Unauthenticated, match="expired on 2026-03-01 at 12:00:00 UTC"):
        store.find(db, over)
    assert store.find(db, "agon_none") is None


def test_a_session_ends_with_its_time_and_never_after_its_token(db: Any) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    _, short = make(db, expires_at=soon)
    found = store.find(db, short)
    assert found is not None
    with db.begin() as session:
        assert sessions.begin(session, found, 12)[1] == soon
    _, secret = make(db, "bob")
    cookie = begun(db, secret, hours=1)
    who = sessions.find(db, cookie)
    assert who is not None
    assert (who.owner, who.by, who.digest, who.token_ends_at) == ("bob", "session", digest(cookie), None)
    with db.begin() as session:
        session.get_one(BrowserSession, digest(cookie)).expires_at = datetime.now(UTC) - HOUR
    assert sessions.find(db, cookie) is None
    assert valid(db, cookie, secret) == [False, True]
    begun(db, secret)
    with db.read() as session:
        assert session.get(BrowserSession, digest(cookie)) is None, "what is over goes when another begins"


def test_a_persons_role_bounds_token_and_session_alike(db: Any) -> None:
    _, secret = make(db, "ada", Scope.ADMIN)
    cookie = begun(db, secret)
    with db.begin() as session:
        session.add(Person(name="ada", role="viewer", changed_at=datetime.now(UTC)))
    for found in (store.find(db, secret), sessions.find(db, cookie)):
        assert found is not None
        assert found.scope is Scope.VIEWER


def test_a_use_is_written_once_a_minute_and_by_one_process(db: Any) -> None:
    token, secret = make(db)
    one, two = Uses(db), Uses(db)

    def used() -> datetime | None:
        with db.read() as session:
            found: datetime | None = session.get_one(Token, token).used_at
            return found

    for uses in (one, two):
        assert store.find(db, secret, uses.note) is not None
    assert used() is None, "no request waits for it"
    one.write()
    first = used()
    assert first is not None
    two.write()
    assert used() == first
    store.find(db, secret, one.note)
    assert one._noted == {}
    change(db, token, used_at=first - RARELY)
    store.find(db, secret, one.note)
    one.write()
    assert first <= (used() or first) <= datetime.now(UTC)
    change(db, token, used_at=datetime.now(UTC) + 5 * HOUR)  # by a clock that was set back since
    store.find(db, secret, one.note)
    one.write()
    assert (used() or first) <= datetime.now(UTC)


def test_uses_of_jobs_and_of_what_is_refused_are_not_noted(db: Any) -> None:
    with db.begin() as session:
        store.add(session, "agon_job", "j-1", Scope.JOB, "j-1", 1)
    _, over = make(db, expires_at=datetime.now(UTC) - HOUR)
    uses = Uses(db)
    assert store.find(db, "agon_job", uses.note) is not None
    assert works(db, over) == [False]
    assert uses._noted == {}


def test_a_stream_ends_when_its_token_expires_or_its_session_is_ended(db: Any) -> None:
    run = rows.run(db, "job", "running")
    with db.read() as session:
        number = runs.get(session, run).number
    (token, secret), (_, other) = make(db), make(db, "bob")
    cookie, hub = begun(db, other), Hub(db)
    with db.begin() as session:
        runs.note(session, session.get_one(type(runs.get(session, run)), number), "begins")

    async def story() -> None:
        heard = {secret: asyncio.Event(), cookie: asyncio.Event(), other: asyncio.Event()}

        async def listen(of: str) -> None:
            async for _ in follow(hub, number, 0, ticket(of)):
                heard[of].set()

        polling = asyncio.create_task(hub.run())
        tasks = {of: asyncio.create_task(listen(of)) for of in heard}
        for event in heard.values():
            await asyncio.wait_for(event.wait(), 30)
        change(db, token, expires_at=datetime.now(UTC))
        await asyncio.wait_for(tasks[secret], 30)
        assert not tasks[cookie].done()
        with db.begin() as session:
            sessions.end(session, Principal("t", "bob", "bob", Scope.USER, digest=digest(cookie)))
        await asyncio.wait_for(tasks[cookie], 30)
        assert not tasks[other].done(), "the session's token goes on"
        for task in (tasks[other], polling):
            task.cancel()
        await asyncio.gather(tasks[other], polling, return_exceptions=True)

    asyncio.run(story())


def is_over(db: Any, ticket: Ticket) -> bool:
    with db.read() as session:
        return over(session, [ticket]) == [ticket]


def role(db: Any, name: str, role: str | None) -> None:
    with db.begin() as session:
        people.set_role(session, name, Scope(role) if role else None)


def test_a_stream_ends_when_its_follower_may_do_less_than_when_it_began(db: Any) -> None:
    _, secret = make(db, scope=Scope.ADMIN)
    cookie = begun(db, secret)
    came = [Ticket.of(found) for found in (store.find(db, secret), sessions.find(db, cookie)) if found]
    for name, ended in ((None, False), ("admin", False), ("user", True), ("viewer", True), ("admin", False)):
        role(db, "ada", name)
        assert [is_over(db, ticket) for ticket in came] == [ended] * 2, name
    role(db, "ada", "viewer")
    found = store.find(db, secret)
    assert found is not None
    reading = Ticket.of(found)
    for name in ("viewer", "user", "admin", None):
        role(db, "ada", name)
        assert not is_over(db, reading), "more is not less"
    store.bootstrap(db, "agon_file")
    role(db, store.ADMIN, "viewer")
    found = store.find(db, "agon_file")
    assert found is not None
    assert not is_over(db, Ticket.of(found)), "the token file's keeps its role"


def test_a_stream_through_a_proxy_ends_with_its_followers_role_and_after_some_minutes(db: Any) -> None:
    for scope, name, ended in (
        (Scope.VIEWER, None, False),
        (Scope.USER, None, True),
        (Scope.ADMIN, "user", True),
        (Scope.USER, "user", False),
        (Scope.USER, "admin", False),
    ):
        role(db, "ada", name)
        assert is_over(db, Ticket.of(Principal("p-1", "ada", "ada", scope, by="proxy"))) == ended, (scope, name)
    ticket = Ticket.of(Principal("p-1", "ada", "ada", Scope.VIEWER, by="proxy"))
    now = datetime.now(UTC)
    assert timedelta() < (ticket.until or now) - now <= PROXIED
    ticket.until = now
    assert is_over(db, ticket)
    assert Ticket.of(Principal("t-1", "ada", "ada", Scope.VIEWER)).until is None

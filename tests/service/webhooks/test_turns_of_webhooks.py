"""Whose message goes next: nobody holds up another."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from hooks import (
    OK,
    Clock,
    hook,
    told,
)
from hypothesis import given
from hypothesis import strategies as st

from service.db.session import Database
from service.webhooks.deliveries import Line
from service.webhooks.dispatcher import OF_FAILING, OF_ONE, OF_OWNER, WIDTH, Dispatcher, places
from service.webhooks.schedule import Answer

databases = pytest.mark.databases


def lines(*given_: tuple[int, str, bool]) -> list[Line]:
    return [Line(*item) for item in given_]


some_lines = st.lists(
    st.builds(Line, st.integers(0, 60), st.sampled_from("abcde"), st.booleans()),
    max_size=60,
    unique_by=lambda line: line.webhook,
)


@given(some_lines, st.data())
def test_nobody_gets_more_places_than_there_are_for_them(due: list[Line], data: st.DataObject) -> None:
    busy: list[Line] = []
    for _ in range(data.draw(st.integers(1, 4))):
        new = [line for line, count in places(due, busy).items() for _ in range(count)]
        busy += new
        assert len(busy) <= WIDTH
        assert max(Counter(line.owner for line in busy).values(), default=0) <= OF_OWNER
        assert max(Counter(line.webhook for line in busy).values(), default=0) <= OF_ONE
        assert sum(line.failing for line in busy) <= OF_FAILING
        busy = [line for line in busy if data.draw(st.booleans())]


@given(some_lines)
def test_whatever_fails_and_however_many_one_that_works_has_its_place(others: list[Line]) -> None:
    failing = [Line(line.webhook, line.owner, True) for line in others]
    busy = [line for line, count in places(failing, []).items() for _ in range(count)]
    mine = Line(1000, "somebody else", False)
    assert places([*failing, mine], busy)[mine] == OF_ONE


def test_one_owner_cannot_take_all_places_nor_one_webhook_its_owners() -> None:
    flood = lines(*((number, "a", False) for number in range(50)))
    busy = [line for line, count in places(flood, []).items() for _ in range(count)]
    assert len(busy) == OF_OWNER == len(set(busy)), "one each, before any has two"
    assert places([*flood, Line(99, "b", False)], busy) == {Line(99, "b", False): OF_ONE}


def test_one_that_fails_has_one_message_on_its_way() -> None:
    failing, quick = lines((1, "a", True), (2, "b", False))
    assert places([failing, quick], []) == {failing: 1, quick: OF_ONE}
    assert places([failing], [failing]) == {}


@databases
def test_one_that_hangs_holds_up_no_other(db: Database, clock: Clock) -> None:
    """Really at once, on an event loop."""
    hanging, quick = "https://hanging.example/", "https://quick.example/"
    for number in range(12):
        hook(db, owner=f"o{number % 6}", url=f"{hanging}{number}", runs_of="*")
    hook(db, owner="ada", url=quick, runs_of="*")
    told(db, "queued", "running", "succeeded")
    came: list[str] = []

    async def play() -> None:
        never, done = asyncio.Event(), asyncio.Event()

        async def post(url: str, _headers: object, _body: str) -> Answer:
            if url.startswith(hanging):
                await never.wait()
            came.append(url)
            if len(came) == 3:
                done.set()
            return OK

        one = Dispatcher(db, post, timedelta(days=30), clock)
        running = asyncio.create_task(one.run())
        await asyncio.wait_for(done.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())
    assert came == [quick] * 3

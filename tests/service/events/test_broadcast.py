"""Following all runs at once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import rows
from hypothesis import given
from hypothesis import strategies as st
from tickets import ticket

from service.db.session import Database
from service.events import broadcast
from service.events.broadcast import ALL, Broadcast, Follower, Ring
from service.runs import store, tape
from service.runs.tape import BEGIN, EVERYTHING, Mark, Told, Wanted


def told(place: int, seq: int | None = None, run: str = "j-1") -> Told:
    mark = Mark(place) if seq is None else Mark(place, seq)
    return Told(mark, run, "job", "n", "ada", {}, "state" if seq is None else "progress", {"at": str(mark)})


def ids(content: bytes) -> list[str]:
    return [line.removeprefix("id: ") for line in content.decode().splitlines() if line.startswith("id: ")]


RINGS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12)


@given(RINGS, st.integers(1, 8), st.integers(1, 300), st.sampled_from([EVERYTHING, Wanted(runs=frozenset({"j-1"}))]))
def test_whoever_reads_a_ring_piece_by_piece_hears_all_that_it_keeps_once(
    batches: list[tuple[int, bool]], kept: int, piece: int, wanted: Wanted
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broadcast, "KEPT", kept)
        patch.setattr(broadcast, "PIECE", piece)
        ring, every = Ring(BEGIN, BEGIN), []
        for place, (count, other) in enumerate(batches, start=1):
            run = "j-2" if other else "j-1"
            new = [told(place, seq, run) for seq in range(1, count + 1)] or [told(place, None, run)]
            every += new
            ring = ring.grown(new, Mark(place))
        assert len(ring.told) == min(kept, len(every))
        mark, heard, more = ring.begin, [], True
        while more:
            content, mark, more = ring.behind(mark, wanted)
            heard += ids(content)
        assert heard == [str(one.mark) for one in every if one.mark > ring.begin and wanted.takes(one)]
        assert mark == ring.end


def test_what_is_kept_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "KEPT_BYTES", 300)
    ring = Ring(BEGIN, BEGIN).grown([told(place) for place in range(1, 50)], Mark(49))
    assert 0 < sum(map(len, ring.frames)) <= 300
    assert ring.begin == Mark(49 - len(ring.told))


def test_followers_that_want_the_same_share_the_bytes() -> None:
    ring = Ring(BEGIN, BEGIN).grown([told(1)], Mark(1))
    assert ring.behind(BEGIN, EVERYTHING).content is ring.behind(Mark(0), Wanted()).content


def test_what_came_at_once_is_sent_piece_by_piece_and_nothing_of_it_waits_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcast, "PIECE", 1)
    hub = Broadcast(None)  # type: ignore[arg-type]
    hub._marks[ALL] = Ring(BEGIN, BEGIN).grown([told(place) for place in range(1, 6)], Mark(5))

    async def heard() -> list[list[str]]:
        stream = Follower(hub, EVERYTHING, BEGIN, ticket()).follow()
        await anext(stream)
        pieces = [ids(await asyncio.wait_for(anext(stream), 10)) for _ in range(5)]
        await stream.aclose()
        return pieces

    assert asyncio.run(heard()) == [[str(Mark(place))] for place in range(1, 6)]


def test_one_who_has_read_further_than_is_kept_is_not_sent_back() -> None:
    """Of the database, which the one reader will look at next."""
    ring = Ring(BEGIN, BEGIN).grown([told(1)], Mark(1))
    assert ring.behind(Mark(4), EVERYTHING) == (b"", Mark(4), False)


class Listener:
    """A follower, and what it heard."""

    def __init__(
        self, hub: Broadcast, after: Mark | None = BEGIN, wanted: Wanted = EVERYTHING, secret: str = ""
    ) -> None:
        self.follower = Follower(hub, wanted, after, ticket(secret))
        self.stream: AsyncIterator[bytes] = self.follower.follow()
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.ended = False

    async def listen(self) -> None:
        async for content in self.stream:
            self.take(content)
        self.ended = True

    def take(self, content: bytes) -> None:
        for message in content.decode().split("\r\n\r\n"):
            fields = dict(line.split(": ", 1) for line in message.splitlines() if ": " in line)
            if "data" in fields:
                self.heard.append((fields["id"], json.loads(fields["data"])))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(data["run"]["id"], data["state"]) for _, data in self.heard if "state" in data]


Story = Callable[[Broadcast], Awaitable[None]]


@pytest.fixture
def tell(db: Database) -> Callable[[Story], None]:
    """Runs a story while the one reader reads."""

    def run(story: Story) -> None:
        async def all_of_it() -> None:
            hub = Broadcast(db)
            reading = asyncio.create_task(hub.run())
            try:
                await asyncio.wait_for(story(hub), 60)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

        asyncio.run(all_of_it())

    return run


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def note(db: Database, run: str, reason: str) -> None:
    with db.begin() as session:
        store.note(session, store.get(session, run, None, lock=True), reason)


def end_of(db: Database) -> Mark:
    tape.place(db)
    with db.read() as session:
        return tape.end(session)


def test_every_follower_hears_all_runs_in_one_order_and_one_that_breaks_off_goes_on(db: Database, tell: Any) -> None:
    one, other = rows.run(db), rows.run(db, "search")
    begin = end_of(db)

    async def story(hub: Broadcast) -> None:
        listeners = [Listener(hub, begin), Listener(hub, None), Listener(hub, begin, Wanted(kind="search"))]
        tasks = [asyncio.create_task(listener.listen()) for listener in listeners]
        await until(lambda: hub._followers[ALL] == 3 and hub.ring is not None)
        await until(lambda: listeners[1].follower.mark is not None)
        for index in range(6):
            await asyncio.to_thread(note, db, (one, other)[index % 2], str(index))
            hub.poke_all()
        await until(lambda: len(listeners[0].heard) == 6 and len(listeners[2].heard) == 3)
        every = listeners[0].heard
        assert [(data["run"]["id"], data["reason"]) for _, data in every] == [
            ((one, other)[index % 2], str(index)) for index in range(6)
        ]
        assert listeners[1].heard == every
        assert listeners[2].heard == every[1::2]
        again = Listener(hub, Mark.parse(every[2][0]))
        tasks.append(asyncio.create_task(again.listen()))
        await until(lambda: len(again.heard) == 3)
        assert again.heard == every[3:]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert hub.ring is None, "nobody follows, nothing is kept"

    tell(story)


def test_one_who_begins_with_what_comes_is_told_nothing_of_what_is_kept(db: Database, tell: Any) -> None:
    run = rows.run(db)
    begin = end_of(db)

    async def story(hub: Broadcast) -> None:
        first, late = Listener(hub, begin), Listener(hub, None)
        tasks = [asyncio.create_task(first.listen())]
        await until(lambda: hub.ring is not None)
        await asyncio.to_thread(note, db, run, "before")
        await until(lambda: len(first.heard) == 1)
        tasks.append(asyncio.create_task(late.listen()))
        await until(lambda: late.follower.mark is not None)
        await asyncio.to_thread(note, db, run, "after")
        await until(lambda: len(first.heard) == 2 and late.heard != [])
        assert late.heard == first.heard[1:]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tell(story)


@pytest.mark.parametrize("bound", ["KEPT", "MOST"])
def test_what_one_look_leaves_is_looked_at_soon_and_where_nothing_is_new_nobody_is_woken(
    db: Database, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """It leaves what is more than is kept, and what had no place yet. Otherwise it would wait for the next regular look."""
    run, poked = rows.run(db), 0

    class Poked(Broadcast):
        def poke_all(self) -> None:
            nonlocal poked
            poked += 1

    hub = Poked(db)

    def look() -> Ring:
        found, _ = hub._load([ALL], [])
        hub._marks.update(found)
        return found[ALL]

    begun = look()
    assert (poked, look() is begun) == (0, True)
    for index in range(2):
        note(db, run, str(index))
    with monkeypatch.context() as patch:
        if bound == "KEPT":
            patch.setattr(broadcast, "KEPT", 1)
        else:
            patch.setattr(tape, "MOST", 2)
        look()
    assert poked == 1


def test_few_catch_up_from_the_database_at_a_time(db: Database, tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "KEPT", 1)
    run, page = rows.run(db), Broadcast.page
    begin, at_once = end_of(db), [0, 0]
    for index in range(3):
        note(db, run, str(index))

    def slow(hub: Broadcast, *given: Any) -> broadcast.Part:
        at_once[0] += 1
        at_once[1] = max(at_once)
        time.sleep(0.02)
        at_once[0] -= 1
        return page(hub, *given)

    monkeypatch.setattr(Broadcast, "page", slow)

    async def story(hub: Broadcast) -> None:
        listeners = [Listener(hub, begin) for _ in range(20)]
        tasks = [asyncio.create_task(listener.listen()) for listener in listeners]
        await until(lambda: all(len(listener.heard) == 3 for listener in listeners))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tell(story)
    assert 1 < at_once[1] <= broadcast.AT_ONCE


def test_one_who_was_away_for_long_catches_up_from_the_database_without_a_gap(
    db: Database, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "KEPT", 3)
    monkeypatch.setattr(broadcast, "PAGE", 2)
    run = rows.run(db)
    begin = end_of(db)
    for index in range(9):
        note(db, run, str(index))

    async def story(hub: Broadcast) -> None:
        listener = Listener(hub, begin)
        task = asyncio.create_task(listener.listen())
        for index in range(9, 20):
            await until(lambda: len(listener.heard) >= index)  # noqa: B023
            await asyncio.to_thread(note, db, run, str(index))
            hub.poke_all()
        await until(lambda: len(listener.heard) >= 20)
        assert [data["reason"] for _, data in listener.heard] == [str(index) for index in range(20)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    tell(story)


def test_one_that_reads_too_slowly_is_cut_off_and_goes_on_with_the_id_that_it_is_given(
    db: Database, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "KEPT", 3)
    run = rows.run(db)
    begin = end_of(db)

    async def story(hub: Broadcast) -> None:
        slow, quick = Listener(hub, begin), Listener(hub, begin)
        reading = asyncio.create_task(quick.listen())
        slow.take(await anext(slow.stream))
        await until(lambda: hub.ring is not None)  # else both begin by catching up
        for index in range(10):
            if index == 1:
                slow.take(await anext(slow.stream))
            await asyncio.to_thread(note, db, run, str(index))
            hub.poke_all()
            await until(lambda: len(quick.heard) == index + 1)  # noqa: B023
        await slow.listen()
        (first, (cut, why)) = slow.heard
        assert (first[1]["reason"], "slowly" in why["reason"]) == ("0", True)
        again = Listener(hub, Mark.parse(cut))
        task = asyncio.create_task(again.listen())
        await until(lambda: len(again.heard) == 9)
        assert [first, *again.heard] == quick.heard
        for each in (reading, task):
            each.cancel()
        await asyncio.gather(reading, task, return_exceptions=True)

    tell(story)


def test_a_stream_ends_when_its_token_is_revoked(world: Any, tell: Any) -> None:
    made = world.client.post("/v1/tokens", json={"name": "ada"}).json()

    async def story(hub: Broadcast) -> None:
        ada, bob = Listener(hub, None, secret=made["token"]), Listener(hub, None)
        tasks = [asyncio.create_task(listener.listen()) for listener in (ada, bob)]
        await until(lambda: ada.follower.mark is not None)
        reply = await asyncio.to_thread(world.client.delete, f"/v1/tokens/{made['id']}")
        assert reply.status_code == 204
        await until(lambda: ada.ended)
        assert not bob.ended
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tell(story)


def test_many_followers_hold_no_thread_and_no_connection_and_one_reader_reads_for_all(
    db: Database, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looks = rows.run(db), []
    begin, read = end_of(db), tape.read
    monkeypatch.setattr(tape, "read", lambda *given: looks.append(threading.get_ident()) or read(*given))

    async def story(hub: Broadcast) -> None:
        listeners = [Listener(hub, None) for _ in range(300)]
        tasks = [asyncio.create_task(listener.listen()) for listener in listeners]
        await until(lambda: all(listener.follower.mark is not None for listener in listeners))
        await asyncio.to_thread(note, db, run, "now")
        hub.poke_all()
        await until(lambda: all(listener.heard for listener in listeners))
        before = len(looks)
        assert before < 60, "not one for each"
        assert db.engine.pool.checkedout() <= 1, "the reader's own"
        assert threading.active_count() < 100
        assert hub.pause() > broadcast.GATHER
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tell(story)
    assert begin < end_of(db)


def test_a_heartbeat_says_where_one_is_that_wants_little(db: Database, tell: Any) -> None:
    run = rows.run(db)

    async def story(hub: Broadcast) -> None:
        listener = Listener(hub, None, Wanted(owner="nobody"))
        assert listener.follower.heartbeat().encode() == b": ping\r\n\r\n"
        task = asyncio.create_task(listener.listen())
        await until(lambda: listener.follower.mark is not None)
        before = listener.follower.mark
        await asyncio.to_thread(note, db, run, "for others")
        hub.poke_all()
        await until(lambda: listener.follower.mark != before)
        assert ids(listener.follower.heartbeat().encode()) == [str(end_of(db))]
        assert not listener.heard
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    tell(story)


@pytest.mark.parametrize("given_", ["x", "-1", "1-", "01", "1-2-3", "9" * 18])
def test_an_id_that_this_stream_never_gave_is_refused_with_what_to_send(world: Any, given_: str) -> None:
    reply = world.client.get("/v1/events", headers={"Last-Event-ID": given_})
    assert reply.status_code == 422
    (error,) = reply.json()["errors"]
    assert (error["path"], error["value"], "0" in error["fix"]) == ("last-event-id", given_, True)


def test_what_no_filter_can_mean_is_refused(world: Any) -> None:
    for query in ("kind=model", "run=A/B", "label=team", "states=perhaps", "&".join(["run=j-1"] * 101)):
        assert world.client.get(f"/v1/events?{query}").status_code == 422, query
    job = world.running()
    token = {"Authorization": f"Bearer {world.token(job)}"}
    assert world.client.get("/v1/events", headers=token).status_code == 403

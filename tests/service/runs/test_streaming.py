"""Following a job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from httpx_sse import ServerSentEvent, connect_sse
from tickets import ticket

from service.db.session import Database
from service.gateway.ray_jobs import RayStatus
from service.runs import store, stream
from service.runs.stream import Hub, follow


def event(seq: int, name: str = "progress", attempt: int = 1, /, **data: Any) -> dict[str, Any]:
    when = datetime.now(UTC).isoformat()
    return {"seq": seq, "attempt": attempt, "time": when, "kind": name, "step": seq, "images": 64 * seq, "data": data}


def read(world: Any, job: str, last: int | None = None) -> list[ServerSentEvent]:
    headers = {"Last-Event-ID": str(last)} if last is not None else {}
    with connect_sse(world.client, "GET", f"/v1/jobs/{job}/events", headers=headers) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        return list(source.iter_sse())


def messages(piece: bytes) -> list[tuple[str, str]]:
    """Names and data of the messages in a piece of a stream."""
    found = [dict(line.split(": ", 1) for line in text.split("\r\n")) for text in piece.decode().split("\r\n\r\n")[:-1]]
    return [(message["event"], message["data"]) for message in found]


def ended(world: Any, count: int) -> str:
    job: str = world.submit()
    world.round()
    world.ray.move(f"agon-{job}-1", RayStatus.RUNNING)
    told = [event(1, "started"), *[event(seq, metrics={"loss": seq}) for seq in range(2, count)]]
    for begin in range(0, len(told), 400):
        world.send(job, *told[begin : begin + 400])
    world.send(job, event(count, "finished", outcome="completed"))
    world.round()
    return job


def test_an_ended_jobs_stream_tells_every_event_then_the_final_state_and_ends(world: Any) -> None:
    messages = read(world, ended(world, 1203))
    assert [int(message.id) for message in messages[:-1]] == list(range(1, 1204))
    assert (messages[0].event, messages[1].event, messages[-2].event) == ("started", "progress", "finished")
    assert json.loads(messages[1].data)["data"] == {"metrics": {"loss": 2}}
    assert messages[-1].event == "state"
    assert json.loads(messages[-1].data)["state"] == "succeeded"


def test_a_stream_goes_on_behind_the_last_event_id(world: Any) -> None:
    job = ended(world, 9)
    assert [int(message.id) for message in read(world, job, 6)[:-1]] == [7, 8, 9]
    assert [message.event for message in read(world, job, 9)] == ["state"]


def test_a_last_event_id_that_is_no_number_is_refused(world: Any) -> None:
    reply = world.client.get(f"/v1/jobs/{world.submit()}/events", headers={"Last-Event-ID": "x"})
    assert reply.status_code == 422


def test_a_failed_jobs_last_word_holds_the_failure(world: Any) -> None:
    job = world.running()
    world.tell(job, "failed", kind="bad-data", reason="shard-3.tar is truncated")
    world.round()
    last = json.loads(read(world, job)[-1].data)
    assert last["failure"] == {"kind": "bad-data", "reason": "shard-3.tar is truncated"}


def test_followers_see_each_event_once_and_in_order_while_it_happens(world: Any) -> None:
    """Three clients on one job, events out of order and with a gap, written by another connection (as by another process)."""
    job = world.running()
    hub = Hub(world.db)

    async def one(collected: list[tuple[str, str]]) -> None:
        with world.db.read() as session:
            number = store.get(session, job).number
        async for piece in follow(hub, number, 0, ticket()):
            collected.extend(messages(piece))

    async def all_of_them() -> list[list[tuple[str, str]]]:
        polling = asyncio.create_task(hub.run())
        collected: list[list[tuple[str, str]]] = [[], [], []]
        followers = [asyncio.create_task(one(item)) for item in collected]
        await asyncio.to_thread(write)
        await asyncio.wait_for(asyncio.gather(*followers), 30)
        polling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await polling
        return collected

    def write() -> None:
        time.sleep(0.3)
        world.send(job, event(3), event(4))
        time.sleep(0.7)
        world.send(job, event(2))
        world.client.post(f"/v1/jobs/{job}/cancel")
        world.round()
        time.sleep(0.7)
        world.send(job, event(5, "finished", outcome="stopped"))
        world.round()

    for collected in asyncio.run(all_of_them()):
        seqs = [json.loads(data)["seq"] for kind, data in collected if kind != "state"]
        assert seqs == [1, 2, 3, 4, 5]
        states = [json.loads(data)["state"] for kind, data in collected if kind == "state"]
        assert states == ["running", "stopping", "cancelled"]
        assert collected[-1][0] == "state"


def test_followers_hold_no_thread_and_no_connection_while_nothing_happens(world: Any) -> None:
    job = world.running()
    with world.db.read() as session:
        number = store.get(session, job).number
    hub = Hub(world.db)

    async def wait(count: int) -> tuple[int, int]:
        heard = 0

        async def drain() -> None:
            nonlocal heard
            async for piece in follow(hub, number, 0, ticket()):
                heard += len(messages(piece))

        polling = asyncio.create_task(hub.run())
        followers = [asyncio.create_task(drain()) for _ in range(count)]
        while heard < 2 * count:  # each was told the state and one event; from now on nothing happens
            await asyncio.sleep(0.05)
        held = []
        for _ in range(20):
            await asyncio.sleep(0.05)
            held.append(world.db.engine.pool.checkedout())
        threads = threading.active_count()
        for task in (*followers, polling):
            task.cancel()
        await asyncio.gather(*followers, polling, return_exceptions=True)
        return max(held), threads

    held, threads = asyncio.run(wait(300))
    assert held <= 1, "the poller's own"
    assert threads < 100, "anyio's pool has at most 40 threads"
    assert not hub._followers


def test_followers_who_have_come_equally_far_share_what_is_read_for_them(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, reads = world.running(), Counter[tuple[int, int]]()
    with world.db.read() as session:
        number = store.get(session, job).number
    hub, once = Hub(world.db), stream._read

    def read(db: Database, number: int, seq: int, change: int) -> stream.Batch:
        reads[seq, change] += 1
        return once(db, number, seq, change)

    monkeypatch.setattr(stream, "_read", read)

    async def story(count: int) -> list[list[tuple[str, str]]]:
        polling = asyncio.create_task(hub.run())
        heard: list[list[tuple[str, str]]] = [[] for _ in range(count)]

        async def listen(collected: list[tuple[str, str]]) -> None:
            async for piece in follow(hub, number, 0, ticket()):
                collected.extend(messages(piece))

        followers = [asyncio.create_task(listen(collected)) for collected in heard]
        for seq in range(2, 6):
            while any(len(collected) < seq for collected in heard):  # the state, and as many events
                await asyncio.sleep(0.01)
            await asyncio.to_thread(world.send, job, event(seq))
            hub.poke(number)
        while any(len(collected) < 6 for collected in heard):
            await asyncio.sleep(0.01)
        for task in (*followers, polling):
            task.cancel()
        await asyncio.gather(*followers, polling, return_exceptions=True)
        return heard

    heard = asyncio.run(story(50))
    assert heard == [heard[0]] * 50
    assert [json.loads(data)["seq"] for kind, data in heard[0] if kind != "state"] == [1, 2, 3, 4, 5]
    first = reads.pop((0, -1))
    assert first <= 50, "those who come before anything is known of the job read for themselves"
    assert max(reads.values()) <= 2, "one for what is new, and one that nothing was new for"
    assert not hub._reads


def test_of_a_long_past_nothing_is_kept_for_others(world: Any) -> None:
    job = ended(world, 1203)
    with world.db.read() as session:
        number = store.get(session, job).number
    hub = Hub(world.db)

    async def story() -> int:
        hub.enter(number, ticket())
        polling = asyncio.create_task(hub.run())
        while number not in hub._marks:
            await asyncio.sleep(0.01)
        seq, change, full = 0, -1, True
        while full:
            batch = await hub.read(number, seq, change)
            seq, change, full = batch.seq, batch.change, batch.full
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        return len(hub._reads[number][1])

    assert asyncio.run(story()) == 1


def test_news_of_one_job_wakes_nobody_who_follows_another(world: Any) -> None:
    hub = Hub(world.db)

    async def story() -> None:
        hub._marks = {1: (1, 1), 2: (1, 1)}
        hub.enter(1, ticket()), hub.enter(2, ticket())
        waits = {number: asyncio.create_task(hub.changed(number, (1, 1), ticket())) for number in (1, 2)}
        await asyncio.sleep(0)
        one, other = hub._news[1], hub._news[2]
        hub._load = lambda followed, tickets: ({1: (2, 1), 2: (1, 1)}, [])  # type: ignore[method-assign]
        await hub._look([1, 2], [])
        await asyncio.wait_for(waits[1], 5)
        assert one.is_set()
        assert not other.is_set()
        waits[2].cancel()

    asyncio.run(story())


def test_a_follower_who_has_read_more_than_the_poller_has_seen_waits(world: Any) -> None:
    hub = Hub(world.db)

    async def story() -> None:
        hub._marks = {1: (4, 7)}
        hub.enter(1, ticket())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hub.changed(1, (5, 7), ticket()), 0.05)
        await asyncio.wait_for(hub.changed(1, (4, 6), ticket()), 5)

    asyncio.run(story())


def test_the_report_is_served_as_a_page_that_runs_and_loads_nothing(world: Any, tmp_path: Any) -> None:
    job = world.running()
    url = f"/v1/jobs/{job}/report"
    missing = world.client.get(url)
    assert missing.status_code == 404
    assert "evaluation.every_steps" in missing.json()["detail"], "the fix"
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    path = world.folder(job) / "report.html"
    path.symlink_to(secret)
    assert world.client.get(url).status_code == 404
    path.unlink()
    path.write_text("<!doctype html><title>é</title>", encoding="utf-8")
    reply = world.client.get(url)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.content == path.read_bytes()
    policy = reply.headers["content-security-policy"]
    for rule in ("sandbox;", "default-src 'none'", "img-src data:", "form-action 'none'"):
        assert rule in policy
    assert "script" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert world.client.get(url, headers={"Authorization": ""}).status_code == 401


def test_a_job_that_ended_without_a_report_says_where_the_reason_is(world: Any) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/cancel")
    world.round()
    assert world.job(job)["state"] == "cancelled"
    reply = world.client.get(f"/v1/jobs/{job}/report")
    assert reply.status_code == 404
    assert f"/v1/jobs/{job}/logs" in reply.json()["detail"]


def test_one_who_comes_while_there_is_a_gap_is_not_told_what_lies_behind_it(world: Any) -> None:
    """Else `Last-Event-ID` would skip what fills the gap."""
    job = world.running()
    world.send(job, event(3), event(4))
    with world.db.read() as session:
        row = store.get(session, job)
        assert [item.seq for item in store.events_after(session, row, 0, 10)] == [1]


def test_a_stream_ends_when_its_token_is_revoked_and_others_go_on(world: Any) -> None:
    job = world.running()
    made = world.client.post("/v1/tokens", json={"name": "ada"}).json()
    hub = Hub(world.db)
    with world.db.read() as session:
        number = store.get(session, job).number

    async def story() -> None:
        heard: dict[str, int] = {"ada": 0, "bob": 0}

        async def listen(name: str, secret: str) -> None:
            async for piece in follow(hub, number, 0, ticket(secret)):
                heard[name] += len(messages(piece))

        polling = asyncio.create_task(hub.run())
        ada = asyncio.create_task(listen("ada", made["token"]))
        bob = asyncio.create_task(listen("bob", world.client.headers["Authorization"].removeprefix("Bearer ")))
        while heard != {"ada": 2, "bob": 2}:
            await asyncio.sleep(0.05)
        reply = await asyncio.to_thread(world.client.delete, f"/v1/tokens/{made['id']}")
        assert reply.status_code == 204
        await asyncio.wait_for(ada, 30)
        await asyncio.to_thread(world.tell, job, "progress")
        while heard["bob"] < 3:
            await asyncio.sleep(0.05)
        assert heard["ada"] == 2
        for task in (bob, polling):
            task.cancel()
        await asyncio.gather(bob, polling, return_exceptions=True)

    asyncio.run(story())

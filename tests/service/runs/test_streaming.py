"""Following a job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from datetime import UTC, datetime
from typing import Any

from httpx_sse import ServerSentEvent, connect_sse
from tickets import ticket

from service.gateway.ray_jobs import RayStatus
from service.runs import store
from service.runs.stream import Hub, follow


def event(seq: int, name: str = "progress", attempt: int = 1, /, **data: Any) -> dict[str, Any]:
    when = datetime.now(UTC).isoformat()
    return {"seq": seq, "attempt": attempt, "time": when, "kind": name, "step": seq, "images": 64 * seq, "data": data}


def read(world: Any, job: str, last: int | None = None) -> list[ServerSentEvent]:
    headers = {"Last-Event-ID": str(last)} if last is not None else {}
    with connect_sse(world.client, "GET", f"/v1/jobs/{job}/events", headers=headers) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        return list(source.iter_sse())


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
        async for message in follow(hub, world.db, number, 0, ticket()):
            collected.append((message.event or "", str(message.data)))

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
            async for _ in follow(hub, world.db, number, 0, ticket()):
                heard += 1

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
            async for _ in follow(hub, world.db, number, 0, ticket(secret)):
                heard[name] += 1

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

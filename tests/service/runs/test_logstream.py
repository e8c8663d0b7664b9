"""A log as it grows: each byte once, from attempt to attempt, to its end; and what followers cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx_sse import ServerSentEvent, connect_sse
from tickets import ticket

from service.bodies.searches import EXAMPLE
from service.gateway.ray_jobs import RayStatus
from service.runs import logstream, store
from service.runs.logs import Log
from service.runs.logstream import LogHub, Reading, follow


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a shared disk."""
    monkeypatch.setattr(logstream, "LAST_SECONDS", 0.05)
    monkeypatch.setattr("service.runs.hub.POLL_SECONDS", 0.05)


def kept(world: Any, job: str, name: str, text: str | bytes) -> Path:
    path: Path = world.folder(job) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    return path


def set_attempt(world: Any, job: str, attempt: int) -> None:
    with world.db.begin() as session:
        store.get(session, job, None).attempt = attempt


def end(world: Any, job: str) -> None:
    """Over, and its driver gone."""
    with world.db.begin() as session:
        row = store.get(session, job, None)
        row.state, row.watched = "succeeded", False


def read(world: Any, url: str, last: str | None = None, **params: Any) -> list[ServerSentEvent]:
    headers = {"Last-Event-ID": last} if last is not None else {}
    with connect_sse(world.client, "GET", url, headers=headers, params=params) as source:
        assert source.response.headers["content-type"].startswith("text/event-stream")
        return list(source.iter_sse())


def told(messages: list[ServerSentEvent]) -> list[tuple[str, str, Any]]:
    """Kind, id, and what is said."""
    found = []
    for message in messages:
        data = json.loads(message.data)
        found.append((message.event, message.id, data.get("text", data.get("state", data["attempt"]))))
    return found


def reading(world: Any, job: str, rank: int | None = None, trial: str | None = None) -> Reading:
    with world.db.read() as session:
        row = store.get(session, job, None)
    return Reading(row.number, Log(world.settings.jobs_root, world.folder(job), row.attempt, rank), trial=trial)


def test_an_ended_runs_stream_tells_its_log_through_all_attempts_and_ends(world: Any) -> None:
    job = world.running()
    set_attempt(world, job, 2)
    kept(world, job, "driver-1.log", "one\n")
    kept(world, job, "driver-2.log", "two\n")
    end(world, job)
    url = f"/v1/jobs/{job}/logs/stream"
    assert told(read(world, url, attempt=1)) == [
        ("log", "1-4", "one\n"),
        ("attempt", "2-0", 2),
        ("log", "2-4", "two\n"),
        ("state", "2-4", "succeeded"),
    ]
    assert told(read(world, url))[0] == ("log", "2-4", "two\n")
    assert [text for _, _, text in told(read(world, url, "1-2"))] == ["e\n", 2, "two\n", "succeeded"]
    assert [text for _, _, text in told(read(world, url, "2-4", tail=1))] == ["succeeded"]
    assert [text for _, _, text in told(read(world, url, rank=0))] == ["succeeded"], "one that left nothing"
    for refused, code in (({"attempt": 3}, 404), ({"rank": 1}, 404), ({"rank": "x"}, 422)):
        assert world.client.get(url, params=refused).status_code == code
    for wrong in ("x", "1", "-1-0", "3-0"):
        reply = world.client.get(url, headers={"Last-Event-ID": wrong})
        assert reply.status_code in (404, 422), wrong


def test_the_last_lines_come_first_and_a_long_log_comes_in_pieces(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logstream, "PIECE", 8)
    job = world.running()
    kept(world, job, "driver-1.log", "größer 🙂\n\0\x1b[2J\xff\n")
    kept(world, job, "driver-1.part-00003.log", b"\xff\n")
    end(world, job)
    url = f"/v1/jobs/{job}/logs/stream"
    whole = "".join(text for kind, _, text in told(read(world, url)) if kind == "log")
    assert whole.startswith("größer 🙂\n\0\x1b[2J\xff\n\n--- part 2")
    assert whole.endswith("\ufffd\n")
    assert told(read(world, url, tail=1))[0][2] == "\ufffd\n"


Story = Callable[[LogHub, "list[tuple[str, str, Any]]"], Awaitable[None]]


def live(world: Any, what: Reading, story: Story, secret: str = "") -> list[tuple[str, str, Any]]:
    """What a follower hears while the story goes on, to the end of the stream."""

    async def play() -> list[tuple[str, str, Any]]:
        hub, heard = LogHub(world.db), list[tuple[str, str, Any]]()

        async def listen() -> None:
            async for message in follow(hub, world.db, what, 0, ticket(secret)):
                data = json.loads(str(message.data))
                heard.append(
                    (str(message.event), str(message.id), data.get("text", data.get("state", data["attempt"])))
                )

        polling, listening = asyncio.create_task(hub.run()), asyncio.create_task(listen())
        await story(hub, heard)
        await asyncio.wait_for(listening, 30)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        assert not hub._followers
        assert not hub._marks
        return heard

    return asyncio.run(play())


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        await asyncio.sleep(0.025)
    raise AssertionError("it did not come")


def texts(heard: list[tuple[str, str, Any]]) -> str:
    return "".join(text for kind, _, text in heard if kind == "log")


def test_a_follower_hears_what_is_written_as_it_comes_from_whichever_process(world: Any) -> None:
    job = world.running(resources={"workers": 2})

    async def story(hub: LogHub, heard: list[tuple[str, str, Any]]) -> None:
        await asyncio.sleep(0.1)
        kept(world, job, "logs/attempt-1/rank-00001.log", "begins ")  # its folder comes with it
        await until(lambda: texts(heard) == "begins ")
        kept(world, job, "logs/attempt-1/rank-00001.log", "🙂".encode()[:2])
        kept(world, job, "logs/attempt-1/rank-00001.log", "🙂".encode()[2:])
        await until(lambda: texts(heard) == "begins 🙂")
        kept(world, job, "logs/attempt-1/rank-00001.part-00002.log", "goes on\n")
        await until(lambda: texts(heard) == "begins 🙂goes on\n")
        set_attempt(world, job, 2)
        await until(lambda: heard[-1] == ("attempt", "2-0", 2))
        kept(world, job, "logs/attempt-2/rank-00001.log", "again\n")
        await until(lambda: texts(heard).endswith("again\n"))
        end(world, job)

    heard = live(world, reading(world, job, rank=1), story)
    assert texts(heard) == "begins 🙂goes on\nagain\n"
    assert heard[-1][::2] == ("state", "succeeded")


def test_a_job_that_has_ended_is_followed_until_its_drivers_last_word_is_kept(world: Any) -> None:
    job = world.running()
    world.tell(job, "finished", outcome="completed")
    world.round()
    assert world.job(job)["state"] == "succeeded"
    world.ray.output[f"agon-{job}-1"] = "its last word\n"

    async def story(hub: LogHub, heard: list[tuple[str, str, Any]]) -> None:
        await asyncio.sleep(0.3)
        assert heard == [], "its driver may print yet"
        world.ray.move(f"agon-{job}-1", RayStatus.SUCCEEDED)
        await asyncio.to_thread(world.round)

    assert texts(live(world, reading(world, job), story)) == "its last word\n"


def test_a_last_line_that_comes_a_little_late_to_a_shared_disk_is_told(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.running()
    end(world, job)
    original, reads = logstream._read, 0

    def late(*given: Any) -> Any:
        nonlocal reads
        reads += 1
        step = original(*given)
        if reads == 1:  # the run has ended, and there was nothing
            kept(world, job, "driver-1.log", "late\n")
        return step

    monkeypatch.setattr(logstream, "_read", late)

    async def story(hub: LogHub, heard: list[tuple[str, str, Any]]) -> None:
        """Nothing more happens."""

    assert texts(live(world, reading(world, job), story)) == "late\n"


def test_a_trials_stream_ends_with_the_trial_while_its_search_goes_on(world: Any) -> None:
    search = world.client.post("/v1/searches", json={"search": EXAMPLE}).json()["id"]
    world.round()

    def tell(seq: int, state: str) -> None:
        trial = {"id": "t-00003", "number": 3, "state": state, "values": {"optimizers.G.lr": 1e-4}}
        event = {"seq": seq, "attempt": 1, "time": "2026-01-01T00:00:00Z", "kind": "trial", "data": trial}
        assert world.send(search, event).status_code == 200

    tell(1, "running")
    what = reading(world, search, rank=0, trial="t-00003")

    async def story(hub: LogHub, heard: list[tuple[str, str, Any]]) -> None:
        kept(world, search, "logs/attempt-1/rank-00000.log", "of the trial\n")
        await until(lambda: texts(heard) == "of the trial\n")
        await asyncio.to_thread(tell, 2, "stopped")

    assert live(world, what, story)[-1][::2] == ("state", "stopped")
    url = f"/v1/searches/{search}/trials/t-00003/logs/stream"
    assert told(read(world, url))[-1][::2] == ("state", "stopped")


def test_a_stream_ends_when_its_token_is_revoked(world: Any) -> None:
    job = world.running()
    made = world.client.post("/v1/tokens", json={"name": "ada"}).json()
    kept(world, job, "driver-1.log", "one\n")

    async def story(hub: LogHub, heard: list[tuple[str, str, Any]]) -> None:
        await until(lambda: heard)
        assert (await asyncio.to_thread(world.client.delete, f"/v1/tokens/{made['id']}")).status_code == 204

    heard = live(world, reading(world, job), story, made["token"])
    assert heard == [("log", "1-4", "one\n")], "no word of an end"


def test_followers_hold_no_thread_no_connection_and_no_file_while_nothing_happens(world: Any) -> None:
    job = world.running()
    log = kept(world, job, "driver-1.log", "one\n")
    hub, what = LogHub(world.db), reading(world, job)

    def held() -> bool:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed just now
                links.append(str(link.readlink()))
        return str(log) in links or world.db.engine.pool.checkedout() > 1  # the poller's own

    async def wait(count: int) -> None:
        heard = 0

        async def drain() -> None:
            nonlocal heard
            async for _ in follow(hub, world.db, what, 0, ticket()):
                heard += 1

        polling = asyncio.create_task(hub.run())
        followers = [asyncio.create_task(drain()) for _ in range(count)]
        await until(lambda: heard == count)
        quiet = 0
        for _ in range(1200):  # each has looked once more; then nothing is held for as long as nothing happens
            quiet = 0 if held() else quiet + 1
            if quiet == 12:
                break
            await asyncio.sleep(0.025)
        assert quiet == 12
        assert threading.active_count() < 100, "anyio's pool has at most 40 threads"
        for task in (*followers, polling):
            task.cancel()
        await asyncio.gather(*followers, polling, return_exceptions=True)

    asyncio.run(wait(200))
    assert not hub._followers


def test_one_who_does_not_read_on_keeps_nobody_waiting_and_is_read_for_no_further(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logstream, "PIECE", 100)
    job = world.running()
    kept(world, job, "driver-1.log", "x" * 10_000)
    what, reads = reading(world, job), []
    original = logstream._read
    monkeypatch.setattr(logstream, "_read", lambda *given: reads.append(given) or original(*given))

    async def story() -> None:
        hub = LogHub(world.db)
        polling = asyncio.create_task(hub.run())
        slow = follow(hub, world.db, what, 0, ticket())
        await anext(slow)
        began = time.monotonic()
        before = len(reads)
        size = 0
        async for message in follow(hub, world.db, what, 0, ticket()):
            size += len(json.loads(str(message.data))["text"])
            if size == 10_000:
                break
        assert len(reads) - before <= 102
        assert time.monotonic() - began < 20
        assert json.loads(str((await anext(slow)).data))["text"] == "x" * 100
        await slow.aclose()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)

    asyncio.run(story())

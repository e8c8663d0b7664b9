"""A POST that is sent again with its key is answered again, and not done again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select

from service.access.tokens import new_token
from service.app import CHANGE_NOTHING, KEEP_THEIR_KEY
from service.db.session import Database
from service.db.tables import KeptAnswer, Token
from service.errors import BadRequest, Conflict, UnderWay
from service.repeats import key as keys
from service.repeats import store
from service.repeats.guard import MOST, Repeats
from service.repeats.store import LEASE, Answer, Asked
from service.runs import wishes

KEY = {"Idempotency-Key": '"k"'}
DAY = timedelta(hours=24)


def posts(world: Any) -> list[APIRoute]:
    """Every route that takes POST."""
    return [route for route in world.client.app.state.routes if "POST" in (getattr(route, "methods", None) or ())]


def count(db: Database, table: type) -> int:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_what_keeps_its_own_key_does_and_what_changes_nothing_is_there(world: Any) -> None:
    routes = {route.path: route for route in posts(world)}
    assert {*KEEP_THEIR_KEY, *CHANGE_NOTHING} <= set(routes)
    for path in KEEP_THEIR_KEY:
        assert keys._key in [dependency.call for dependency in routes[path].dependant.dependencies], path


@pytest.mark.databases
def test_the_same_request_again_gets_the_first_answer(world: Any) -> None:
    path = f"/v1/jobs/{world.submit()}/pause"
    first = world.client.post(path, headers=KEY)
    world.client.post(path.replace("pause", "resume"), headers=KEY).raise_for_status()
    again = world.client.post(path, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, again.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert world.job(path.split("/")[3])["desired"] == "run", "it is not paused again"


def test_another_body_is_refused_and_told_what_to_do(world: Any) -> None:
    body = {"name": "ci"}
    world.client.post("/v1/tokens", json=body, headers=KEY).raise_for_status()
    other = world.client.post("/v1/tokens", json={"name": "other"}, headers=KEY)
    (error,) = other.json()["errors"]
    assert (other.status_code, error["path"], "a new key" in error["fix"]) == (422, "Idempotency-Key", True)


def test_a_secret_is_not_kept_and_is_not_made_twice(world: Any) -> None:
    first = world.client.post("/v1/tokens", json={"name": "ci"}, headers=KEY).json()
    again = world.client.post("/v1/tokens", json={"name": "ci"}, headers=KEY)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (409, "true")
    assert first["id"] in again.json()["detail"]
    with world.db.read() as session:
        names = session.scalars(select(Token.name)).all()
        kept = [row.body or b"" for row in session.scalars(select(KeptAnswer))]
    assert names.count("ci") == 1
    assert len(kept) == 1
    assert first["token"].encode() not in kept[0]


def test_a_refusal_frees_the_key_and_so_does_a_failure(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world.submit()
    path = f"/v1/jobs/{job}/retry"
    assert world.client.post(path, headers=KEY).status_code == 409
    world.client.post(f"/v1/jobs/{job}/cancel", headers=KEY).raise_for_status()
    world.round()
    with monkeypatch.context() as patch:
        patch.setattr(wishes, "retry", lambda *_: 1 / 0)
        world.client.__dict__["_transport"].raise_server_exceptions = False
        assert world.client.post(path, headers=KEY).status_code == 500
    assert world.client.post(path, headers=KEY).status_code == 202


def test_a_key_is_its_owners_for_that_path(world: Any) -> None:
    tokens = {}
    for name, owner in (("ada-1", "ada"), ("ada-2", "ada"), ("bob", "bob")):
        made = world.client.post("/v1/tokens", json={"name": name, "owner": owner, "scope": "admin"}).json()
        tokens[name] = {"Authorization": f"Bearer {made['token']}", **KEY}
    job = world.submit()

    def replayed(name: str, wish: str) -> bool:
        reply = world.client.post(f"/v1/jobs/{job}/{wish}", headers=tokens[name])
        return "Idempotency-Replayed" in reply.headers

    assert [replayed("ada-1", "pause"), replayed("ada-2", "pause")] == [False, True]
    assert [replayed("ada-1", "resume"), replayed("bob", "pause")] == [False, False]


def test_answers_are_forgotten_when_their_time_is_over(world: Any) -> None:
    job = world.submit()
    world.client.post(f"/v1/jobs/{job}/pause", headers=KEY).raise_for_status()
    world.reconciler().sweep()
    assert count(world.db, KeptAnswer) == 1
    with world.db.begin() as session:
        session.scalars(select(KeptAnswer)).one().at = datetime.now(UTC) - DAY
    world.reconciler().sweep()
    assert count(world.db, KeptAnswer) == 0


@pytest.mark.databases
def test_of_many_that_claim_a_key_at_once_one_gets_it(db: Database) -> None:
    asked, now = Asked.of("ada", "POST", "/v1/x", b"", "k", b"{}"), datetime.now(UTC)

    def claim(_: int) -> str | Answer | None:
        try:
            return store.claim(db, asked, now, DAY)
        except UnderWay:
            return None

    with ThreadPoolExecutor(12) as pool:
        (mine,) = [found for found in pool.map(claim, range(24)) if found is not None]
        assert isinstance(mine, str)
        store.keep(db, asked, mine, Answer(204), now)
        assert list(pool.map(claim, range(12))) == [Answer(204)] * 12
        late = now + DAY
        with db.begin() as session:
            session.scalars(select(KeptAnswer)).one().at = now - DAY
        assert len([found for found in pool.map(claim, range(24)) if isinstance(found, str)]) == 1
    assert store.forget(db, late, DAY) == 1


@pytest.mark.parametrize("bound", ["answers", "bytes"])
def test_of_one_owner_so_much_is_kept_and_the_oldest_is_forgotten_for_more(
    around: Around, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(store, "FORGOTTEN_FOR_ROOM", 1)
    monkeypatch.setattr(store, "LOOKED_AT", 1)
    monkeypatch.setattr(store, "MOST_OF_ONE", 3 if bound == "answers" else 100)
    monkeypatch.setattr(store, "MOST_BYTES_OF_ONE", 25 if bound == "bytes" else 2**20)
    db, now = around.db, datetime.now(UTC)

    def ask(owner: str, key: str, seconds: int, answered: bool = True) -> bool:
        asked, when = Asked.of(owner, "POST", "/v1/x", b"", key, b"{}"), now + timedelta(seconds=seconds)
        found = store.claim(db, asked, when, DAY)
        if isinstance(found, str) and answered:
            store.keep(db, asked, found, Answer(200, body=b"ten bytes."), when)
        return isinstance(found, Answer)

    ask("ada", "under way", 0, answered=False)
    ask("bob", "a", 0)
    given = [ask("ada", key, second) for second, key in enumerate("abcd", 1)]
    assert given == [False] * 4
    assert ask("ada", "d", 5)
    assert ask("bob", "a", 5), "others' are theirs"
    with db.read() as session:
        kept = session.scalars(select(KeptAnswer).where(KeptAnswer.owner == "ada").order_by(KeptAnswer.at)).all()
    assert len(kept) == (3 if bound == "answers" else 4)
    assert kept[0].status is None, "what is under way stays"
    assert not ask("ada", "a", 6), "the oldest is forgotten"


@pytest.mark.parametrize("late", [store.keep, store.let_go, store.renew])
def test_who_was_thought_dead_changes_nothing_of_the_next_ones_claim(around: Around, late: Callable[..., None]) -> None:
    db, asked, now = around.db, Asked.of("ada", "POST", "/v1/x", b"", "k", b"{}"), datetime.now(UTC)
    first = store.claim(db, asked, now, DAY)
    second = store.claim(db, asked, now + LEASE, DAY)
    given: dict[Any, tuple[Any, ...]] = {store.keep: (Answer(200), now), store.renew: (now + 2 * LEASE,)}
    late(db, asked, first, *given.get(late, ()))
    with pytest.raises(UnderWay):
        store.claim(db, asked, now + LEASE, DAY)
    assert isinstance(second, str)
    store.keep(db, asked, second, Answer(204), now + LEASE)
    assert store.claim(db, asked, now + LEASE, DAY) == Answer(204)


@pytest.mark.databases
def test_a_thousand_answers_are_forgotten_in_batches(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH", 10)
    old = datetime.now(UTC) - DAY
    with db.begin() as session:
        session.add_all(KeptAnswer(id=f"{n:064}", request="", claim="", at=old, status=204) for n in range(250))
    assert [store.forget(db, datetime.now(UTC), DAY) for _ in range(3)] == [200, 50, 0]


# -- around an application that answers as the test says


class Around:
    """Requests of one person, one after the other or at once, to an application that answers what it is told."""

    def __init__(self, db: Database) -> None:
        self.db, self.done = db, 0
        self.status, self.headers, self.parts = 200, [(b"content-type", b"text/plain")], [b"one"]
        self.before: Callable[[], Any] = lambda: None
        self.guard = Repeats(self._app, db=db, hours=24, except_for=())
        self.settled: list[int | None] = []
        """When an answer began: the status that was kept by then; None: the key was free."""

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"{}"
        self.done += 1
        found = self.before()
        if found is not None:
            await found
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for number, part in enumerate(self.parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(self.parts)})

    async def post(self) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            if not sent:
                with self.db.read() as session:
                    rows = session.scalars(select(KeptAnswer)).all()
                    self.settled.append(rows[0].status or 0 if rows else None)
            sent.append(message)

        person = SimpleNamespace(id="t-1", owner="ada")
        scope = {"type": "http", "method": "POST", "path": "/v1/x", "query_string": b"", "state": {"principal": person}}
        await self.guard({**scope, "headers": [(b"idempotency-key", b"k")]}, receive, send)
        start, *rest = sent
        return start["status"], dict(start["headers"]), b"".join(part["body"] for part in rest)


@pytest.fixture
def around(sqlite_template: Path, tmp_path: Path) -> Iterator[Around]:
    shutil.copy(sqlite_template, tmp_path / "agon.db")
    db = Database(f"sqlite:///{tmp_path / 'agon.db'}")
    yield Around(db)
    db.close()


def test_an_answer_in_parts_is_kept_whole(around: Around) -> None:
    around.parts, around.headers = [b"a", b"", b"b"], [(b"location", b"/v1/x/1"), (b"x-own", b"1")]
    asyncio.run(around.post())
    status, headers, body = asyncio.run(around.post())
    assert (around.done, status, body, headers[b"location"]) == (1, 200, b"ab", b"/v1/x/1")
    assert b"x-own" not in headers
    assert around.settled == [200, 200], "it is kept before it is given"


@pytest.mark.parametrize("what", ["a stream", "a cookie", "too long", "a failure", "a refusal"])
def test_what_is_not_kept_is_given_each_time(around: Around, what: str) -> None:
    if what == "a stream":
        around.headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    elif what == "a cookie":
        around.headers = [(b"set-cookie", b"session=secret")]
    elif what == "too long":
        around.parts = [b"x" * MOST, b"x"]
    else:
        around.status = 503 if what == "a failure" else 404
    status, headers, body = asyncio.run(around.post())
    assert (status, dict(around.headers), body) == (around.status, headers, b"".join(around.parts))
    asyncio.run(around.post())
    assert around.done == 2
    assert around.settled == [None, None], "who hears the answer may ask again at once"
    assert count(around.db, KeptAnswer) == 0


@pytest.mark.parametrize("secret", [new_token(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw=="], ids=["token", "webhook"])
def test_a_secret_is_not_kept_though_nobody_said_that_it_is_one(around: Around, secret: str) -> None:
    around.parts = [b'{"id": "x", "made": "', secret.encode() + b'"}']
    asyncio.run(around.post())
    with pytest.raises(Conflict, match="held a secret"):
        asyncio.run(around.post())
    with around.db.read() as session:
        assert secret.encode() not in (session.scalars(select(KeptAnswer)).one().body or b"")


def test_while_it_is_done_a_repeat_is_told_to_wait(around: Around) -> None:
    async def both() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        def before() -> Any:
            begun.set()
            return go.wait()

        around.before = before
        first = asyncio.create_task(around.post())
        await begun.wait()
        with pytest.raises(UnderWay) as told:
            await around.post()
        assert (told.value.status, told.value.headers["Retry-After"]) == (409, "1")
        go.set()
        answer = await first
        assert (await around.post())[2] == answer[2]
        assert around.done == 1

    asyncio.run(both())


def test_a_claim_lasts_as_long_as_it_takes(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.repeats import guard

    monkeypatch.setattr(guard, "LEASE", timedelta(seconds=0.03))
    renewed = asyncio.Event()
    renew = store.renew

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def told(*given: Any) -> None:
            renew(*given)
            loop.call_soon_threadsafe(renewed.set)

        monkeypatch.setattr(store, "renew", told)
        around.before = lambda: asyncio.wait_for(renewed.wait(), 30)
        await around.post()

    asyncio.run(run())
    assert asyncio.run(around.post())[0] == 200
    assert around.done == 1


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_claim_of_a_process_that_died_is_another_ones_in_the_end(around: Around, end: str) -> None:
    """Stopped: a thread may do it yet, so the claim stays until its time is over."""

    def die() -> None:
        raise (SystemExit if end == "killed" else asyncio.CancelledError)

    around.before = die
    with pytest.raises((SystemExit, asyncio.CancelledError)):
        asyncio.run(around.post())
    around.before = lambda: None
    with pytest.raises(UnderWay):
        asyncio.run(around.post())
    with around.db.begin() as session:
        session.scalars(select(KeptAnswer)).one().at -= LEASE
    assert asyncio.run(around.post())[0] == 200
    assert around.done == 2


def test_without_a_key_nothing_is_written(around: Around) -> None:
    async def post(headers: list[tuple[bytes, bytes]]) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        async def send(_: Any) -> None:
            return

        state = {"principal": SimpleNamespace(id="t-1", owner="ada")}
        scope = {"type": "http", "method": "POST", "path": "/v1/x", "query_string": b"", "state": state}
        await around.guard({**scope, "headers": headers}, receive, send)

    asyncio.run(post([]))
    assert (around.done, count(around.db, KeptAnswer)) == (1, 0)
    for wrong in (b'"', b"a b"):
        with pytest.raises(BadRequest):
            asyncio.run(post([(b"idempotency-key", wrong)]))


def test_another_query_is_another_request() -> None:
    one, other = (Asked.of("ada", "POST", "/v1/x", query, "k", b"{}") for query in (b"", b"a=1"))
    assert (one.id == other.id, one.request == other.request) == (True, False)
    assert Asked.of("ada", "POST", "/v1/xk", b"", "", b"").id != Asked.of("ada", "POST", "/v1/x", b"", "k", b"").id

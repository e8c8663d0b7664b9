"""Browser sessions as a hostile client tries them; tokens of one's own over REST."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.access.entry import COOKIE, is_secure
from service.db.tables import Token

OWN = {"Sec-Fetch-Site": "same-origin"}


def bare(headers: dict[str, str]) -> str:
    return headers["Authorization"].removeprefix("Bearer ")


def login(house: Any, secret: str, **headers: str) -> Any:
    reply = house.client.post("/v1/session", json={"token": secret}, headers=headers)
    house.client.cookies.clear()
    return reply


def cookie(house: Any, who: dict[str, str]) -> dict[str, str]:
    """Headers of a page that is signed on."""
    reply = login(house, bare(who))
    assert reply.status_code == 201, reply.text
    return {"Cookie": f"{COOKIE}={reply.cookies[COOKIE]}"}


@pytest.fixture
def signed_on(house: Any) -> dict[str, str]:
    return cookie(house, house.person("ada"))


def test_a_login_answers_who_it_is_and_sets_a_cookie_that_no_script_and_no_other_site_has(house: Any) -> None:
    ada = house.person("ada", "viewer")
    for reply in (
        house.client.post("/v1/session", headers=ada),
        login(house, bare(ada)),
        login(house, bare(ada), **OWN),
        login(house, bare(ada), Origin="http://testserver"),
    ):
        house.client.cookies.clear()
        assert reply.status_code == 201, reply.text
        told = reply.json()
        assert (told["owner"], told["scope"], told["by"]) == ("ada", "viewer", "session")
        left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=11.9) < left <= timedelta(hours=12)
        given = reply.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43"):
            assert part in given
        assert "Secure" not in given
        assert "Domain" not in given
        assert bare(ada) not in given
        assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("scheme", "forwarded", "secure"),
    [("http", None, False), ("https", None, True), ("http", "https", True), ("http", "HTTPS, http", True), ("http", "http", False)],
)  # fmt: skip
def test_a_cookie_that_came_by_https_never_goes_by_http(scheme: str, forwarded: str | None, secure: bool) -> None:
    from starlette.datastructures import Headers

    assert is_secure(scheme, Headers({"x-forwarded-proto": forwarded} if forwarded else {})) == secure


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, 403), ({}, 201),
    ],
)  # fmt: skip
def test_another_sites_page_signs_nobody_on(house: Any, headers: dict[str, str], status: int) -> None:
    assert login(house, bare(house.person("ada")), **headers).status_code == status


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"token": ""},
        {"token": 1},
        {"token": "x" * 201},
        {"token": "x", "more": 1},
        [],
        "x",
    ],
)
def test_a_login_without_a_token_is_refused(house: Any, body: Any) -> None:
    assert house.client.post("/v1/session", json=body).status_code in (400, 401, 422)
    raw = house.client.post("/v1/session", content=b'{"token": "\\ud800"}')
    assert raw.status_code in (400, 422)


def test_a_login_with_an_unknown_an_expired_or_a_jobs_token_is_refused(house: Any) -> None:
    from service.access import store
    from service.access.tokens import Scope

    assert login(house, "agon_none").status_code == 401
    made = house.token("ada", expires_in=60)
    with house.db.begin() as session:
        session.get_one(Token, made["id"]).expires_at = datetime.now(UTC)
        store.add(session, "agon_of-a-job", "j-1", Scope.JOB, "j-1", 1)
    expired = login(house, made["token"])
    assert (expired.status_code, "expired on" in expired.json()["detail"]) == (401, True)
    assert login(house, "agon_of-a-job").status_code == 403
    assert house.client.post("/v1/session", headers={"Authorization": "Bearer agon_of-a-job"}).status_code == 403
    twice = house.client.post("/v1/session", json={"token": "x"}, headers=house.person("ada"))
    assert (twice.status_code, "twice" in twice.json()["detail"]) == (400, True)


def test_a_session_reads_and_follows_and_says_who_it_is(house: Any, signed_on: dict[str, str]) -> None:
    run = house.things("ada")["job_id"]
    assert house.client.get("/v1/session", headers=signed_on).json()["by"] == "session"
    assert house.client.get("/v1/jobs", headers=signed_on).status_code == 200
    followed = house.client.get(f"/v1/jobs/{run}/events", headers={**signed_on, "Accept": "text/event-stream"})
    assert followed.headers["content-type"].startswith("text/event-stream")
    among = {"Cookie": f"a=b; {signed_on['Cookie']}; c={COOKIE}"}
    assert house.client.get("/v1/jobs", headers=among).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 201), ({"Origin": "http://testserver"}, 201), ({"Origin": "HTTP://TESTSERVER"}, 201),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}, 201),
        ({}, 403), ({"Origin": "null"}, 403), ({"Origin": ""}, 403), ({"Origin": "http://testserver.evil.example"}, 403),
        ({"Origin": "http://testserver:81"}, 403), ({"Origin": "file://testserver"}, 403), ({"Origin": "http://[testserver"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, 403), ({"Referer": "http://testserver/"}, 403),
    ],
)  # fmt: skip
def test_a_change_by_cookie_comes_from_a_page_of_this_server(
    house: Any, signed_on: dict[str, str], headers: dict[str, str], status: int
) -> None:
    reply = house.client.post("/v1/tokens", json={"name": "phone"}, headers={**signed_on, **headers})
    assert reply.status_code == status, reply.text
    if status == 403:
        assert "Sec-Fetch-Site: same-origin" in reply.json()["detail"]


def test_several_of_what_there_is_one_of_are_refused(house: Any, signed_on: dict[str, str]) -> None:
    value = signed_on["Cookie"]
    two = house.client.get("/v1/jobs", headers=[("Cookie", f"{value}; {COOKIE}=other")])
    apart = house.client.get("/v1/jobs", headers=[("Cookie", value), ("Cookie", f"{COOKIE}=other")])
    assert (two.status_code, apart.status_code) == (401, 401)
    ada = house.person("ada")["Authorization"]
    tokens = house.client.get("/v1/jobs", headers=[("Authorization", ada), ("Authorization", ada)])
    assert tokens.status_code == 401
    sites = [("Cookie", value), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")]
    assert house.client.post("/v1/tokens", json={"name": "x"}, headers=sites).status_code == 403


@pytest.mark.parametrize(
    "given",
    [f"{COOKIE}=none", f"{COOKIE}=", f"{COOKIE.upper()}=VALUE", f"{COOKIE} =VALUE", f"x{COOKIE}=VALUE", f"{COOKIE}"],
)
def test_a_cookie_that_is_not_the_sessions_is_nobody(house: Any, signed_on: dict[str, str], given: str) -> None:
    secret = signed_on["Cookie"].partition("=")[2]
    reply = house.client.get("/v1/jobs", headers={"Cookie": given.replace("VALUE", secret)})
    if given.startswith(f"{COOKIE} ="):
        assert reply.status_code == 401
    assert reply.status_code == 401


def test_a_token_decides_alone_also_a_wrong_one(house: Any, signed_on: dict[str, str]) -> None:
    bob = house.person("bob", "viewer")
    assert house.client.get("/v1/session", headers={**signed_on, **bob}).json()["owner"] == "bob"
    assert house.client.post("/v1/tokens", json={"name": "x"}, headers={**signed_on, **OWN, **bob}).status_code == 403
    wrong = {**signed_on, **OWN, "Authorization": "Bearer agon_none"}
    assert house.client.get("/v1/jobs", headers=wrong).status_code == 401
    assert house.client.get("/v1/jobs", headers={**signed_on, "Authorization": "Bearer "}).status_code == 401
    stale = {"Cookie": f"{COOKIE}=none"}
    assert house.client.post("/v1/session", json={"token": bare(bob)}, headers=stale).status_code == 201
    house.client.cookies.clear()


def test_a_secret_of_one_kind_is_none_of_the_other(house: Any, signed_on: dict[str, str]) -> None:
    secret = signed_on["Cookie"].partition("=")[2]
    assert house.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    token = bare(house.person("ada"))
    assert house.client.get("/v1/jobs", headers={"Cookie": f"{COOKIE}={token}"}).status_code == 401


def test_a_session_ends_when_it_is_ended_and_only_by_its_own_page(house: Any) -> None:
    ada = house.person("ada", "viewer")
    one, other = cookie(house, ada), cookie(house, ada)
    assert house.client.delete("/v1/session", headers=one).status_code == 403
    assert house.client.delete("/v1/session", headers=ada).status_code == 400
    ended = house.client.delete("/v1/session", headers={**one, **OWN})
    assert (ended.status_code, 'agon_session=""' in ended.headers["set-cookie"]) == (204, True)
    gone = house.client.get("/v1/jobs", headers=one)
    assert (gone.status_code, "sign in again" in gone.json()["detail"]) == (401, True)
    assert house.client.get("/v1/jobs", headers=other).status_code == 200
    assert house.client.get("/v1/jobs", headers=ada).status_code == 200


def test_a_session_dies_with_its_token(house: Any) -> None:
    made = house.token("ada")
    page = cookie(house, {"Authorization": f"Bearer {made['token']}"})
    assert house.client.delete(f"/v1/tokens/{made['id']}", headers={**page, **OWN}).status_code == 204
    assert house.client.get("/v1/jobs", headers=page).status_code == 401


# -- tokens of one's own


def test_people_make_list_rotate_and_revoke_their_own_with_at_most_their_role(house: Any) -> None:
    una, before = house.person("una"), len(house.client.get("/v1/tokens", headers=house.admin).json()["items"])
    made = house.client.post("/v1/tokens", json={"name": "phone", "expires_in": "30d"}, headers=una).json()
    assert (made["owner"], made["scope"]) == ("una", "user")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29.9) < left <= timedelta(days=30)
    mine = house.client.get("/v1/tokens", headers=una).json()["items"]
    assert {token["owner"] for token in mine} == {"una"}
    assert len(house.client.get("/v1/tokens", headers=house.admin).json()["items"]) == before + 1
    for body in ({"name": "x", "scope": "admin"}, {"name": "x", "owner": "bob"}, {"name": "x", "owner": "admin"}):
        assert house.client.post("/v1/tokens", json=body, headers=una).status_code == 403
    assert house.client.get("/v1/tokens", params={"owner": "bob"}, headers=una).status_code == 403
    turned = house.client.post(f"/v1/tokens/{made['id']}/rotate", headers=una).json()
    assert (turned["id"], turned["expires_at"]) == (made["id"], made["expires_at"])
    assert timedelta(minutes=59) < datetime.fromisoformat(turned["old_until"]) - datetime.now(UTC) <= timedelta(hours=1)
    for secret in (made["token"], turned["token"]):
        assert house.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    last = house.client.post(f"/v1/tokens/{made['id']}/rotate", json={"overlap": 0}, headers=una).json()
    for secret, status in ((made["token"], 401), (turned["token"], 401), (last["token"], 200)):
        assert house.client.get("/v1/jobs", headers={"Authorization": f"Bearer {secret}"}).status_code == status
    assert house.client.delete(f"/v1/tokens/{made['id']}", headers=una).status_code == 204


def test_an_expiring_token_makes_none_that_outlives_it(house: Any) -> None:
    short = house.person("eva", expires_in="1d")
    long = house.token("eva", expires_in="60d")
    made = house.client.post("/v1/tokens", json={"name": "x"}, headers=short).json()
    mine = house.client.get("/v1/session", headers=short).json()["expires_at"]
    assert made["expires_at"] == mine
    too_long = house.client.post("/v1/tokens", json={"name": "x", "expires_in": "2d"}, headers=short)
    assert (too_long.status_code, too_long.json()["errors"][0]["path"]) == (422, "expires_in")
    assert house.client.post(f"/v1/tokens/{long['id']}/rotate", headers=short).status_code == 403
    page = cookie(house, short)
    by_page = house.client.post("/v1/tokens", json={"name": "x"}, headers={**page, **OWN}).json()
    assert by_page["expires_at"] == mine


def test_a_token_that_has_expired_comes_back_by_an_administrator_alone(house: Any) -> None:
    made, other = house.token("ian", expires_in="1d"), house.person("ian")
    with house.db.begin() as session:
        session.get_one(Token, made["id"]).expires_at = datetime.now(UTC)
    path = f"/v1/tokens/{made['id']}/rotate"
    assert house.client.post(path, headers=other).status_code == 422
    assert house.client.post(path, json={"expires_in": "1d"}, headers=other).status_code == 422
    assert house.client.post(path, headers=house.admin).status_code == 422
    assert house.client.post(path, json={"expires_in": "1d"}, headers=house.admin).status_code == 200


def test_the_token_files_token_is_neither_rotated_nor_revoked_here(house: Any) -> None:
    for reply in (
        house.client.post("/v1/tokens/bootstrap/rotate", headers=house.admin),
        house.client.delete("/v1/tokens/bootstrap", headers=house.admin),
    ):
        assert (reply.status_code, "AGON_TOKEN_FILE" in reply.json()["detail"]) == (409, True)
    assert house.client.post("/v1/tokens/bootstrap/rotate", headers=house.person("ada")).status_code == 403
    assert house.client.post("/v1/tokens/t-none/rotate", headers=house.admin).status_code == 404


def test_one_person_has_so_many_tokens_and_no_more(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.access import routes

    zoe = house.person("zoe")
    monkeypatch.setattr(routes, "MOST_OWN", 2)
    codes = [house.client.post("/v1/tokens", json={"name": "x"}, headers=zoe).status_code for _ in range(2)]
    assert codes == [201, 409]
    assert house.client.post("/v1/tokens", json={"name": "x", "owner": "zoe"}, headers=house.admin).status_code == 201

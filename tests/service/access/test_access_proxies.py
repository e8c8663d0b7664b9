"""Single sign-on: the word of a proxy counts, if it is one that is trusted, and nobody else's."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.datastructures import Headers

from service.access.entry import COOKIE, Proxy
from service.errors import Forbidden
from service.settings import Settings

HEADER = "X-Forwarded-User"
OWN = {"Sec-Fetch-Site": "same-origin"}


def named(peer: str | None, *given: str, forwarded: str | None = None) -> str | None:
    raw = [(b"x-forwarded-user", value.encode("latin-1")) for value in given]
    raw += [(b"x-forwarded-for", forwarded.encode())] if forwarded is not None else []
    proxy = Proxy(HEADER, ("10.0.0.5", "10.1.0.0/16", "fd00::/64", "127.0.0.1"))
    return proxy.names(Headers(raw=raw), peer)


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("10.0.0.5", "ada"), ("10.1.2.3", "ada"), ("fd00::7", "ada"), ("::ffff:10.0.0.5", "ada"), ("127.0.0.1", "ada"),
        ("10.0.0.6", None), ("10.2.0.1", None), ("::1", None), ("fd01::7", None), ("::ffff:10.0.0.6", None), (None, None),
        ("testclient", None), ("", None), ("10.0.0.5, 10.0.0.6", None),
    ],
)  # fmt: skip
def test_the_header_counts_from_the_proxies_alone(peer: str | None, name: str | None) -> None:
    assert named(peer, "ada") == name


@pytest.mark.parametrize("name", ["ada", "Ada.L@lab-1", "a" * 64])
def test_a_name_is_taken_as_it_is(name: str) -> None:
    assert named("10.0.0.5", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "ada lovelace",
        " ada",
        "ada ",
        "ada\t",
        "ada,admin",
        "ada;admin",
        "a" * 65,
        "@ada",
        "\xe4da",
        "ada\n",
        "../x",
        "ada\0",
    ],
)
def test_what_can_be_no_name_is_refused_with_the_fix(name: str) -> None:
    with pytest.raises(Forbidden, match="AGON_SSO_HEADER"):
        named("10.0.0.5", name)


def test_nobody_is_signed_on_as_whoever_runs_the_api() -> None:
    with pytest.raises(Forbidden, match="token file's"):
        named("10.0.0.5", "admin")
    assert [named("10.0.0.5", "Admin"), named("192.0.2.1", "admin")] == ["Admin", None]


def test_several_names_are_refused_and_none_is_nobody() -> None:
    for given in (("ada", "ada"), ("ada", "admin"), ("", "ada")):
        with pytest.raises(Forbidden, match="came 2 times"):
            named("10.0.0.5", *given)
    assert named("10.0.0.5", "") is None
    assert named("10.0.0.5") is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "name"),
    [
        ("10.0.0.5", "192.0.2.1", "ada"), ("127.0.0.1", "192.0.2.1, 127.0.0.1", "ada"), ("10.1.0.1", "10.1.0.10", "ada"),
        ("10.0.0.5", "10.0.0.5", None), ("10.0.0.5", "192.0.2.1, 10.0.0.5:1234", None), ("fd00::7", "[fd00::7]:80", None),
    ],
)  # fmt: skip
def test_an_address_that_a_server_took_from_a_header_is_no_proxys(peer: str, forwarded: str, name: str | None) -> None:
    assert named(peer, "ada", forwarded=forwarded) == name


def test_who_is_new_reads_until_an_administrator_gives_them_a_role_which_holds_at_once(behind: Any) -> None:
    proxy, direct = behind("10.0.0.5"), behind("192.0.2.1")
    ada = {HEADER: "ada"}
    assert proxy.get("/v1/session", headers=ada).json() == {
        "owner": "ada", "name": "ada", "scope": "viewer", "by": "proxy", "expires_at": None,
    }  # fmt: skip
    assert proxy.get("/v1/jobs", headers=ada).status_code == 200
    job = {"recipe": "dcgan-digits"}
    refused = proxy.post("/v1/jobs", json=job, headers={**ada, **OWN})
    assert (refused.status_code, "ada asks as a viewer" in refused.json()["detail"]) == (403, True)
    admin = {"Authorization": f"Bearer {direct.app.state.context.settings.token_file.read_text().strip()}"}
    assert "ada" in [owner["name"] for owner in direct.get("/v1/owners", headers=admin).json()["items"]]
    assert direct.put("/v1/owners/ada/role", json={"role": "user"}, headers=admin).status_code == 200
    made = proxy.post("/v1/jobs", json=job, headers={**ada, **OWN, "Idempotency-Key": "k"})
    assert (made.status_code, made.json()["owner"]) == (201, "ada")
    again = proxy.post("/v1/jobs", json=job, headers={**ada, **OWN, "Idempotency-Key": "k"})
    assert again.json()["id"] == made.json()["id"]
    token = proxy.post("/v1/tokens", json={"name": "laptop"}, headers={**ada, **OWN}).json()
    assert (token["owner"], token["scope"]) == ("ada", "user")
    mine = {"Authorization": f"Bearer {token['token']}"}
    assert direct.post(f"/v1/jobs/{made.json()['id']}/cancel", headers=mine).status_code == 202
    assert direct.put("/v1/owners/ada/role", json={"role": "viewer"}, headers=admin).status_code == 200
    assert proxy.get("/v1/session", headers=ada).json()["scope"] == "viewer"
    assert direct.get("/v1/session", headers=mine).json()["scope"] == "viewer"
    assert proxy.get("/v1/session", headers={HEADER: "Ada"}).json()["owner"] == "Ada", "another name is another person"


def test_from_others_the_header_says_nothing_and_is_logged_once(
    behind: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("agon"), "propagate", True)
    caplog.set_level("WARNING")
    others = behind("192.0.2.66")
    for forwarded in ("10.0.0.5", "10.0.0.5, 192.0.2.66", "x"):
        headers = {HEADER: "ada", "X-Forwarded-For": forwarded, "Forwarded": "for=10.0.0.5", "X-Real-IP": "10.0.0.5"}
        assert others.get("/v1/jobs", headers=headers).status_code == 401
    told = {id(record): record.facts["peer"] for record in caplog.records if record.msg == "header ignored"}  # type: ignore[attr-defined]
    assert list(told.values()) == ["192.0.2.66"]


def test_a_token_decides_before_the_proxy_and_the_proxy_before_a_cookie(behind: Any) -> None:
    proxy = behind("10.1.7.7")
    admin = {"Authorization": f"Bearer {proxy.app.state.context.settings.token_file.read_text().strip()}"}
    eve = {HEADER: "eve"}
    assert proxy.get("/v1/session", headers={**eve, **admin}).json()["owner"] == "admin"
    assert proxy.get("/v1/session", headers={**eve, "Authorization": "Bearer agon_none"}).status_code == 401
    assert proxy.get("/v1/session", headers={**eve, "Authorization": "Basic ZXZlOng="}).json()["owner"] == "eve"
    session = proxy.post("/v1/session", headers=admin).cookies[COOKIE]
    proxy.cookies.clear()
    page = {"Cookie": f"{COOKIE}={session}"}
    assert proxy.get("/v1/session", headers=page).json()["owner"] == "admin"
    assert proxy.get("/v1/session", headers={**page, **eve}).json()["owner"] == "eve"


def test_a_change_through_the_proxy_comes_from_a_page_of_this_server(behind: Any) -> None:
    proxy = behind("10.0.0.5")
    admin = {"Authorization": f"Bearer {proxy.app.state.context.settings.token_file.read_text().strip()}"}
    assert proxy.put("/v1/owners/mallory/role", json={"role": "user"}, headers=admin).status_code == 200
    for headers, status in (({}, 403), ({"Origin": "https://evil.example"}, 403), (OWN, 201)):
        reply = proxy.post("/v1/tokens", json={"name": "x"}, headers={HEADER: "mallory", **headers})
        assert reply.status_code == status


def test_a_header_without_proxies_or_proxies_without_a_header_are_refused() -> None:
    for given in (
        {"sso_header": HEADER}, {"sso_proxies": "10.0.0.5"}, {"sso_header": "X User", "sso_proxies": "10.0.0.5"},
        {"sso_header": HEADER, "sso_proxies": "proxy.lan"}, {"sso_header": HEADER, "sso_proxies": "0.0.0.0/0"},
        {"sso_header": HEADER, "sso_proxies": "::/0"}, {"sso_header": "Authorization", "sso_proxies": "10.0.0.5"},
        {"sso_header": "x-forwarded-for", "sso_proxies": "10.0.0.5"},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Settings(home="/nowhere", **given)
    assert Settings(home="/nowhere", sso_header=HEADER, sso_proxies="10.0.0.5, fd00::/8").sso_proxies == (
        "10.0.0.5",
        "fd00::/8",
    )
    assert Settings(home="/nowhere").sso_header == ""


def test_without_the_setting_the_header_says_nothing(house: Any) -> None:
    assert house.client.get("/v1/jobs", headers={HEADER: "ada"}).status_code == 401

"""The administration's pages: who sees what, that secrets are shown once and kept nowhere, and that what they ask of REST is what it takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from furnished import opened
from looks import DARK, LIGHT, PHONE, check_accessible
from sqlalchemy import update

from service.db.tables import Token, WebhookDelivery
from tests import checkpoints

HOOK = {"url": "https://hooks.example.com/agon", "events": ["job.failed"], "description": "to <b>the chat</b>"}
TABS = ("tokens", "people", "people/ada", "webhooks", "audit", "disk", "health")


def words(element):
    return " ".join(element.text.split())


def rows_of(page):
    return [words(row) for row in page.select("tbody tr")]


def made(reader, path, **body):
    reply = reader.client.post(path, json=body)
    assert reply.status_code in (201, 202), reply.text
    return reply.json()


def test_administration_begins_with_the_tokens(read):
    reply = read.client.get("/admin", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/admin/tokens")


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_for_every_role_with_no_secret_in_it(own_read, tab):
    for owner, scope in (("admin", "admin"), ("ada", "user"), ("ada", "viewer")):
        page = own_read.as_(owner, scope)(f"/admin/{tab}", 200 if scope == "admin" or tab != "people" else 303)
        assert "agon_" not in str(page) and "whsec_" not in str(page)
        if page.find("nav", class_="tabs"):
            assert words(page.select_one(".tabs [aria-current]")).lower() == tab.partition("/")[0]
        if scope == "viewer":
            writes = [form for form in page.select("form[data-act]") if "/rotate" not in form["action"]]
            assert not writes or all("/v1/tokens/" in form["action"] for form in writes)


def test_whoever_only_looks_can_change_no_token_of_theirs(own_read):
    assert not own_read.as_("eve", "viewer")("/admin/tokens").select("form[data-act]")


def test_users_see_their_own_and_administrators_all(own_read):
    ada = own_read.as_("ada", "user")
    made(own_read, "/v1/tokens", name="reader", owner="grace", scope="viewer")
    made(own_read, "/v1/webhooks", **HOOK)
    tokens = rows_of(own_read("/admin/tokens"))
    assert len(tokens) == 3 and "of AGON_TOKEN_FILE" in tokens[0]
    assert len(rows_of(ada("/admin/tokens"))) == 1 and len(rows_of(own_read("/admin/tokens?owner=grace"))) == 1
    assert "No webhooks." in ada("/admin/webhooks").text and len(rows_of(own_read("/admin/webhooks"))) == 1
    hook = own_read("/admin/webhooks").select_one("tbody a")["href"]
    ada(hook, 404)
    ada("/admin/people/grace", 403)
    ada("/admin/audit?actor=grace", 403)
    assert "token.create" in own_read("/admin/audit").text and "token.create" not in ada("/admin/audit").text


def test_a_token_is_made_with_no_more_than_one_s_own_role(own_read):
    scopes = [option["value"] for option in own_read("/admin/tokens").select("#t-scope option")]
    assert scopes == ["viewer", "user", "admin"]
    ada = own_read.as_("ada", "user")("/admin/tokens")
    assert [option["value"] for option in ada.select("#t-scope option")] == ["viewer", "user"]
    assert not ada.find(id="t-owner") and ada.select_one("form.make")["data-secret"] == "token"


def test_tokens_say_when_they_end_and_what_of_them_works_still(own_read):
    token = made(own_read, "/v1/tokens", name="old", owner="ada")["id"]
    made_of = own_read.client.post(f"/v1/tokens/{token}/rotate", json={"overlap": "1h"})
    assert made_of.status_code == 200
    with own_read.house.db.begin() as session:
        session.execute(update(Token).where(Token.id == token).values(expires_at=datetime.now(UTC) - timedelta(days=3)))
    row = own_read("/admin/tokens").find(id=token)
    assert "ended 3 days ago" in words(row) and "its old secret in 59 min" in words(row)
    actions = {form["action"]: form.get("data-method", "post") for form in row.select("form")}
    assert actions == {f"/v1/tokens/{token}/rotate": "post", f"/v1/tokens/{token}": "DELETE"}


def test_people_have_roles_caps_and_what_they_use_of_them(own_read):
    own_read.client.put("/v1/owners/ada/caps", json={"running": 4, "gpus": 8})
    own_read.client.put("/v1/owners/*/caps", json={"running": 2})
    own_read.client.put("/v1/owners/grace/role", json={"role": "viewer"})
    rows = {row.split()[0]: row for row in rows_of(own_read("/admin/people"))}
    assert "own caps" in rows["ada"] and "of 4" in rows["ada"] and "0 of 8" in rows["ada"]
    assert rows["grace"].startswith("grace viewer") and "of 2" in rows["grace"]
    page = own_read("/admin/people/ada")
    caps = page.select_one('form[data-method="PUT"][action="/v1/owners/ada/caps"]')
    etag = own_read.client.get("/v1/owners/ada").json()["etag"]
    assert caps["data-match"] == etag and page.find(id="c-gpus")["value"] == "8"
    assert not page.find(id="c-workers").get("value")
    role = own_read("/admin/people/grace").select_one("#r-role option[selected]")
    assert json.loads(role["value"]) == "viewer"
    everyone = own_read("/admin/people/*")
    assert "All who have no caps of their own" in everyone.text and not everyone.find(id="r-role")
    mine = own_read.as_("ada", "user")("/admin/people/ada")
    assert "These caps are ada's own." in mine.text and not mine.select("form[data-act]")


def test_a_webhook_shows_its_deliveries_what_they_say_and_sends_them_again(own_read):
    hook = made(own_read, "/v1/webhooks", **HOOK)["id"]
    sent = made(own_read, f"/v1/webhooks/{hook}/test")["id"]
    with own_read.house.db.begin() as session:
        values = {"outcome": "failed", "attempts": 3, "status": 503, "error": "it said 503"}
        session.execute(update(WebhookDelivery).values(**values))
    page = own_read(f"/admin/webhooks/{hook}")
    assert "failed 3 attempts, answered 503" in rows_of(page)[0] and "it said 503" in rows_of(page)[0]
    assert "to <b>the chat</b>" in page.find(id="hook").text
    replay = page.select_one("#deliveries form")["action"]
    assert replay == f"/v1/webhooks/{hook}/deliveries/{sent}/replay"
    assert own_read.client.post(replay).status_code == 202
    assert "Nothing was sent that is failed." in own_read(f"/admin/webhooks/{hook}?outcome=failed").text
    whole = own_read(f"/admin/webhooks/{hook}?delivery={sent}")
    assert json.loads(whole.select_one("pre.body").text)["type"] == "webhook.test"
    switch = next(form for form in page.select("#hook form") if form.button.text == "Switch it off")
    off = own_read.client.patch(
        switch["action"], json=json.loads(switch["data-body"]), headers={"If-Match": switch["data-match"]}
    )
    assert off.json()["enabled"] is False
    own_read(f"/admin/webhooks/{hook}?delivery=none", 404)
    own_read(f"/admin/webhooks/{hook}?outcome=nope", 422)


def test_the_audit_is_filtered_as_in_the_api_and_a_day_is_its_beginning(own_read):
    own_read.client.post("/v1/jobs/j-none/pause")
    made(own_read, "/v1/tokens", name="laptop", owner="ada")
    assert "job.pause" in rows_of(own_read("/admin/audit?action=job"))[0]
    page = own_read("/admin/audit?outcome=refused&actor=admin&since=2026-01-01&until=")
    assert all("refused" in row for row in rows_of(page)) and "404" in rows_of(page)[0]
    follow = page.select_one("[data-follow]")["data-follow"]
    assert "outcome=refused" in follow and "since=2026-01-01T00%3A00%3A00Z" in follow
    assert "Nothing is so." in own_read("/admin/audit?target=nothing").text
    made_rows = rows_of(own_read("/admin/audit?action=token.create"))
    assert "name = laptop" in made_rows[0] and "agon_" not in made_rows[0]


@pytest.mark.parametrize(
    "path",
    [
        "audit?since=yesterday",
        "audit?outcome=nope",
        "audit?cursor=x",
        "audit?action=%3Cb%3E",
        "webhooks?cursor=x",
        "webhooks/none",
        "webhooks/w-%00",
        "people/%20",
        "people/" + "x" * 80,
        "tokens?owner=" + "x" * 80,
        "nosuch",
    ],
)
def test_no_address_breaks_a_page(read, path):
    reply = read.client.get(f"/admin/{path}", headers={"Accept": "text/html"})
    assert reply.status_code in (404, 422) and "<h1>" in reply.text


def test_a_wrong_filter_of_the_audit_names_its_field_with_the_fix(read):
    page = read("/admin/audit?since=yesterday&outcome=nope", 422)
    told = [words(item) for item in page.select("main li")]
    assert any("since" in line and "yesterday" in line and "write it like 2026-11-01" in line for line in told)
    assert any("outcome" in line and "it is one of done, refused, failed, begun" in line for line in told)


def test_the_disk_says_how_full_it_is_and_with_what(read):
    page = read("/admin/disk")
    assert "used" in words(page.find("label", attrs={"for": "fill"})) and page.find(id="gc")
    assert {row.th.text for row in page.select(".sizes tr")} >= {"checkpoints", "samples", "logs"}


def test_parts_that_are_away_are_told_and_hold_up_nothing(own_read):
    house = own_read.house
    house.ray.unreachable = True
    rows = {row.th.text: words(row) for row in own_read("/admin/health").select("tbody tr")}
    assert "works" in rows["Database"] and "works" in rows["MLflow"]
    assert "away" in rows["Ray"] and "can't be reached" in rows["Ray"]
    assert "elsewhere" in rows["Reconciler"] and "off" in rows["Webhooks"]


@pytest.mark.system
def test_a_secret_is_shown_once_and_is_nowhere_afterwards(browse, own_house):
    with opened(own_house):
        page = browse("/admin/tokens", house=own_house)
        page.wait_for_selector("html.scripted")
        check_accessible(page)
        page.fill("#t-name", "laptop")
        page.click("form.make button")
        secret = page.locator("dialog.secret code").text_content()
        assert secret.startswith("agon_")
        page.wait_for_selector("#tokens >> text=laptop")
        assert "agon_" not in page.url and secret not in page.locator("main").inner_html()
        page.click("dialog.secret form button")
        page.wait_for_selector("dialog", state="detached")
        assert secret not in page.content()
        page.reload()
        assert secret not in page.content()
        page.close()


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE])
def test_all_tabs_are_accessible_and_no_wider_than_the_screen(browse, own_house, own_read, look):
    hook = made(own_read, "/v1/webhooks", **HOOK)["id"]
    made(own_read, f"/v1/webhooks/{hook}/test")
    with opened(own_house):
        page = browse("/admin/health", look, own_house)
        for tab in (*TABS, f"webhooks/{hook}"):
            page.goto(f"/admin/{tab}")
            page.wait_for_selector("html.scripted")
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab
            check_accessible(page)
        page.close()


@pytest.mark.system
@pytest.mark.long
def test_garbage_is_looked_for_and_removed_and_the_audit_follows(browse, own_house):
    folder = own_house.folder(own_house.by_name["digits-first"])
    folder.mkdir(parents=True, exist_ok=True)
    for step in (100, 200, 300, 400, 500):
        checkpoints.save(folder, step)
    with opened(own_house):
        page = browse("/admin/disk", house=own_house)
        page.wait_for_selector("html.scripted")
        page.click("#gc button")
        page.wait_for_selector("#garbage table")
        page.click("#garbage button")
        page.click('dialog button[value="yes"]')
        page.wait_for_selector(".toast >> text=are free again")
        page.goto("/admin/audit")
        page.click("[data-follow]")
        before = page.locator("#entries tbody tr").count()
        with httpx.Client(base_url=own_house.url, headers={"Authorization": f"Bearer {own_house.token}"}) as client:
            client.post("/v1/tokens", json={"name": "followed"})
        page.wait_for_selector("#entries >> text=followed")
        assert page.locator("#entries tbody tr").count() == before + 1
        page.close()

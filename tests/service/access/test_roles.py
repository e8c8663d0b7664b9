"""What roles keep people from: asked of every route that there is, so that a new one is asked, too."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.access import things
from service.access.rules import SAFE, SPECIAL, Action, action_of

FOR_ADMINISTRATORS = {"/v1/owners", "/v1/owners/{name}"}
"""What a user may not see either, of others."""


def routes(app: Any) -> list[tuple[str, str]]:
    """Method and template of all that the application says it has."""
    return [(method.upper(), path) for path, calls in app.openapi()["paths"].items() for method in calls]


def filled(path: str, given: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: given.get(found.group(1), "x"), path)


def test_the_rule_stands_before_a_route_that_says_nothing_of_it(house: Any) -> None:
    def made_up() -> str:
        return "done"

    house.app.post("/v1/made-up", include_in_schema=False)(made_up)
    house.app.post("/v1/jobs/{job_id}/made-up", include_in_schema=False)(made_up)
    run = house.things("nora")["job_id"]
    for name, scope, expected in (
        ("vic", "viewer", [403, 403]),
        ("ben", "user", [200, 403]),
        ("nora", "user", [200, 200]),
    ):
        who = house.person(name, scope)
        paths = ("/v1/made-up", f"/v1/jobs/{run}/made-up")
        assert [house.client.post(path, headers=who).status_code for path in paths] == expected, name
    assert house.client.post("/v1/made-up").status_code == 401


def test_every_route_is_one_that_the_walks_below_go_by(house: Any) -> None:
    told = set(routes(house.app))
    hidden = [route for route in house.app.state.routes if not route.include_in_schema]
    forms = {"/sign-in", "/sign-out"}  # which the page sends without a script
    assert all(route.methods == {"GET"} or route.path in forms for route in hidden)
    assert {(method, route.path) for route in house.app.state.routes for method in route.methods} - {
        (method, route.path) for route in hidden for method in route.methods
    } == told


def test_a_viewer_changes_nothing_by_any_route(house: Any) -> None:
    viewer, given = house.person("vera", "viewer"), house.things("vera")  # what is the viewer's own, too
    checked = 0
    for method, path in routes(house.app):
        if method in SAFE or action_of(method, path) in (Action.SIGN, Action.ASK):
            continue
        reply = house.client.request(method, filled(path, given), headers=viewer)
        assert reply.status_code == 403, f"{method} {path}: {reply.text}"
        if action_of(method, path) is not Action.REPORT:
            assert "vera asks as a viewer" in reply.json()["detail"]
            assert "PUT /v1/owners/vera/role" in reply.json()["detail"], "the fix"
        checked += 1
    assert checked > 35


def test_a_viewer_reads_what_a_user_reads(house: Any) -> None:
    house.registry.add("of-ada")
    given = house.things("una")
    viewer, user = house.person("vi", "viewer"), house.person("ulf")
    for method, path in routes(house.app):
        endless = path.endswith("/stream") or path == "/v1/events"
        if method not in SAFE or endless or not path.startswith("/v1"):
            continue
        calls = [house.client.request(method, filled(path, given), headers=who) for who in (viewer, user)]
        assert calls[0].status_code == calls[1].status_code, path
        assert (calls[0].status_code == 403) == (path in FOR_ADMINISTRATORS or path.endswith("/desired")), path


def test_every_change_of_what_is_somebodys_refuses_others_and_names_the_owner(house: Any) -> None:
    given, bob = house.things("olga"), house.person("bob")
    checked: dict[str, int] = {}
    for method, path in routes(house.app):
        kind = things.kind_of(path)
        if kind is None or action_of(method, path) is not Action.CHANGE:
            continue
        reply = house.client.request(method, filled(path, given), headers=bob)
        told = reply.json()["detail"]
        assert reply.status_code == 403, f"{method} {path}: {reply.text}"
        assert f"is olga's: only olga or an administrator may change it; ask them, or {kind.instead}" in told
        checked[kind.name] = checked.get(kind.name, 0) + 1
    assert checked["job"] >= 9
    assert checked["search"] >= 10
    assert (checked["dataset"], checked["token"]) == (1, 2)


def test_whose_it_is_and_administrators_get_past_the_rule_by_every_route(house: Any) -> None:
    olaf = house.person("olaf")
    for who in (olaf, house.admin):
        given = house.things("olaf") if who is olaf else house.things("olof")
        for method, path in routes(house.app):
            if things.kind_of(path) is None or action_of(method, path) not in (Action.CHANGE, Action.USE):
                continue
            reply = house.client.request(method, filled(path, given), headers=who)
            assert reply.status_code != 403, f"{method} {path}: {reply.text}"


def test_what_is_nobodys_is_anyones(house: Any) -> None:
    given = house.things("nina")
    import rows

    run = rows.run(house.db, "job", "queued", owner="")
    assert house.client.post(f"/v1/jobs/{run}/cancel", headers=house.person("bo")).status_code == 202
    assert house.client.post(f"/v1/jobs/{given['job_id']}/cancel", headers=house.person("bo")).status_code == 403


@pytest.mark.parametrize("name", ["j-%00", "j-none", "%F0%9F%98%80", "J-1", "a" * 5000, "..%2fx"])
def test_a_name_that_is_none_is_the_endpoints_to_refuse(house: Any, name: str) -> None:
    reply = house.client.post(f"/v1/jobs/{name}/cancel", headers=house.person("bo"))
    assert reply.status_code in (404, 422)


def test_a_run_of_another_is_read_and_forked_and_a_foreign_dataset_is_checked(house: Any) -> None:
    given, bob = house.things("rita"), house.person("bob")
    assert house.client.get(f"/v1/jobs/{given['job_id']}", headers=bob).json()["owner"] == "rita"
    fork = house.client.post("/v1/jobs", json={"from": {"job": given["job_id"]}}, headers=bob)
    assert fork.status_code != 403, fork.text
    assert house.client.post(f"/v1/datasets/{given['name']}/check", headers=bob).status_code != 403
    assert house.client.get(f"/v1/datasets/{given['name']}", headers=bob).json()["owner"] == "rita"


def test_the_special_routes_are_there(house: Any) -> None:
    assert set(SPECIAL) <= {(method, route.path) for route in house.app.state.routes for method in route.methods}


def test_a_role_bounds_tokens_at_once_and_gives_none_more(house: Any) -> None:
    ada = house.person("ada")

    def role(name: str | None) -> None:
        reply = house.client.put("/v1/owners/ada/role", json={"role": name}, headers=house.admin)
        assert (reply.status_code, reply.json()["role"]) == (200, name)

    def scope() -> str:
        return str(house.client.get("/v1/session", headers=ada).json()["scope"])

    assert scope() == "user"
    role("viewer")
    assert scope() == "viewer"
    assert house.client.post("/v1/tokens", json={"name": "x"}, headers=ada).status_code == 403
    role("admin")
    assert scope() == "user", "the token says so"
    role(None)
    assert scope() == "user"
    listed = house.client.get("/v1/owners", headers=house.admin).json()["items"]
    assert [item["role"] for item in listed if item["name"] == "ada"] == [None]


def test_the_token_files_token_keeps_its_role_and_roles_are_given_by_administrators(house: Any) -> None:
    try:
        assert (
            house.client.put("/v1/owners/admin/role", json={"role": "viewer"}, headers=house.admin).status_code == 200
        )
        assert house.client.get("/v1/session", headers=house.admin).json()["scope"] == "admin"
    finally:
        house.client.put("/v1/owners/admin/role", json={"role": None}, headers=house.admin)
    ada = house.person("ada")
    assert house.client.put("/v1/owners/ada/role", json={"role": "admin"}, headers=ada).status_code == 403
    for name, body in (("*", {"role": "user"}), ("a%20b", {"role": "user"}), ("ada", {"role": "root"}), ("ada", {})):
        assert house.client.put(f"/v1/owners/{name}/role", json=body, headers=house.admin).status_code == 422


def test_an_alias_moves_only_between_versions_of_ones_own(house: Any) -> None:
    mine, theirs = house.things("mia")["job_id"], house.things("tom")["search_id"]
    for made_by in (mine, f"{theirs}-t-00003", "j-deleted"):
        house.registry.add("faces", {"agon.job_id": made_by})
    mia, path = house.person("mia"), "/v1/models/faces/aliases/best"

    def move(version: str, who: dict[str, str]) -> Any:
        return house.client.put(path, json={"version": version}, headers=who)

    assert move("1", mia).status_code == 200
    refused = move("2", mia)
    assert (refused.status_code, "version 2 of faces is of tom's" in refused.json()["detail"]) == (403, True)
    assert move("2", house.admin).status_code == 200
    assert move("1", mia).status_code == 403, "away from tom's"
    assert move("3", house.person("tom")).status_code == 200, "whose it was is not known any more"
    assert move("9", mia).status_code == 404


def test_a_viewer_asks_models_and_nothing_but_a_page_of_this_server_does_so_by_a_cookie(house: Any) -> None:
    viewer = house.person("vera", "viewer")
    asking = [(method, path) for method, path in routes(house.app) if action_of(method, path) is Action.ASK]
    assert len(asking) == 6
    for method, path in asking:
        reply = house.client.request(method, filled(path, {}), headers=viewer, json={})
        assert reply.status_code != 403, path

"""Where a list goes on is in the header, too, with the filters that it had."""

from __future__ import annotations

from typing import Any

import pytest

from service import errors
from service.errors import Problem
from service.paging import onwards


def test_every_paged_list_has_the_link(world: Any) -> None:
    paged = []
    for route in world.client.app.state.routes:
        dependant = getattr(route, "dependant", None)
        if (
            dependant
            and route.include_in_schema
            and "GET" in route.methods
            and "cursor" in [field.name for field in dependant.query_params]
        ):
            paged.append(route.path)
            assert onwards in [dependency.call for dependency in dependant.dependencies], route.path
    assert len(paged) >= 12


def test_following_the_link_sees_every_job_of_the_filter_once(world: Any) -> None:
    wanted = [world.submit(labels={"a": "x&y"[0], "b": "1"}) for _ in range(5)]
    world.submit()
    seen, url = [], world.client.build_request("GET", "/v1/jobs?label=a%3Dx&label=b%3D1&limit=2&state=submitted").url
    for _ in range(3):
        reply = world.client.get(url)
        seen += [job["id"] for job in reply.json()["items"]]
        following = reply.links.get("next")
        assert (following is None) == (reply.json()["next_cursor"] is None)
        if following:
            assert following["url"].startswith("?label=a%3Dx&label=b%3D1&limit=2&state=submitted&cursor=")
            url = reply.url.join(following["url"])
    assert (seen, following) == (wanted[::-1], None)


def test_a_proxy_may_call_the_path_otherwise(world: Any) -> None:
    for name in ("one", "two"):
        world.submit(name=name)
    (link,) = world.client.get("/v1/jobs?limit=1").headers.get_list("link")
    assert link.startswith("<?limit=1&cursor=")
    assert link.endswith('>; rel="next"')


def test_what_may_pass_says_when_to_try_again() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Problem)]
    passing = [kind for kind in kinds if kind.status in (429, 503)]
    assert errors.Unavailable in passing
    for kind in passing:
        assert kind("why").headers["Retry-After"].isdecimal(), kind
        assert kind("why", headers={"Retry-After": "7"}).headers["Retry-After"] == "7"
    assert "Retry-After" not in errors.NotFound("why").headers


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x/versions"])
def test_what_waits_for_a_person_is_not_asked_for_again_soon(world: Any, path: str) -> None:
    world.client.app.state.context.registry = None
    reply = world.client.get(path)
    assert (reply.status_code, int(reply.headers["Retry-After"])) == (503, 3600)

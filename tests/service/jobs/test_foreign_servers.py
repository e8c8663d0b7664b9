"""Data, datasets and extractors on servers of others: which may be asked, and what is said when one is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Server, dripping, moved, status

from trainer.access import Access
from trainer.data import fetch
from trainer.wire import JobFile

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no question of the database
SPEC: dict[str, Any] = {
    "name": "small",
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
    "train": {"images": 1000},
}
SECRET = b"root:x:0:0:secret line"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01, 0.01))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(
        {
            "*": status(200, SECRET),
            "/away/dataset.json": status(503),
            "/slow/dataset.json": dripping(status(200, b"x" * 600)),
        }
    )
    server.answers["/moved/dataset.json"] = moved(f"http://127.0.0.1:{server.port}/latest/meta-data")
    yield server
    server.close()


def allow(world: Any, **changes: Any) -> Any:
    """The client, after some settings were changed."""
    context = world.client.app.state.context
    context.settings = context.settings.model_copy(update=changes)
    return world.client


def asked(client: Any, url: str) -> list[Any]:
    """What each call that takes a URL answers."""
    spec = {**SPEC, "data": {"url": url}}
    return [
        client.post("/v1/datasets", json={"name": "x", "url": url}),
        client.post("/v1/jobs", json={"spec": spec}),
        client.post("/v1/validate", json={"spec": spec}),
        client.post("/v1/jobs", json={"recipe": "dcgan-digits", "set": {"data.url": url}}),
    ]


def test_no_private_address_is_asked_and_the_setting_that_allows_it_is_named(world: Any, server: Server) -> None:
    for url in (
        f"http://127.0.0.1:{server.port}/x",
        f"HTTP://localhost:{server.port}",
        "http://169.254.169.254/latest",
        "http://[::1]:1",
    ):
        for reply in asked(world.client, url):
            assert reply.status_code == 422, reply.text
            assert reply.json()["errors"][0]["path"].endswith("url")
            assert "AGON_PRIVATE_HOSTS" in reply.json()["detail"]
    assert server.lines == []


@pytest.mark.parametrize("url", ["file:///a%00b", "http://a..b/x", "http://" + 64 * "a" + ".com/x", "http://[::1"])
def test_what_is_no_url_is_a_wrong_field_wherever_it_is_sent(world: Any, url: str) -> None:
    for reply in asked(allow(world, private_hosts=("*",)), url):
        assert (reply.status_code, reply.json()["errors"][0]["path"].endswith("url")) == (422, True), reply.text


def test_an_allowed_server_is_asked_but_not_what_it_sends_on_to_and_never_quoted(world: Any, server: Server) -> None:
    client = allow(world, private_hosts=("localhost",))
    for reply in asked(client, f"http://localhost:{server.port}/text"):
        assert (reply.status_code, "secret" in reply.text) == (422, False)
    before = len(server.lines)
    assert before == 4
    for reply in asked(client, f"http://localhost:{server.port}/moved"):
        assert reply.status_code == 422
        assert "forbidden" in reply.text
    assert [line.split()[1] for line in server.lines[before:]] == ["/moved/dataset.json"] * 4


@pytest.mark.parametrize(
    ("path", "words"), [("away", "HTTP 503"), ("slow", "too slow"), ("closed", "refuses connections")]
)
def test_a_server_that_is_away_is_no_fault_of_the_request(world: Any, server: Server, path: str, words: str) -> None:
    client = allow(world, private_hosts=("*",), data_seconds=0.5)
    port = server.port
    if path == "closed":
        server.close()
    for reply in asked(client, f"http://127.0.0.1:{port}/{path}"):
        assert reply.status_code == 503, reply.text
        assert reply.json()["errors"][0]["path"].endswith("url")
        assert words in reply.json()["detail"]
        assert "is missing" not in reply.text
    spec = {**SPEC, "data": {"url": f"http://127.0.0.1:{port}/{path}"}, "publish": {"model": "x"}}
    reply = client.post("/v1/jobs", json={"spec": spec})  # something else is wrong, too
    assert reply.status_code == 422
    assert [error["path"] for error in reply.json()["errors"]] == ["data.url", "publish"]


@pytest.mark.parametrize(
    "source",
    ["file://{0}/%2e%2e/%2e%2e/x.pt", "file://evil{0}/x.pt", "file://{0}/a%2F..%2F..%2Fx.pt", "{0}/../x.pt", "http://127.0.0.1:1/x.pt",
     "http://[::1]/x.pt", "HTTP://localhost/x.pt", "http://user:word@host/x.pt", "http://a..b/x.pt", "http://" + 64 * "a" + ".com/x.pt",
     "file:///a%00b/x.pt", "file:///a/x%00.pt"],
)  # fmt: skip
def test_an_extractors_url_is_judged_where_it_is_submitted(world: Any, source: str) -> None:
    extractor = source.format(world.settings.data_roots[0])
    reply = world.client.post("/v1/jobs", json={"spec": {**SPEC, "evaluation": {"extractor": extractor}}})
    assert reply.status_code == 422, reply.text
    assert [error["path"] for error in reply.json()["errors"]] == ["evaluation.extractor"]


def test_a_jobs_workers_may_ask_whom_the_api_may_ask(world: Any) -> None:
    job = world.submit()
    world.round()
    file = JobFile.model_validate_json((world.folder(job) / "job.json").read_bytes())
    assert file.access == world.settings.access == Access(world.settings.data_roots, ())
    older = {key: value for key, value in json.loads(file.model_dump_json()).items() if key != "private_hosts"}
    assert JobFile.model_validate(older).access.hosts == ("*",)  # the local launcher's, and files of before


def test_a_check_that_finds_the_server_away_says_so_and_keeps_no_report(world: Any, packed: Path) -> None:
    manifest = (packed / "dataset.json").read_bytes()
    server = Server({"/dataset.json": status(200, manifest), "*": status(503)})
    client = allow(world, private_hosts=("127.0.0.1",))
    client.post("/v1/datasets", json={"name": "x", "url": f"http://127.0.0.1:{server.port}"}).raise_for_status()
    reply = client.post("/v1/datasets/x/check")
    assert (reply.status_code, "HTTP 503" in reply.text) == (503, True)
    assert client.get("/v1/datasets/x").json()["last_check"] is None
    server.answers["*"] = status(403)
    assert "forbidden" in client.post("/v1/datasets/x/check").json()["faults"][0]["message"]
    server.close()

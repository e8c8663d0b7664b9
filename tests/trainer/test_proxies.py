"""With a proxy in the environment: what goes through it, and what never does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Server, status

from trainer import tracking
from trainer.access import Access
from trainer.data import fetch
from trainer.data.fetch import read_file
from trainer.data.locate import locate
from trainer.errors import BadDataError, DataAwayError
from trainer.families.table import recipes
from trainer.proxies import direct, go_direct, is_loopback, proxy_for
from trainer.wire import JobFile

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies but the test's; go_direct writes into the environment, which is put back after it."""
    for name in NAMES:
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, "")
            monkeypatch.delenv(spelling)
    monkeypatch.setattr(fetch, "DELAYS", ())


@pytest.fixture(params=["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Answers whatever it is asked with its own words."""
    server = Server({"*": status(200, b"from the proxy")})
    monkeypatch.setenv(request.param, f"http://me:word@127.0.0.1:{server.port}")
    yield server
    server.close()


@pytest.fixture
def near() -> Iterator[Server]:
    server = Server({"*": status(200, b"from here")})
    yield server
    server.close()


def read(url: str, access: Access | None = None) -> bytes:
    return read_file(locate(url, access or Access()), "dataset.json", 1000)


def test_remote_data_go_through_the_proxy_and_loopback_does_not(proxy: Server, near: Server) -> None:
    assert read("http://data.example/x", Access(hosts=())) == b"from the proxy"
    assert proxy.lines == ["GET http://data.example/x/dataset.json HTTP/1.1"]
    assert b"Proxy-Authorization: Basic" in proxy.heads[0]
    for host in ("127.0.0.1", "localhost"):
        assert read(f"http://{host}:{near.port}") == b"from here"
    assert len(proxy.lines) == 1


def test_https_asks_the_proxy_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server({"*": status(502)})
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(DataAwayError, match="the proxy can't reach the server"):
        read("https://data.example/x")
    assert proxy.lines == ["CONNECT data.example:443 HTTP/1.1"]
    proxy.answers["*"] = status(403)
    with pytest.raises(BadDataError, match="forbidden"):
        read("https://data.example/x")
    proxy.close()
    with pytest.raises(DataAwayError, match="the proxy that the environment names can't be reached"):
        read("https://data.example/x")


def test_a_proxy_is_asked_for_no_address_that_may_not_be_asked(proxy: Server) -> None:
    for host in ("10.1.2.3", "169.254.169.254", "[fd00::1]", "127.0.0.1", "localhost"):
        with pytest.raises(BadDataError, match="forbidden"):
            read(f"http://{host}:1/x", Access(hosts=()))
    assert proxy.lines == []
    assert read("http://10.1.2.3/x", Access(hosts=("10.0.0.0/8",))) == b"from the proxy"


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(BadDataError, match="names a socks5 proxy"):
        read("http://data.example/x")


def job(**urls: Any) -> JobFile:
    return JobFile(job_id="j", attempt=1, spec=recipes()["gan-digits"](), job_dir="/j", cache_dir="/c", **urls)


def test_mlflow_on_this_machine_is_reached_without_the_proxy(proxy: Server, near: Server) -> None:
    near.answers["*"] = status(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}')
    assert tracking.client(f"http://127.0.0.1:{near.port}").get_experiment_by_name("x") is None
    assert (len(near.lines), proxy.lines) == (1, [])


def test_what_the_control_plane_names_is_reached_without_the_proxy(proxy: Server) -> None:
    told = job(api_url="http://agon-api:8700", mlflow_uri="http://mlflow.cluster:5000/base")
    go_direct(*told.own_urls)
    assert proxy_for("http://mlflow.cluster:5000/x") is proxy_for("http://agon-api:8700") is None
    assert proxy_for("http://data.example") is not None
    assert job(mlflow_uri="http://mlflow.example").own_urls == (), "named by a person, who may need the proxy for it"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_loopback_is_told_by_name_or_address(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example", "10.0.0.1", "127.example", "::2"])
def test_nothing_else_is_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_an_environment_without_proxies_stays_as_it_is() -> None:
    assert direct({"NO_PROXY": "x"}, "http://a") == {}
    assert direct({"HTTP_PROXY": "", "PATH": "/"}) == {}


@given(
    st.lists(st.sampled_from(["a.example", ".corp", "10.0.0.0/8", "localhost"])),
    st.lists(st.sampled_from(["b", " c ", ""])),
)
def test_what_went_around_the_proxy_still_does(lower: list[str], upper: list[str]) -> None:
    environ = {"HTTPS_PROXY": "http://p", "no_proxy": ",".join(lower), "NO_PROXY": ",".join(upper)}
    added = direct(environ, "http://own:1", "http://[fd00::1]:2")
    assert added["no_proxy"] == added["NO_PROXY"]
    hosts = added["NO_PROXY"].split(",")
    assert set(hosts) == {
        "localhost",
        "127.0.0.1",
        "::1",
        "own",
        "fd00::1",
        *lower,
        *(host.strip() for host in upper),
    } - {""}
    assert len(hosts) == len(set(hosts))
    assert direct({**environ, **added}, "http://own:1", "http://[fd00::1]:2") == added


def test_a_star_keeps_everything_off_the_proxy() -> None:
    assert direct({"http_proxy": "p", "NO_PROXY": "*"}) == {"no_proxy": "*", "NO_PROXY": "*"}

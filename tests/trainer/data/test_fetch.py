"""Reading from servers that are away, slow, hostile, or not to be asked."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Answer, Server, dripping, moved, status

from trainer.access import Access
from trainer.data import fetch
from trainer.data.faults import of_bucket
from trainer.data.fetch import Patience, check_reach, read_file
from trainer.data.locate import ANYWHERE, locate, locate_file
from trainer.data.manifest import read_manifest
from trainer.errors import BadDataError, DataAwayError

PUBLIC = Access(hosts=())
NAME = "dataset.json"
Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Server] = []

    def begin(answers: dict[str, Answer] | Answer, host: str = "127.0.0.1") -> Server:
        servers.append(Server(answers if isinstance(answers, dict) else {"*": answers}, host))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def read(url: str, access: Access = ANYWHERE, **patience: Any) -> bytes:
    return read_file(locate(url, access), NAME, 1 << 20, Patience(**{"seconds": 20.0, **patience}))


# -- what a server says


@pytest.mark.parametrize(
    ("code", "error", "words", "tries"),
    [
        (404, BadDataError, "is missing", 1),
        (410, BadDataError, "is missing", 1),
        (401, BadDataError, "forbidden", 1),
        (403, BadDataError, "forbidden", 1),
        (400, BadDataError, "refuses to give it", 1),
        (204, BadDataError, "refuses to give it", 1),
        (304, BadDataError, "refuses to give it", 1),
        (429, DataAwayError, "has too much to do", 4),
        (500, DataAwayError, "is away or fails", 4),
        (503, DataAwayError, "is away or fails", 4),
    ],
)
def test_each_status_has_its_word_and_only_those_that_may_pass_are_tried_again(
    start: Start, code: int, error: type[Exception], words: str, tries: int
) -> None:
    server = start(status(code))
    with pytest.raises(error, match=rf"dataset\.json: .*{words}.*\(HTTP {code}\)"):
        read(f"http://127.0.0.1:{server.port}")
    assert len(server.lines) == tries


def test_a_server_that_refuses_connections_or_cuts_them_is_away_and_tried_again(start: Start) -> None:
    server = start(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    with pytest.raises(DataAwayError, match=r"cut its answer off, after 4 attempts"):
        read(f"http://127.0.0.1:{server.port}")
    assert len(server.lines) == 4
    server.close()
    with pytest.raises(DataAwayError, match=r"refuses connections, after 4 attempts"):
        read(f"http://127.0.0.1:{server.port}")


def test_a_host_that_no_name_server_knows_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DataAwayError, match="name server"):
        read("http://data.example", PUBLIC)


@pytest.mark.parametrize("head", [True, False], ids=["head", "body"])
@pytest.mark.parametrize("rate", [None, 1e6], ids=["total", "rate"])
def test_a_server_that_drips_is_given_up(start: Start, head: bool, rate: float | None) -> None:
    whole = status(200, b"x" * 1000)
    begin = 0 if head else whole.index(b"\r\n\r\n") + 4

    def answer(connection: socket.socket) -> None:
        connection.sendall(whole[:begin])
        dripping(whole[begin:])(connection)

    server = start(answer)
    with pytest.raises(DataAwayError, match="too slow"):
        read(f"http://127.0.0.1:{server.port}", seconds=0.3, rate=rate)
    assert len(server.lines) == (1 if rate is None else 4)  # a total leaves no time for another attempt


def test_a_slow_server_that_keeps_the_rate_is_waited_for_and_a_total_is_a_total() -> None:
    patient, quick = Patience(60.0, rate=1000.0), Patience(10.0, rate=None)
    assert [patient.allowed(received) for received in (0, 1000, 10_000_000)] == [60.0, 61.0, 10_060.0]
    assert [quick.allowed(received) for received in (0, 10_000_000)] == [10.0, 10.0]


def test_a_limit_of_bytes_ends_the_reading(start: Start) -> None:
    server = start(status(200, b"x" * 100_000))
    with pytest.raises(BadDataError, match="is larger than 10 bytes"):
        read_file(locate(f"http://127.0.0.1:{server.port}"), NAME, 10)


# -- where a request may go


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0x7f000001", "0.0.0.0"])
def test_no_spelling_of_a_loopback_address_is_asked(start: Start, host: str) -> None:
    server = start(status(200, b"secret"))
    with pytest.raises(BadDataError, match=r"forbidden: host .* address.*AGON_PRIVATE_HOSTS|is no valid URL"):
        read(f"http://{host}:{server.port}", PUBLIC)
    assert server.lines == []


def test_ipv6_addresses_and_schemes_in_capitals_are_read_right(start: Start) -> None:
    try:
        server = start(status(200, b"here"), "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    for scheme in ("http", "HTTP", "Http"):
        assert read(f"{scheme}://[::1]:{server.port}/dataset.json") == b"here"
    assert read(f"http://[::1]:{server.port}", Access(hosts=("::1",))) == b"here"
    with pytest.raises(BadDataError, match="a loopback address"):
        read(f"http://[::1]:{server.port}", PUBLIC)
    with pytest.raises(BadDataError, match="a loopback address"):
        read(f"http://[::ffff:127.0.0.1]:{server.port}", PUBLIC)


def test_an_allowed_name_address_or_network_is_asked(start: Start) -> None:
    server = start(status(200, b"here"))
    for host, allowed in (("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.0/8"), ("localhost", "LOCALHOST")):
        assert read(f"http://{host}:{server.port}", Access(hosts=(allowed,))) == b"here"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_where_they_may_go_and_nowhere_else(start: Start, code: int) -> None:
    inner = start(status(200, b"secret"))
    outer = start(moved(f"http://127.0.0.1:{inner.port}/latest/meta-data", code))
    by_name = Access(hosts=("localhost",))  # trusted by its name; the address that it sends on to is not
    with pytest.raises(BadDataError, match=r"forbidden: host '127\.0\.0\.1' has a loopback address"):
        read(f"http://localhost:{outer.port}", by_name)
    assert inner.lines == []
    assert read(f"http://localhost:{outer.port}") == b"secret"


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://host/x", "http://", "http://[::1"])
def test_a_redirect_to_what_is_no_http_is_refused(start: Start, to: str) -> None:
    with pytest.raises(BadDataError, match="sent on"):
        read(f"http://127.0.0.1:{start(moved(to)).port}")


def test_redirects_in_a_circle_end(start: Start) -> None:
    server = start({"*": moved("/again")})
    with pytest.raises(BadDataError, match="sent on more than 5 times"):
        read(f"http://127.0.0.1:{server.port}")
    assert len(server.lines) == 6


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(status(200, b"secret"))
    answers = iter(["8.8.8.8"])
    asked: list[str] = []

    def rebinding(host: str, port: int, *_: object, **__: object) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    location = locate(f"http://rebinding.example:{server.port}", PUBLIC)
    check_reach(location, 5.0)  # sees a public address
    with pytest.raises(BadDataError, match=r"forbidden: host 'rebinding\.example'"):
        read_file(location, NAME, 100)
    assert (server.lines, set(asked)) == ([], {"rebinding.example"})


def test_a_host_is_judged_before_a_worker_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    location, name = locate_file("http://127.0.0.1:1/net.pt", PUBLIC, "evaluation.extractor")
    assert name == "net.pt"
    with pytest.raises(BadDataError, match="forbidden"):
        check_reach(location, 5.0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(socket.gaierror(-2, "unknown")))
    check_reach(locate("http://unknown.example", PUBLIC), 5.0)  # a worker may know it
    check_reach(locate("/tmp"), 5.0)


SECRET = b'{"secret_key": "secret value", "name": "secret", "resolution": "secret"}'
ANSWERS = {
    "text": status(200, b"root:x:0:0:secret line"),
    "json": status(200, SECRET),
    "fields": status(200, b'{"format": 1, "name": "n", "resolution": "secret", "channels": 1, "classes": ["secret"], "samples":'
                     b' "secret", "secret": 1, "class_counts": [1], "shards": [{"name": "secret"}], "digest": "secret"}'),
    "banner": b"SSH-2.0-secret\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nsecret secret\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    "encoded": status(200, b"secret", **{"Content-Encoding": "gzip"}),
    "reason": b"HTTP/1.1 400 secret\r\nContent-Length: 6\r\n\r\nsecret",
    "moved": moved("gopher://secret/secret"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_a_server_sends_is_never_quoted(start: Start, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    server = start(ANSWERS[kind])
    with caplog.at_level("DEBUG"), pytest.raises((BadDataError, DataAwayError)) as caught:
        read_manifest(f"http://127.0.0.1:{server.port}")
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert "secret" not in caplog.text


def test_a_login_from_netrc_goes_to_its_own_host_alone(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start(status(200, b"x"), "127.0.0.2")
    server = start(moved(f"http://127.0.0.2:{other.port}/x"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\ndefault login all password all\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert read(f"http://127.0.0.1:{server.port}") == b"x"
    assert b"Authorization: Basic" in server.heads[0]
    assert b"Authorization" not in other.heads[0]


# -- what lies on disks and in buckets


def test_what_is_no_packed_dataset_is_refused_at_once_with_the_fix(tmp_path: Path, start: Start) -> None:
    archive = tmp_path / "my photos.zip"  # a command to copy is quoted
    archive.write_bytes(b"PK")
    with pytest.raises(
        BadDataError, match=rf"photos\.zip is no packed dataset; pack it first: `agon data pack '{archive}' OUT`"
    ):
        read_manifest(str(archive))
    (tmp_path / "images").mkdir()
    with pytest.raises(BadDataError, match=r"is missing; pack its images first: `agon data pack .*images OUT`"):
        read_manifest(str(tmp_path / "images"))
    server = start(status(404))
    with pytest.raises(BadDataError, match=r"an archive is no packed dataset; .*agon data pack"):
        read_manifest(f"http://127.0.0.1:{server.port}/photos.tar.gz")
    assert len(server.lines) == 1


def test_local_files_that_may_not_be_read_are_forbidden_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BadDataError, match="forbidden: this process may not read it"):
        read_file(locate(str(tmp_path)), NAME, 10)


def test_a_disk_that_fails_for_a_while_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_bytes(b"x")
    faults, whole = [OSError(116, "Stale file handle"), OSError(5, "Input/output error")], Path.open

    def flaky(path: Path, *args: Any) -> Any:
        if faults:
            raise faults.pop()
        return whole(path, *args)

    monkeypatch.setattr(Path, "open", flaky)
    assert read_file(locate(str(tmp_path)), NAME, 10) == b"x"


class Store:
    """As s3fs and gcsfs are asked: objects, or the error that they raise."""

    def __init__(self, *outcomes: bytes | Exception) -> None:
        self.outcomes, self.asked = list(outcomes), 0

    async def _cat_file(self, url: str, start: int, end: int) -> bytes:
        self.asked += 1
        found = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(found, Exception):
            raise found
        if start and start >= len(found):
            raise OSError(22, "InvalidRange")
        return found[start:end]


class GcsError(Exception):
    def __init__(self, code: int | str) -> None:
        self.code = code
        super().__init__(f"an error with {code}")


class ClientError(Exception):
    """As botocore's."""

    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
        super().__init__("an error")


class NoCredentialsError(Exception): ...


class EndpointConnectionError(Exception): ...


@pytest.mark.parametrize(
    ("fault", "error", "words", "tries"),
    [
        (FileNotFoundError("bucket/x"), BadDataError, "is missing", 1),
        (GcsError(404), BadDataError, "is missing", 1),
        (PermissionError("denied"), BadDataError, "forbidden", 1),
        (OSError("Forbidden: bucket/x"), BadDataError, "forbidden", 1),
        (GcsError("403"), BadDataError, "forbidden", 1),
        (ClientError(403), BadDataError, "forbidden", 1),
        (NoCredentialsError("unable to locate"), BadDataError, "no usable credentials", 1),
        (ClientError(400), BadDataError, "refuses", 1),
        (ValueError("Bad Request: x"), BadDataError, "refuses", 1),
        (ClientError(503), DataAwayError, "is away or fails", 4),
        (GcsError(429), DataAwayError, "is away or fails", 4),
        (EndpointConnectionError("no route"), DataAwayError, "is away or fails", 4),
        (TimeoutError(), DataAwayError, "is away or fails|too slow", 4),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_errors_of_buckets_have_the_same_words_and_tries(
    monkeypatch: pytest.MonkeyPatch, scheme: str, fault: Exception, error: type[Exception], words: str, tries: int
) -> None:
    store = Store(fault)
    monkeypatch.setattr(fetch, "_filesystem", lambda _: store)
    with pytest.raises(error, match=words):
        read(f"{scheme}://bucket/data")
    assert store.asked == tries


def test_objects_of_buckets_are_read_in_ranges_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    for block, asked in ((1000, 4), (1280, 4), (10_000, 2)):  # at 1280 it ends with a block: 416 says so
        store = Store(ClientError(503), bytes(range(256)) * 10)
        monkeypatch.setattr(fetch, "_filesystem", lambda _, store=store: store)
        monkeypatch.setattr(fetch, "BLOCK", block)
        assert read("S3://bucket/data") == bytes(range(256)) * 10
        assert store.asked == asked


@pytest.mark.parametrize(
    "url", ["s3://arn:aws:s3:us-east-1:1:accesspoint/x", "s3://127.0.0.1:9000/x", "gs://b\\c/x", "s3://[::1]/x"]
)
def test_a_bucket_never_names_an_endpoint(url: str) -> None:
    with pytest.raises(BadDataError, match=r"data\.url"):
        locate(url)


def test_an_error_says_what_caused_it_through_its_chain() -> None:
    outer = OSError("call failed")
    outer.__cause__ = ClientError(403)
    assert "forbidden" in str(of_bucket(outer))


@pytest.mark.parametrize(
    "url",
    ["file://{0}/%2e%2e/x", "file://{0}/%2e%2e/%2e%2e/etc/passwd", "file://evil{0}/x", "{0}/../x", "file://{0}/a%2F..%2F..%2Fx",
     "file://{0}/x?y", "file://{0}/", "http://host/x?token=1", "HTTP://user@host/x"],
)  # fmt: skip
def test_a_files_url_is_judged_as_it_is_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadDataError, match=r"evaluation\.extractor|outside the allowed folders"):
        locate_file(url.format(tmp_path), Access(roots=(str(tmp_path),)), "evaluation.extractor")


def test_percent_encoded_names_of_files_are_the_files(tmp_path: Path) -> None:
    location, name = locate_file(f"file://{tmp_path}/a%20%231.pt")
    assert location.local(name) == tmp_path / "a #1.pt"

"""A checkpoint is fetched whole, proved, and however often the connection breaks; or nothing is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from checkpoints import save

from service.client import Client, NotFound, Unreachable, UnreadableReply, download
from service.runs import checkpoints
from service.runs.archive import pack

Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint's folder."""
    return save(tmp_path / "j-1", 500, state=bytes(range(256)) * 4000)


@pytest.fixture
def whole(tmp_path: Path, source: Path) -> bytes:
    """Its archive."""
    found = checkpoints.find(tmp_path, tmp_path / "j-1", 500)
    assert found is not None
    return b"".join(pack(found, "j-1-step-000000500").pieces())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again at once."""
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.001)


def fetching(answer: Answer, patience: float = 5.0) -> Client:
    client = Client("http://test", "t", patience=patience)
    client._connection.http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer))
    return client


class Breaking(httpx.SyncByteStream):
    """Bytes, and then the connection breaks."""

    def __init__(self, content: bytes, breaks: bool) -> None:
        self.content, self.breaks = content, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        if self.breaks:
            raise httpx.ReadError("broke off")


def test_it_goes_on_where_it_broke_off(tmp_path: Path, source: Path, whole: bytes) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        begin = int(request.headers.get("range", "bytes=0-")[6:-1])
        asked.append((begin, request.headers.get("if-range")))
        if len(asked) == 3:
            return httpx.Response(503, json={"title": "busy"}, headers={"Retry-After": "1"})
        end = min(begin + 300_000, len(whole))
        stream = Breaking(whole[begin:end], end < len(whole))
        return httpx.Response(206 if begin else 200, headers={"ETag": '"a"'}, stream=stream)

    target = fetching(answer).download_checkpoint("j-1", 500, to=tmp_path / "out" / "one")
    assert asked == [(0, None), (300_000, '"a"'), (600_000, '"a"'), (600_000, '"a"'), (900_000, '"a"')]
    assert {file.name: file.read_bytes() for file in target.iterdir()} == {
        file.name: file.read_bytes() for file in source.iterdir()
    }
    assert [path.name for path in target.parent.iterdir()] == ["one"]
    asked.clear()
    assert fetching(answer).download_checkpoint("j-1", 500, to=tmp_path / "a.tar").read_bytes() == whole


def replaced(whole: bytes) -> Any:
    """Another one lies there when the connection is back."""
    first = []

    def answer(request: httpx.Request) -> httpx.Response:
        first.append(request)
        stream = Breaking(whole[:1000], True) if len(first) == 1 else Breaking(whole, False)
        return httpx.Response(200, headers={"ETag": f'"{len(first)}"'}, stream=stream)

    return answer


def of(content: Callable[[bytes], bytes]) -> Callable[[bytes], Answer]:
    """The server sends that of the archive."""
    return lambda whole: lambda _: httpx.Response(200, stream=Breaking(content(whole), False))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (of(lambda whole: whole[:900_000]), UnreadableReply),
        (of(lambda whole: whole.replace(b"\x07\x08", b"\x08\x07", 1)), UnreadableReply),
        (of(lambda whole: whole.replace(b"state.safetensors", b"state.passwordpkl")), UnreadableReply),
        (of(lambda _: b"<html>"), UnreadableReply),
        (of(lambda _: b""), UnreadableReply),
        (lambda whole: lambda _: httpx.Response(404, json={"title": "no"}), NotFound),
        (lambda whole: lambda _: httpx.Response(200, stream=Breaking(b"", True)), Unreachable),
        (replaced, UnreadableReply),
    ],
)
@pytest.mark.parametrize("name", ["one", "one.tar"])
def test_what_is_not_whole_is_not_there(
    tmp_path: Path, whole: bytes, answer: Callable[[bytes], Answer], error: type[Exception], name: str
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(error):
        fetching(answer(whole), patience=0.3).download_checkpoint("j-1", 500, to=tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(FileExistsError, match="is there already"):
        fetching(lambda _: httpx.Response(200, stream=Breaking(whole, False))).download_checkpoint(
            "j-1", 500, to=tmp_path / "mine"
        )
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]

"""A checkpoint as a tar: its files as they are, of a length that is known before, from any byte on, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.errors import Unsatisfiable
from service.ranges import span
from service.runs import archive, checkpoints, keeping
from service.runs.archive import PIECE, Archive, pack


@pytest.fixture
def unleaked() -> Iterator[None]:
    """No file is open afterwards that wasn't before."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def packed(root: Path, state: bytes) -> Archive:
    save(root / "j-1", 500, state=state)
    found = checkpoints.find(root, root / "j-1", 500)
    assert found is not None
    return pack(found, "j-1-step-000000500")


def test_it_holds_the_files_of_the_checkpoint_the_manifest_last(world: Any, trained: Any, unleaked: None) -> None:
    path = save(trained.folder, 500)
    save(trained.folder, 400)
    for name in ("500", "latest"):
        reply = world.client.get(f"{trained.url}/{name}/archive")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-tar")
        assert reply.headers["content-length"] == str(len(reply.content))
        assert reply.headers["x-checkpoint-step"] == "500"
        folder = reply.headers["content-disposition"].partition('"')[2].removesuffix('.tar"')
        with tarfile.open(fileobj=io.BytesIO(reply.content)) as tar:
            names = ["meta.json", "state.safetensors", "manifest.json"]
            assert tar.getnames() == [f"{folder}/{file}" for file in names]
            found = {name: tar.extractfile(f"{folder}/{name}").read() for name in names}  # type: ignore[union-attr]
        assert found == {file.name: file.read_bytes() for file in path.iterdir()}
        for file, facts in json.loads(found["manifest.json"])["files"].items():
            assert hashlib.sha256(found[file]).hexdigest() == facts["sha256"]
    assert world.client.get(f"{trained.url}/400/archive").headers["etag"] != reply.headers["etag"]
    assert world.client.get(f"{trained.url}/7/archive").status_code == 404
    assert world.client.get(f"{trained.url}/500/archive", headers={"Authorization": ""}).status_code == 401


def test_a_download_that_broke_off_goes_on_where_it_did(world: Any, job: Any, unleaked: None) -> None:
    save(job.folder, 500)
    url = f"{job.url}/500/archive"
    whole = world.client.get(url)
    size, tag = len(whole.content), whole.headers["etag"]
    rest = world.client.get(url, headers={"Range": "bytes=700-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[700:])
    assert rest.headers["content-range"] == f"bytes 700-{size - 1}/{size}"
    assert rest.headers["content-length"] == str(size - 700)
    other = world.client.get(url, headers={"Range": "bytes=700-", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert world.client.get(url, headers={"Range": "bytes=10-19"}).content == whole.content[10:20]
    beyond = world.client.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for ignored in ("lines=1-2", "bytes=1-2,4-5", "bytes=", "bytes=5-1", "bytes=-"):
        assert world.client.get(url, headers={"Range": ignored}).status_code == 200


def test_what_is_removed_meanwhile_is_sent_to_its_end(tmp_path: Path, unleaked: None) -> None:
    state = os.urandom(2 * PIECE + 5)
    found = packed(tmp_path, state)
    pieces = found.pieces()
    first = next(pieces)
    shutil.rmtree(tmp_path / "j-1")
    content = first + b"".join(pieces)
    assert len(content) == found.size
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert tar.extractfile("j-1-step-000000500/state.safetensors").read() == state  # type: ignore[union-attr]


def test_what_is_cut_short_meanwhile_ends_with_an_error_and_never_goes_on_with_other_bytes(
    tmp_path: Path, unleaked: None
) -> None:
    found = packed(tmp_path, os.urandom(2 * PIECE))
    pieces = found.pieces()
    next(pieces)
    os.truncate(tmp_path / "j-1/checkpoints/step-000000500/state.safetensors", PIECE)
    with pytest.raises(OSError, match="shorter"):
        b"".join(pieces)


def test_if_the_latest_is_superseded_while_it_is_opened_the_next_is_sent(
    world: Any, job: Any, monkeypatch: pytest.MonkeyPatch, unleaked: None
) -> None:
    save(job.folder, 500)
    times = []

    def opening(found: Any, prefix: str) -> Any:
        if not times:
            times.append(found.step)
            save(job.folder, 1000)
            shutil.rmtree(found.path)
        return pack(found, prefix)

    monkeypatch.setattr(keeping, "pack", opening)
    assert world.client.get(f"{job.url}/latest/archive").headers["x-checkpoint-step"] == "1000"


def test_one_that_is_gone_when_it_is_opened_is_not_there(
    world: Any, job: Any, monkeypatch: pytest.MonkeyPatch, unleaked: None
) -> None:
    def opening(found: Any, prefix: str) -> Any:
        shutil.rmtree(found.path)
        return pack(found, prefix)

    save(job.folder, 500)
    monkeypatch.setattr(keeping, "pack", opening)
    reply = world.client.get(f"{job.url}/500/archive")
    assert (reply.status_code, f"GET {job.url} lists them" in reply.json()["detail"]) == (404, True)


def test_no_piece_is_larger_than_a_part_of_the_state(tmp_path: Path) -> None:
    found = packed(tmp_path, bytes(5 * PIECE + 1))
    assert max(len(piece) for piece in found.pieces()) == PIECE == 1 << 20


def test_a_state_of_more_than_eight_gigabytes_can_be_told(tmp_path: Path) -> None:
    """As large as a header's octal number can't say; nothing of it is read here."""
    path, huge = save(tmp_path / "j-1", 500), 9 * 2**30
    os.truncate(path / "state.safetensors", huge)
    told = json.loads((path / "manifest.json").read_text())
    told["files"]["state.safetensors"]["size"] = huge
    (path / "manifest.json").write_text(json.dumps(told))
    found = checkpoints.find(tmp_path, tmp_path / "j-1", 500)
    assert found is not None
    with_huge = pack(found, "x")
    begin = b"".join(with_huge.pieces(0, 8192))
    with tarfile.open(fileobj=io.BytesIO(begin), mode="r|") as tar:
        assert [tar.next().size for _ in range(2)] == [found.files["meta.json"].size, huge]  # type: ignore[union-attr]


@given(state=st.integers(0, 3000), ends=st.tuples(st.integers(0, 9000), st.integers(0, 9000)))
@examples(20)
def test_any_part_is_that_of_the_whole(tmp_path_factory: pytest.TempPathFactory, state: int, ends: Any) -> None:
    root = tmp_path_factory.mktemp("part")
    found = packed(root, os.urandom(state))
    again = checkpoints.find(root, root / "j-1", 500)
    assert again is not None
    begin, end = sorted(min(value, found.size) for value in ends)
    whole = b"".join(found.pieces())
    assert len(whole) == found.size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "PIECE", 97)
        assert b"".join(pack(again, "j-1-step-000000500").pieces(begin, end)) == whole[begin:end]


@examples(25)
@given(size=st.integers(1, 50), first=st.integers(0, 60), last=st.none() | st.integers(0, 60))
def test_a_range_is_what_it_says_of_the_whole(size: int, first: int, last: int | None) -> None:
    whole = range(size)
    wanted = [byte for byte in whole if byte >= first and (last is None or byte <= last)]
    given_ = f"bytes={first}-{'' if last is None else last}"
    try:
        found = span(given_, size)
    except Unsatisfiable:
        assert not wanted
    else:
        assert found is None if last is not None and last < first else list(whole[slice(*found)]) == wanted  # type: ignore[misc]
    suffix = first + 1
    found = span(f"bytes=-{suffix}", size)
    assert found is not None
    assert list(whole[slice(*found)]) == list(whole)[-suffix:]

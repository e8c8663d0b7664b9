"""A version's package as a tar through the API: what was published, proved, and going on where it broke off."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Invalid, Unavailable
from service.gateway.fake_registry import FakeRegistry
from service.gateway.registry import File, RegistryUnreachableError, Version
from service.models.packages import MOST, MOST_OF_ONE, Downloads, pack
from tests.properties import examples

FILES = {"MLmodel": b"flavors: {}\n", "code/loader.py": b"", "model.safetensors": bytes(range(256)) * 5}
CHECKSUMS = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}).encode()
WHOLE = {**FILES, "checksums.json": CHECKSUMS}
URL = "/v1/models/demo/versions/1/package"


@pytest.fixture
def version(world: Any) -> Version:
    made = world.registry.add("demo", record="a" * 32)
    world.registry.set_alias("demo", "champion", "1")
    return world.registry.upload(made, WHOLE)  # type: ignore[no-any-return]


def unpacked(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_it_has_every_file_the_proof_last_and_says_its_length_first(world: Any, version: Version) -> None:
    reply = world.client.get(URL)
    assert reply.status_code == 200 and int(reply.headers["content-length"]) == len(reply.content)
    found = unpacked(reply.content)
    assert found == {f"demo-1/{name}": content for name, content in WHOLE.items()}
    assert list(found)[-1] == "demo-1/checksums.json"
    assert reply.headers["content-disposition"] == 'attachment; filename="demo-1.tar"'


def test_what_broke_off_goes_on_from_any_byte_and_another_is_sent_whole(world: Any, version: Version) -> None:
    whole = world.client.get(URL)
    for begin in (1, 511, 512, 700, 2049, len(whole.content) - 1):
        asked = {"Range": f"bytes={begin}-", "If-Range": whole.headers["etag"]}
        part = world.client.get(URL, headers=asked)
        assert (part.status_code, part.content) == (206, whole.content[begin:]), begin
    other = world.client.get(URL, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert world.client.get(URL, headers={"Range": "bytes=99999999-"}).status_code == 416


@examples(60)
@given(st.data())
def test_any_part_is_that_part_of_the_whole(data: st.DataObject) -> None:
    registry = FakeRegistry()
    names = data.draw(st.lists(st.sampled_from(["a", "b/c", "d.e", "f/g/h"]), unique=True))
    files = {name: data.draw(st.binary(max_size=1100)) for name in names} | {"checksums.json": b"{}"}
    kept = registry.upload(registry.add("m", record="r"), files)
    package = pack("m", kept, registry.files(kept))
    whole = b"".join(package.pieces(registry, 0, package.size))
    assert len(whole) == package.size
    assert unpacked(whole) == {f"m-1/{name}": content for name, content in files.items()}
    begin = data.draw(st.integers(0, package.size - 1))
    end = data.draw(st.integers(begin + 1, package.size))
    assert b"".join(package.pieces(registry, begin, end)) == whole[begin:end]


def test_a_file_that_is_shorter_than_was_said_breaks_off(world: Any) -> None:
    registry = FakeRegistry()
    kept = registry.upload(registry.add("m", record="r"), WHOLE)
    files = [File(file.path, file.size + 1) for file in registry.files(kept)]
    package = pack("m", kept, files)
    with pytest.raises(RegistryUnreachableError, match="shorter"):
        b"".join(package.pieces(registry, 0, package.size))


def test_what_is_no_package_is_refused_with_what_to_do(world: Any, version: Version) -> None:
    world.registry.add("demo")  # of no record
    refused = world.client.get("/v1/models/demo/versions/2/package")
    assert refused.status_code == 422 and "of no record" in refused.json()["errors"][0]["message"]
    world.registry.upload(world.registry.add("demo", record="b" * 32), FILES)
    unproved = world.client.get("/v1/models/demo/versions/3/package").json()["errors"][0]
    assert "has no checksums.json" in unproved["message"] and unproved["fix"] == "pull it from MLflow itself"
    for path in ("../evil", "a//b", ".hidden", "a b"):
        with pytest.raises(Invalid):
            pack("m", version, [File(path, 1), File("checksums.json", 2)])
    assert world.client.get("/v1/models/demo/versions/9/package").status_code == 404
    assert world.client.get("/v1/models/none/versions/1/package").status_code == 404
    assert world.client.get("/v1/models/demo/versions/x/package").status_code == 422
    world.registry.unreachable = True
    assert world.client.get(URL).status_code == 503


def test_a_few_at_once_of_one_and_of_all_and_each_place_is_given_back(world: Any, version: Version) -> None:
    downloads = Downloads()
    for _ in range(MOST_OF_ONE):
        downloads.enter("ada")
    with pytest.raises(Unavailable, match="of yours"):
        downloads.enter("ada")
    for number in range(MOST - MOST_OF_ONE):
        downloads.enter(f"p{number}")
    with pytest.raises(Unavailable, match="in all"):
        downloads.enter("grace")
    downloads.leave("ada")
    downloads.enter("grace")
    for _ in range(MOST_OF_ONE + 2):  # each over the API gives its place back, also one that MLflow breaks off
        assert world.client.get(URL).status_code == 200

"""Registered datasets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data.manifest import Shard, dataset_digest


def write_dataset(folder: Path, content: bytes = b"shard" * 100) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shard-000000.tar").write_bytes(content)
    shard = Shard(name="shard-000000.tar", samples=5, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    facts: dict[str, Any] = {
        "resolution": 16,
        "channels": 1,
        "classes": ("a", "b"),
        "class_counts": (2, 3),
        "shards": (shard,),
    }
    digest = dataset_digest(**facts)
    manifest = {"format": 1, "name": "tiny", **facts, "shards": [shard.model_dump()], "samples": 5, "digest": digest}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def folder(world: Any) -> Path:
    return write_dataset(Path(world.settings.data_roots[0]) / "tiny")


def register(world: Any, folder: Path, name: str = "tiny") -> Any:
    return world.client.post("/v1/datasets", json={"name": name, "url": str(folder)})


def test_registering_reads_the_manifest_and_again_is_the_same_dataset(world: Any, folder: Path) -> None:
    first, again = register(world, folder), register(world, folder)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    manifest = first.json()["manifest"]
    assert (manifest["samples"], manifest["classes"], manifest["shards"], manifest["bytes"]) == (5, ["a", "b"], 1, 500)
    assert world.client.get("/v1/datasets/tiny").json() == first.json()
    assert [item["name"] for item in world.client.get("/v1/datasets").json()["items"]] == ["tiny"]


def test_a_relative_path_is_meant_below_a_data_root_as_in_a_job(world: Any, folder: Path) -> None:
    relative = world.client.post("/v1/datasets", json={"name": "tiny", "url": folder.name})
    assert relative.status_code == 201
    assert relative.json() == register(world, folder).json()
    assert relative.json()["url"] == str(folder)


def test_a_taken_name_is_a_conflict(world: Any, folder: Path) -> None:
    register(world, folder)
    other = write_dataset(folder.with_name("other"), b"x")
    assert register(world, other).status_code == 409
    assert register(world, other, "other").status_code == 201


@pytest.mark.parametrize("url", ["/etc", "../../etc", "pipe:id", "s3://b?x=1", "file:///etc/passwd", "\x01"])
def test_a_dataset_outside_the_roots_or_of_another_scheme_is_refused(world: Any, url: str) -> None:
    reply = world.client.post("/v1/datasets", json={"name": "evil", "url": url})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == "url"


def test_a_check_finds_an_altered_a_truncated_and_a_missing_shard(world: Any, folder: Path) -> None:
    register(world, folder)
    assert world.client.post("/v1/datasets/tiny/check").json()["ok"] is True
    shard = folder / "shard-000000.tar"
    content = shard.read_bytes()
    for damage, words in ((b"X" + content[1:], "altered"), (content[:-1], "499 bytes"), (None, "missing")):
        shard.unlink(missing_ok=True)
        if damage is not None:
            shard.write_bytes(damage)
        report = world.client.post("/v1/datasets/tiny/check").json()
        assert report["ok"] is False
        assert report["faults"][0]["shard"] == "shard-000000.tar"
        assert words in report["faults"][0]["message"]
    assert world.client.get("/v1/datasets/tiny").json()["last_check"]["ok"] is False


def test_a_check_notices_that_the_dataset_was_packed_anew(world: Any, folder: Path) -> None:
    register(world, folder)
    write_dataset(folder, b"other")
    report = world.client.post("/v1/datasets/tiny/check").json()
    assert report["faults"][0]["shard"] == "dataset.json"


def test_deleting_forgets_the_name_and_keeps_the_files(world: Any, folder: Path) -> None:
    register(world, folder)
    assert world.client.delete("/v1/datasets/tiny").status_code == 204
    assert world.client.delete("/v1/datasets/tiny").status_code == 404
    assert world.client.get("/v1/datasets/tiny").status_code == 404
    assert (folder / "dataset.json").exists()


def test_datasets_are_paged(world: Any, folder: Path) -> None:
    for index in range(5):
        register(world, folder, f"d{index}")
    first = world.client.get("/v1/datasets", params={"limit": 3}).json()
    second = world.client.get("/v1/datasets", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [item["name"] for item in first["items"] + second["items"]] == ["d4", "d3", "d2", "d1", "d0"]
    assert second["next_cursor"] is None

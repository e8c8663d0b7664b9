"""A packed dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data.manifest import Shard, dataset_digest


@pytest.fixture
def packed(world: Any) -> Path:
    """Unlabelled grey 16 px data below the data root; the shard's bytes only matter to a check."""
    return write_dataset(Path(world.settings.data_roots[0]) / "tiny")


def write_dataset(folder: Path) -> Path:
    """`dataset.json` and one shard."""
    folder.mkdir(parents=True)
    content = b"shard" * 100
    (folder / "shard-000000.tar").write_bytes(content)
    shard = Shard(name="shard-000000.tar", samples=5, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    facts: dict[str, Any] = {"resolution": 16, "channels": 1, "classes": (), "class_counts": (), "shards": (shard,)}
    manifest = {
        "format": 1, "name": "tiny", **facts, "shards": [shard.model_dump()], "samples": 5,
        "digest": dataset_digest(**facts),
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder

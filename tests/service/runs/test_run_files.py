"""What the control plane tells a run's driver of the nodes it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.wire import JobFile


def test_a_run_is_told_where_the_nodes_keep_shards_and_what_they_share(world: Any) -> None:
    """Two folders: a node's own disk is no place for what one node makes for all."""
    first = _file(world, world.submit())
    assert (first.cache_dir, first.shard_cache_dir) == (str(world.settings.cache_dir), None)
    world.settings = world.settings.model_copy(update={"shard_cache_dir": Path("/nvme/shards")})
    second = _file(world, world.submit())
    assert (second.cache_dir, second.shard_cache_dir) == (first.cache_dir, "/nvme/shards")


def _file(world: Any, job: str) -> JobFile:
    world.round()
    return JobFile.model_validate_json((world.folder(job) / "job.json").read_bytes())

"""Bodies of the datasets' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from service.bodies.base import Reply, Request

DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]


class DatasetRequest(Request):
    """A packed dataset to register; jobs name it as `data.url: dataset:NAME`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "mnist", "url": "s3://bucket/mnist"}]})

    name: DatasetName
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    """Folder that holds dataset.json."""


class DatasetFacts(Reply):
    """What `dataset.json` says, without the list of shards."""

    resolution: int
    channels: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    samples: int
    shards: int
    bytes: int
    digest: str


class ShardFault(Reply):
    """A shard that is not what the manifest says."""

    shard: str
    message: str


class DatasetCheck(Reply):
    """What a check of every shard found."""

    ok: bool
    checked_at: datetime
    shards: int
    bytes: int
    faults: tuple[ShardFault, ...]


class Dataset(Reply):
    """A registered dataset."""

    name: str
    owner: str = ""
    """Who registered it: only they and administrators remove it. "": nobody knows."""
    url: str
    manifest: DatasetFacts
    last_check: DatasetCheck | None
    created_at: datetime

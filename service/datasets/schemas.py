"""Bodies of the datasets' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.db.tables import Dataset
from trainer.data.manifest import DatasetManifest

DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]


class DatasetRequest(BaseModel):
    """A packed dataset to register."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "mnist", "url": "s3://bucket/mnist"}]}
    )

    name: DatasetName
    url: str = Field(min_length=1, max_length=2000, description="Folder that holds dataset.json.")


class Facts(BaseModel):
    """What `dataset.json` says, without the list of shards."""

    resolution: int
    channels: int
    classes: list[str]
    class_counts: list[int]
    samples: int
    shards: int
    bytes: int
    digest: str

    @classmethod
    def of(cls, manifest: DatasetManifest) -> Facts:
        """Summed up."""
        return cls(
            resolution=manifest.resolution,
            channels=manifest.channels,
            classes=list(manifest.classes),
            class_counts=list(manifest.class_counts),
            samples=manifest.samples,
            shards=len(manifest.shards),
            bytes=sum(shard.size for shard in manifest.shards),
            digest=manifest.digest,
        )


class ShardFault(BaseModel):
    """A shard that is not what the manifest says."""

    shard: str
    message: str


class CheckReport(BaseModel):
    """What a check of every shard found."""

    ok: bool
    checked_at: datetime
    shards: int
    bytes: int
    faults: list[ShardFault]


class DatasetReply(BaseModel):
    """A registered dataset."""

    name: str
    url: str
    manifest: Facts
    last_check: CheckReport | None
    created_at: datetime

    @classmethod
    def of(cls, row: Dataset) -> DatasetReply:
        """From its row."""
        facts: dict[str, Any] = row.manifest
        check = CheckReport.model_validate(row.check_report) if row.check_report else None
        return cls(
            name=row.name,
            url=row.url,
            manifest=Facts.model_validate(facts),
            last_check=check,
            created_at=row.created_at,
        )

"""From a dataset's manifest and row to what the API answers."""

from __future__ import annotations

from service.bodies.datasets import Dataset, DatasetCheck, DatasetFacts
from service.db import tables
from trainer.data.manifest import DatasetManifest


def facts(manifest: DatasetManifest) -> DatasetFacts:
    """The manifest, summed up."""
    return DatasetFacts(
        resolution=manifest.resolution,
        channels=manifest.channels,
        classes=manifest.classes,
        class_counts=manifest.class_counts,
        samples=manifest.samples,
        shards=len(manifest.shards),
        bytes=sum(shard.size for shard in manifest.shards),
        digest=manifest.digest,
    )


def dataset(row: tables.Dataset) -> Dataset:
    """One dataset."""
    return Dataset(
        name=row.name,
        owner=row.owner,
        url=row.url,
        manifest=DatasetFacts.model_validate(row.manifest),
        last_check=DatasetCheck.model_validate(row.check_report) if row.check_report else None,
        created_at=row.created_at,
    )

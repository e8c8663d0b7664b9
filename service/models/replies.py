"""From what the registry has to what the API answers."""

from __future__ import annotations

from datetime import UTC, datetime

from service.bodies.models import Model, ModelVersion
from service.gateway import registry


def model(found: registry.Model) -> Model:
    """One model."""
    return Model(
        name=found.name,
        description=found.description,
        aliases=found.aliases,
        tags=found.tags,
        created_at=_time(found.created),
        updated_at=_time(found.updated),
    )


def version(found: registry.Version) -> ModelVersion:
    """One version of a model."""
    return ModelVersion(
        version=found.version,
        status=found.status,
        mlflow_run_id=found.run_id,
        source=found.source,
        description=found.description,
        aliases=found.aliases,
        tags=found.tags,
        created_at=_time(found.created),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

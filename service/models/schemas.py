"""Bodies of the models' endpoints."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from service.gateway.registry import Model, Version


class ModelReply(BaseModel):
    """A registered model."""

    name: str
    description: str
    aliases: dict[str, str] = Field(description="Alias → version.")
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, model: Model) -> ModelReply:
        """As the registry has it."""
        return cls(
            name=model.name,
            description=model.description,
            aliases=model.aliases,
            tags=model.tags,
            created_at=_time(model.created),
            updated_at=_time(model.updated),
        )


class VersionReply(BaseModel):
    """One version of a model."""

    version: str
    status: str
    run_id: str
    source: str
    description: str
    aliases: list[str]
    tags: dict[str, str]
    created_at: datetime

    @classmethod
    def of(cls, version: Version) -> VersionReply:
        """As the registry has it."""
        return cls(
            version=version.version,
            status=version.status,
            run_id=version.run_id,
            source=version.source,
            description=version.description,
            aliases=list(version.aliases),
            tags=version.tags,
            created_at=_time(version.created),
        )


class AliasRequest(BaseModel):
    """What an alias shall point at."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "3"}]})

    version: str = Field(pattern=r"^[1-9][0-9]{0,8}$")


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

"""Bodies of the models' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from service.bodies.base import Reply, Request


class Model(Reply):
    """A registered model."""

    name: str
    description: str
    aliases: dict[str, str]
    """Alias → version."""
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime


class ModelVersion(Reply):
    """One version of a model."""

    version: str
    status: str
    mlflow_run_id: str
    """The MLflow run that registered it."""
    source: str
    description: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created_at: datetime


class AliasRequest(Request):
    """What an alias shall point at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "3"}]})

    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]

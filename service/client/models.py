"""Calls about registered models."""

from __future__ import annotations

from service.bodies.base import Page
from service.bodies.models import Model, ModelVersion
from service.client.base import Calls, part


class ModelCalls(Calls):
    """Part of `Client`."""

    def models(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Model]:
        """One page of registered models."""
        return self._read(Page[Model], "GET", "/v1/models", params={"limit": limit, "cursor": cursor})

    def model(self, name: str) -> Model:
        """One registered model."""
        return self._read(Model, "GET", f"/v1/models/{part(name)}")

    def model_versions(self, name: str, *, limit: int | None = None, cursor: str | None = None) -> Page[ModelVersion]:
        """One page of its versions."""
        params = {"limit": limit, "cursor": cursor}
        return self._read(Page[ModelVersion], "GET", f"/v1/models/{part(name)}/versions", params=params)

    def set_alias(self, model: str, alias: str, version: str) -> Model:
        """Point an alias at a version."""
        path = f"/v1/models/{part(model)}/aliases/{part(alias)}"
        return self._read(Model, "PUT", path, body={"version": version})

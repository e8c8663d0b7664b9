"""Calls about registered models."""

from __future__ import annotations

from pathlib import Path

from service.bodies.base import Page
from service.bodies.models import Model, ModelVersion
from service.client.base import Calls, part
from service.client.download import PACKAGE, fetch
from service.client.errors import NotFound

CHAMPION = "champion"


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

    def pull(self, name: str, version: str | None = None, *, to: Path | str) -> Path:
        """Fetch a version's package into the new folder `to`, or as a tar if that ends in `.tar`; returns it.

        version: a number, or an alias; without it the champion. It is proved by its SHA-256 as it comes; a download that breaks off goes on
        by itself, and nothing is there before all is. Raises NotFound, FileExistsError, OSError; UnreadableReply if what came isn't what was
        published.
        """
        version = CHAMPION if version is None else version
        if not version.isdecimal():
            aliases = self.model(name).aliases
            if version not in aliases:
                known = ", ".join(sorted(aliases)) or "none"
                raise NotFound(404, "Not found", f"the model {name} has no alias {version} (it has: {known})", [])
            version = aliases[version]
        return fetch(self._connection, f"/v1/models/{part(name)}/versions/{part(version)}/package", Path(to), PACKAGE)

    def set_alias(self, model: str, alias: str, version: str) -> Model:
        """Point an alias at a version."""
        path = f"/v1/models/{part(model)}/aliases/{part(alias)}"
        return self._read(Model, "PUT", path, body={"version": version})

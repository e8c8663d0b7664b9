"""MLflow's model registry over its REST API (this process has no mlflow). Read in mlflow 3.17: `protos/model_registry.proto`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

PAGE = 200


class RegistryUnreachableError(Exception):
    """MLflow didn't answer, or not as MLflow does."""


class RegistryMissingError(Exception):
    """No such model or version."""


class RegistryRefusedError(Exception):
    """MLflow says why the request is wrong."""


class RegistryCursorError(RegistryRefusedError):
    """The cursor is none that MLflow gave."""


@dataclass(frozen=True)
class Model:
    """A registered model. Times are milliseconds since the epoch, as MLflow gives them."""

    name: str
    created: int
    updated: int
    description: str = ""
    aliases: dict[str, str] = field(default_factory=dict)
    """Alias → version."""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """One version of a model."""

    version: str
    created: int
    run_id: str = ""
    status: str = "READY"
    source: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


class Registry(Protocol):
    """Calls raise RegistryUnreachableError, RegistryMissingError or RegistryRefusedError."""

    def models(self, limit: int, cursor: str | None) -> tuple[list[Model], str | None]:
        """By name, and the cursor of the next page."""

    def model(self, name: str) -> Model:
        """One model."""

    def versions(self, name: str, limit: int, cursor: str | None) -> tuple[list[Version], str | None]:
        """Newest first, and the cursor of the next page. Raises RegistryMissingError for a model that doesn't exist."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""

    def ping(self) -> None:
        """Raises RegistryUnreachableError."""

    def close(self) -> None:
        """Release connections."""


class HttpRegistry:
    """The real one. Thread-safe."""

    def __init__(self, uri: str, *, timeout: float = 15.0) -> None:
        self.uri = _without_password(uri)
        self._client = httpx.Client(
            base_url=uri.rstrip("/"), timeout=httpx.Timeout(timeout, connect=2.0), trust_env=False
        )

    def close(self) -> None:
        """See Registry."""
        self._client.close()

    def models(self, limit: int, cursor: str | None) -> tuple[list[Model], str | None]:
        """See Registry."""
        params: dict[str, Any] = {"max_results": limit, "order_by": "name ASC"}
        params |= {"page_token": cursor} if cursor else {}
        body = self._page("registered-models/search", params)
        return [_model(item) for item in body.get("registered_models", [])], body.get("next_page_token") or None

    def model(self, name: str) -> Model:
        """See Registry."""
        return _model(self._call("GET", "registered-models/get", params={"name": name})["registered_model"])

    def versions(self, name: str, limit: int, cursor: str | None) -> tuple[list[Version], str | None]:
        """See Registry. A search doesn't return aliases, so they come from the model."""
        pointing: dict[str, list[str]] = {}
        for alias, version in self.model(name).aliases.items():
            pointing.setdefault(version, []).append(alias)
        quoted = name.replace("'", "''")
        params = {"filter": f"name = '{quoted}'", "max_results": limit, "order_by": "version_number DESC"}
        body = self._page("model-versions/search", {**params, **({"page_token": cursor} if cursor else {})})
        found = [
            _version(item, tuple(sorted(pointing.get(item["version"], [])))) for item in body.get("model_versions", [])
        ]
        return found, body.get("next_page_token") or None

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See Registry."""
        self._call("POST", "registered-models/alias", json={"name": name, "alias": alias, "version": version})

    def ping(self) -> None:
        """See Registry."""
        try:
            self._client.get("/health", timeout=2.0).raise_for_status()
        except httpx.HTTPError as error:
            raise RegistryUnreachableError(
                f"MLflow at {self.uri} can't be reached ({error or type(error).__name__})"
            ) from error

    def _page(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        """A page of a search. MLflow answers 400 to some cursors that are none of its own, and 500 to others."""
        try:
            return self._call("GET", path, params=params)
        except (RegistryUnreachableError, RegistryRefusedError) as error:
            if "page_token" not in params:
                raise
            first = {name: value for name, value in params.items() if name != "page_token"}
            self._call("GET", path, params={**first, "max_results": 1})  # MLflow is there: it was the cursor
            raise RegistryCursorError("is no cursor of this list") from error

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, f"/api/2.0/mlflow/{path}", **options)
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RegistryUnreachableError(
                f"MLflow at {self.uri} can't be reached ({error or type(error).__name__})"
            ) from error
        if response.is_success and isinstance(body, dict):
            return body
        code = body.get("error_code", "") if isinstance(body, dict) else ""
        message = str(body.get("message", response.text) if isinstance(body, dict) else response.text)[:500]
        if code == "RESOURCE_DOES_NOT_EXIST":
            raise RegistryMissingError(message)
        if response.is_client_error:
            raise RegistryRefusedError(message)
        raise RegistryUnreachableError(f"MLflow at {self.uri} answered {response.status_code}: {message}")


def _without_password(uri: str) -> str:
    """For messages: a URI may hold credentials."""
    url = httpx.URL(uri)
    return str(url.copy_with(username=None, password=None) if url.userinfo else url).rstrip("/")


def _pairs(items: list[dict[str, str]] | None, key: str, value: str) -> dict[str, str]:
    return {item[key]: item.get(value, "") for item in items or []}


def _model(item: dict[str, Any]) -> Model:
    return Model(
        name=item["name"],
        created=int(item.get("creation_timestamp", 0)),
        updated=int(item.get("last_updated_timestamp", 0)),
        description=item.get("description", ""),
        aliases=_pairs(item.get("aliases"), "alias", "version"),
        tags=_pairs(item.get("tags"), "key", "value"),
    )


def _version(item: dict[str, Any], aliases: tuple[str, ...]) -> Version:
    return Version(
        version=str(item["version"]),
        created=int(item.get("creation_timestamp", 0)),
        run_id=item.get("run_id", ""),
        status=item.get("status", ""),
        source=item.get("source", ""),
        description=item.get("description", ""),
        aliases=aliases,
        tags=_pairs(item.get("tags"), "key", "value"),
    )

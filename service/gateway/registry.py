"""MLflow's model registry, and its records of runs, over its REST API (this process has no mlflow). Read in mlflow 3.17:
`protos/model_registry.proto`, `service.proto`, `mlflow_artifacts.proto`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from service.gateway.notes import Note, changes

MANY = 1000
"""Of a list that is read whole, at once."""
PIECE = 1 << 20
"""Bytes of a file that are read at once."""
JOB_TAG = "agon.job_id"
"""As `trainer.tracking` tags MLflow's record of a job, or of a trial: `SEARCH-TRIAL`."""
PROXIED = "mlflow-artifacts"
"""Scheme of what MLflow's server keeps itself. What lies elsewhere, in a bucket, it can't delete."""


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


@dataclass(frozen=True)
class File:
    """One file of a version."""

    path: str
    """Below the version's folder, with `/`."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Standing:
    """A version of a model, and the record that has its files."""

    model: str
    version: str
    record: str


class Registry(Protocol):
    """Calls raise RegistryUnreachableError, RegistryMissingError or RegistryRefusedError."""

    def models(self, limit: int, cursor: str | None) -> tuple[list[Model], str | None]:
        """By name, and the cursor of the next page."""

    def model(self, name: str) -> Model:
        """One model."""

    def versions(self, name: str, limit: int, cursor: str | None) -> tuple[list[Version], str | None]:
        """Newest first, and the cursor of the next page. Raises RegistryMissingError for a model that doesn't exist."""

    def version(self, name: str, version: str) -> Version:
        """One version, without its aliases."""

    def aliased(self, name: str, alias: str) -> Version:
        """The version that an alias points at, without its aliases."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""

    def files(self, version: Version) -> list[File]:
        """All of a version, by path. Raises RegistryRefusedError for one whose files are not of a record of MLflow's."""

    def read(self, version: Version, path: str) -> Iterator[bytes]:
        """The file in pieces; closed early, the connection is. Raises as it is read."""

    def records(self, record: str, run_id: str) -> list[str]:
        """MLflow's records of a job or search, by the id of its own and its own id: also those of its trials and of what it
        published. Empty if there are none, or no more."""

    def standing_on(self, records: Collection[str]) -> list[Standing]:
        """The versions of models whose files are of these records."""

    def delete_record(self, record: str) -> None:
        """Delete a record, and its artifacts where MLflow's server keeps them. Of one that is deleted nothing changes."""

    def note(self, record: str, note: Note) -> None:
        """Have a record say what people noted about its run. Of one that knows it, or later notes, nothing changes."""

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

    def version(self, name: str, version: str) -> Version:
        """See Registry."""
        found = self._call("GET", "model-versions/get", params={"name": name, "version": version})
        return _version(found["model_version"], ())

    def aliased(self, name: str, alias: str) -> Version:
        """See Registry. MLflow refuses an alias that isn't there as if it were wrong."""
        try:
            found = self._call("GET", "registered-models/alias", params={"name": name, "alias": alias})
        except RegistryRefusedError as error:
            raise RegistryMissingError(f"the model {name} has no alias {alias} ({error})") from error
        return _version(found["model_version"], ())

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See Registry."""
        self._call("POST", "registered-models/alias", json={"name": name, "alias": alias, "version": version})

    def files(self, version: Version) -> list[File]:
        """See Registry."""
        found, folders, root, seen = list[File](), [_folder(version)], _folder(version), 0
        while folders:
            for page in self._pages("GET", "artifacts/list", {"run_id": version.run_id, "path": folders.pop()}):
                for item in page.get("files", []):
                    if item.get("is_dir"):
                        folders.append(item["path"])
                    else:
                        found.append(File(item["path"][len(root) + 1 :], int(item.get("file_size", 0))))
            seen += 1
            if len(found) + len(folders) + seen > MANY:
                raise RegistryRefusedError(f"the version has more than {MANY} files: it is no package")
        return sorted(found, key=lambda file: file.path)

    def read(self, version: Version, path: str) -> Iterator[bytes]:
        """See Registry. The server fetches what lies in a bucket, so that whoever asks needs no key of it."""
        params = {"run_id": version.run_id, "path": f"{_folder(version)}/{path}"}
        try:
            with self._client.stream("GET", "/get-artifact", params=params) as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    raise RegistryMissingError(f"MLflow has no {path} of it any more")
                if not response.is_success:
                    raise RegistryUnreachableError(f"MLflow at {self.uri} answered {response.status_code} for {path}")
                yield from response.iter_bytes(PIECE)
        except httpx.HTTPError as error:
            raise RegistryUnreachableError(
                f"MLflow at {self.uri} can't be reached ({error or type(error).__name__})"
            ) from error

    def records(self, record: str, run_id: str) -> list[str]:
        """See Registry."""
        try:
            info = self._call("GET", "runs/get", params={"run_id": record})["run"]["info"]
        except RegistryMissingError:
            return []
        found = [record] if info.get("lifecycle_stage") == "active" else []
        for tagged in (f"= '{run_id}'", f"LIKE '{run_id}-%'"):
            asked = {
                "experiment_ids": [info["experiment_id"]],
                "filter": f"tags.`{JOB_TAG}` {tagged}",
                "max_results": MANY,
            }
            for page in self._pages("POST", "runs/search", asked):
                found += [item["info"]["run_id"] for item in page.get("runs", [])]
        return list(dict.fromkeys(found))

    def standing_on(self, records: Collection[str]) -> list[Standing]:
        """See Registry. A version may name no record, only where its files lie: so all versions are looked at."""
        wanted, found = set(records), []
        for page in self._pages("GET", "model-versions/search", {"max_results": MANY}) if wanted else ():
            for item in page.get("model_versions", []):
                of = {item.get("run_id", ""), *item.get("source", "").split("/")} & wanted
                found += [Standing(item["name"], str(item["version"]), record) for record in sorted(of)]
        return found

    def delete_record(self, record: str) -> None:
        """See Registry."""
        try:
            info = self._call("GET", "runs/get", params={"run_id": record})["run"]["info"]
        except RegistryMissingError:
            return
        place = urlsplit(info.get("artifact_uri", ""))
        if place.scheme == PROXIED:
            self._call("DELETE", f"artifacts{place.path}", api="mlflow-artifacts")
            left = self._call("GET", "artifacts", api="mlflow-artifacts", params={"path": place.path.lstrip("/")})
            if left.get("files"):  # as where its store is a path with a %: it takes that for an escape, twice
                raise RegistryRefusedError(
                    f"MLflow did not delete the artifacts of {record}; delete {place.path} in its store"
                )
        if info.get("lifecycle_stage") == "active":  # last: as long as it is there, it is found again
            self._call("POST", "runs/delete", json={"run_id": record})

    def note(self, record: str, note: Note) -> None:
        """See Registry."""
        run = self._call("GET", "runs/get", params={"run_id": record})["run"]
        if run["info"].get("lifecycle_stage") != "active":
            raise RegistryMissingError(f"the record {record} is deleted")
        found = changes(_pairs(run.get("data", {}).get("tags"), "key", "value"), note)
        if found.name is not None:
            self._call("POST", "runs/update", json={"run_id": record, "run_name": found.name})
        for name in found.gone:
            with suppress(RegistryMissingError):  # by another who tells the same
                self._call("POST", "runs/delete-tag", json={"run_id": record, "key": name})
        for name, value in found.tags.items():
            self._call("POST", "runs/set-tag", json={"run_id": record, "key": name, "value": value})

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

    def _pages(self, method: str, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """All pages of a search."""
        token = ""
        while True:
            given = {**asked, **({"page_token": token} if token else {})}
            options: dict[str, Any] = {"json": given} if method == "POST" else {"params": given}
            body = self._call(method, path, **options)
            yield body
            token = body.get("next_page_token") or ""
            if not token:
                return

    def _call(self, method: str, path: str, api: str = "mlflow", **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, f"/api/2.0/{api}/{path}", **options)
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


def _folder(version: Version) -> str:
    """Of its files, below the artifacts of its record. Raises RegistryRefusedError."""
    _, of_record, folder = version.source.partition(f"/{version.run_id}/artifacts/")
    if not (version.run_id and of_record and folder):
        raise RegistryRefusedError(
            f"the files of version {version.version} are of no record of MLflow's (source {version.source!r:.100}); pull it from MLflow itself"
        )
    return folder.strip("/")


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

"""A registry in memory that behaves as MLflow's does; the contract tests hold both to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from service.gateway.notes import NAME_TAG, Note, changes
from service.gateway.registry import (
    File,
    Model,
    RegistryCursorError,
    RegistryMissingError,
    RegistryRefusedError,
    RegistryUnreachableError,
    Standing,
    Version,
)

RESERVED = "latest"


class FakeRegistry:
    """`add` stands for what a job publishes, `track` for the record that it keeps."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._versions: dict[str, list[Version]] = {}
        self._records: dict[str, str] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._files: dict[tuple[str, str], Mapping[str, bytes]] = {}
        self.unreachable = False
        self._clock = 0

    def track(self, run_id: str) -> str:
        """A record of a job or search, or of a trial: `SEARCH-TRIAL`."""
        self._clock += 1
        record = f"{self._clock:032x}"
        self._records[record] = run_id
        self._tags[record] = {NAME_TAG: f"small-{run_id}"}
        return record

    def tags(self, record: str) -> dict[str, str]:
        """What a record says."""
        return dict(self._tags[record])

    def add(
        self,
        name: str,
        tags: dict[str, str] | None = None,
        record: str = "",
        *,
        created: int = 0,
        description: str = "",
    ) -> Version:
        """Register one more version. created: milliseconds since the epoch, or 0 for just behind the one before."""
        self._clock += 1
        now = created or self._clock
        model = self._models.get(name, Model(name, now, now))
        self._models[name] = replace(model, updated=now)
        versions = self._versions.setdefault(name, [])
        number = str(len(versions) + 1)
        versions.append(Version(number, now, record, description=description, tags=dict(tags or {})))
        return versions[-1]

    def models(self, limit: int, cursor: str | None) -> tuple[list[Model], str | None]:
        """See Registry."""
        self._enter()
        names = sorted(self._models)
        begin = _position(cursor)
        found = [self._models[name] for name in names[begin : begin + limit]]
        return found, str(begin + limit) if begin + limit < len(names) else None

    def model(self, name: str) -> Model:
        """See Registry."""
        self._enter()
        if name not in self._models:
            raise RegistryMissingError(f"Registered Model with name={name} not found")
        return self._models[name]

    def versions(self, name: str, limit: int, cursor: str | None) -> tuple[list[Version], str | None]:
        """See Registry."""
        aliases = self.model(name).aliases
        newest = list(reversed(self._versions[name]))
        begin = _position(cursor)
        found = [
            replace(item, aliases=tuple(sorted(alias for alias, version in aliases.items() if version == item.version)))
            for item in newest[begin : begin + limit]
        ]
        return found, str(begin + limit) if begin + limit < len(newest) else None

    def version(self, name: str, version: str) -> Version:
        """See Registry."""
        self.model(name)
        for found in self._versions[name]:
            if found.version == version:
                return found
        raise RegistryMissingError(f"Model Version (name={name}, version={version}) not found")

    def aliased(self, name: str, alias: str) -> Version:
        """See Registry."""
        model = self.model(name)
        if alias.lower() == RESERVED:
            return self._versions[name][-1]
        if alias not in model.aliases:
            raise RegistryMissingError(
                f"the model {name} has no alias {alias} (Registered model alias {alias} not found.)"
            )
        return self.version(name, model.aliases[alias])

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See Registry."""
        model = self.model(name)
        if alias == RESERVED or (alias[:1] in "vV" and alias[1:].isdigit()):
            raise RegistryRefusedError(f"{alias} alias name is reserved")
        if version not in [item.version for item in self._versions[name]]:
            raise RegistryMissingError(f"Model Version (name={name}, version={version}) not found")
        self._models[name] = replace(model, aliases={**model.aliases, alias: version})

    def upload(self, version: Version, files: Mapping[str, bytes]) -> Version:
        """The files of a version that was added with a record. Returns it as it is now."""
        (model,) = (name for name, versions in self._versions.items() if version in versions)
        whole = replace(version, source=f"mlflow-artifacts:/0/{version.run_id}/artifacts/model")
        self._versions[model][int(version.version) - 1] = whole
        self._files[version.run_id, version.version] = dict(files)
        return whole

    def files(self, version: Version) -> list[File]:
        """See Registry."""
        self._enter()
        if not version.source:
            raise RegistryRefusedError(f"the files of version {version.version} are of no record of MLflow's")
        kept = self._files[version.run_id, version.version]
        return [File(path, len(kept[path])) for path in sorted(kept)]

    def read(self, version: Version, path: str) -> Iterator[bytes]:
        """See Registry."""
        self._enter()
        kept = self._files[version.run_id, version.version]
        if path not in kept:
            raise RegistryMissingError(f"MLflow has no {path} of it any more")
        for begin in range(0, len(kept[path]), 7):
            self._enter()
            yield kept[path][begin : begin + 7]

    def records(self, record: str, run_id: str) -> list[str]:
        """See Registry."""
        self._enter()
        return [found for found, of in self._records.items() if of == run_id or of.startswith(f"{run_id}-")]

    def standing_on(self, records: Collection[str]) -> list[Standing]:
        """See Registry."""
        self._enter()
        every = [(name, item) for name, versions in self._versions.items() for item in versions]
        return [Standing(name, item.version, item.run_id) for name, item in every if item.run_id in records]

    def delete_record(self, record: str) -> None:
        """See Registry."""
        self._enter()
        self._records.pop(record, None)

    def note(self, record: str, note: Note) -> None:
        """See Registry."""
        self._enter()
        if record not in self._records:
            raise RegistryMissingError(f"Run with id={record} not found")
        tags = self._tags[record]
        found = changes(tags, note)
        self._tags[record] = {name: value for name, value in tags.items() if name not in found.gone} | {**found.tags}
        if found.name is not None:
            self._tags[record][NAME_TAG] = found.name

    def ping(self) -> None:
        """See Registry."""
        self._enter()

    def close(self) -> None:
        """Nothing to close."""

    def _enter(self) -> None:
        if self.unreachable:
            raise RegistryUnreachableError("MLflow at http://fake can't be reached (connection refused)")


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdecimal():
        raise RegistryCursorError("is no cursor of this list")
    return int(cursor)

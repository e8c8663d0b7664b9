"""A registry in memory that behaves as MLflow's does; the contract tests hold both to it."""

from __future__ import annotations

from dataclasses import replace

from service.gateway.registry import (
    Model,
    RegistryCursorError,
    RegistryMissingError,
    RegistryRefusedError,
    RegistryUnreachableError,
    Version,
)

RESERVED = "latest"


class FakeRegistry:
    """`add` stands for what a job publishes."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._versions: dict[str, list[Version]] = {}
        self.unreachable = False
        self._clock = 0

    def add(self, name: str, tags: dict[str, str] | None = None) -> Version:
        """Register one more version."""
        self._clock += 1
        model = self._models.get(name, Model(name, self._clock, self._clock))
        self._models[name] = replace(model, updated=self._clock)
        versions = self._versions.setdefault(name, [])
        versions.append(Version(str(len(versions) + 1), self._clock, tags=dict(tags or {})))
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

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """See Registry."""
        model = self.model(name)
        if alias == RESERVED or (alias[:1] in "vV" and alias[1:].isdigit()):
            raise RegistryRefusedError(f"{alias} alias name is reserved")
        if version not in [item.version for item in self._versions[name]]:
            raise RegistryMissingError(f"Model Version (name={name}, version={version}) not found")
        self._models[name] = replace(model, aliases={**model.aliases, alias: version})

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

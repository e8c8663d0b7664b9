"""In which fields specs differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """A spec's fields by dotted path."""
    if isinstance(value, dict) and value:
        return {
            place: leaf
            for key, child in value.items()
            for place, leaf in flat(child, f"{path}.{key}" if path else key).items()
        }
    return {path: value}


def differing(specs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Fields that are not the same in all, with the value in each; None where it has no such field."""
    paths = dict.fromkeys(path for spec in specs for path in spec)
    values = {path: tuple(spec.get(path) for spec in specs) for path in paths}
    return {path: of for path, of in values.items() if any(other != of[0] for other in of[1:])}


def heads(ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """What to call those that are compared: their names; their ids where names repeat."""
    return [one if names.count(name) > 1 else name for one, name in zip(ids, names, strict=True)]

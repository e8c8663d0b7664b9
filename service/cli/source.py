"""FILE|RECIPE and --set, as `submit`, `validate` and `init` take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from trainer.families.table import recipes
from trainer.spec import FieldError, JobSpec, SpecError, parse_spec, with_overrides
from trainer.spec.text import read_yaml

REGISTERED = "dataset:"
STAND_IN = "file:///registered-dataset"
"""Stands where `dataset:NAME` stood while the spec is checked here: only the API knows what NAME is."""


@dataclass(frozen=True)
class Source:
    """A spec that is valid as far as can be told without the API."""

    spec: JobSpec
    dataset: str | None
    """`dataset:NAME`, if that is the data; then `spec.data.url` is a stand-in."""

    def body(self) -> dict[str, Any]:
        """The spec as the API takes it. Relative paths become absolute: the API runs in another folder."""
        raw = self.spec.model_dump(mode="json")
        raw["data"]["url"] = self.dataset or absolute(self.spec.data.url)
        return raw


def read(source: str, assignments: Sequence[str] = ()) -> Source:
    """A YAML or JSON file, or the name of a recipe. Raises SpecError, or OSError for a file that can't be read."""
    found = recipes().get(source)
    return take(found() if found is not None else read_mapping(source), assignments)


def take(given: JobSpec | dict[str, Any], assignments: Sequence[str] = ()) -> Source:
    """A spec, or the mapping that a file holds, with `path=value` assignments. Raises SpecError."""
    dataset, kept = None, []
    for assignment in assignments:
        path, _, value = assignment.partition("=")
        if path == "data.url" and value.startswith(REGISTERED):
            dataset, assignment = value, f"data.url={STAND_IN}"
        elif path == "data.url":
            dataset = None
        kept.append(assignment)
    replaced = any(assignment.startswith("data.url=") for assignment in kept)
    if isinstance(given, JobSpec):
        return Source(with_overrides(given, kept), dataset)
    raw, data = given, given.get("data")
    if isinstance(data, dict) and str(data.get("url", "")).startswith(REGISTERED):
        dataset = dataset if replaced else str(data["url"])
        raw = raw | {"data": data | {"url": STAND_IN}}
    return Source(with_overrides(parse_spec(raw), kept), dataset)


def absolute(url: str) -> str:
    """A path without a scheme, made absolute against the current folder."""
    return url if ":" in url.split("/", 1)[0] else str(Path(url).expanduser().absolute())


def unknown_recipe(name: str) -> SpecError:
    """No such recipe; names those that are close, or all."""
    known = list(recipes())
    close = get_close_matches(name, known, 2, 0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"recipes: {', '.join(known)}"
    return SpecError([FieldError(path=name, message="is neither a file nor a recipe", fix=hint)])


def read_mapping(source: str) -> dict[str, Any]:
    """What a YAML or JSON file holds. Raises SpecError, OSError."""
    path = Path(source)
    if not path.exists():
        raise unknown_recipe(source)
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([FieldError(path=source, message=f"is not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        raise SpecError([FieldError(path=source, message="holds no mapping", fix="start from `agon init RECIPE`")])
    return raw

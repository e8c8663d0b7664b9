"""Specs as YAML or JSON text, and `path=value` overrides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from trainer.spec.errors import FieldError, SpecError, explain
from trainer.spec.job import JobSpec


def parse_spec(raw: object) -> JobSpec:
    """Validate a raw mapping. Raises SpecError that lists every wrong field."""
    try:
        return JobSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecError(explain(error)) from error


def load_spec(path: Path | str) -> JobSpec:
    """Read a YAML or JSON file. Raises SpecError, or OSError if it can't be read."""
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise SpecError([FieldError(path="", message=f"{path} is not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        raise SpecError([FieldError(path="", message=f"{path} holds no mapping", fix="start from `agon init RECIPE`")])
    return parse_spec(raw)


def dump_spec(spec: JobSpec) -> str:
    """The whole spec as YAML, in the order of its fields."""
    text: str = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    return text


def with_overrides(spec: JobSpec, assignments: Iterable[str]) -> JobSpec:
    """A copy with `path=value` assignments applied; values are YAML (`1e-4`, `null`, `[fid, kid]`).

    Raises SpecError for an assignment without `=`, an unknown path or an invalid result.
    """
    raw = spec.model_dump(mode="json")
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise SpecError([FieldError(path=assignment, message="is no assignment", fix="write path=value")])
        _assign(raw, path, _scalar(text))
    return parse_spec(raw)


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as a string
        except ValueError:
            return value
    return value


def _assign(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    node: Any = raw
    for depth, part in enumerate(parents):
        child = node.get(part) if isinstance(node, dict) else None
        if child is None and isinstance(node, dict) and part in node:
            child = node[part] = {}
        if not isinstance(child, dict):
            known = ", ".join(node) if isinstance(node, dict) else "none"
            raise SpecError(
                [FieldError(path=path, message=f"no section {'.'.join(parents[: depth + 1])!r}", fix=f"known: {known}")]
            )
        node = child
    node[leaf] = value

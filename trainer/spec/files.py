"""Specs as YAML or JSON text."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from trainer.spec.errors import FieldError, SpecError
from trainer.spec.explain import explain
from trainer.spec.job import JobSpec
from trainer.spec.text import read_yaml, write_yaml


def parse_spec(raw: object) -> JobSpec:
    """Validate a raw mapping. Raises SpecError that lists every wrong field."""
    try:
        return JobSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecError(explain(error)) from error


def load_spec(path: Path | str) -> JobSpec:
    """Read a YAML or JSON file. Raises SpecError, or OSError if it can't be read."""
    try:
        raw = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([FieldError(path="", message=f"{path} is not valid YAML: {error}")]) from error
    if not isinstance(raw, dict):
        raise SpecError([FieldError(path="", message=f"{path} holds no mapping", fix="start from `agon init RECIPE`")])
    return parse_spec(raw)


def dump_spec(spec: JobSpec) -> str:
    """The whole spec as YAML, in the order of its fields."""
    return write_yaml(spec.model_dump(mode="json"))

"""`path=value` overrides of a spec, as the command line and the REST API take them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from trainer.spec.errors import FieldError, SpecError
from trainer.spec.explain import suggest
from trainer.spec.files import parse_spec
from trainer.spec.job import JobSpec
from trainer.spec.paths import Kinds, descend, fields, is_text, models, tagged
from trainer.spec.text import read_yaml

TAGS = ("family", "kind")
"""Fields that say which member of a union a section is."""


def with_overrides(spec: JobSpec, assignments: Iterable[str]) -> JobSpec:
    """A copy with `path=value` assignments applied in their order.

    Values are YAML (`1e-4`, `null`, `[fid, kid]`); where the field is text, the value is taken as it stands
    (`name=123`). Items of a list go by index (`objective.penalties.0.weight=5`). A new `kind` or `arch.family` keeps
    those of the section's fields that the new kind has too, and takes its defaults for the others.
    Raises SpecError for an assignment without `=`, an unknown path or an invalid result.
    """
    raw = spec.model_dump(mode="json")
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise SpecError([FieldError(path=assignment, message="is no assignment", fix="write path=value")])
        _assign(raw, path, text)
    return parse_spec(raw)


def _assign(raw: dict[str, Any], path: str, text: str) -> None:
    *parents, leaf = path.split(".")
    node: Any = raw
    kinds: Kinds = (JobSpec,)
    for part in parents:
        node, kinds = _child(node, part, kinds, path), descend(kinds, part)
    value = _value(text, descend(kinds, leaf), path)
    if isinstance(node, list):
        _set_item(node, leaf, value, path)
        return
    if leaf in TAGS and len(models(kinds)) > 1:
        kept = fields(tagged(kinds, leaf, value))
        for name in [name for name in node if kept and name not in kept]:
            del node[name]
    node[leaf] = value


def _child(node: Any, part: str, kinds: Kinds, path: str) -> Any:
    """The section or list `part` of `node`; a section that is null starts empty."""
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    child = node.get(part) if isinstance(node, dict) else None
    if child is None and isinstance(node, dict) and models(descend(kinds, part)):
        child = node[part] = {}
    if not isinstance(child, dict | list):
        known = node if isinstance(node, dict) else [str(index) for index in range(len(node))]
        raise SpecError([FieldError(path=path, message=f"there is no section {part!r}", fix=suggest(part, known))])
    return child


def _set_item(items: list[Any], leaf: str, value: Any, path: str) -> None:
    if not leaf.isdecimal() or int(leaf) > len(items):
        fix = f"use an index from 0 to {len(items)} (which appends)"
        raise SpecError([FieldError(path=path, message=f"{leaf!r} is no item of the list", fix=fix)])
    items[int(leaf) : int(leaf) + 1] = [value]


def _value(text: str, kinds: Kinds, path: str) -> Any:
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        if is_text(kinds):
            return text
        raise SpecError(
            [FieldError(path=path, message=f"{text!r} is not valid YAML: {error}", fix="quote it")]
        ) from error
    if is_text(kinds) and not isinstance(value, str) and not (value is None and type(None) in kinds):
        return text
    return value

"""`path=value` overrides of a spec, as the command line and the REST API take them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import NoneType
from typing import Any, get_origin

import yaml
from pydantic import BaseModel

from trainer.spec.errors import FieldError, SpecError, short
from trainer.spec.explain import suggest
from trainer.spec.files import parse_spec
from trainer.spec.job import JobSpec
from trainer.spec.paths import Kinds, descend, fields, is_text, models, tagged
from trainer.spec.text import read_yaml

TAGS = ("family", "kind")
"""Fields that say which member of a union a section is."""
QUOTES = ("'", '"')
BYTE_ORDER_MARK = "\ufeff"


def with_overrides(spec: JobSpec, assignments: Iterable[str]) -> JobSpec:
    """A copy with `path=value` assignments applied in their order; see :func:`with_values`.

    Raises SpecError that names every assignment without `=` and all that :func:`with_values` does.
    """
    values: list[tuple[str, Any]] = []
    errors: list[FieldError] = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if equals and path:
            values.append((path, text))
        else:
            errors.append(FieldError(path=assignment, message="is no assignment", fix="write path=value"))
    return with_values(spec, values, errors)


def with_values(spec: JobSpec, values: Iterable[tuple[str, Any]], errors: Iterable[FieldError] = ()) -> JobSpec:
    """A copy with values at dotted paths, in their order.

    A string is read as YAML (`1e-4`, `null`, `[fid, kid]`); where the field is text, it is taken as it stands (`name=123`),
    without quotes around it. Items of a list go by index (`objective.penalties.0.weight=5`). null takes a name out of a
    mapping of texts (`labels.team=null`). A new `kind` or `arch.family` keeps those of the section's fields that the new kind
    has too, and takes its defaults for the others.

    Raises SpecError that names every unknown path and every wrong field of the result, after `errors` that are known before.
    """
    raw = spec.model_dump(mode="json")
    found = [*errors, *assign(raw, values)]
    try:
        result = parse_spec(raw)
    except SpecError as error:
        found += error.errors
    if found:
        raise SpecError(found)
    return result


def assign(
    raw: dict[str, Any], values: Iterable[tuple[str, Any]], model: type[BaseModel] = JobSpec
) -> list[FieldError]:
    """Set values in a raw spec of that model, as :func:`with_values` does; what of them has no place there."""
    found: list[FieldError] = []
    for path, value in values:
        try:
            _assign(raw, path, value, model)
        except SpecError as error:
            found += error.errors
    return found


def _assign(raw: dict[str, Any], path: str, given: Any, model: type[BaseModel]) -> None:
    *parents, leaf = path.split(".")
    node: Any = raw
    kinds: Kinds = (model,)
    for part in parents:
        node, kinds = _child(node, part, kinds, path), descend(kinds, part)
    named = dict[str, str] in kinds
    value = _value(given, (*descend(kinds, leaf), NoneType) if named else descend(kinds, leaf), path)
    if named and value is None:
        node.pop(leaf, None)
        return
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
    if isinstance(node, list):
        index = _index(part)
        child = node[index] if index is not None and index < len(node) else None
    else:
        child = node.get(part)
        if child is None and _holds_names(descend(kinds, part)):
            child = node[part] = {}
    if not isinstance(child, dict | list):
        known = node if isinstance(node, dict) else [str(index) for index in range(len(node))]
        message = f"there is no section {part[:40]!r}"
        raise SpecError([FieldError(path=path, message=message, fix=suggest(part[:40], known))])
    return child


def _holds_names(kinds: Kinds) -> bool:
    """Whether a section or a mapping may lie there."""
    origins: list[Any] = [get_origin(kind) for kind in kinds]
    return bool(models(kinds)) or dict in origins


def _set_item(items: list[Any], leaf: str, value: Any, path: str) -> None:
    index = _index(leaf)
    if index is None or index > len(items):
        fix = f"use an index from 0 to {len(items)} (which appends)"
        raise SpecError([FieldError(path=path, message=f"{leaf[:40]!r} is no item of the list", fix=fix)])
    items[index : index + 1] = [value]


def _index(part: str) -> int | None:
    return int(part) if part.isascii() and part.isdecimal() and len(part) < 10 else None


def _value(given: Any, kinds: Kinds, path: str) -> Any:
    if is_text(kinds):
        return _text(given, type(None) in kinds)
    if not isinstance(given, str) or given.startswith(BYTE_ORDER_MARK):  # which YAML would pass over
        return given
    try:
        return read_yaml(given)
    except yaml.YAMLError as error:
        message = f"is not valid YAML: {' '.join(str(error).split())[:200]}"
        raise SpecError([FieldError(path=path, message=message, value=short(given), fix="quote it")]) from error


def _text(given: Any, optional: bool) -> Any:
    """Text as it stands, or what stands in quotes. A number was meant as text, too."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return json.dumps(given)
    if not isinstance(given, str):
        return given
    if optional and given in ("", "null"):
        return None
    if len(given) > 1 and given[0] in QUOTES and given[-1] == given[0]:
        try:
            value = read_yaml(given)
        except yaml.YAMLError:
            return given
        return value if isinstance(value, str) else given
    return given

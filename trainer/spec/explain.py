"""Pydantic's validation errors in Agon's form: the field's dotted path, what is wrong, and the fix."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from trainer.spec.errors import FIELDS, FieldError, short
from trainer.spec.job import JobSpec
from trainer.spec.paths import Kinds, containers, descend, fields, kinds_of, models, solid, tagged

MOST_ERRORS = 200
"""That are put into words: each may search for names that were meant."""


def explain(error: ValidationError, model: type[BaseModel] = JobSpec) -> list[FieldError]:
    """Every wrong field of a value that was validated as `model`."""
    items = error.errors(include_url=False)[:MOST_ERRORS]
    return [found for item in items for found in _field_errors(dict(item), model)]


def _field_errors(item: dict[str, Any], model: type[BaseModel]) -> list[FieldError]:
    context = item.get("ctx", {})
    path, parent = _place(item["loc"], model)
    if item["type"] == FIELDS:
        inner = [FieldError.model_validate(found) for found in context["errors"]]
        return [found.model_copy(update={"path": _join(path, found.path)}) for found in inner]
    if item["type"] == "union_tag_not_found":
        return [FieldError(path=_join(path, _tag(context)), message="is required", fix=f"one of {_tags(path, model)}")]
    if item["type"] == "union_tag_invalid":
        given = short(context["tag"])
        return [
            FieldError(
                path=_join(path, _tag(context)), message="is unknown", value=given, fix=f"one of {_tags(path, model)}"
            )
        ]
    if item["type"] == "extra_forbidden":
        fix = _elsewhere(item["loc"], path, model) or suggest(path[-1], fields(parent))
        return [FieldError(path=_join(path), message="unknown field", value=short(item["input"]), fix=fix)]
    description = _description(parent, path)
    if item["type"] == "missing":
        return [
            FieldError(
                path=_join(path), message="is required", fix=f"add it: {description}" if description else "add it"
            )
        ]
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return [FieldError(path=_join(path), message=message, value=short(item["input"]), fix=description)]


def suggest(name: str, known: Any) -> str:
    """What a person may have meant by an unknown name."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"


def _place(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[tuple[str, ...], Kinds]:
    """The path without the tags that Pydantic inserts for members of a union, and the kinds that hold its last part."""
    kinds: Kinds = (model,)
    parent: Kinds = ()
    path: list[str] = []
    for part in map(str, loc):
        if len(models(kinds)) > 1:  # a union: this part says which member
            kinds = _member(kinds, part)
            continue
        if len(models(kinds)) == 1 and len(solid(kinds)) > 1 and not descend(kinds, part):  # a number, or a section
            kinds = models(kinds)
            continue
        if len(solid(kinds)) > 1 and not models(kinds) and not containers(kinds):  # yes or no, or a number
            continue
        if len(containers(kinds)) > 1:  # a mapping or a list
            kinds = tuple(kind for kind in containers(kinds) if get_origin(kind).__name__ == part)
            continue
        path.append(part)
        parent = parent if part.isdigit() else kinds  # an item of a list is described by the list's field
        kinds = descend(kinds, part)
    return tuple(path), parent


def _member(kinds: Kinds, tag: str) -> Kinds:
    return tagged(kinds, "family", tag) or tagged(kinds, "kind", tag)


def _elsewhere(loc: tuple[int | str, ...], path: tuple[str, ...], model: type[BaseModel]) -> str:
    """Advice for an unknown field of `arch` that other families do have; empty for any other field."""
    if len(loc) < 3 or loc[0] != "arch" or "arch" not in model.model_fields:
        return ""
    having = []
    for member in models(kinds_of(model.model_fields["arch"].annotation)):
        kinds: Kinds = (member,)
        for part in path[1:-1]:
            kinds = descend(kinds, part)
        if path[-1] in fields(kinds):
            having.append(str(member.model_fields["family"].default))
    return f"family {loc[1]} has no {path[-1]}; families that have: {', '.join(having)}" if having else ""


def _tag(context: dict[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _tags(path: tuple[str, ...], model: type[BaseModel]) -> str:
    """The members of the union at `path`."""
    kinds: Kinds = (model,)
    for part in path:
        kinds = descend(kinds, part)
    defaults = [
        m.model_fields[tag].default for m in models(kinds) for tag in ("family", "kind") if tag in m.model_fields
    ]
    return ", ".join(defaults)


def _description(parent: Kinds, path: tuple[str, ...]) -> str:
    """First sentence of the field's description."""
    names = [part for part in path if not part.isdigit()]
    field = fields(parent).get(names[-1]) if names else None
    text = (field.description or "") if field else ""
    return " ".join(text.split()).split(". ")[0].rstrip(".")


def _join(path: tuple[str, ...], *more: str) -> str:
    return ".".join((*path, *more))

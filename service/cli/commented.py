"""A spec as YAML that explains itself: each field's description stands above it as a comment."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.spec import JobSpec
from trainer.spec.text import write_yaml

WIDTH = 118


def commented(spec: JobSpec, recipe: str) -> str:
    """The whole spec in the order of its fields; reads back as an equal spec."""
    head = (
        f"# Recipe {recipe}. Every field is here; those that you take out fall back to the defaults (docs/spec.md).\n"
    )
    return head + "".join(_model(spec, ""))


def _model(model: BaseModel, indent: str, explain: bool = True) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if explain:
            yield from _comment(field, value, indent)
        yield from _entry(name, value, indent, explain)


def _comment(field: FieldInfo, value: Any, indent: str) -> Iterator[str]:
    text = field.description or _summary(value)
    text = " ".join(re.sub(r"\bNone\b", "null", text.replace("`", "")).split())
    choices = [str(choice) for choice in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    if len(choices) > 1 and not all(choice in text for choice in choices):
        text = f"{text} One of: {', '.join(choices)}.".strip()
    yield from (f"{indent}# {line}\n" for line in textwrap.wrap(text, WIDTH - len(indent)))


def _entry(name: str, value: Any, indent: str, explain: bool) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:\n"
        yield from _model(value, indent + "  ", explain)
    elif isinstance(value, Mapping) and value and all(isinstance(item, BaseModel) for item in value.values()):
        yield f"{indent}{name}:\n"
        explained: set[type] = set()
        for key, item in value.items():
            yield from _entry(str(key), item, indent + "  ", explain and type(item) not in explained)
            explained.add(type(item))
    else:
        yield textwrap.indent(_plain(name, value), indent)


def _plain(name: str, value: Any) -> str:
    flow = None
    if isinstance(value, tuple):  # a list on one line
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    else:
        flow = False
    return write_yaml({name: value}, flow=flow, width=WIDTH)


def _summary(value: Any) -> str:
    """A section's own docstring, where its field has no description."""
    if not isinstance(value, BaseModel) or not value.__doc__:
        return ""
    return value.__doc__.strip().splitlines()[0]
